"""A build in the place of a finished one, ended at every step: nothing is lost, and nothing is ever mixed."""

import hashlib
import itertools
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from apache_beam.io.filesystems import FileSystems

from pipelines.build import build_records
from pipelines.cli import command
from pipelines.errors import BuildError
from pipelines.storage import discard, list_files, read_if_there, write_blocks
from pipelines.transforms import WriteShard
from records.errors import RecordsError
from records.manifest import read_manifest
from tests.helpers.builders import make_build, make_dataset, shard_bytes, write_json
from tests.helpers.large_builds import is_complete
from tests.helpers.messages import messages
from tests.helpers.shared import ROOT
from tests.helpers.stores import BUCKET, store_of_this_process, stored, upload

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def requests(tmp_path_factory):
    """The emulator; the value lists what it was asked."""
    with store_of_this_process(tmp_path_factory.mktemp("cloud")) as requests:
        yield requests


def files(folder):
    """{path below the folder: content}, here or in a store."""
    if str(folder).startswith("gs://"):
        return stored(folder)
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


class Killed(BaseException):
    pass


class Dying:
    """A process that is killed at its n-th step that changes a file: from there on, nothing is changed."""

    def __init__(self, monkeypatch, step, look):
        """Args: the step, from 0; and what to call before each."""
        self.done, self.step, self.look = 0, step, look
        for name in ("create", "rename", "delete"):
            monkeypatch.setattr(FileSystems, name, self.dying(getattr(FileSystems, name)))

    def dying(self, function):
        def call(*arguments, **options):
            self.look()
            if self.done == self.step:
                raise Killed
            self.done += 1
            return function(*arguments, **options)

        return call


def without_beam(job, beam_args, instances):
    """Makes the shards in this thread, so that it can be killed at any step."""
    for index in range(job.count):
        list(WriteShard(job).process(index))


def shards_that_are_read(folder):
    """{name: SHA-256} of the shards that a reader of the folder gets, or None if it is refused."""
    try:
        manifest = read_manifest(folder)
    except RecordsError:
        return None
    contents = {
        shard.name: read_if_there(FileSystems.join(str(folder), shard.name)) for shard in manifest.shards
    }
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def is_whole(folder, build):
    return {k: v for k, v in files(folder).items() if k != "manifest.json"} == {
        k: v for k, v in files(build).items() if k != "manifest.json"
    }


def copy(folder, target):
    """Copies a folder of records, to this host or a store."""
    if target.startswith("gs://"):
        upload(folder, target)
    else:
        shutil.copytree(folder, target)


# Of 24 instances in two shards: as many shards of as many bytes; more; fewer.
@pytest.mark.parametrize("instances", [12, 6, 24])
@pytest.mark.parametrize("place", ["here", pytest.param("store", marks=pytest.mark.slow)])
def test_a_build_killed_at_any_step_leaves_the_old_records_or_the_new_or_a_state_the_command_completes(
    instances, place, dataset_dir, tmp_path, monkeypatch, request
):
    if place == "store":
        request.getfixturevalue("requests")
    path = tmp_path / "changed.json"
    data = json.loads((dataset_dir / "annotations/person_keypoints_train2017.json").read_text())
    for one in data["annotations"]:
        one["area"] += 1  # other bytes, but as many, so that only the manifest tells them apart
    write_json(path, data)
    old = make_build(dataset_dir, tmp_path / "old", instances_per_shard=12)
    new = replace(old, folder=str(tmp_path / "new"), annotations=str(path), instances_per_shard=instances)
    build_records(old)
    build_records(new)
    allowed = [shards_that_are_read(tmp_path / name) for name in ("old", "new")]
    sizes = [list_files(build.folder, "*.tfrecord-*") for build in (old, new)]
    assert allowed[0] != allowed[1]
    assert (sizes[0] == sizes[1]) == (instances == 12)
    seen, ended = set(), False
    for step in itertools.count(step=1 if place == "here" else 4):
        folder = f"{BUCKET}/{instances}/{step}" if place == "store" else str(tmp_path / str(step))
        copy(tmp_path / "old", folder)
        here = replace(new, folder=folder, overwrite=True)

        def look(folder=folder):
            read = shards_that_are_read(folder)
            assert read is None or read in allowed
            seen.add(None if read is None else allowed.index(read))

        with monkeypatch.context() as patch:
            dying = Dying(patch, step, look)
            try:
                build_records(here, run=without_beam)
                ended = True
            except Killed:
                pass
        look()
        if not ended:
            build_records(here, run=without_beam)
        assert shards_that_are_read(folder) == allowed[1]
        assert is_whole(folder, tmp_path / "new"), step
        if ended:
            break
    assert dying.done > 10
    assert seen == ({0, 1, None} if instances == 12 else {0, 1})  # only shards of the same names cannot stay


