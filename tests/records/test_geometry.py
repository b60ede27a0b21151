"""Boxes and affine maps against the official code's outputs, and what must hold for any of them."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pipelines.crops import CropOptions, crop_rectangle, plain_views
from records.augment import AugmentationParameters, apply_parameters, choose_half_body
from records.geometry import (
    affine_to_input,
    box_to_center_scale,
    clean_box,
    compose_affine,
    covering_rectangle,
    fit_aspect,
    flip_keypoints,
    half_body_box,
    invert_affine,
    mirror_affine,
    transform_points,
)
from records.skeletons import COCO
from tests.helpers.shared import shared_data

SIZES = {"a075": (192, 256), "a100": (256, 256)}


@pytest.fixture(scope="module")
def golden():
    return np.load(shared_data("golden", "affine.npz"))


def corners_of(width, height):
    return np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], np.float64)


# ---- the official code's outputs


@pytest.mark.parametrize(
    ("inverse", "tolerance"),
    [(0, 5e-3), (1, 1e-3)],  # the fixture's own: the official code rounds three points to float32
    ids=["image to output", "output to image"],
)
def test_affine_maps_the_corners_as_the_official_code_does(golden, inverse, tolerance):
    cases = np.flatnonzero(golden["inv"] == inverse)
    assert len(cases) == 120
    for case in cases:
        center, scale, size = (
            golden[name][case].astype(float) for name in ("center", "scale", "output_size")
        )
        # The official function can shift the center by parts of the scale's box; ours leaves that to callers.
        center = center + 200 * scale * golden["shift"][case]
        ours = affine_to_input(center, 200 * scale, golden["rot"][case], size)
        corners = corners_of(*size)
        if inverse:
            expected = transform_points(corners, golden["matrix"][case])
            received = transform_points(corners, invert_affine(ours))
        else:
            corners = transform_points(corners, invert_affine(golden["matrix"][case]))
            expected = transform_points(corners, golden["matrix"][case])
            received = transform_points(corners, ours)
        np.testing.assert_allclose(received, expected, atol=tolerance, err_msg=f"case {case}")


def test_points_are_mapped_as_the_official_code_does(golden):
    received = transform_points(golden["points"], golden["matrix"])
    np.testing.assert_allclose(received, golden["points_out"], atol=1e-9)


@pytest.mark.parametrize("aspect", SIZES)
def test_boxes_become_the_official_centers_and_scales(golden, aspect):
    boxes = golden[f"box_{aspect}"]
    center, scale = box_to_center_scale(boxes, SIZES[aspect])
    # A center at x = -1 exactly means "missing" to the official code, which then leaves the padding out.
    excepted = golden[f"box_center_{aspect}"][:, 0] == -1
    assert np.flatnonzero(excepted).tolist() == [4, 5]
    np.testing.assert_allclose(center, golden[f"box_center_{aspect}"], atol=1e-4)
    expected = golden[f"box_scale_{aspect}"] * np.where(excepted, 1.25, 1)[:, None]
    np.testing.assert_allclose(scale / 200, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["coco", "mpii"])
def test_mirrored_keypoints_are_the_official_ones(golden, name):
    points, visibility = golden[f"flip_{name}_joints"], golden[f"flip_{name}_vis"]
    permutation = np.arange(points.shape[1])
    for left, right in golden[f"flip_{name}_pairs"]:
        permutation[[left, right]] = right, left
    if name == "coco":
        np.testing.assert_array_equal(permutation, COCO.flip_permutation)
    keypoints = np.concatenate([points[..., :2], visibility[..., :1]], axis=-1)
    flipped = flip_keypoints(keypoints, golden[f"flip_{name}_width"], permutation)
    np.testing.assert_array_equal(flipped[..., :2], golden[f"flip_{name}_joints_out"][..., :2])
    np.testing.assert_array_equal(flipped[..., 2], golden[f"flip_{name}_vis_out"][..., 0])


def test_heatmap_coordinates_go_back_to_the_image_as_officially(golden):
    for case, size in enumerate(golden["tp_heatmap_size"]):
        affine = affine_to_input(golden["tp_center"][case], 200 * golden["tp_scale"][case], 0, size)
        received = transform_points(golden["tp_coords"][case], invert_affine(affine))
        np.testing.assert_allclose(received, golden["tp_out"][case], atol=1e-3, err_msg=f"case {case}")


@pytest.mark.parametrize("name", ["coco", "mpii"])
@pytest.mark.parametrize("first", ["upper", "lower"])
def test_half_bodies_are_the_official_ones(name, first):
    golden = np.load(shared_data("golden", "halfbody.npz"))
    points, visibility = golden[f"{name}_joints"], golden[f"{name}_vis"]
    keypoints = np.concatenate([points[..., :2], visibility[..., :1]], axis=-1)
    upper_first = np.full(len(keypoints), first == "upper")
    valid, center, scale = half_body_box(
        keypoints, golden[f"{name}_upper_ids"], upper_first, (float(golden[f"{name}_aspect"]), 1)
    )
    prefix = f"{name}_{first}_first"
    np.testing.assert_array_equal(valid, golden[f"{prefix}_valid"])
    np.testing.assert_allclose(center, golden[f"{prefix}_center"], atol=1e-3)
    np.testing.assert_allclose(scale / 200, golden[f"{prefix}_scale"], atol=1e-5)


# ---- worked out by hand


def test_box_is_padded_and_grown_to_the_aspect():
    center, scale = box_to_center_scale([10, 20, 30, 80], (192, 256))
    np.testing.assert_allclose(center, [25, 60])
    np.testing.assert_allclose(scale, [75, 100])  # height decides: 80 * 1.25, and three quarters of it
    np.testing.assert_allclose(box_to_center_scale([10, 20, 30, 80], (192, 256), padding=1)[1], [60, 80])
    np.testing.assert_allclose(box_to_center_scale([0, 0, 90, 80], (192, 256))[1], [112.5, 150])


def test_a_box_centered_at_minus_one_is_padded_like_any_other():
    here, there = (box_to_center_scale([x, 30, 20, 60], (192, 256))[1] for x in (-11, 11))
    np.testing.assert_array_equal(here, there)


def test_positive_rotation_is_counter_clockwise_on_screen():
    affine = affine_to_input([50, 50], [100, 100], 90, (100, 100))
    right_of_center = transform_points([[60, 50]], affine)
    np.testing.assert_allclose(right_of_center, [[50, 40]], atol=1e-12)  # it is now above


def test_cleaning_cuts_a_box_to_the_image_with_the_last_pixel_included():
    size = (100, 80)
    np.testing.assert_array_equal(clean_box([10, 20, 30, 40], size), [10, 20, 29, 39])
    np.testing.assert_array_equal(clean_box([90, 70, 30, 40], size), [90, 70, 9, 9])
    # As officially, x and y below 0 move the box into the image; its size stays.
    np.testing.assert_array_equal(clean_box([-10, -5, 30, 40], size), [0, 0, 29, 39])
    assert (clean_box([150, 20, 30, 40], size)[2:] < 0).any()


def test_covering_rectangle_is_none_only_where_nothing_can_be_seen():
    inside = covering_rectangle([[50, 40]], [[20, 20]], (100, 80), any_rotation=False)
    assert inside == (40, 30, 21, 21)
    assert covering_rectangle([[-50, 40]], [[20, 20]], (100, 80), any_rotation=False) is None
    assert covering_rectangle([[50, 200]], [[20, 20]], (100, 80), any_rotation=True) is None
    # At (-10.5, ...) -0.5 is the last place sampled, and pixel 0 still has half of the weight there.
    assert covering_rectangle([[-10.5, 40]], [[20, 20]], (100, 80), any_rotation=False) == (0, 30, 1, 21)


def test_half_body_falls_back_to_the_other_half_and_then_to_the_upper():
    instances = np.zeros((3, 17, 3))
    instances[..., :2] = np.arange(34).reshape(17, 2)
    instances[0, :3, 2] = 2  # three upper keypoints, no lower ones
    instances[1, 11:14, 2] = 2  # three lower, no upper
    instances[2, [0, 11, 12], 2] = 2  # one upper, two lower: the upper, which is too few
    for first in (True, False):
        valid, center, scale = half_body_box(instances, COCO.upper_body, np.full(3, first), (1, 1))
        assert valid.tolist() == [True, True, False]
        np.testing.assert_allclose(center[:2], [[2, 3], [24, 25]])
        np.testing.assert_allclose(scale[:2], 4 * 1.5)
        assert np.isnan(center[2]).all()
        assert np.isnan(scale[2]).all()


# ---- for any map

coordinate = st.floats(-2000, 2000)
point = st.tuples(coordinate, coordinate)
size = st.tuples(st.floats(4, 2000), st.floats(4, 2000))
angle = st.floats(-360, 360)
output_sizes = st.tuples(st.integers(2, 512), st.integers(2, 512))
affine_maps = st.builds(
    affine_to_input, point, size, angle, st.tuples(st.integers(16, 512), st.integers(16, 512))
)


@given(affine_maps, st.lists(point, min_size=1, max_size=5))
def test_inverting_takes_points_back(affine, points):
    back = transform_points(transform_points(points, affine), invert_affine(affine))
    np.testing.assert_allclose(back, points, atol=1e-6)  # of coordinates up to 2000, times a zoom up to 128


@given(affine_maps, affine_maps, st.lists(point, min_size=1, max_size=5))
def test_composing_is_applying_one_after_the_other(outer, inner, points):
    expected = transform_points(transform_points(points, inner), outer)
    received = transform_points(points, compose_affine(outer, inner))
    np.testing.assert_allclose(received, expected, rtol=1e-9, atol=1e-4)


@given(affine_maps)
def test_a_map_after_its_inverse_is_the_identity(affine):
    identity = np.array([[1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(compose_affine(affine, invert_affine(affine)), identity, atol=1e-6)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=4))
def test_mirroring_twice_changes_nothing(widths):
    mirror = mirror_affine(np.array(widths))
    identity = np.broadcast_to([[1, 0, 0], [0, 1, 0]], mirror.shape)
    np.testing.assert_array_equal(compose_affine(mirror, mirror), identity)
    np.testing.assert_array_equal(mirror[:, 0, 0] * 0 + mirror[:, 0, 2], np.array(widths) - 1)


@given(st.integers(1, 5000), st.integers(0, 2**32 - 1))
def test_mirroring_keypoints_twice_changes_only_what_is_not_labeled(width, seed):
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate(
        [rng.integers(-10, width + 10, (3, 17, 2)), rng.integers(0, 3, (3, 17, 1))], axis=-1
    )
    twice = keypoints
    for _ in range(2):
        twice = flip_keypoints(twice, np.full(3, width), COCO.flip_permutation)
    np.testing.assert_array_equal(twice[..., 2], keypoints[..., 2])
    np.testing.assert_array_equal(twice[..., :2], keypoints[..., :2] * (keypoints[..., 2:] > 0))


@given(size, st.sampled_from([(192, 256), (288, 384), (256, 256), (64, 48)]))
def test_fitted_size_has_the_aspect_and_is_the_smallest_that_holds_the_box(box_size, input_size):
    fitted = fit_aspect(box_size, input_size)
    assert fitted[0] / fitted[1] == pytest.approx(input_size[0] / input_size[1], rel=1e-12)
    assert (fitted >= np.array(box_size) * (1 - 1e-12)).all()
    assert np.isclose(fitted, box_size, rtol=1e-12).any()


@given(point, size, angle, st.integers(16, 512))
def test_the_center_lands_in_the_middle_and_lengths_scale_evenly(center, scale, rotation, width):
    affine = affine_to_input(center, scale, rotation, (width, 2 * width))
    ends = transform_points([center, np.add(center, [scale[0], 0])], affine)
    np.testing.assert_allclose(ends[0], [width / 2, width], atol=1e-6)
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(width, rel=1e-6)


# ---- unbiased data processing


@given(output_sizes, point, st.floats(4, 2000))
def test_the_unbiased_map_takes_the_box_s_edges_to_the_outer_pixels_centers(output_size, center, width):
    scale = np.array([width, width * 1.3])
    corners = np.add(center, [-scale / 2, scale / 2])
    received = transform_points(corners, affine_to_input(center, scale, 0, output_size, unbiased=True))
    np.testing.assert_allclose(received, [[0, 0], np.subtract(output_size, 1)], atol=1e-6)


@given(output_sizes, point, st.floats(4, 2000), angle)
def test_both_conventions_differ_by_a_factor_on_each_output_axis(output_size, center, width, rotation):
    scale = fit_aspect([width, 0], output_size)
    official, unbiased = (
        affine_to_input(center, scale, rotation, output_size, unbiased=choice) for choice in (False, True)
    )
    factor = np.subtract(output_size, 1) / output_size
    np.testing.assert_allclose(unbiased, official * factor[:, None], rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("unbiased", [False, True])
def test_a_positive_rotation_turns_the_image_counter_clockwise_in_both_conventions(unbiased):
    affine = affine_to_input([50, 50], [65, 65], 90, (65, 65), unbiased=unbiased)
    middle, right = transform_points([[50, 50], [60, 50]], affine)
    assert right[1] < middle[1]  # what was to the right is above
    assert right[0] == pytest.approx(middle[0])


@given(output_sizes, point, size, angle)
def test_mirroring_box_and_output_is_one_thing_in_the_unbiased_convention(output, center, scale, rotation):
    """Counting pixels, the output's mirror image is off by (1, 0); test_heatmaps shows what that costs."""
    image_width = 640
    points = np.add(center, [[0, 0], [7, 3], [-5, 11]])
    mirror = mirror_affine(image_width)
    mirrored_center = transform_points([center], mirror)[0]
    for unbiased, offset in ((True, 0), (False, 1)):
        there = transform_points(points, affine_to_input(center, scale, rotation, output, unbiased=unbiased))
        mirrored_map = affine_to_input(mirrored_center, scale, -rotation, output, unbiased=unbiased)
        back = transform_points(transform_points(points, mirror), mirrored_map)
        expected = transform_points(there, mirror_affine(output[0])) + np.array([offset, 0])
        np.testing.assert_allclose(back, expected, rtol=1e-9, atol=1e-5)


