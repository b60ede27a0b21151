"""The reader: the same network inputs as from the whole images, in an order that can be repeated."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tensorflow as tf

from pipelines.build import build_records
from pipelines.crops import CropOptions
from records.augment import Augmentation, AugmentationParameters, apply_parameters, choose_half_body
from records.errors import RecordsError
from records.geometry import compose_affine, invert_affine, mirror_affine, transform_points
from records.manifest import read_manifest
from records.reader import read_records, resolution_note
from records.resample import warp_inputs
from records.schema import parse_examples
from records.skeletons import COCO
from tests.helpers.builders import (
    annotations,
    image,
    instance,
    make_build,
    make_dataset,
    write_detections,
    write_split,
)
from tests.helpers.shared import shared_data

AUGMENTATION = Augmentation(half_body_probability=0.5)


@pytest.fixture(scope="module")
def dataset_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    write_detections(folder, make_dataset(folder, images=12))
    return folder


@pytest.fixture(scope="module")
def folder(dataset_dir, tmp_path_factory):
    """Records of about 30 instances in 5 shards."""
    folder = tmp_path_factory.mktemp("records") / "train"
    build_records(make_build(dataset_dir, folder, instances_per_shard=6, max_bad_fraction=0.3))
    return folder


@pytest.fixture(scope="module")
def detections_folder(dataset_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records") / "train_detections"
    build_records(make_build(dataset_dir, folder, boxes="detections", max_bad_fraction=0.3))
    return folder


def read_all(folder, batch_size=7, **options):
    """All instances of one pass, as {name: array}."""
    batches = list(read_records(folder, batch_size, **options).as_numpy_iterator())
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def warp_whole_image(images, file_name, affine, size):
    pixels = cv2.imread(f"{images}/{file_name.decode()}", cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.warpAffine(pixels, np.float64(affine), size, flags=cv2.INTER_LINEAR)[..., ::-1]


# ---- the pixels


@pytest.mark.parametrize("input_size", [(48, 64), (96, 128)])
@pytest.mark.parametrize("augmentation", [None, AUGMENTATION], ids=["plain", "augmented"])
def test_inputs_are_those_of_the_whole_image_up_to_jpeg_noise(
    dataset_dir, tmp_path, input_size, augmentation
):
    """Crops stored at full size, so that nothing but JPEG stands between the two."""
    build_records(
        make_build(dataset_dir, tmp_path, crop={"max_crop_scale": 100.0, "quality": 100}, max_bad_fraction=1)
    )
    instances = read_all(tmp_path, augmentation=augmentation, input_size=input_size, seed=1, epoch=2)
    assert len(instances["image"]) > 20
    for row, ours in enumerate(instances["image"]):
        expected = warp_whole_image(
            dataset_dir / "images/train2017",
            instances["file_name"][row],
            instances["input_affine"][row],
            input_size,
        )
        difference = np.abs(ours.astype(int) - expected)
        # JPEG at quality 100: measured up to 5 levels, and 0.5 on average. A
        # crop that lacks a row of pixels is 100 levels off there; half a pixel makes 1.5 to 3 on average.
        assert difference.max() <= 6, row
        assert difference.mean() <= 0.6, row


def test_instances_stored_smaller_are_shown_where_they_are(dataset_dir, tmp_path):
    build_records(
        make_build(dataset_dir, tmp_path, crop={"max_crop_scale": 1.0, "quality": 100}, max_bad_fraction=1)
    )
    instances = read_all(tmp_path, augmentation=AUGMENTATION)
    assert (instances["crop_affine"][:, 0, 0] < 0.7).sum() > 20
    images, step = dataset_dir / "images/train2017", 0.5
    moves = {(0, 0): [], (-step, 0): [], (step, 0): [], (0, -step): [], (0, step): []}
    for row, ours in enumerate(instances["image"]):
        width, height = instances["image_size"][row]
        inside = np.zeros((height, width), np.uint8)
        inside[12:-12, 12:-12] = (
            1  # the image's edge fades to black over one stored pixel, not one of its own
        )
        for (x, y), errors in moves.items():
            affine = instances["input_affine"][row] + [[0, 0, x], [0, 0, y]]
            seen = cv2.warpAffine(inside, affine, (48, 64), flags=cv2.INTER_NEAREST) == 1
            expected = warp_whole_image(images, instances["file_name"][row], affine, (48, 64))
            errors.append(np.square(ours.astype(float) - expected)[seen].mean())
    here, left, right, up, down = (np.mean(errors) for errors in moves.values())
    # The error is least where the parabola through three places has its vertex. Measured: 0.0015 input pixels
    # off; resizing about the pixels' centers instead of their edges moves it by up to half a pixel.
    for before, after in ((left, right), (up, down)):
        assert abs(step / 2 * (before - after) / (before - 2 * here + after)) < 0.01
    # What is left at the vertex is the blur of storing less, a fifth of what half a pixel makes.
    assert here < 0.3 * min(left, right, up, down)


def test_keypoints_lie_where_the_map_puts_them_and_annotations_come_through(dataset_dir, folder):
    ground_truth = json.loads((dataset_dir / "annotations/person_keypoints_train2017.json").read_text())
    annotated = {instance["id"]: instance for instance in ground_truth["annotations"]}
    instances = read_all(folder)
    for row, instance_id in enumerate(instances["instance_id"].tolist()):
        instance = annotated[instance_id]
        np.testing.assert_allclose(instances["keypoints"][row].ravel(), instance["keypoints"], rtol=1e-6)
        assert instances["area"][row] == np.float32(instance["area"])
        assert instances["image_id"][row] == instance["image_id"]
        assert instances["score"][row] == 1
        expected = transform_points(instances["keypoints"][row, :, :2], instances["input_affine"][row])
        np.testing.assert_allclose(instances["keypoints_input"][row, :, :2], expected, atol=1e-3)  # float32
    assert instances["image"].shape[1:] == (64, 48, 3)
    assert instances["image"].dtype == np.uint8
    assert "crop" not in instances


def test_detections_carry_their_scores_and_no_keypoints(dataset_dir, detections_folder):
    detections = json.loads((dataset_dir / "dets/human_detection.json").read_text())
    instances = read_all(detections_folder)
    for row, position in enumerate(instances["instance_id"].tolist()):
        np.testing.assert_allclose(instances["box"][row], detections[position]["bbox"], rtol=1e-6)
        assert instances["score"][row] == np.float32(detections[position]["score"])
    assert not instances["keypoints"].any()
    assert not instances["keypoints_input"].any()


# ---- the official inputs


@pytest.fixture(scope="module")
def golden_crops():
    return json.loads(shared_data("golden", "preprocess", "crops.json").read_text())["crops"]


@pytest.fixture(scope="module")
def coco_folder(tmp_path_factory):
    """Records of the real images, stored as well as JPEG can."""
    folder = tmp_path_factory.mktemp("coco") / "val"
    options = CropOptions(input_size=(192, 256), max_crop_scale=1000.0, quality=100)
    build = make_build(shared_data("dataset", "COCO"), folder, split="val")
    build_records(replace(build, options=options))
    return folder


def find_instance(instances, crop):
    named = instances["file_name"] == crop["image"].encode()
    near = np.abs(instances["center"] - crop["box_center"]).max(1) < 1e-3
    (row,) = np.flatnonzero(named & near)
    return row


def assert_same_as_png(ours, crop):
    path = shared_data("golden", "preprocess", crop["file"])
    expected = cv2.imread(str(path))[..., ::-1]
    difference = ours.astype(int) - expected
    # The crop is stored as JPEG again, of quality 100. Measured over these
    # 49 inputs: brightness up to 0.36 levels off on average, the colors 3.4. Half a pixel moves brightness
    # by 0.93 at least, and by 3.8 times what storing does.
    brightness = difference @ [0.299, 0.587, 0.114]
    assert np.abs(brightness).mean() < 0.45, crop["file"]
    assert np.abs(difference).mean() < 4, crop["file"]


def test_plain_inputs_are_the_official_ones(golden_crops, coco_folder):
    plain = [crop for crop in golden_crops if crop["augmentation"] is None]
    assert len(plain) == 13
    for size in ((192, 256), (288, 384)):
        instances = read_all(coco_folder, 16, input_size=size)
        for crop in plain:
            if tuple(crop["output_size"]) == size:
                row = find_instance(instances, crop)
                assert_same_as_png(instances["image"][row], crop)
                assert_same_map_and_keypoints(
                    instances["input_affine"][row], instances["keypoints_input"][row], crop
                )


def assert_same_map_and_keypoints(input_affine, keypoints_input, crop):
    width, height = crop["output_size"]
    official = np.array(crop["matrix"])
    if crop["augmentation"] and crop["augmentation"]["flip"]:
        official = compose_affine(official, mirror_affine(crop["width"]))
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    in_image = transform_points(corners, invert_affine(official))
    # Tolerances of the fixture: the official code rounds to float32 on the way.
    np.testing.assert_allclose(transform_points(in_image, input_affine), corners, atol=5e-3)
    seen = np.array(crop["vis"]) > 0
    np.testing.assert_array_equal(keypoints_input[:, 2] > 0, seen)
    np.testing.assert_allclose(keypoints_input[seen, :2], np.array(crop["joints"])[seen], atol=5e-3)


def test_augmented_inputs_are_the_official_ones_for_the_official_parameters(golden_crops, coco_folder):
    manifest = read_manifest(coco_folder)
    serialized = tf.data.TFRecordDataset([f"{coco_folder}/{shard.name}" for shard in manifest.shards])
    everyone = {name: t.numpy() for name, t in parse_examples(list(serialized), 17).items()}
    kinds = set()
    for crop in golden_crops:
        sampled = crop["augmentation"]
        if sampled is None:
            continue
        row = find_instance(everyone, crop)
        instances = {name: values[row : row + 1] for name, values in everyone.items()}
        half = sampled["half_body"]
        kinds.add((sampled["flip"], half))
        parameters = AugmentationParameters(
            half_body=np.array([half is not None]),
            upper_first=np.array([half == "upper"]),
            scale=np.array([sampled["scale_factor"]]),
            rotation=np.array([sampled["rotation"]]),
            flip=np.array([sampled["flip"]]),
        )
        instances = choose_half_body(instances, parameters, COCO, (192, 256), 8)
        affine, keypoints = apply_parameters(
            instances, parameters.scale, parameters.rotation, parameters.flip, COCO, (192, 256)
        )
        assert_same_map_and_keypoints(
            affine[0], keypoints[0], crop | {"width": instances["image_size"][0, 0]}
        )
        images = warp_inputs(instances["crop"], instances["crop_affine"], affine, (192, 256))
        assert_same_as_png(images[0], crop)
    assert len(kinds) >= 4  # mirrored and not, whole and half


# ---- the order


def test_everybody_comes_exactly_once_whatever_the_order(folder):
    plain = read_all(folder)["instance_id"]
    assert len(set(plain.tolist())) == len(plain) == read_manifest(folder).records
    for options in ({"shuffle_buffer": 10}, {"shuffle_buffer": 1000, "epoch": 3}, {"batch_size": 1}):
        assert sorted(read_all(folder, **options)["instance_id"]) == sorted(plain)


def test_the_same_seed_and_epoch_give_the_same_pass(folder):
    options = {"shuffle_buffer": 100, "augmentation": AUGMENTATION, "seed": 4, "epoch": 2}
    first, second = read_all(folder, **options), read_all(folder, **options)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_another_epoch_or_seed_gives_another_order_and_other_images(folder):
    first, *others = (
        read_all(folder, shuffle_buffer=100, augmentation=AUGMENTATION, seed=seed, epoch=epoch)
        for seed, epoch in ((4, 2), (4, 3), (5, 2))
    )
    for other in others:
        assert (first["instance_id"] != other["instance_id"]).any()
        rows = [np.flatnonzero(other["instance_id"] == instance)[0] for instance in first["instance_id"]]
        assert (other["image"][rows] != first["image"]).any(axis=(1, 2, 3)).mean() > 0.9


def test_shards_are_shuffled_too(folder):
    """A small buffer cannot bring an instance of the last shard to the front."""
    orders = {tuple(read_all(folder, shuffle_buffer=1, epoch=epoch)["instance_id"]) for epoch in range(4)}
    assert len(orders) > 1


def test_augmentation_does_not_depend_on_order_or_batches(folder):
    first = read_all(folder, augmentation=AUGMENTATION, seed=4, epoch=2)
    second = read_all(folder, batch_size=3, shuffle_buffer=100, augmentation=AUGMENTATION, seed=4, epoch=2)
    rows = [np.flatnonzero(second["instance_id"] == instance)[0] for instance in first["instance_id"]]
    np.testing.assert_array_equal(second["image"][rows], first["image"])
    np.testing.assert_array_equal(second["keypoints_input"][rows], first["keypoints_input"])


def test_without_a_shuffle_buffer_the_order_is_that_of_the_files(folder):
    first = read_all(folder, seed=1, epoch=1)["instance_id"]
    np.testing.assert_array_equal(first, read_all(folder, seed=2, epoch=5)["instance_id"])


def test_shapes_are_known_to_the_graph_and_a_last_short_batch_can_be_left_out(folder):
    dataset = read_records(folder, 4, drop_remainder=True)
    assert tuple(dataset.element_spec["image"].shape) == (4, 64, 48, 3)
    assert tuple(dataset.element_spec["keypoints_input"].shape) == (4, 17, 3)
    sizes = [len(batch["score"]) for batch in dataset]
    assert set(sizes) == {4}
    assert len(sizes) == read_manifest(folder).records // 4
    short = [len(batch["score"]) for batch in read_records(folder, 4)]
    assert sum(short) == read_manifest(folder).records


# ---- refusals


def test_inputs_of_another_aspect_ratio_are_refused(folder):
    with pytest.raises(RecordsError, match=r"48x64 pixels, but 64x64 has another aspect"):
        read_records(folder, 4, input_size=(64, 64))


def test_more_augmentation_than_there_is_room_for_is_refused(folder, detections_folder):
    with pytest.raises(RecordsError, match=r"scale factor up to 0\.35, but the augmentation asks for 0\.4"):
        read_records(folder, 4, augmentation=Augmentation(scale_factor=0.4))
    with pytest.raises(RecordsError, match="the plain view"):
        read_records(detections_folder, 4, augmentation=Augmentation(scale_factor=0))


def test_half_bodies_the_crops_have_no_room_for_are_refused(folder):
    fewer = Augmentation(half_body_min_keypoints=4)
    with pytest.raises(
        RecordsError, match="instances with more than 8 keypoints, but the augmentation asks for more than 4"
    ):
        read_records(folder, 4, augmentation=fewer)
    read_records(folder, 4, augmentation=replace(fewer, half_body_probability=0))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_size", 0),
        ("batch_size", -1),
        ("batch_size", 2.0),
        ("batch_size", True),
        ("part", (5, 3)),
        ("part", (-1, 3)),
        ("part", (0, 0)),
        ("part", 3),
        ("skip_batches", -1),
        ("num_batches", -1),
        ("num_batches", 2**63),
        ("shuffle_buffer", -1),
        ("seed", -1),
        ("epoch", 0.5),
        ("input_size", (48,)),
        ("input_size", (48, -64)),
        ("input_size", (48.0, 64.0)),
    ],
)
def test_arguments_without_a_sensible_reading_are_named(folder, argument, value):
    with pytest.raises(ValueError, match=rf"^{argument}: received .*; expected "):
        read_records(folder, **({"batch_size": 4} | {argument: value}))


def test_a_shuffle_buffer_takes_no_more_room_than_there_are_instances(folder, monkeypatch):
    sizes, shuffle = [], tf.data.Dataset.shuffle

    def noted(dataset, buffer_size, **options):
        sizes.append(buffer_size)
        return shuffle(dataset, buffer_size, **options)

    monkeypatch.setattr(tf.data.Dataset, "shuffle", noted)
    count = read_manifest(folder).records
    tf.random.set_seed(3)
    exact = read_all(folder, shuffle_buffer=count)["instance_id"]
    tf.random.set_seed(3)
    beyond = read_all(folder, shuffle_buffer=10**12)["instance_id"]
    np.testing.assert_array_equal(exact, beyond)
    assert sizes == [count, count]


def test_records_of_nobody_are_refused(folder, tmp_path):
    manifest = read_manifest(folder).to_json() | {"filtered": {}, "rejected": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"shards": []}))
    with pytest.raises(RecordsError, match=r"holds no instances$"):
        read_records(tmp_path, 4)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"shards": [], "filtered": {"no_area": 7}}))
    with pytest.raises(RecordsError, match="holds no instances; filtered: 7 no_area"):
        read_records(tmp_path, 4)
    with pytest.raises(RecordsError, match="no records in"):
        read_records(tmp_path / "nowhere", 4)


def test_a_damaged_shard_is_an_error_not_a_shorter_pass(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    last = sorted(tmp_path.glob("*.tfrecord-*"))[-1]
    content = bytearray(last.read_bytes())
    content[-100] ^= 1
    last.write_bytes(content)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"{last.name}: record \d+ at byte .* checksum"):
        read_all(tmp_path)


@pytest.mark.parametrize("boxes", ["ground_truth", "detections"])
def test_nothing_of_the_edge_of_a_crop_stored_smaller_is_seen(tmp_path, boxes):
    """An evenly gray image must give an evenly gray input: black would come from beyond the crop."""
    rng = np.random.default_rng(0)
    count, size = 40, 1600
    entries = [image(number, size, size) for number in range(1, count + 1)]
    instances = []
    for number in range(1, count + 1):
        box = rng.uniform(250, 380, 2)
        corner = size / 2 - box / 2 + rng.uniform(-3, 3, 2)
        instances.append(instance(number, number, [*corner, *box]))
    data = annotations(entries, instances)
    write_split(tmp_path, "train", data)
    write_detections(tmp_path, data)
    for path in (tmp_path / "images/train2017").iterdir():
        cv2.imwrite(str(path), np.full((size, size, 3), 200, np.uint8))
    build_records(make_build(tmp_path, tmp_path / "out", boxes=boxes, crop={"max_crop_scale": 1.0}))
    for epoch in range(4):
        augmentation = AUGMENTATION if boxes == "ground_truth" else None
        instances = read_all(tmp_path / "out", augmentation=augmentation, epoch=epoch)
        assert np.abs(instances["image"].astype(int) - 200).max() <= 2


def test_a_larger_input_than_the_records_are_for_is_worth_a_note(folder):
    manifest = read_manifest(folder)
    assert (manifest.input_size, manifest.options["max_crop_scale"]) == ((48, 64), 1.5)
    assert resolution_note(manifest, (48, 64)) is None
    note = resolution_note(manifest, (192, 256))
    for part in ("inputs of 48x64 pixels", "up to 72x96", "--input_size=192x256"):
        assert part in note