KILLED = """
import os, signal, sys
from pipelines import exchange
from pipelines.build import build_records
from tests.helpers.builders import make_build

step, steps = int(sys.argv[3]), []

def killing(function):
    def call(*arguments):
        steps.append(function)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments)
    return call

for name in ("move", "discard", "write_whole"):
    setattr(exchange, name, killing(getattr(exchange, name)))
build = make_build(sys.argv[1], sys.argv[2], instances_per_shard=6, crop={"quality": 60}, overwrite=True)
build_records(build)
"""


@pytest.mark.parametrize("step", [2, 3, 5])
def test_a_command_that_is_killed_while_records_change_places_is_completed_by_the_same(
    step, dataset_dir, finished, tmp_path
):
    folder = tmp_path / "train"
    build = make_build(dataset_dir, folder, instances_per_shard=6)
    build_records(build)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(dataset_dir), str(folder), str(step)],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert (folder / ".build-new/manifest.json").exists()
    again = make_build(dataset_dir, folder, instances_per_shard=6, crop={"quality": 60}, overwrite=True)
    with messages([]) as started:
        manifest = build_records(again)
    assert ["already built" in line for line in started] == [True]  # no shard is made again
    assert manifest.options["quality"] == 60
    assert is_complete(folder, shard_bytes(folder))
    assert shards_that_are_read(folder) == {shard.name: shard.sha256 for shard in manifest.shards}


# ---- a build that fails


def unusable(build, tmp_path):
    (tmp_path / "broken.json").write_text("{")
    return replace(build, annotations=str(tmp_path / "broken.json")), "is not JSON"


def nowhere(build, tmp_path):
    return replace(build, images=str(tmp_path / "nowhere")), "missing_image"


def nobody(build, tmp_path):
    data = json.loads(Path(build.annotations).read_text())
    write_json(tmp_path / "nobody.json", data | {"annotations": []})
    return replace(build, annotations=str(tmp_path / "nobody.json")), "nobody to build records of"


@pytest.mark.parametrize("wrong", [unusable, nowhere, nobody])
@pytest.mark.parametrize("place", ["here", "store"])
def test_a_build_that_fails_leaves_the_records_it_was_to_replace(
    wrong, place, dataset_dir, tmp_path, request
):
    if place == "store":
        request.getfixturevalue("requests")
    folder = f"{BUCKET}/{wrong.__name__}" if place == "store" else str(tmp_path / "train")
    build = make_build(dataset_dir, folder, instances_per_shard=6)
    build_records(build)
    before = files(folder)
    fails, said = wrong(build, tmp_path)
    with pytest.raises(BuildError, match=said):
        build_records(replace(fails, overwrite=True))
    after = files(folder)
    assert {name: after.get(name) for name in before} == before
    assert all(name.startswith(".build-new/") for name in after.keys() - before.keys())
    build_records(build)  # which says that it is built already
    build_records(replace(build, overwrite=True))
    assert files(folder) == before


