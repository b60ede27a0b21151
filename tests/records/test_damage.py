"""Damaged shards: named with their place, and left out by a run that is asked to."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from records.checking.damage import damage_reported, find_damage
from records.errors import RecordsError
from records.examine import Damage
from records.manifest import read_manifest
from records.reader import read_records
from records.tfrecord import unframe
from tests.helpers.builders import rewrite_shard
from tests.helpers.messages import messages
from tests.helpers.small_runs import small_options
from train.loop import train

pytestmark = pytest.mark.usefixtures("small_networks")


@pytest.fixture
def damaged(records, tmp_path):
    """A copy of them to be damaged."""
    shutil.copytree(records, tmp_path / "records")
    return tmp_path / "records"


def flip_a_bit(folder, shard, number):
    """Damages a shard's record of that number; returns (file name, where the record starts)."""
    name = read_manifest(folder).shards[shard].name
    content = bytearray((folder / name).read_bytes())
    start = sum(len(payload) + 16 for payload in list(unframe(content))[:number])
    content[start + 100] ^= 1
    (folder / name).write_bytes(content)
    return name, start


def instances(dataset):
    return [int(instance) for batch in dataset for instance in batch["instance_id"]]


def test_whole_shards_have_no_damage(records):
    assert find_damage(records / "train") == ()


def test_damage_is_found_with_its_place_and_what_is_lost(damaged):
    folder = damaged / "train"
    shards = read_manifest(folder).shards
    name, start = flip_a_bit(folder, 1, 3)
    (folder / shards[2].name).unlink()
    cut = folder / shards[3].name
    cut.write_bytes(cut.read_bytes()[:-7])
    last = shards[3].records - 1
    assert find_damage(folder) == (
        Damage(name, 3, shards[1].records - 3, f"record 3 at byte {start:,} has a wrong checksum"),
        Damage(shards[2].name, 0, shards[2].records, "no such file or directory"),
        Damage(cut.name, last, 1, find_damage(folder)[2].problem),
    )
    assert find_damage(folder)[2].problem.startswith(f"record {last} at byte ")


def test_a_shard_that_ends_between_records_lost_some_too(damaged):
    folder = damaged / "train"
    shard = read_manifest(folder).shards[0]
    first = next(unframe((folder / shard.name).read_bytes()))
    (folder / shard.name).write_bytes((folder / shard.name).read_bytes()[: len(first) + 16])
    assert find_damage(folder) == (Damage(shard.name, 1, shard.records - 1, "ends too early"),)


def test_reading_over_damage_names_the_shard_and_the_place(damaged):
    name, start = flip_a_bit(damaged / "train", 1, 3)
    message = rf"{name}: record 3 at byte {start:,} has a wrong checksum\).*--overwrite.*, or run$"
    with pytest.raises(RecordsError, match=message), damage_reported(damaged / "train", ", or run"):
        instances(read_records(damaged / "train", 4))


def test_an_error_that_is_no_damage_keeps_its_words_and_offers_nothing_that_does_not_help(records):
    folder = records / "train"
    with (
        pytest.raises(RecordsError, match=r"could not be read \(a crop of nobody\)") as error,
        damage_reported(folder, "; --skip_damaged"),
    ):
        raise tf.errors.InvalidArgumentError(None, None, "a crop of nobody")
    assert "--skip_damaged" not in str(error.value)


def test_a_crop_that_is_no_image_is_not_offered_to_be_skipped(damaged):
    folder = damaged / "train"
    manifest = read_manifest(folder)
    content = (folder / manifest.shards[0].name).read_bytes()
    payloads = [payload.replace(b"\xff\xd8\xff", b"\0\0\0") for payload in unframe(content)]
    rewrite_shard(folder, 0, payloads)
    with (
        pytest.raises(RecordsError, match=r"the crop of instance \d+ is no image.*right checksums") as error,
        damage_reported(folder, "; --skip_damaged"),
    ):
        instances(read_records(folder, 4))
    assert "--skip_damaged" not in str(error.value)


def test_a_shard_that_vanishes_while_it_is_read_is_named(damaged):
    folder = damaged / "train"
    dataset = read_records(folder, 4)
    name = read_manifest(folder).shards[2].name
    (folder / name).unlink()
    message = rf"damaged \({name}: no such file or directory\).*; --skip_damaged$"
    with pytest.raises(RecordsError, match=message), damage_reported(folder, "; --skip_damaged"):
        instances(dataset)


