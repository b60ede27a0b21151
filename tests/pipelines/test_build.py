"""A whole build: exact contents, the same bytes every time, and what happens to bad inputs."""

import hashlib
import json
import os
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from pipelines.build import build_records
from pipelines.errors import BuildError
from records.manifest import read_manifest
from records.schema import parse_examples
from tests.helpers.builders import (
    annotations,
    image,
    instance,
    make_build,
    make_dataset,
    shard_bytes,
    write_json,
    write_split,
)
from tests.helpers.shared import ROOT


def parse(folder):
    """Everybody in a folder, as {name: array}, in the order of the files."""
    manifest = read_manifest(folder)
    paths = [f"{folder}/{shard.name}" for shard in manifest.shards]
    parsed = parse_examples(list(tf.data.TFRecordDataset(paths)), manifest.skeleton.num_keypoints)
    return {name: tensor.numpy() for name, tensor in parsed.items()}


def rejected(folder):
    return [json.loads(line) for line in (Path(folder) / "rejected.jsonl").read_text().splitlines()]


# ---- what is in it


def test_records_hold_exactly_what_the_annotations_say(tmp_path):
    instances = [instance(31, 7, [60, 40, 40, 80], area=1234.5), instance(32, 7, [100, 30, 20, 20])]
    instances += [instance(33, 8, [10, 10, 30, 40]), instance(34, 8, [0, 0, 9, 9], iscrowd=1)]
    write_split(tmp_path, "train", annotations([image(7, 160, 140), image(8, 120, 90), image(9)], instances))
    manifest = build_records(make_build(tmp_path, tmp_path / "out", crop={"max_crop_scale": 100.0}))

    assert (manifest.records, manifest.images) == (3, 2)
    assert (manifest.filtered, manifest.rejected) == ({"crowd": 1}, {})
    assert (manifest.dataset, manifest.split, manifest.boxes) == ("coco", "train", "ground_truth")
    records = parse(tmp_path / "out")
    assert sorted(records["instance_id"].tolist()) == [31, 32, 33]
    one = {name: values[records["instance_id"].tolist().index(31)] for name, values in records.items()}
    np.testing.assert_array_equal(one["box"], [60, 40, 39, 79])
    np.testing.assert_array_equal(one["center"], [79.5, 79.5])
    np.testing.assert_allclose(one["scale"], [79 * 1.25 * 0.75, 79 * 1.25])
    np.testing.assert_array_equal(one["keypoints"].ravel(), np.float32(instances[0]["keypoints"]))
    assert (one["area"], one["score"], one["image_id"]) == (1234.5, 1, 7)
    assert one["file_name"] == b"000000000007.jpg"
    np.testing.assert_array_equal(one["image_size"], [160, 140])

    # The crop reaches 1.35 times half of the box's diagonal around the center, or to the image's edge.
    reach = 79 * 1.25 * 1.25 / 2 * 1.35
    low = np.maximum(np.floor(79.5 - reach), 0).astype(int)
    high = np.minimum(np.ceil(79.5 + reach) + 1, (160, 140)).astype(int)
    np.testing.assert_array_equal(one["crop_affine"], [[1, 0, -low], [0, 1, -low]])
    crop = cv2.imdecode(np.frombuffer(one["crop"], np.uint8), cv2.IMREAD_COLOR)
    pixels = cv2.imread(str(tmp_path / "images/train2017/000000000007.jpg"))
    part = pixels[low : high[1], low : high[0]]
    assert crop.shape == part.shape
    assert np.abs(crop.astype(int) - part).mean() < 1.5  # quality 95


def test_the_manifest_describes_the_files(finished):
    manifest = read_manifest(finished)
    contents = shard_bytes(finished)
    assert [shard.name for shard in manifest.shards] == sorted(contents)
    for shard in manifest.shards:
        content = contents[shard.name]
        assert shard.size == len(content)
        assert shard.sha256 == hashlib.sha256(content).hexdigest()
        assert shard.records == len(list(tf.data.TFRecordDataset(str(finished / shard.name))))
    assert {path.name for path in finished.iterdir()} == {
        *contents,
        "manifest.json",
        "features.json",
        "dataset_info.json",
    }


