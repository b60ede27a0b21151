"""A build after something went wrong with it: mended inputs, damaged files, a worker that cannot write."""

import json
from dataclasses import replace

import pytest

from pipelines.build import build_records
from pipelines.errors import BuildError
from tests.helpers.builders import (
    annotations,
    broken_box,
    image,
    instance,
    make_build,
    make_dataset,
    shard_bytes,
    write_split,
)


def test_annotations_may_be_mended_after_a_build_that_failed(tmp_path):
    make_dataset(tmp_path / "data", images=4)
    build = make_build(tmp_path / "data", tmp_path / "out", max_bad_fraction=0.01)
    good = broken_box(tmp_path / "data", [1, 2, -3, 4])
    with pytest.raises(BuildError, match="1 bad_box"):
        build_records(build)
    broken_box(tmp_path / "data", good)
    whole = build_records(replace(build, max_bad_fraction=1))
    build_records(replace(build, folder=str(tmp_path / "again"), max_bad_fraction=1))
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "again")
    assert whole.rejected.get("bad_box") is None


def test_only_shards_whose_instances_changed_are_made_again(tmp_path):
    """A build that stopped half way goes on although its annotation file is another one now."""
    data = make_dataset(tmp_path / "data", images=6)
    away = tmp_path / "data/images/train2017" / data["images"][0]["file_name"]
    content = away.read_bytes()
    away.unlink()
    build = make_build(tmp_path / "data", tmp_path / "out", instances_per_shard=3, max_bad_fraction=0)
    with pytest.raises(BuildError, match="missing_image"):
        build_records(build)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tfrecord-*")}
    assert kept
    away.write_bytes(content)
    build = replace(build, max_bad_fraction=1)
    path = tmp_path / "data/annotations/person_keypoints_train2017.json"
    changed = json.loads(path.read_text())
    changed["annotations"][0]["area"] += 1
    path.write_text(json.dumps(changed))
    build_records(build)
    build_records(replace(build, folder=str(tmp_path / "again")))
    assert shard_bytes(tmp_path / "out") == shard_bytes(tmp_path / "again")
    untouched = [p for p, time in kept.items() if p.exists() and p.stat().st_mtime_ns == time]
    assert untouched


def test_everybody_rejected_leaves_the_reasons(tmp_path):
    instances = [instance(n, 1, [5, 5, 30, 30], keypoints=[1, 2, 2] * 5) for n in (1, 2)]
    write_split(tmp_path, "train", annotations([image(1)], instances))
    with pytest.raises(BuildError, match="2 bad_keypoints"):
        build_records(make_build(tmp_path, tmp_path / "out"))
    text = (tmp_path / "out/rejected.jsonl").read_text()
    assert "expected 51 numbers, received 15" in text


def test_a_worker_that_cannot_write_ends_in_one_line(tmp_path, monkeypatch):
    make_dataset(tmp_path / "data", images=2)

    def full(path, blocks):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipelines.transforms.write_blocks", full)
    with pytest.raises(BuildError, match="No space left on device") as error:
        build_records(make_build(tmp_path / "data", tmp_path / "out", max_bad_fraction=1))
    assert "\n" not in str(error.value)
    assert "goes on" in str(error.value)


@pytest.mark.parametrize(
    "damage", [{"skeleton": {}}, {"images": None, "shards": [{"name": "a"}]}, {"shards": 3}]
)
def test_a_manifest_that_cannot_be_read_is_named_and_overwrite_replaces_it(tmp_path, damage):
    make_dataset(tmp_path / "data", images=2)
    build = make_build(tmp_path / "data", tmp_path / "out", max_bad_fraction=1)
    build_records(build)
    path = tmp_path / "out/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(BuildError, match="manifest"):
        build_records(build)
    assert build_records(replace(build, overwrite=True)).records


def test_what_a_build_killed_at_its_very_end_left_is_removed(tmp_path):
    make_dataset(tmp_path / "data", images=2)
    build = make_build(tmp_path / "data", tmp_path / "out", max_bad_fraction=1)
    build_records(build)
    (tmp_path / "out/.build").mkdir()
    (tmp_path / "out/.build/plan-00000.json").write_text("[]")
    build_records(build)
    assert not (tmp_path / "out/.build").exists()