@pytest.mark.parametrize("kind", ["PermissionDeniedError", "UnknownError", "NotFoundError"])
def test_a_shard_that_cannot_be_read_for_a_while_is_told_in_one_line(records, kind):
    error_type = getattr(tf.errors, kind)
    folder = records / "train"
    message = r"could not be read \(/.*/a-shard; Input/output error\), and yet"
    with pytest.raises(RecordsError, match=message), damage_reported(folder):
        raise error_type(None, None, f"{folder}/a-shard; Input/output error\n\t [[node]]")
    with pytest.raises(error_type, match="cuDNN"), damage_reported(folder):
        raise error_type(None, None, "cuDNN did not start")


def test_what_comes_before_the_damage_is_read(damaged):
    folder = damaged / "train"
    everybody = instances(read_records(folder, 4))
    counts = [shard.records for shard in read_manifest(folder).shards]
    flip_a_bit(folder, 1, 3)
    damage = find_damage(folder)
    left = instances(read_records(folder, 4, damage=damage))
    assert len(left) == sum(counts) - damage[0].lost
    assert set(left) < set(everybody)


@pytest.mark.parametrize("shuffle_buffer", [0, 50])
def test_skipping_batches_gives_the_rest_of_the_same_pass(records, shuffle_buffer):
    tf.random.set_seed(5)
    batches = list(read_records(records / "train", 4, shuffle_buffer=shuffle_buffer, seed=2, epoch=1))
    tf.random.set_seed(5)
    rest = list(
        read_records(records / "train", 4, shuffle_buffer=shuffle_buffer, seed=2, epoch=1, skip_batches=3)
    )
    assert len(rest) == len(batches) - 3
    for expected, found in zip(batches[3:], rest, strict=True):
        assert expected.keys() == found.keys()
        for name in expected:
            np.testing.assert_array_equal(expected[name], found[name])


def test_skipped_batches_are_not_decoded(damaged, monkeypatch):
    sampled = []
    monkeypatch.setattr(
        "records.reader.warp_inputs", lambda *a: sampled.append(a) or np.zeros((4, 64, 32, 3), "u1")
    )
    total = read_manifest(damaged / "train").records // 4
    list(read_records(damaged / "train", 4, drop_remainder=True, skip_batches=total - 2))
    assert len(sampled) == 2


def test_readers_of_parts_share_the_shards(records):
    everybody = instances(read_records(records / "train", 4))
    parts = [instances(read_records(records / "train", 4, part=(index, 3))) for index in range(3)]
    assert sorted(instance for part in parts for instance in part) == sorted(everybody)
    assert all(parts)


def test_a_number_of_batches_starts_over_when_a_pass_does_not_last(records):
    count = read_manifest(records / "train").records
    options = {"shuffle_buffer": 9, "drop_remainder": True}
    read = instances(read_records(records / "train", 7, num_batches=2 * count // 7, **options))
    assert len(read) == 2 * count // 7 * 7
    assert len(set(read[:count])) == len(set(read)) == count
    few = instances(read_records(records / "train", 7, num_batches=2, skip_batches=1, **options))
    assert few == instances(read_records(records / "train", 7, **options))[7:14]


# ---- a run


def test_a_run_ends_at_damage_and_goes_on_without_what_is_lost(damaged, tmp_path):
    options = small_options(damaged, tmp_path / "run")
    train(replace(options, epochs=1))
    flip_a_bit(damaged / "train", 1, 3)
    with pytest.raises(RecordsError, match=r"record 3 at byte .*--continue --skip_damaged goes on"):
        train(replace(options, resume=True))
    with messages([]) as said:
        steps = train(replace(options, resume=True, skip_damaged=True))
    assert steps == 8  # as many as with all instances
    damage = find_damage(damaged / "train")
    told = f"{damage[0].shard}: {damage[0].problem}; {damage[0].lost} instances are left out"
    assert any(told in line for line in said)


def test_a_run_goes_on_without_missing_shards_and_says_how_many_instances_that_costs(damaged, tmp_path):
    first, second, *_ = read_manifest(damaged / "train").shards
    for shard in (first, second):
        (damaged / "train" / shard.name).unlink()
    options = small_options(damaged, tmp_path / "run", epochs=1)
    with pytest.raises(RecordsError, match="is missing or not"):
        train(options)
    with messages([]) as said:
        train(replace(options, skip_damaged=True))
    lost = first.records + second.records
    assert any(f"{lost} instances of 2 damaged shards are left out in all" in line for line in said)


def test_records_of_which_nothing_is_left_are_refused(damaged, tmp_path):
    for shard in read_manifest(damaged / "train").shards:
        (damaged / "train" / shard.name).unlink()
    with pytest.raises(RecordsError, match=r"nothing of the records in .* can be read"):
        train(small_options(damaged, tmp_path / "run", skip_damaged=True))
