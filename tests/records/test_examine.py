"""Shards that would end the process, or lose somebody without a word: found before TensorFlow opens them."""

import json
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from records.augment import Augmentation
from records.checking.cli import command
from records.checking.damage import damage_reported, find_damage
from records.errors import RecordsError
from records.examine import Damage, examine_payloads, examine_shard
from records.manifest import read_manifest
from records.reader import read_records, serialized_records, usable_shards
from records.schema import from_example, to_example
from records.tfrecord import FRAME, frame, unframe
from tests.helpers.builders import masked_crc, rewrite_shard
from tests.helpers.shared import ROOT


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of records of 24 instances in 4 shards, to be damaged."""
    return shutil.copytree(finished, tmp_path / "records")


def payloads_of(folder, index):
    return list(unframe((folder / read_manifest(folder).shards[index].name).read_bytes()))


def with_wrong_length(payload):
    """A record whose first field says that it is longer than the message."""
    assert payload[0] == 0x0A  # the field "features" of an Example, its length as a varint after it
    return payload[:1] + bytes([payload[1] | 0x80, payload[2] | 0x80]) + payload[3:]


def changed(payload, **values):
    """A record with other values, {field: function of the value}."""
    record = from_example(payload, 17)
    return to_example(record | {name: change(record[name]) for name, change in values.items()}, 17)


def with_last(value):
    def change(array):
        array = array.copy()
        array.flat[-1] = value
        return array

    return change


def read(folder, **options):
    """Ids of the instances of a pass; errors as a command tells them."""
    with damage_reported(folder, "; or without"):
        return [
            int(instance) for batch in read_records(folder, 4, **options) for instance in batch["instance_id"]
        ]


def assert_named(folder, capsys, shard, number, reason):
    """Reader and check both name the record, and the reader goes on without what is lost."""
    place = rf"{shard}: record {number} at byte [\d,]+:? .*{reason}"
    with pytest.raises(RecordsError, match=rf"damaged \({place}.*; or without$") as error:
        read(folder)
    assert "\n" not in str(error.value)
    (damage,) = find_damage(folder)
    assert (damage.shard, damage.usable) == (shard, number)
    assert len(read(folder, damage=[damage])) == read_manifest(folder).records - damage.lost
    assert command([str(folder), "--num_images=0"]) == 1
    assert f"{shard}: record {number}" in capsys.readouterr().err


def test_a_message_with_a_wrong_length_is_named_and_ends_no_process(folder, capsys):
    good = payloads_of(folder, 1)
    shard = rewrite_shard(folder, 1, [*good[:3], with_wrong_length(good[3]), *good[4:]])
    assert_named(folder, capsys, shard, 3, r"its bytes are no tf\.train\.Example")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"scale": np.zeros_like}, r"scale is \[0\.0, 0\.0\], instance 1\d+ in image \d+, 0+\d+\.jpg"),
        ({"crop_affine": with_last(np.nan)}, "crop_affine is not finite"),
        ({"crop_affine": np.zeros_like}, "crop_affine shows a line"),
        ({"keypoints": with_last(7)}, "a keypoint's visibility is 7"),
        ({"keypoints": lambda array: array * np.nan}, "keypoints is not finite"),
        ({"center": with_last(1e30)}, "center has numbers above 1e18"),
        ({"image_size": np.zeros_like}, r"image_size is \[0, 0\]"),
        ({"crop": lambda crop: b""}, "the crop is not an image"),
        (
            # A name need not be UTF-8: a file's may be any bytes.
            {"file_name": lambda name: b"\xff.jpg", "keypoints": with_last(3)},
            r"a keypoint's visibility is 3, instance \d+ in image \d+, \\xff\.jpg",
        ),
    ],
)
def test_a_value_that_trains_nobody_is_named_with_its_instance(folder, capsys, changes, reason):
    good = payloads_of(folder, 2)
    shard = rewrite_shard(folder, 2, [*good[:2], changed(good[2], **changes), *good[3:]])
    problems = [problem for _, problem in examine_payloads(payloads_of(folder, 2), 17)]
    assert [bool(problem) for problem in problems] == [number == 2 for number in range(len(good))]
    place = rf"damaged \({shard}: record 2 at byte [\d,]+: {reason}"
    with pytest.raises(RecordsError, match=place):
        read(folder, augmentation=Augmentation())
    assert command([str(folder), "--num_images=0"]) == 1
    assert f"{shard}: record 2: " in capsys.readouterr().err


@pytest.mark.parametrize("length", [2**31, 2**40, 2**63, 2**64 - 1])
def test_a_length_beyond_the_file_is_named_and_asks_for_no_memory(folder, capsys, length):
    good = payloads_of(folder, 0)
    lie = struct.pack("<Q", length)
    lying = lie + masked_crc(lie) + frame(good[1])[12:]
    content = frame(good[0]) + lying + b"".join(map(frame, good[2:]))
    shard = rewrite_shard(folder, 0, content)
    assert_named(folder, capsys, shard, 1, "is cut off")


def test_fewer_or_more_records_than_the_manifest_says_are_told(folder, capsys):
    good = payloads_of(folder, 0)
    fewer = rewrite_shard(folder, 0, good[:-1])
    with pytest.raises(RecordsError, match=rf"damaged \({fewer}: ends too early"):
        read(folder)
    rewrite_shard(folder, 0, [*good, good[0]])
    more = f"{fewer}: holds {len(good) + 1} records, the manifest says {len(good)}"
    with pytest.raises(RecordsError, match=more):
        read(folder)
    assert find_damage(folder) == (Damage(fewer, len(good), 0, more.removeprefix(f"{fewer}: ")),)


def test_a_shard_of_another_build_with_the_same_size_is_not_read(folder):
    """As an exchange of finished builds leaves it for a moment: checksums of frames and sizes are right."""
    name = read_manifest(folder).shards[1].name
    content = (folder / name).read_bytes()
    payload = next(unframe(content))
    (folder / name).write_bytes(
        frame(changed(payload, score=lambda score: score / 2)) + content[len(payload) + FRAME :]
    )
    assert len(content) == (folder / name).stat().st_size
    with pytest.raises(RecordsError, match=rf"damaged \({name}: its SHA-256 is not the manifest's"):
        read(folder)
    assert find_damage(folder)[0].usable == 0


def test_a_shard_is_looked_through_once_until_it_changes(folder, monkeypatch):
    looked = []

    def counted(path, shard, num_keypoints):
        looked.append(shard.name)
        return examine_shard(path, shard, num_keypoints)

    monkeypatch.setattr("records.examine.examine_shard", counted)
    everybody = read(folder)
    assert read(folder, shuffle_buffer=10, epoch=1) != everybody
    names = [shard.name for shard in read_manifest(folder).shards]
    assert sorted(looked) == names
    content = (folder / names[2]).read_bytes()
    (folder / names[2]).unlink()
    (folder / names[2]).write_bytes(content)
    assert read(folder) == everybody
    assert sorted(looked) == sorted([*names, names[2]])


def test_records_as_they_are_stored_are_looked_through_too(folder):
    good = payloads_of(folder, 1)
    manifest = read_manifest(folder)
    assert len(list(serialized_records(folder, manifest, usable_shards(manifest)))) == 24
    rewrite_shard(folder, 1, [with_wrong_length(good[0]), *good[1:]])
    manifest = read_manifest(folder)
    with pytest.raises(tf.errors.InvalidArgumentError, match="record 0 at byte 0: does not fit the schema"):
        list(serialized_records(folder, manifest, usable_shards(manifest)))


def test_a_long_path_does_not_cut_off_the_reason(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / ("long" * 50) / ("path" * 50))
    good = payloads_of(folder, 0)
    rewrite_shard(folder, 0, [changed(good[0], crop=lambda crop: b"no picture"), *good[1:]])
    with pytest.raises(RecordsError, match=r"\(the crop of instance \d+ is no image\)"):
        read(folder)
    message = f"{folder}/{'shard' * 40}; Input/output error"
    with pytest.raises(RecordsError, match=r"shard; Input/output error\)"), damage_reported(folder):
        raise tf.errors.UnknownError(None, None, message)


def test_records_survive_the_way_there_and_back(folder):
    for payload in payloads_of(folder, 0):
        record = from_example(payload, 17)
        assert to_example(record, 17) == payload
        assert record["keypoints"].shape == (17, 3)
        with pytest.raises(ValueError, match=r"keypoints should be 15 float32, received 51 of float_list"):
            from_example(payload, 5)


def test_nothing_damaged_ends_the_process_or_loses_somebody_without_a_word(finished):
    """Hundreds of mutated records and dozens of mutated shards, all checksums right, in a process."""
    arguments = [sys.executable, "-m", "tests.helpers.reader_fuzz", str(finished), "600", "24"]
    run = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout)
    assert "silence" not in found
    assert found["refused"] > 300
    assert found["parsed alike"] > 50
    assert found["said"] > 15
