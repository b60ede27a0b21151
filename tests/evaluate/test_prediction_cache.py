"""Parts of predictions: what is cut where, what comes back, and what a damaged file does."""

import json
import logging
from unittest import TestCase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate.prediction_cache import PredictionCache
from evaluate.predictions import Predictions, join
from hrpose.atomic_files import WriteError
from model.run_folder import RunError
from tests.helpers.full_disk import full_disk_at

SETTINGS = {"epoch": 3, "sigma": 2.0, "flip_test": True}


def make_parts(folder, instances=5, batch_size=2, instances_per_part=2, **settings):
    return PredictionCache(folder, SETTINGS | settings, instances, batch_size, 3, instances_per_part)


def predictions(first, count):
    rows = np.arange(first, first + count)
    keypoints = rows[:, None, None] + np.arange(9).reshape(3, 3) / 7
    return Predictions(keypoints, rows / 3, rows / 5, rows + 100, rows + 200)


def predict(parts, calls):
    """What `Parts.complete` takes; notes its arguments in `calls`."""

    def batches(skip, count):
        calls.append((skip, count))
        for batch in range(skip, min(skip + count, -(-parts.instances // parts.batch_size))):
            first = batch * parts.batch_size
            yield predictions(first, min(parts.batch_size, parts.instances - first))

    return batches


def assert_equal(found, expected):
    for name, array in vars(expected).items():
        np.testing.assert_array_equal(vars(found)[name], array)


@given(st.integers(1, 5000), st.integers(1, 300), st.integers(1, 2000))
def test_parts_hold_everybody_once_in_whole_batches(instances, batch_size, instances_per_part):
    parts = make_parts(None, instances, batch_size, instances_per_part)
    assert sum(parts.sizes) == instances
    assert min(parts.sizes) > 0
    assert set(parts.sizes[:-1]) <= {parts.batches * batch_size}
    assert parts.batches * batch_size <= max(instances_per_part, batch_size)


@given(st.integers(1, 23), st.integers(1, 4), st.integers(1, 9), st.data())
def test_whatever_is_missing_is_predicted_and_nothing_else(
    tmp_path_factory, instances, batch_size, size, data
):
    parts = make_parts(tmp_path_factory.mktemp("parts"), instances, batch_size, size)
    whole = parts.complete(parts.begin(False), predict(parts, []))
    assert_equal(whole, predictions(0, instances))
    missing = data.draw(st.sets(st.integers(0, len(parts.sizes) - 1)))
    for number in missing:
        parts.path(number).unlink()
    calls = []
    done = parts.begin(True)
    assert sorted({*range(len(parts.sizes))} - done.keys()) == sorted(missing)
    assert_equal(parts.complete(done, predict(parts, calls)), whole)
    assert sum(count for _, count in calls) == parts.batches * len(missing)
    assert len(calls) == len([number for number in missing if number - 1 not in missing])


def test_without_continue_nothing_of_before_stays(tmp_path):
    parts = make_parts(tmp_path / "parts")
    parts.complete(parts.begin(False), predict(parts, []))
    (tmp_path / "parts/part-00099.npz.partial").write_text("")
    (tmp_path / "parts/lock").write_text("")
    assert parts.begin(False) == {}
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["lock"]


def test_without_continue_a_folder_that_is_a_link_is_emptied_and_stays_one(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "parts").symlink_to(tmp_path / "elsewhere")
    parts = make_parts(tmp_path / "parts")
    parts.complete(parts.begin(False), predict(parts, []))
    assert parts.begin(False) == {}
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "parts").is_symlink()


def test_parts_that_cannot_be_removed_are_named_and_not_taken(tmp_path, monkeypatch):
    parts = make_parts(tmp_path)
    parts.complete({}, predict(parts, []))

    def read_only(path, missing_ok=False):
        raise OSError(30, "Read-only file system", str(path))

    with monkeypatch.context() as context:
        context.setattr("pathlib.Path.unlink", read_only)
        with pytest.raises(RunError, match=r"part-00000\.npz could not be removed: Read-only .*; remove"):
            parts.begin(False)
        context.setattr(PredictionCache, "_remove", lambda self, pattern: None)
        assert parts.begin(False) == {}
    assert len(parts.begin(True)) == 3


def test_a_part_that_cannot_be_read_for_a_moment_is_not_damaged(tmp_path, monkeypatch):
    parts = make_parts(tmp_path)
    parts.complete({}, predict(parts, []))

    def unreadable(path):
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as context:
        context.setattr("pathlib.Path.read_bytes", unreadable)
        with pytest.raises(RunError, match=r"part-00000\.npz cannot be read: Input/output error; try again"):
            parts.begin(True)
    assert len(parts.begin(True)) == 3


def test_what_a_killed_evaluation_was_writing_is_removed(tmp_path):
    parts = make_parts(tmp_path)
    parts.complete({}, predict(parts, []))
    (tmp_path / "part-00001.npz.123-0a.partial").write_text("half")
    assert len(parts.begin(True)) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"part-0000{n}.npz" for n in range(3)]


def test_a_part_that_was_being_written_is_none(tmp_path, monkeypatch):
    parts = make_parts(tmp_path)
    with monkeypatch.context() as context:
        full_disk_at("part-00000", context)
        with pytest.raises(WriteError, match=r"part-00000\.npz could not be written: No space left"):
            parts.complete({}, predict(parts, []))
    assert list(tmp_path.iterdir()) == []
    assert parts.begin(True) == {}
    assert_equal(parts.complete({}, predict(parts, [])), predictions(0, 5))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"part-0000{n}.npz" for n in range(3)]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"epoch": 4}, "epoch: 3 → 4"),
        ({"sigma": 3.0, "flip_test": False}, "sigma: 2.0 → 3.0; flip_test: True → False"),
        ({"codec": "udp"}, "codec: None → udp"),
        ({"batch_size": 1}, "batch_size: 2 → 1"),
        ({"instances_per_part": 4}, "instances_per_part: 2 → 4"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, changes, difference):
    parts = make_parts(tmp_path)
    parts.complete({}, predict(parts, []))
    with pytest.raises(RunError) as refused:
        make_parts(tmp_path, **changes).begin(True)
    assert f"part-00000.npz was predicted with other settings ({difference})" in str(refused.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(parts of one file, its content)."""
    parts = make_parts(tmp_path_factory.mktemp("parts"), instances=2)
    parts.complete({}, predict(parts, []))
    return parts, parts.path(0).read_bytes()


damage = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 10**6), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.integers(0, 10**6), st.just(0)),
    st.tuples(st.just("zero"), st.integers(0, 10**6), st.integers(1, 64)),
)


@given(st.lists(damage, min_size=1, max_size=3))
def test_damage_is_noticed_or_changes_nothing(whole, kinds):
    parts, content = whole
    content = bytearray(content)
    for kind, place, value in kinds:
        place %= len(content) or 1
        if kind == "cut":
            del content[place:]
        elif kind == "flip" and content:
            content[place] ^= value
        else:
            content[place : place + value] = bytes(len(content[place : place + value]))
    parts.path(0).write_bytes(content)
    with TestCase().assertLogs("evaluate.prediction_cache", logging.INFO) as said:
        done = parts.begin(True)
    if done:
        assert_equal(done[0], predictions(0, 2))
    else:
        assert said.records[0].getMessage().startswith(f"{parts.path(0)} is damaged (")


@pytest.mark.parametrize(
    "changes",
    [
        {"keypoints": np.zeros((2, 4, 3))},
        {"keypoints": np.zeros((3, 3, 3))},
        {"areas": np.zeros(2, np.float32)},
        {"image_ids": np.zeros(2)},
        {"instance_ids": np.array([{}, {}], object)},
        {"fingerprint": np.array("[1]")},
        {"fingerprint": np.array("{")},
        {"fingerprint": np.array("[" * 100_000)},
    ],
    ids=["keypoints", "instances", "dtype", "ids", "objects", "list", "json", "deep"],
)
def test_what_is_no_part_is_named_and_never_run(tmp_path, changes, caplog):
    parts = make_parts(tmp_path, instances=2)
    fingerprint = SETTINGS | {"batch_size": 2, "instances_per_part": 2}
    arrays = {"fingerprint": np.array(json.dumps(fingerprint)), **vars(predictions(0, 2))}
    np.savez(parts.path(0), **arrays)
    assert_equal(join([*parts.begin(True).values()]), predictions(0, 2))
    np.savez(parts.path(0), **arrays | changes)
    assert parts.begin(True) == {}
    assert "part-00000.npz is damaged" in caplog.text