def test_rejected_instances_of_a_build_that_fails_are_listed_beside_the_others(dataset_dir, tmp_path):
    build = make_build(dataset_dir, tmp_path / "train", instances_per_shard=6)
    build_records(build)
    with pytest.raises(BuildError, match=r"train/\.build-new/rejected\.jsonl lists them"):
        build_records(replace(build, images=str(tmp_path), overwrite=True))
    assert len((tmp_path / "train/.build-new/rejected.jsonl").read_text().splitlines()) == 24
    assert not (tmp_path / "train/rejected.jsonl").exists()


def test_an_interrupted_build_that_was_to_be_replaced_can_still_go_on(dataset_dir, finished, tmp_path):
    build = make_build(dataset_dir, tmp_path / "train", instances_per_shard=6)

    def half(job, *_):
        for index in (0, 1):
            list(WriteShard(job).process(index))
        raise Killed

    with pytest.raises(Killed):
        build_records(build, half)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "train").glob("*.tfrecord-*")}
    broken, _ = unusable(build, tmp_path)
    with pytest.raises(BuildError, match="is not JSON"):
        build_records(replace(broken, options=replace(build.options, quality=20), overwrite=True))
    build_records(build)
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "train").glob("*.tfrecord-*")}
    assert len(kept) == 2
    assert kept.items() <= now.items()
    assert is_complete(tmp_path / "train", shard_bytes(finished))


def test_a_replacing_build_goes_on_where_it_stopped_and_another_command_leaves_it_alone(
    dataset_dir, tmp_path
):
    build = make_build(dataset_dir, tmp_path / "train", instances_per_shard=6)
    build_records(build)
    other = replace(build, options=replace(build.options, quality=20), overwrite=True)

    def half(job, *_):
        for index in (0, 1):
            list(WriteShard(job).process(index))
        raise Killed

    with pytest.raises(Killed):
        build_records(other, half)
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "train/.build-new").glob("*.tfrecord-*")}
    numbers = []
    with messages([]) as said:
        build_records(build)
    assert "already built" in said[0]
    assert ".build-new holds shards of a command with --overwrite" in said[1]
    assert {path: path.stat().st_mtime_ns for path in made} == made

    def rest(job, *_):
        numbers.extend(index for index in range(job.count) if job.finished(index) is None)
        without_beam(job, None, None)

    build_records(other, rest)
    assert numbers == [2, 3]
    build_records(replace(other, folder=str(tmp_path / "plain")))
    assert is_complete(tmp_path / "train", shard_bytes(tmp_path / "plain"))


def test_a_worker_that_is_late_leaves_nothing_in_a_replaced_build(dataset_dir, tmp_path, monkeypatch):
    build = make_build(dataset_dir, tmp_path / "train", instances_per_shard=6)
    build_records(build)
    again, jobs = replace(build, overwrite=True), []

    def keep(job, *arguments):
        jobs.append(job)
        without_beam(job, *arguments)

    late = []

    def end_first(path, blocks):
        if not late:
            late.append(path)
            build_records(again, without_beam)
        write_blocks(path, blocks)

    def run(job, *arguments):
        keep(job, *arguments)
        raise Killed

    with pytest.raises(Killed):
        build_records(again, run)
    discard([jobs[0].shard_path(1)])
    monkeypatch.setattr("pipelines.transforms.write_blocks", end_first)
    list(WriteShard(jobs[0]).process(1))
    assert late
    assert is_complete(tmp_path / "train", shard_bytes(tmp_path / "train"))


def test_a_whole_build_of_which_a_shard_has_gone_before_it_took_its_place_is_made_again(
    dataset_dir, tmp_path
):
    build = make_build(dataset_dir, tmp_path / "train", instances_per_shard=6)
    manifest = build_records(build)
    made = tmp_path / "train/.build-new"
    made.mkdir()
    data = manifest.to_json()
    data["shards"][1]["size"] += 1
    (made / "manifest.json").write_text(json.dumps(data))
    build_records(build)
    assert is_complete(tmp_path / "train", shard_bytes(tmp_path / "train"))


