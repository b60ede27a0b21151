"""Augmentation: what is drawn for whom, and that one map does what mirroring and warping in turn do."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from pipelines.build import build_records
from records.augment import (
    Augmentation,
    AugmentationParameters,
    apply_parameters,
    augment,
    choose_half_body,
    sample_parameters,
)
from records.geometry import affine_to_input, box_to_center_scale, flip_keypoints, transform_points
from records.reader import read_records
from records.skeletons import COCO
from tests.helpers.builders import generate_image, make_build, make_dataset
from tests.helpers.shared import shared_data

SIZE = (96, 128)
MANY = 20_000


def make_instances(seed=0, count=6, image_size=(160, 120)):
    rng = np.random.default_rng(seed)
    low, size = rng.uniform(0, 60, (count, 2)), rng.uniform(20, 90, (count, 2))
    center, scale = box_to_center_scale(np.concatenate([low, size], axis=1), SIZE)
    points = low[:, None] + rng.uniform(0, 1, (count, 17, 2)) * size[:, None]
    keypoints = np.concatenate([points, rng.integers(0, 3, (count, 17, 1))], axis=-1)
    return {
        "center": center,
        "scale": scale,
        "keypoints": keypoints,
        "image_size": np.tile(image_size, (count, 1)),
        "instance_id": rng.permutation(10_000)[:count],
    }


def same(first, second, rows=slice(None)):
    return all(np.array_equal(getattr(first, name), getattr(second, name)[rows]) for name in vars(first))


# ---- what is drawn


def test_an_instances_parameters_depend_on_neither_the_batch_nor_the_order():
    ids = np.array([7, -3, 2**62, 0, 12])
    together = sample_parameters(Augmentation(), 5, 2, ids)
    for row in range(len(ids)):
        assert same(
            sample_parameters(Augmentation(), 5, 2, ids[row : row + 1]), together, slice(row, row + 1)
        )
    order = np.array([3, 1, 4, 0, 2])
    assert same(sample_parameters(Augmentation(), 5, 2, ids[order]), together, order)


def test_every_id_an_int64_can_hold_has_its_own_parameters():
    ids = np.array([-(2**63), -(2**62), -4, -3, -1, 0, 1, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1])
    parameters = sample_parameters(Augmentation(rotation_probability=1.0), 0, 0, ids)
    assert len(set(zip(parameters.scale, parameters.rotation, strict=True))) == len(ids)


@pytest.mark.parametrize("changed", [(6, 2, 0), (5, 3, 0), (2, 5, 0), (5, 2, 1)])
def test_another_seed_epoch_or_instance_renders_something_else(changed):
    seed, epoch, offset = changed
    ids = np.arange(50)
    before, after = (
        sample_parameters(Augmentation(), 5, 2, ids),
        sample_parameters(Augmentation(), seed, epoch, ids + 1000 * offset),
    )
    assert not np.isin(after.scale, before.scale[(before.scale > 0.66) & (before.scale < 1.34)]).any()
    assert (before.flip != after.flip).any()


def test_neighboring_instances_and_epochs_are_not_correlated():
    scale = np.stack([sample_parameters(Augmentation(), 0, epoch, np.arange(5000)).scale for epoch in (0, 1)])
    # Correlations of 5,000 independent pairs have a standard deviation of 0.014.
    assert abs(np.corrcoef(scale)[0, 1]) < 0.07
    assert abs(np.corrcoef(scale[0, 1:], scale[0, :-1])[0, 1]) < 0.07


def test_parameters_follow_the_official_distributions():
    parameters = sample_parameters(Augmentation(), 0, 0, np.arange(MANY))
    deviation = 5 * 0.5 / np.sqrt(MANY)  # five standard deviations of a share, at the most uncertain share

    def share(condition):
        return pytest.approx(np.mean(condition), abs=deviation)

    assert share(parameters.flip) == 0.5
    assert share(parameters.half_body) == 0.3
    assert share(parameters.upper_first) == 0.69146  # P(standard normal < 0.5)
    assert share(parameters.rotation != 0) == 0.6
    assert parameters.scale.min() == 0.65
    assert parameters.scale.max() == 1.35
    assert share(parameters.scale == 1.35) == share(parameters.scale == 0.65) == 0.15866  # P(normal > 1)
    assert share(parameters.scale > 1) == 0.5
    turned = parameters.rotation[parameters.rotation != 0]
    assert turned.min() == -90
    assert turned.max() == 90
    narrow = 5 * 0.5 / np.sqrt(len(turned))
    assert np.mean(np.abs(turned) < 45) == pytest.approx(0.68269, abs=narrow)
    assert np.mean(turned > 0) == pytest.approx(0.5, abs=narrow)
    assert np.mean(np.abs(turned) == 90) == pytest.approx(0.0455, abs=narrow)


def test_the_five_parameters_are_independent_of_each_other():
    parameters = sample_parameters(Augmentation(), 0, 0, np.arange(MANY))
    columns = [
        parameters.half_body,
        parameters.upper_first,
        parameters.scale,
        parameters.rotation,
        parameters.flip,
    ]
    correlation = np.corrcoef(np.array(columns, np.float64)) - np.eye(5)
    assert np.abs(correlation).max() < 5 / np.sqrt(MANY)


def test_strengths_and_probabilities_are_the_users():
    off = Augmentation(
        scale_factor=0, rotation_factor=0, rotation_probability=1, flip_probability=0, half_body_probability=0
    )
    parameters = sample_parameters(off, 1, 1, np.arange(200))
    assert (parameters.scale == 1).all()
    assert (parameters.rotation == 0).all()
    assert not parameters.flip.any()
    assert not parameters.half_body.any()
    always = sample_parameters(
        replace(off, flip_probability=1, half_body_probability=1), 1, 1, np.arange(200)
    )
    assert always.flip.all()
    assert always.half_body.all()


# ---- half bodies


def test_half_bodies_are_shown_only_of_instances_with_enough_keypoints():
    instances = make_instances(count=3)
    instances["keypoints"][..., 2] = 0
    instances["keypoints"][0, :8, 2] = 2
    instances["keypoints"][1, :9, 2] = 2
    instances["keypoints"][2, :, 2] = 1
    yes, zero = np.ones(3, bool), np.zeros(3)
    parameters = AugmentationParameters(
        half_body=yes, upper_first=yes, scale=zero + 1, rotation=zero, flip=~yes
    )
    chosen = choose_half_body(instances, parameters, COCO, SIZE, min_keypoints=8)
    changed = (chosen["center"] != instances["center"]).any(1)
    assert changed.tolist() == [False, True, True]
    np.testing.assert_allclose(chosen["center"][2], instances["keypoints"][2, :11, :2].mean(0))
    not_sampled = replace(parameters, half_body=~yes)
    np.testing.assert_array_equal(
        choose_half_body(instances, not_sampled, COCO, SIZE, 8)["center"], instances["center"]
    )


# ---- where it lands


@pytest.mark.parametrize("flip", [False, True])
def test_keypoints_land_where_the_map_says(flip):
    instances = make_instances()
    count = len(instances["center"])
    factor, turn = np.linspace(0.7, 1.3, count), np.linspace(-80, 80, count)
    affine, keypoints = apply_parameters(instances, factor, turn, np.full(count, flip), COCO, SIZE)
    order = COCO.flip_permutation if flip else np.arange(17)
    # A keypoint's new place is the map of the old; in the mirror the left one takes the right one's index.
    expected = transform_points(instances["keypoints"][:, order, :2], affine)
    labeled = instances["keypoints"][:, order, 2] > 0
    np.testing.assert_allclose(keypoints[..., :2][labeled], expected[labeled], atol=1e-4)  # float32
    np.testing.assert_array_equal(keypoints[..., 2], instances["keypoints"][:, order, 2])
    assert (keypoints[~labeled] == 0).all()


def official_input(pixels, center, scale, rotation, flip):
    """The official loader's way: mirror the whole image and the center, then warp."""
    if flip:
        pixels = pixels[:, ::-1]
        center = [pixels.shape[1] - 1 - center[0], center[1]]
    return cv2.warpAffine(
        np.ascontiguousarray(pixels),
        affine_to_input(center, scale, rotation, SIZE),
        SIZE,
        flags=cv2.INTER_LINEAR,
    )