def test_detections_are_built_from_the_detectors_boxes(dataset_dir, tmp_path):
    manifest = build_records(make_build(dataset_dir, tmp_path, boxes="detections", score_threshold=0.2))
    detections = json.loads((dataset_dir / "dets/human_detection.json").read_text())
    kept = [position for position, entry in enumerate(detections) if entry["score"] >= 0.2]
    assert 0 < len(kept) < len(detections)
    assert manifest.filtered == {"low_score": len(detections) - len(kept)}
    records = parse(tmp_path)
    assert sorted(records["instance_id"].tolist()) == kept
    assert manifest.options["score_threshold"] == 0.2


def test_a_gray_image_becomes_a_gray_crop(tmp_path):
    write_split(tmp_path, "train", annotations([image(1, 120, 90)], [instance(1, 1, [20, 10, 50, 70])]))
    path = tmp_path / "images/train2017/000000000001.jpg"
    cv2.imwrite(str(path), cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2GRAY))
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 2
    assert build_records(make_build(tmp_path, tmp_path / "out")).records == 1
    crop = cv2.imdecode(np.frombuffer(parse(tmp_path / "out")["crop"][0], np.uint8), cv2.IMREAD_COLOR)
    assert crop.std() > 10
    assert np.ptp(crop.astype(int), axis=2).max() <= 2


