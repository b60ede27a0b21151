"""A records folder as a data set of TensorFlow Datasets: TFDS itself reads it back."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from records.checking.verify import decode_crop
from records.manifest import Manifest, Shard, read_manifest, shard_name
from records.schema import FIELDS, field_shapes, parse_examples, to_example
from records.skeletons import COCO, Skeleton
from records.tfds_files import DATASET_INFO, FEATURES, tfds_files
from records.tfrecord import frame, unframe
from tests.helpers.builders import record_values

# TFDS asks protobuf in a way that protobuf is about to drop.
pytestmark = pytest.mark.filterwarnings(r"ignore:label\(\) is deprecated:DeprecationWarning")

#: Shard after shard; by default TFDS takes turns between them.
IN_ORDER = tfds.ReadConfig(interleave_cycle_length=1)


def skeleton(keypoints, names=None):
    """One whose keypoints have nothing to do with each other."""
    names = names or [f"part_{index}" for index in range(keypoints)]
    return Skeleton("custom", tuple(names), (), (), (), (0.05,) * keypoints)


def write_description(folder, manifest):
    """Puts the two files where the build will put them."""
    for name, text in tfds_files(manifest).items():
        (Path(folder) / name).write_text(text)


def write_records(folder, shards, keypoints, dataset="coco", split="train"):
    """Writes lists of records as shards, with their description; returns the manifest."""
    finished = []
    for index, instances in enumerate(shards):
        content = b"".join(frame(to_example(instance, keypoints)) for instance in instances)
        name = shard_name(dataset, split, index, len(shards))
        (folder / name).write_bytes(content)
        finished.append(Shard(name, len(instances), len(content), hashlib.sha256(content).hexdigest()))
    manifest = manifest_of(finished, dataset, split, skeleton(keypoints))
    write_description(folder, manifest)
    return manifest


def manifest_of(shards, dataset="coco", split="train", of=COCO):
    options = {
        "input_size": [48, 64],
        "scale_factor": 0.35,
        "half_body_min_keypoints": 8,
        "annotations_sha256": "",
    }
    return Manifest(dataset, split, "ground_truth", of, options, tuple(shards))


def read(folder, split, config=IN_ORDER):
    """What TFDS reads, as a list of {field: numpy value}."""
    return list(
        tfds.as_numpy(tfds.builder_from_directory(folder).as_dataset(split=split, read_config=config))
    )


def expected(folder):
    """What the project's own parser reads, in the order of the shards."""
    manifest = read_manifest(folder)
    instances = [
        payload for shard in manifest.shards for payload in unframe((folder / shard.name).read_bytes())
    ]
    batch = parse_examples(instances, manifest.skeleton.num_keypoints)
    return [{name: column[row].numpy() for name, column in batch.items()} for row in range(len(instances))]


def assert_same_instances(received, wanted):
    assert len(received) == len(wanted)
    for one, other in zip(received, wanted, strict=True):
        assert set(one) == set(other) == {field.name for field in FIELDS}
        for name, value in other.items():
            assert np.asarray(one[name]).dtype == np.asarray(value).dtype, name
            np.testing.assert_array_equal(one[name], value, err_msg=name)


@pytest.fixture(scope="module")
def folder(finished, tmp_path_factory):
    """A finished build as the job leaves it, under a name that is not ASCII."""
    copy = tmp_path_factory.mktemp("Datensätze 数据") / "train"
    shutil.copytree(finished, copy)
    return copy


def test_every_field_of_every_instance_comes_back_as_the_parser_reads_it(folder):
    wanted = expected(folder)
    assert len(wanted) == 24
    assert_same_instances(read(folder, "train"), wanted)


def test_the_default_order_holds_everybody_once(folder):
    instances = read(folder, "train", tfds.ReadConfig())
    assert sorted(instance["instance_id"] for instance in instances) == sorted(
        instance["instance_id"] for instance in expected(folder)
    )


@pytest.mark.parametrize(
    ("part", "start", "stop"),
    [("[:10%]", 0, 2), ("[10%:]", 2, 24), ("[50%:]", 12, 24), ("[5:8]", 5, 8), ("[-3:]", 21, 24)],
)
def test_a_part_of_the_split_is_that_part(folder, part, start, stop):
    assert_same_instances(read(folder, "train" + part), expected(folder)[start:stop])


def test_the_call_of_the_documentation_works(folder):
    dataset = tfds.builder_from_directory(str(folder)).as_dataset(split="train[:10%]")
    assert len(dataset) == 2
    for name, shape in field_shapes(17).items():
        assert tuple(dataset.element_spec[name].shape) == shape


def test_tfds_knows_the_builds_numbers(folder):
    manifest = read_manifest(folder)
    info = tfds.builder_from_directory(folder).info
    assert (info.name, str(info.version)) == ("coco", "2.0.0")
    assert list(info.splits) == ["train"]
    split = info.splits["train"]
    assert split.num_examples == manifest.records == 24
    assert split.shard_lengths == [shard.records for shard in manifest.shards]
    assert split.num_bytes == sum(path.stat().st_size for path in folder.glob("*.tfrecord-*"))
    assert sorted(split.filenames) == [shard.name for shard in manifest.shards]
    assert "ground truth box" in info.description
    assert "48x64" in info.description
    assert "left_wrist" in info.description