def assert_same_pixels_as_official(pixels):
    instances = make_instances(count=12, image_size=pixels.shape[1::-1])
    rng = np.random.default_rng(3)
    factor, turn = rng.uniform(0.65, 1.35, 12), rng.uniform(-90, 90, 12)
    flip = np.arange(12) % 2 == 0
    affine, _ = apply_parameters(instances, factor, turn, flip, COCO, SIZE)
    for row in range(12):
        ours = cv2.warpAffine(pixels, affine[row], SIZE, flags=cv2.INTER_LINEAR)
        theirs = official_input(
            pixels, instances["center"][row], factor[row] * instances["scale"][row], turn[row], flip[row]
        )
        difference = np.abs(ours.astype(int) - theirs)
        # The same samples, but in float32: a value on the verge of rounding may go either way.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
        assert ours.std() > 5


def test_one_map_gives_the_pixels_of_mirroring_and_warping_in_turn():
    assert_same_pixels_as_official(generate_image(np.random.default_rng(0), 160, 120))


def test_one_map_gives_the_pixels_of_mirroring_and_warping_in_turn_on_a_photograph():
    path = shared_data("dataset", "COCO", "images", "val2017", "000000000139.jpg")
    assert_same_pixels_as_official(cv2.imread(str(path)))


def test_mirrored_keypoints_are_those_of_the_mirrored_image():
    instances = make_instances()
    count = len(instances["center"])
    mirrored = instances | {
        "keypoints": flip_keypoints(
            instances["keypoints"], instances["image_size"][:, 0], COCO.flip_permutation
        ),
        "center": instances["center"] * [-1, 1] + [160 - 1, 0],
    }
    factor, turn = np.full(count, 1.1), np.full(count, 20.0)
    _, ours = apply_parameters(instances, factor, turn, np.ones(count, bool), COCO, SIZE)
    _, expected = apply_parameters(mirrored, factor, turn, np.zeros(count, bool), COCO, SIZE)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_without_augmentation_everybody_is_shown_plainly():
    instances = make_instances()
    affine, keypoints = augment(instances, None, 3, 4, COCO, SIZE)
    np.testing.assert_allclose(
        affine, affine_to_input(instances["center"], instances["scale"], 0, SIZE), atol=1e-9
    )
    labeled = instances["keypoints"][..., 2] > 0
    expected = transform_points(instances["keypoints"][..., :2], affine)
    np.testing.assert_allclose(keypoints[..., :2][labeled], expected[labeled], atol=1e-4)
    np.testing.assert_array_equal(augment(instances, None, 9, 9, COCO, SIZE)[0], affine)