@given(st.integers(0, 2**32 - 1), st.floats(-180, 180))
def test_what_a_record_stores_covers_the_unbiased_view_too(seed, rotation):
    rng = np.random.default_rng(seed)
    image_size = rng.integers(20, 700, 2)
    center = rng.uniform(0, 1, 2) * image_size
    scale = fit_aspect(rng.uniform(5, 600, 2), (192, 256))
    x, y, width, height = covering_rectangle([center], [scale], image_size, any_rotation=True)
    affine = affine_to_input(center, scale, rotation, (192, 256), unbiased=True)
    low, high = pixels_read(affine, (192, 256), image_size)
    assert (low >= (x, y)).all()
    assert (high < (x + width, y + height)).all()


# ---- what a record has to hold


def pixels_read(input_affine, input_size, image_size):
    """The (low, high) pixels of the image, inclusive, that resampling to the input reads; None if none."""
    corners = transform_points(corners_of(*input_size), invert_affine(input_affine))
    low = np.maximum(np.floor(corners.min(0) + 1e-9), 0)
    high = np.minimum(np.ceil(corners.max(0) - 1e-9), np.subtract(image_size, 1))
    return None if (high < low).any() else (low, high)


@given(
    seed=st.integers(0, 2**32 - 1),
    scale_factor=st.floats(0, 0.6),
    stretch=st.sampled_from([1.0, 1.0, -1.0]) | st.floats(-1, 1),
    # At 53.13 and 36.87 degrees a corner of a 3:4 crop reaches furthest to the side, and up or down.
    rotation=st.sampled_from([53.13, -53.13, 36.87, -36.87]) | st.floats(-180, 180),
    flip=st.booleans(),
    half_body=st.booleans(),
    upper_first=st.booleans(),
    enlarge=st.sampled_from([1, 2, 0.5]),
)
@example(1, 0.35, 1.0, 53.13, False, True, True, 1)
@example(1, 0.35, 1.0, 0.0, True, True, False, 1)
def test_the_stored_crop_holds_every_pixel_any_augmentation_reads(
    seed, scale_factor, stretch, rotation, flip, half_body, upper_first, enlarge
):
    rng = np.random.default_rng(seed)
    image_size = rng.integers(20, 700, 2)
    box = np.concatenate([rng.uniform(-0.5, 1, 2) * image_size, rng.uniform(2, rng.choice([60, 600]), 2)])
    options = CropOptions(input_size=(192, 256), scale_factor=scale_factor)
    center, scale = box_to_center_scale(box, options.input_size)
    keypoints = np.concatenate(
        [box[:2] + box[2:] * rng.uniform(-0.3, 1.3, (17, 2)), rng.integers(0, 3, (17, 1))], axis=-1
    )
    views = plain_views(center, scale, keypoints, COCO, options)
    rectangle = crop_rectangle(*views, image_size, options)

    one = np.ones(1)
    instances = {
        "center": center[None],
        "scale": scale[None],
        "keypoints": keypoints[None],
        "image_size": image_size[None],
    }
    factor, turn = one * (1 + stretch * scale_factor), one * rotation
    parameters = AugmentationParameters(one == half_body, one == upper_first, factor, turn, one == flip)
    instances = choose_half_body(
        instances, parameters, COCO, options.input_size, options.half_body_min_keypoints
    )
    input_size = (int(192 * enlarge), int(256 * enlarge))  # the reader may ask for another resolution
    affine, _ = apply_parameters(
        instances, parameters.scale, parameters.rotation, parameters.flip, COCO, input_size
    )
    needed = pixels_read(affine[0], input_size, image_size)
    assume(needed is not None)
    assert rectangle is not None
    x, y, width, height = rectangle
    assert (needed[0] >= (x, y)).all()
    assert (needed[1] < (x + width, y + height)).all()
    assert x >= 0
    assert y >= 0
    assert x + width <= image_size[0]
    assert y + height <= image_size[1]


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_the_plain_view_reads_nothing_outside_its_crop(seed, flip):
    rng = np.random.default_rng(seed)
    image_size = rng.integers(20, 700, 2)
    box = np.concatenate([rng.uniform(-0.5, 1, 2) * image_size, rng.uniform(2, 600, 2)])
    options = CropOptions(input_size=(192, 256), scale_factor=None)
    center, scale = box_to_center_scale(box, options.input_size)
    views = plain_views(center, scale, np.zeros((17, 3)), COCO, options)
    rectangle = crop_rectangle(*views, image_size, options)
    instances = {
        "center": center[None],
        "scale": scale[None],
        "keypoints": np.zeros((1, 17, 3)),
        "image_size": image_size[None],
    }
    affine, _ = apply_parameters(
        instances, np.ones(1), np.zeros(1), np.full(1, flip), COCO, options.input_size
    )
    needed = pixels_read(affine[0], options.input_size, image_size)
    assume(needed is not None)
    assert rectangle is not None
    x, y, width, height = rectangle
    assert (needed[0] >= (x, y)).all()
    assert (needed[1] < (x + width, y + height)).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (([0, 0, -1, 5], (48, 64)), "box_xywh: received .* w and h from 0"),
        (([0, np.nan, 1, 5], (48, 64)), "box_xywh: received"),
        (([0, 0, 1], (48, 64)), r"box_xywh: received shape \(3,\)"),
        (([0, 0, 1, 5], (48, 0)), r"input_size: received \(48, 0\)"),
        (([0, 0, 1, 5], (48, 64), 0), "padding: received 0; expected finite numbers above 0"),
        (([0, 0, 1, 5], (48, 64), np.nan), "padding: received nan"),
    ],
)
def test_boxes_and_sizes_without_a_sensible_reading_are_named(arguments, says):
    with pytest.raises(ValueError, match=f"^{says}"):
        box_to_center_scale(*arguments)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"scale": (0, 80)}, "scale: received"),
        ({"scale": (np.nan, 80)}, "scale: received"),
        ({"center": (np.inf, 5)}, "center: received .*; expected finite numbers"),
        ({"rotation_degrees": np.nan}, "rotation_degrees: received nan"),
        ({"output_size": (-48, 64)}, "output_size: received"),
        ({"output_size": (1, 64), "unbiased": True}, "output_size: received"),
    ],
)
def test_maps_without_a_sensible_reading_are_named(change, says):
    good = {"center": (5, 5), "scale": (60, 80), "rotation_degrees": 0.0, "output_size": (48, 64)}
    with pytest.raises(ValueError, match=f"^{says}"):
        affine_to_input(**(good | change))