# ---- what is somebody else's


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json", "rejected.jsonl"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_that_no_build_has_written_is_refused_by_name(name, overwrite, dataset_dir, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / name).write_text('{"precious": 1}')
    with pytest.raises(BuildError, match=rf"train holds {name}, which no build has written"):
        build_records(make_build(dataset_dir, tmp_path / "train", overwrite=overwrite))
    assert files(tmp_path / "train") == {name: b'{"precious": 1}'}


@pytest.mark.parametrize("name", ["features.json", "manifest.json", "rejected.jsonl", ""])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_where_a_file_belongs_is_named_and_keeps_what_it_holds(
    name, overwrite, dataset_dir, tmp_path
):
    build = make_build(dataset_dir, tmp_path / "train", overwrite=overwrite)
    if not name:  # a shard's
        build_records(make_build(dataset_dir, tmp_path / "other"))
        name = next(iter(shard_bytes(tmp_path / "other")))
    inner = tmp_path / "train" / name / "thesis.txt"
    inner.parent.mkdir(parents=True)
    inner.write_text("precious")
    with pytest.raises(BuildError, match=f"{name} is a folder"):
        build_records(build)
    assert inner.read_text() == "precious"


def test_files_of_others_in_the_folder_stay(dataset_dir, tmp_path):
    folder = tmp_path / "train"
    others = {
        "video.0123456789ab.partial": b"half a film",
        "notes.partial": b"notes",
        "coco-train.tfrecord-notes": b"notes",
        "coco-train.tfrecord-00000-of-00009.gz": b"packed",
        ".build/Package.swift": b"of another build",
        ".build-new/readme": b"of another build",
    }
    for name, content in others.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for changes in ({}, {"crop": {"quality": 20}, "overwrite": True}):
        build_records(make_build(dataset_dir, folder, **changes))
        assert {name: files(folder).get(name) for name in others} == others


def test_after_too_many_rejections_the_list_is_known_for_ours(dataset_dir, tmp_path):
    build = make_build(dataset_dir, tmp_path / "train")
    for _ in range(2):
        with pytest.raises(BuildError, match="missing_image"):
            build_records(replace(build, images=str(tmp_path)))
    build_records(build)
    assert not (tmp_path / "train/rejected.jsonl").exists()


def test_damaged_files_beside_a_manifest_are_ours(dataset_dir, tmp_path):
    build = make_build(dataset_dir, tmp_path / "train")
    build_records(build)
    before = files(tmp_path / "train")
    for name in ("features.json", "dataset_info.json"):
        (tmp_path / "train" / name).write_text("spoilt")
    build_records(replace(build, overwrite=True))
    assert files(tmp_path / "train") == before


def test_records_of_an_earlier_schema_version_are_replaced_if_asked_for(dataset_dir, tmp_path):
    build = make_build(dataset_dir, tmp_path / "train")
    manifest = build_records(build)
    path = tmp_path / "train/manifest.json"
    earlier = json.loads(path.read_text()) | {"schema_version": 1}
    earlier["dropped"] = earlier.pop("filtered")
    write_json(path, earlier)
    with pytest.raises(
        BuildError, match=r"schema version 1, .*build_records.py --dataset=coco .*--overwrite"
    ):
        build_records(build)
    assert json.loads(path.read_text()) == earlier
    assert build_records(replace(build, overwrite=True)) == read_manifest(tmp_path / "train") == manifest


def test_the_command_keeps_the_records_when_it_cannot_replace_them(tmp_path, capsys):
    make_dataset(tmp_path, images=3)
    flags = [f"--dataset_dir={tmp_path}", "--split=train", "--input_size=64x96", "--max_bad_fraction=1"]
    assert command(flags) == 0
    before = files(tmp_path / "records")
    (tmp_path / "broken.json").write_text("{")
    assert command([*flags, "--overwrite", f"--annotations={tmp_path}/broken.json"]) == 1
    assert "is not JSON" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert command([*flags[:-1], "--overwrite", f"--images={tmp_path}/empty"]) == 1
    after = files(tmp_path / "records")
    assert {name: after[name] for name in before} == before
    assert list_files(str(tmp_path / "records/train/.build-new")).keys() >= {"rejected.jsonl"}