def test_the_reader_augments_as_the_functions_do(tmp_path):
    make_dataset(tmp_path / "data", images=4)
    folder = tmp_path / "records"
    build_records(make_build(tmp_path / "data", folder))
    strong = Augmentation(half_body_probability=0.6)
    for batch in read_records(folder, 5, augmentation=strong, seed=3, epoch=7):
        instances = {name: tensor.numpy() for name, tensor in batch.items()}
        affine, keypoints = augment(instances, strong, 3, 7, COCO, (48, 64))
        np.testing.assert_array_equal(instances["keypoints_input"], keypoints)
        np.testing.assert_array_equal(instances["input_affine"], affine.astype(np.float32))
        # … and not, say, the plain view of everybody.
        assert (
            np.abs(affine - augment(instances, None, 3, 7, COCO, (48, 64))[0]).max(axis=(1, 2)).min() > 1e-3
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale_factor", 1.0),
        ("scale_factor", -0.1),
        ("scale_factor", np.nan),
        ("rotation_factor", np.inf),
        ("rotation_factor", -1),
        ("rotation_probability", 1.1),
        ("flip_probability", -0.1),
        ("half_body_probability", np.nan),
        ("half_body_min_keypoints", -1),
    ],
)
def test_an_augmentation_that_cannot_be_sampled_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: received {value}; expected a number "):
        Augmentation(**{name: value})