def test_the_orientation_a_camera_noted_is_ignored(tmp_path):
    """As by COCO's own tools: annotations are of the pixels as they are stored."""
    write_split(tmp_path, "train", annotations([image(1, 120, 90)], [instance(1, 1, [20, 10, 50, 70])]))
    path = tmp_path / "images/train2017/000000000001.jpg"
    plain = path.read_bytes()
    build_records(make_build(tmp_path, tmp_path / "plain"))
    # An EXIF segment with one entry, "orientation" (0x112), of value 6: to be turned by a quarter.
    entry = struct.pack(">HHIHH", 0x112, 3, 1, 6, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    path.write_bytes(plain[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + plain[2:])
    assert cv2.imread(str(path)).shape == (120, 90, 3)
    build_records(make_build(tmp_path, tmp_path / "turned"))
    assert shard_bytes(tmp_path / "turned") == shard_bytes(tmp_path / "plain")


def test_an_image_with_many_instances_is_divided_over_the_shards(tmp_path):
    data = annotations([image(1, 120, 90), image(2, 120, 90)], [instance(1, 1, [20, 10, 50, 70])])
    write_split(tmp_path, "val", data)
    box = {"image_id": 2, "category_id": 1, "score": 0.5}
    rng = np.random.default_rng(0)
    boxes = [box | {"bbox": rng.uniform(1, 60, 4).tolist()} for _ in range(60)]
    write_json(tmp_path / "dets/human_detection.json", boxes)
    manifest = build_records(
        make_build(tmp_path, tmp_path / "out", "val", boxes="detections", instances_per_shard=10)
    )
    assert [shard.records for shard in manifest.shards] == [10] * 6
    assert sorted(parse(tmp_path / "out")["instance_id"].tolist()) == list(range(60))


# ---- the same bytes


def test_another_folder_gives_the_same_bytes(dataset_dir, finished, tmp_path):
    elsewhere = tmp_path / "moved"
    shutil.copytree(dataset_dir, elsewhere)
    build_records(make_build(elsewhere, tmp_path / "out", instances_per_shard=6))
    assert shard_bytes(tmp_path / "out") == shard_bytes(finished)
    assert read_manifest(tmp_path / "out").fingerprint == read_manifest(finished).fingerprint


def test_the_order_of_the_annotation_file_does_not_matter(dataset_dir, finished, tmp_path):
    shutil.copytree(dataset_dir, tmp_path / "data")
    path = tmp_path / "data/annotations/person_keypoints_train2017.json"
    data = json.loads(path.read_text())
    rng = np.random.default_rng(1)
    for name in ("images", "annotations"):
        data[name] = [data[name][i] for i in rng.permutation(len(data[name]))]
    path.write_text(json.dumps(data))
    build_records(make_build(tmp_path / "data", tmp_path / "out", instances_per_shard=6))
    assert shard_bytes(tmp_path / "out") == shard_bytes(finished)
    first, second = (read_manifest(folder).options for folder in (finished, tmp_path / "out"))
    assert {name for name in first if first[name] != second[name]} == {"annotations_sha256"}


def test_worker_processes_are_told_where_our_packages_are(dataset_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    for folder in ("a", "b"):
        build_records(make_build(dataset_dir, tmp_path / folder))
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/elsewhere"]


# ---- bad inputs


def test_an_image_behind_a_link_out_of_the_folder_is_rejected(tmp_path):
    data = make_dataset(tmp_path, images=3)
    images = tmp_path / "images/train2017"
    secret = tmp_path / "secret.jpg"
    first = images / data["images"][0]["file_name"]
    first.rename(secret)
    first.symlink_to(secret)
    linked = tmp_path / "linked"
    linked.symlink_to(images)  # a link to the folder itself is what users have
    build = make_build(tmp_path, tmp_path / "out", images=str(linked), max_bad_fraction=1)
    manifest = build_records(build)
    there = sum(p["image_id"] == data["images"][0]["id"] for p in data["annotations"])
    assert 0 < manifest.rejected["unsafe_path"] <= there
    assert manifest.records > 0


def test_a_header_that_promises_too_many_pixels_is_an_unreadable_image(tmp_path):
    data = make_dataset(tmp_path, images=2)
    path = tmp_path / "images/train2017" / data["images"][0]["file_name"]
    content = bytearray(path.read_bytes())
    frame = next(
        content.index(bytes([0xFF, marker])) for marker in (0xC0, 0xC2) if bytes([0xFF, marker]) in content
    )
    content[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"  # height and width, 65500 each
    path.write_bytes(content)
    manifest = build_records(make_build(tmp_path, tmp_path / "out", max_bad_fraction=1))
    assert manifest.rejected["unreadable_image"] > 0


def broken_dataset(folder):
    """Ten good instances and, each in an image of its own, the reasons to reject somebody."""
    good = [instance(n, 1, [10 * n, 10, 40, 60]) for n in range(1, 11)]
    names = {
        "missing_image": "missing.jpg",
        "unreadable_image": "text.jpg",
        "unreadable_image ": "empty.jpg",
        "unreadable_image  ": "cut.jpg",
        "unreadable_image   ": "folder.jpg",
        "wrong_image_size": "wrong.jpg",
        "unsafe_path": "../train2017/../secret.jpg",
        "unsafe_path ": str(folder / "secret.jpg"),
        "unsafe_path  ": "..\\secret.jpg",
        "unsafe_path   ": "",
    }
    images = [image(1, 160, 120)]
    bad, expected = [], {}
    for number, (reason, name) in enumerate(names.items(), start=50):
        images.append(image(number, 100, 80) | {"file_name": name})
        bad.append(instance(number, number, [20, 10, 30, 40]))
        expected[number] = reason.strip()
    write_split(folder, "train", annotations(images[:1], []))
    write_json(folder / "annotations/person_keypoints_train2017.json", annotations(images, good + bad))
    image_folder = folder / "images/train2017"
    first = cv2.imread(str(image_folder / "000000000001.jpg"))
    cv2.imwrite(str(folder / "secret.jpg"), first[:80, :100])
    cv2.imwrite(str(folder / "images/secret.jpg"), first[:80, :100])
    (image_folder / "text.jpg").write_text("<html>404</html>")
    (image_folder / "empty.jpg").write_bytes(b"")
    (image_folder / "folder.jpg").mkdir()
    whole = (folder / "secret.jpg").read_bytes()
    (image_folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(image_folder / "wrong.jpg"), first[:80, :99])
    return expected


def test_instances_of_bad_images_are_rejected_with_the_reason_and_the_others_built(tmp_path):
    expected = broken_dataset(tmp_path)
    manifest = build_records(
        make_build(tmp_path, tmp_path / "out", instances_per_shard=3, max_bad_fraction=0.5)
    )
    assert manifest.records == 10
    assert manifest.rejected == {
        "unreadable_image": 4,
        "unsafe_path": 4,
        "missing_image": 1,
        "wrong_image_size": 1,
    }
    entries = rejected(tmp_path / "out")
    assert {entry["instance_id"]: entry["reason"] for entry in entries} == expected
    assert all(entry["image_id"] == entry["instance_id"] and entry["detail"] for entry in entries)
    details = {entry["instance_id"]: entry["detail"] for entry in entries}
    assert "missing.jpg" in details[50]
    assert "99x80, annotated 100x80" in details[55]


def test_too_many_bad_instances_fail_the_build_without_a_manifest(tmp_path):
    broken_dataset(tmp_path)
    with pytest.raises(BuildError, match=r"10 of 20 instances .*4 unreadable_image.*rejected\.jsonl"):
        build_records(make_build(tmp_path, tmp_path / "out", instances_per_shard=3, max_bad_fraction=0.49))
    assert not (tmp_path / "out/manifest.json").exists()
    assert len(rejected(tmp_path / "out")) == 10


def test_after_too_many_bad_instances_the_mended_images_are_tried_again(tmp_path):
    data = make_dataset(tmp_path, images=6)
    build = make_build(tmp_path, tmp_path / "out", instances_per_shard=3, max_bad_fraction=0.0)
    data["annotations"] = [instance(n, n, [20, 20, 40, 60]) for n in range(1, 7)]
    write_json(Path(build.annotations), data)
    away = tmp_path / "images/train2017/000000000003.jpg"
    content = away.read_bytes()
    away.unlink()
    with pytest.raises(BuildError, match="1 missing_image"):
        build_records(build)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tfrecord-*")}
    away.write_bytes(content)
    manifest = build_records(build)
    assert (manifest.records, manifest.rejected) == (6, {})
    assert len(kept) == len(manifest.shards) - 1
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not (tmp_path / "out/rejected.jsonl").exists()


def test_annotation_errors_are_in_the_same_file_as_image_errors(tmp_path):
    instances = [
        instance(1, 1, [5, 5, 30, 30]),
        instance(2, 1, [1, 1, -3, 4]),
        instance(3, 2, [5, 5, 30, 30]),
    ]
    write_split(tmp_path, "train", annotations([image(1), image(2)], instances))
    (tmp_path / "images/train2017/000000000002.jpg").unlink()
    manifest = build_records(make_build(tmp_path, tmp_path / "out", max_bad_fraction=0.7))
    assert manifest.rejected == {"bad_box": 1, "missing_image": 1}
    assert [(e["instance_id"], e["reason"]) for e in rejected(tmp_path / "out")] == [
        (2, "bad_box"),
        (3, "missing_image"),
    ]


@pytest.mark.parametrize("name", ["run*", "run[1]", "run?"])
def test_a_folder_that_could_be_a_pattern_is_refused(dataset_dir, tmp_path, name):
    """Beam's file systems delete by pattern, so --overwrite would delete others' folders."""
    with pytest.raises(BuildError, match="must not hold"):
        build_records(make_build(dataset_dir, tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_a_dataset_without_anybody_is_refused(tmp_path):
    write_split(tmp_path, "train", annotations([image(1)], [instance(1, 1, [1, 1, 9, 9], iscrowd=1)]))
    with pytest.raises(BuildError, match=r"nobody to build records of.*crowd"):
        build_records(make_build(tmp_path, tmp_path / "out"))