def test_tfds_documents_the_fields_in_the_words_of_the_table(folder):
    features = tfds.builder_from_directory(folder).info.features
    documented = {name: features[name].doc.desc for name in features}
    assert documented == {field.name: field.meaning for field in FIELDS}


def test_the_stored_crop_decodes_to_the_pixels_that_training_sees(folder):
    instances = read(folder, "train")
    for instance in instances:
        pixels = tf.io.decode_jpeg(instance["crop"], channels=3, dct_method="INTEGER_ACCURATE").numpy()
        np.testing.assert_array_equal(pixels, cv2.cvtColor(decode_crop(instance["crop"]), cv2.COLOR_BGR2RGB))


def test_a_crop_of_another_image_format_passes_unchanged(tmp_path):
    png = cv2.imencode(".png", np.arange(48, dtype=np.uint8).reshape(4, 4, 3))[1].tobytes()
    write_records(tmp_path, [[record_values() | {"crop": png}]], keypoints=5)
    assert read(tmp_path, "train")[0]["crop"] == png


@pytest.mark.parametrize("dataset", ["custom", "mpii", "posetrack", "synthetic"])
def test_another_skeleton_and_empty_shards_do_no_harm(tmp_path, dataset):
    instances = [record_values(seed) for seed in range(4)]
    shards = [[], instances[:1], [], instances[1:], []]
    manifest = write_records(tmp_path, shards, keypoints=5, dataset=dataset, split="val")
    assert_same_instances(read(tmp_path, "val"), instances)
    assert_same_instances(read(tmp_path, "val[50%:]"), instances[2:])
    info = tfds.builder_from_directory(tmp_path).info
    assert info.name == dataset
    assert info.splits["val"].shard_lengths == [0, 1, 0, 3, 0]
    assert info.splits["val"].num_bytes == sum(shard.size for shard in manifest.shards)
    assert info.features["keypoints"].shape == (5, 3)


def test_names_in_any_script_come_back(tmp_path):
    name = "Bücher/人物/🤸 1.jpg".encode()
    manifest = write_records(tmp_path, [[record_values() | {"file_name": name}]], keypoints=5)
    names = ["nez", "épaule", "膝", 'a "quoted" one', "{SPLIT}"]
    write_description(tmp_path, replace(manifest, skeleton=skeleton(5, names)))
    assert read(tmp_path, "train")[0]["file_name"] == name
    description = tfds.builder_from_directory(tmp_path).info.description
    assert all(keypoint in description for keypoint in names)


def test_two_splits_folders_make_one_data_set(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        (tmp_path / split).mkdir()
        write_records(tmp_path / split, [[record_values(seed) for seed in range(count)]], 5, split=split)
    builder = tfds.builder_from_directories([tmp_path / "train", tmp_path / "val"])
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 3, "val": 2}
    assert len(list(builder.as_dataset(split="val"))) == 2


@given(
    dataset=st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    split=st.sampled_from(["train", "val", "test_2"]),
    shards=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 2**40)), min_size=1, max_size=6),
    names=st.lists(st.text(st.characters(codec="utf-8"), max_size=8), min_size=1, max_size=20, unique=True),
    percent=st.integers(0, 100),
)
def test_the_files_are_what_tfds_writes_for_what_it_read(dataset, split, shards, names, percent):
    shards = [
        Shard(shard_name(dataset, split, index, len(shards)), records, size, "")
        for index, (records, size) in enumerate(shards)
    ]
    manifest = manifest_of(shards, dataset, split, skeleton(len(names), names))
    files = tfds_files(manifest)
    assert files == tfds_files(Manifest.from_json(json.loads(json.dumps(manifest.to_json()))))
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as again:
        write_description(folder, manifest)
        info = tfds.builder_from_directory(folder).info
        info.write_to_directory(again)
        assert files[FEATURES] == (Path(again) / FEATURES).read_text()
        rewritten = json.loads((Path(again) / DATASET_INFO).read_text())
    # Who wrote it, and a license that nobody stated.
    del rewritten["moduleName"], rewritten["redistributionInfo"]
    assert rewritten == json.loads(files[DATASET_INFO])
    assert info.splits[split].num_examples == manifest.records
    assert info.splits[split].num_bytes == sum(shard.size for shard in shards)
    assert sorted(info.splits[split].filenames) == [shard.name for shard in shards]
    assert {name: feature.shape for name, feature in info.features.items()} == field_shapes(len(names))
    cut = f"{split}[:{percent}%]", f"{split}[{percent}%:]"
    if manifest.records:
        assert sum(info.splits[part].num_examples for part in cut) == manifest.records


#: Reads a folder and fails as soon as Python reaches for the network or opens a file for writing.
ALONE = """
import os, sys
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "os.mkdir"):
        raise SystemExit(f"{event} {args}")
    if event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR) and args[0] != os.devnull:
        raise SystemExit(f"writes {args}")
import tensorflow
sys.addaudithook(watch)
import tensorflow_datasets as tfds
print(len(list(tfds.builder_from_directory(sys.argv[1]).as_dataset(split="train[:10%]"))))
"""


def test_reading_asks_no_network_and_writes_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    before = sorted(path.name for path in folder.iterdir())
    command = [sys.executable, "-B", "-c", ALONE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home)
    assert done.stdout == "2\n", done.stderr
    assert list(home.iterdir()) == []
    assert sorted(path.name for path in folder.iterdir()) == before
