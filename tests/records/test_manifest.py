"""Shard files in TensorFlow's framing, and the manifest beside them."""

import contextlib
import json
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from hrpose.command import CommandError
from records.augment import Augmentation
from records.errors import RecordsError
from records.manifest import MANIFEST, Manifest, Shard, read_manifest, shard_name
from records.reader import check_usable, resolution_note
from records.skeletons import COCO
from records.tfrecord import frame, unframe

MANIFEST_OF_TWO = Manifest(
    dataset="coco",
    split="val",
    boxes="ground_truth",
    skeleton=COCO,
    options={
        "input_size": [192, 256],
        "quality": 90,
        "scale_factor": None,
        "half_body_min_keypoints": 8,
        "annotations_sha256": "0",
    },
    shards=(Shard("a-00000", 3, 100, "ab" * 32), Shard("a-00001", 4, 120, "cd" * 32)),
    filtered={"crowd": 2},
    rejected={"missing_image": 1},
    images=5,
)


@pytest.fixture
def folder(tmp_path):
    for shard in MANIFEST_OF_TWO.shards:
        (tmp_path / shard.name).write_bytes(bytes(shard.size))
    (tmp_path / MANIFEST).write_text(json.dumps(MANIFEST_OF_TWO.to_json()))
    return tmp_path


def test_framed_records_are_tensorflows_own_format(tmp_path):
    payloads = [b"", b"one", bytes(range(256)) * 300]
    theirs = tmp_path / "theirs"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for payload in payloads:
            writer.write(payload)
    framed = b"".join(map(frame, payloads))
    assert framed == theirs.read_bytes()
    (tmp_path / "ours").write_bytes(framed)
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(tmp_path / "ours"))] == payloads
    assert list(unframe(framed)) == payloads


@pytest.mark.parametrize("position", [0, 9, 12, -1], ids=["length", "its checksum", "payload", "checksum"])
def test_a_flipped_bit_is_noticed(tmp_path, position):
    framed = bytearray(frame(b"some payload"))
    framed[position] ^= 1
    path = tmp_path / "damaged"
    path.write_bytes(bytes(framed))
    with pytest.raises(tf.errors.DataLossError):
        list(tf.data.TFRecordDataset(str(path)))
    with pytest.raises(RecordsError, match=r"record 0 at byte 0 has a wrong checksum"):
        list(unframe(bytes(framed)))


def test_a_file_that_ends_early_is_noticed_wherever_it_ends():
    whole = frame(b"first")
    for length in range(1, len(frame(b"second"))):
        records = unframe(whole + frame(b"second")[:length])
        assert next(records) == b"first"
        with pytest.raises(RecordsError, match=rf"record 1 at byte {len(whole)} is cut off"):
            next(records)


def test_shard_names_are_those_of_tensorflow_datasets():
    assert shard_name("coco", "train", 7, 150) == "coco-train.tfrecord-00007-of-00150"


def test_manifest_round_trip(folder):
    manifest = read_manifest(folder)
    assert manifest == MANIFEST_OF_TWO
    assert manifest.records == 7
    assert manifest.input_size == (192, 256)


def test_fingerprint_depends_on_the_shards_contents_alone():
    first, second = MANIFEST_OF_TWO.shards
    same = replace(MANIFEST_OF_TWO, options={}, shards=(replace(first, name="elsewhere"), second))
    other = replace(MANIFEST_OF_TWO, shards=(first, replace(second, sha256="ee" * 32)))
    assert same.fingerprint == MANIFEST_OF_TWO.fingerprint
    assert other.fingerprint != MANIFEST_OF_TWO.fingerprint


def test_no_manifest_says_how_to_build_records(tmp_path):
    with pytest.raises(RecordsError, match=r"no records in .*build_records\.py"):
        read_manifest(tmp_path)
    with pytest.raises(RecordsError, match="no records in"):
        read_manifest(tmp_path / "nowhere")


def test_a_missing_shard_is_named(folder):
    (folder / "a-00001").unlink()
    with pytest.raises(RecordsError, match=r"a-00001 is missing or not the 120 bytes"):
        read_manifest(folder)
    assert read_manifest(folder, missing_ok=True) == MANIFEST_OF_TWO


def test_a_shard_that_was_cut_off_is_named(folder):
    (folder / "a-00000").write_bytes(bytes(99))
    with pytest.raises(RecordsError, match=r"a-00000 is missing or not the 100 bytes"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["../outside", "..", "/outside", "//outside", "a/../../outside"])
