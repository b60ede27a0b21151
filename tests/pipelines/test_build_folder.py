"""A folder of records over several builds: going on after a stop, other options, damage, overwriting."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import transforms
from pipelines.build import build_records
from pipelines.errors import BuildError
from records.manifest import read_manifest
from tests.helpers.builders import make_build, make_dataset, shard_bytes, write_json
from tests.helpers.messages import messages
from tests.helpers.shared import ROOT

# ---- resuming


def test_a_finished_build_says_so_and_writes_nothing(dataset_dir, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    with messages([]) as said:
        manifest = build_records(make_build(dataset_dir, finished, instances_per_shard=6))
    assert manifest == read_manifest(finished)
    assert len(said) == 1
    assert "already built" in said[0]
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def fail_at(monkeypatch, shard):
    """Makes the build fail when it comes to its n-th shard; returns the numbers of shards it began."""
    started, make_records = [], transforms.make_records

    def failing(*arguments):
        started.append(len(started))
        if len(started) == shard:
            raise OSError("disk full")
        return make_records(*arguments)

    monkeypatch.setattr(transforms, "make_records", failing)
    return started


def test_an_interrupted_build_goes_on_at_the_first_unfinished_shard(
    dataset_dir, finished, tmp_path, monkeypatch
):
    build = make_build(dataset_dir, tmp_path, instances_per_shard=6)
    fail_at(monkeypatch, 3)
    with pytest.raises(Exception, match="disk full"):
        build_records(build)
    monkeypatch.undo()
    done = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tfrecord-*")}
    assert len(done) == 2
    assert not (tmp_path / "manifest.json").exists()

    started = fail_at(monkeypatch, shard=None)
    build_records(build)
    assert len(started) == 2  # the other two
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert shard_bytes(tmp_path) == shard_bytes(finished)
    assert (tmp_path / "manifest.json").read_bytes() == (finished / "manifest.json").read_bytes()
    assert not (tmp_path / ".build").exists()


KILLED = """
import os, signal, sys
from pipelines import transforms
from pipelines.build import build_records
from tests.helpers.builders import make_build

write_blocks, shards = transforms.write_blocks, []

def killing(path, blocks):
    shards.append(path)
    if len(shards) == 2:  # in the middle of writing the second shard
        content = b"".join(blocks)
        with open(path + ".partial", "wb") as file:
            file.write(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write_blocks(path, blocks)

transforms.write_blocks = killing
build_records(make_build(sys.argv[1], sys.argv[2], instances_per_shard=6))
"""


def test_a_killed_build_leaves_no_half_a_shard_and_goes_on(dataset_dir, finished, tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(dataset_dir), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr.decode()[-2000:]
    (done,) = [path for path in tmp_path.glob("*.tfrecord-*") if path.suffix != ".partial"]
    assert done.read_bytes() == shard_bytes(finished)[done.name]
    before = done.stat().st_mtime_ns
    build_records(make_build(dataset_dir, tmp_path, instances_per_shard=6))
    assert done.stat().st_mtime_ns == before
    assert shard_bytes(tmp_path) == shard_bytes(finished)


# ---- other options


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"crop": {"quality": 80}}, "quality was 95, now 80"),
        ({"crop": {"scale_factor": 0.2}}, r"scale_factor was 0\.35, now 0\.2"),
        ({"crop": {"input_size": (96, 128)}}, "input_size"),
        ({"instances_per_shard": 7}, "instances_per_shard was 6, now 7"),
    ],
)
def test_other_options_are_refused_by_name_and_nothing_is_touched(dataset_dir, finished, change, named):
    before = shard_bytes(finished)
    with pytest.raises(BuildError, match=named) as error:
        build_records(make_build(dataset_dir, finished, **{"instances_per_shard": 6} | change))
    assert "--overwrite" in str(error.value)
    assert shard_bytes(finished) == before


def test_changed_annotations_are_refused_and_overwrite_replaces_everything(tmp_path):
    data = make_dataset(tmp_path, images=5)
    build = make_build(tmp_path, tmp_path / "out", instances_per_shard=2, max_bad_fraction=1)
    build_records(build)
    data["annotations"] = data["annotations"][:3]
    write_json(Path(build.annotations), data)
    with pytest.raises(BuildError, match="annotations_sha256"):
        build_records(build)
    manifest = build_records(replace(build, overwrite=True))
    assert manifest.records + sum(manifest.rejected.values()) == 3
    assert sorted(shard_bytes(tmp_path / "out")) == [shard.name for shard in manifest.shards]


def test_an_interrupted_build_with_other_options_is_refused(dataset_dir, tmp_path, monkeypatch):
    build = make_build(dataset_dir, tmp_path, instances_per_shard=6)
    fail_at(monkeypatch, 2)
    with pytest.raises(Exception, match="disk full"):
        build_records(build)
    monkeypatch.undo()
    with pytest.raises(BuildError, match="quality was 95, now 50"):
        build_records(make_build(dataset_dir, tmp_path, instances_per_shard=6, crop={"quality": 50}))


def test_overwrite_removes_the_files_of_a_build_and_nothing_else(tmp_path):
    make_dataset(tmp_path, images=5)
    build = make_build(tmp_path, tmp_path / "out", instances_per_shard=2, max_bad_fraction=1)
    build_records(build)
    (tmp_path / "out/precious.txt").write_text("not ours")
    manifest = build_records(replace(build, instances_per_shard=5, overwrite=True))
    assert sorted(shard_bytes(tmp_path / "out")) == [shard.name for shard in manifest.shards]
    assert (tmp_path / "out/precious.txt").read_text() == "not ours"


def test_a_manifest_of_something_else_is_refused_even_with_overwrite(dataset_dir, tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(BuildError, match="not one of records"):
        build_records(make_build(dataset_dir, tmp_path, overwrite=True))
    assert (tmp_path / "manifest.json").read_text() == '{"name": "a web app"}'


@pytest.mark.parametrize("damage", ["no manifest", "half a manifest", "no shard"])
def test_a_damaged_build_says_so_and_overwrite_builds_it_again(tmp_path, damage):
    make_dataset(tmp_path, images=5)
    build = make_build(tmp_path, tmp_path / "out", instances_per_shard=2, max_bad_fraction=1)
    build_records(build)
    before, manifest = shard_bytes(tmp_path / "out"), tmp_path / "out/manifest.json"
    if damage == "no manifest":
        manifest.unlink()
    elif damage == "half a manifest":
        manifest.write_text(manifest.read_text()[:100])
    else:
        next((tmp_path / "out").glob("*.tfrecord-00001-*")).unlink()
    with pytest.raises(BuildError, match="--overwrite"):
        build_records(build)
    build_records(replace(build, overwrite=True))
    assert shard_bytes(tmp_path / "out") == before


def test_a_shard_without_its_side_file_is_made_again(tmp_path, monkeypatch):
    make_dataset(tmp_path, images=5)
    build = make_build(tmp_path, tmp_path / "out", instances_per_shard=2, max_bad_fraction=1)
    build_records(build)
    before = shard_bytes(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    fail_at(monkeypatch, 3)
    with pytest.raises(Exception, match="disk full"):
        build_records(build)
    monkeypatch.undo()
    next((tmp_path / "out/.build").glob("shard-*.json")).unlink()
    build_records(build)
    assert shard_bytes(tmp_path / "out") == before