def test_a_shard_outside_of_the_folder_is_not_looked_at(folder, name):
    (folder.parent / "outside").write_bytes(bytes(100))
    shards = (replace(MANIFEST_OF_TWO.shards[0], name=name),)
    (folder / MANIFEST).write_text(json.dumps(replace(MANIFEST_OF_TWO, shards=shards).to_json()))
    with pytest.raises(RecordsError, match=f"outside of its folder: {re.escape(name)}"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        "{}",
        '{"schema_version": 2}',
        "\x00\x01",
        json.dumps(MANIFEST_OF_TWO.to_json() | {"shards": [{"name": "a"}]}),
        json.dumps(MANIFEST_OF_TWO.to_json() | {"shards": None}),
        json.dumps(MANIFEST_OF_TWO.to_json() | {"skeleton": {}}),
        json.dumps(MANIFEST_OF_TWO.to_json() | {"skeleton": COCO.to_json() | {"sigmas": [1]}}),
        b"\xff\xfe\xff",
        *(
            json.dumps(MANIFEST_OF_TWO.to_json() | {"shards": [vars(MANIFEST_OF_TWO.shards[0]) | wrong]})
            for wrong in (
                *({"records": value} for value in ("x", 1e9, -5, True, None)),
                *({"size": "x"}, {"size": -1}, {"name": 7}, {"name": ""}, {"name": "a\n"}, {"sha256": None}),
            )
        ),
        *(
            json.dumps(MANIFEST_OF_TWO.to_json() | {"options": MANIFEST_OF_TWO.options | wrong})
            for wrong in (
                *({"input_size": value} for value in ([32], "ab", [0, 0], [32.5, 64], None, [1e99, 1])),
                *({"scale_factor": value} for value in ("x", -1, [], float("nan"))),
                *({"half_body_min_keypoints": value} for value in (None, "8", -1)),
                *({"annotations_sha256": None}, {"max_crop_scale": "2"}),
            )
        ),
        *(
            json.dumps(MANIFEST_OF_TWO.to_json() | {"skeleton": COCO.to_json() | wrong})
            for wrong in (
                *({"name": 7}, {"keypoints": "abc"}, {"keypoints": [1]}, {"flip_pairs": [[0.5, 1]]}),
                *({"limbs": [[0, 1, 2]]}, {"upper_body": ["0"]}, {"sigmas": ["0.1"] * 17}),
            )
        ),
        *(
            json.dumps(MANIFEST_OF_TWO.to_json() | wrong)
            for wrong in (
                *({"dataset": 3}, {"split": None}, {"boxes": []}, {"images": "5"}, {"source": []}),
                *({"filtered": {"crowd": "2"}}, {"rejected": 3}, {"options": []}, {"skeleton": []}),
            )
        ),
    ],
)
def test_garbage_for_a_manifest_is_refused_with_its_path(folder, text):
    path = folder / MANIFEST
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecordsError, match=r"is not a manifest") as error:
        read_manifest(folder)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("missing_ok", [False, True])
def test_more_records_than_bytes_can_hold_are_refused(folder, missing_ok):
    shards = (replace(MANIFEST_OF_TWO.shards[0], records=10**9), MANIFEST_OF_TWO.shards[1])
    (folder / MANIFEST).write_text(json.dumps(replace(MANIFEST_OF_TWO, shards=shards).to_json()))
    with pytest.raises(
        RecordsError, match="a-00000 holds 1,000,000,000 records in 100 bytes, which cannot be"
    ):
        read_manifest(folder, missing_ok)


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_any_value_in_a_manifest_is_an_error_or_can_be_worked_with(data):
    whole = json.loads(json.dumps(MANIFEST_OF_TWO.to_json()))
    part = data.draw(st.sampled_from([whole, whole["options"], whole["skeleton"], *whole["shards"]]))
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(HOSTILE)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST).write_text(json.dumps(whole))
        manifest, refused = None, ""
        try:
            manifest = read_manifest(folder, missing_ok=True)
        except RecordsError as error:
            refused = str(error)
    if manifest is None:
        assert len(refused.splitlines()) == 1
        return
    assert manifest.records >= 0
    assert len(manifest.fingerprint) == 16
    assert manifest.skeleton.flip_permutation.dtype.kind == "i"
    with contextlib.suppress(RecordsError):
        check_usable(manifest, (192, 256), Augmentation())
    resolution_note(manifest, (384, 512))


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "--dataset=coco --split=val --boxes=ground_truth"),
        ({"dataset": "a; rm", "split": 3}, "--boxes=ground_truth"),
    ],
)
def test_another_schema_version_is_refused_with_both_versions_and_the_command_that_builds_anew(
    folder, changes, command
):
    data = MANIFEST_OF_TWO.to_json() | {"schema_version": 1} | changes
    (folder / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(RecordsError, match=r"version 1, .*version 2; ") as error:
        read_manifest(folder)
    command += f" --records_dir={folder.parent} --overwrite"
    assert str(error.value).endswith(f"dataset is: python pipelines/build_records.py {command}")


def test_records_errors_are_shown_as_one_line_by_every_command():
    assert issubclass(RecordsError, CommandError)
