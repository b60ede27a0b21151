"""Workers that go on although nobody waits for them: their driver was killed, or their engine tries twice."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from pipelines import transforms
from pipelines.build import build_records
from pipelines.errors import BuildError
from pipelines.runner import run_pipeline
from pipelines.transforms import WriteShard
from pipelines.watchdog import DRIVER
from tests.helpers.builders import broken_box, make_build, make_dataset, shard_bytes
from tests.helpers.large_builds import is_complete


class Killed(BaseException):
    pass


def planned(build):
    """The `ShardJob` of a build whose driver was killed when its plan stood."""
    jobs = []

    def kill(job, beam_args, instances):
        jobs.append(job)
        raise Killed

    with pytest.raises(Killed):
        build_records(build, run=kill)
    return jobs[0]


def first(patch, name, action):
    """Makes `action` happen once, before a function of pipelines/transforms.py is next called."""
    function = getattr(transforms, name)

    def act_first(*arguments):
        patch.undo()
        action()
        return function(*arguments)

    patch.setattr(transforms, name, act_first)


def test_several_workers_at_the_same_shards_do_not_disturb_each_other(dataset_dir, finished, tmp_path):
    build = make_build(dataset_dir, tmp_path / "train", instances_per_shard=6)
    job = planned(build)
    with ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda index: list(WriteShard(job).process(index)), [*range(4)] * 8)
        assert list(done) == [[0], [1], [2], [3]] * 8
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "train").glob("*.tfrecord-*")}
    build_records(build)
    assert is_complete(tmp_path / "train", shard_bytes(finished))
    assert (
        kept.items()
        <= {path.name: path.stat().st_mtime_ns for path in (tmp_path / "train").iterdir()}.items()
    )


@pytest.mark.parametrize("moment", ["make_records", "read_if_there", "write_whole", "write_blocks"])
def test_a_worker_that_is_late_leaves_nothing_in_a_finished_build(
    moment, dataset_dir, finished, tmp_path, monkeypatch
):
    build = make_build(dataset_dir, tmp_path / "train", instances_per_shard=6)
    job = planned(build)
    with monkeypatch.context() as patch:
        first(patch, moment, lambda: build_records(build))
        assert list(WriteShard(job).process(2)) == [2]
    assert is_complete(tmp_path / "train", shard_bytes(finished))


def test_a_worker_that_is_late_does_not_bring_back_what_was_mended(tmp_path, monkeypatch):
    """It has read an earlier plan, and writes when the shard of the new one is there already."""
    make_dataset(tmp_path / "data", images=3)
    whole, build = (make_build(tmp_path / "data", tmp_path / name, max_bad_fraction=1) for name in "ab")
    build_records(whole)
    mended = broken_box(tmp_path / "data", [20, 20, 30, 30])
    job = planned(build)
    broken_box(tmp_path / "data", mended)
    written, late = Event(), Event()

    def wait_for_the_late_one(*arguments):
        run_pipeline(*arguments)
        written.set()
        assert late.wait(60)

    with ThreadPoolExecutor(1) as thread:
        with monkeypatch.context() as once:
            builds = []

            def build_again():
                builds.append(thread.submit(build_records, build, run=wait_for_the_late_one))
                assert written.wait(60)

            first(once, "make_records", build_again)
            list(WriteShard(job).process(0))
        late.set()
        builds[0].result(60)
    assert shard_bytes(tmp_path / "b") == shard_bytes(tmp_path / "a")


def test_a_worker_process_ends_with_its_driver(dataset_dir, tmp_path, monkeypatch):
    job = planned(make_build(dataset_dir, tmp_path / "train", instances_per_shard=6))
    driver = subprocess.Popen(["sleep", "60"])
    monkeypatch.setenv(DRIVER, str(driver.pid))
    assert list(WriteShard(job).process(0)) == [0]
    driver.kill()
    driver.wait()
    with pytest.raises(RuntimeError, match="driver of this worker is gone"):
        list(WriteShard(job).process(1))
    assert len(shard_bytes(tmp_path / "train")) == 1


def test_a_worker_of_another_job_writes_nothing(dataset_dir, tmp_path):
    """Its driver was killed before the first shard; the next command has other options, or fewer shards."""
    asked = make_build(dataset_dir, tmp_path / "train", instances_per_shard=6)
    late = planned(asked)
    now = replace(asked, options=replace(asked.options, quality=30))
    plain = replace(now, folder=str(tmp_path / "plain"))
    build_records(plain)

    def begin_late(job, beam_args, instances):
        for index in range(late.count):
            with pytest.raises(BuildError, match="is being built with other options now"):
                list(WriteShard(late).process(index))
        run_pipeline(job, beam_args, instances)

    build_records(now, run=begin_late)
    assert is_complete(tmp_path / "train", shard_bytes(tmp_path / "plain"))


def test_a_late_worker_whose_file_was_cleaned_away_leaves_the_finished_shard(
    dataset_dir, finished, tmp_path, monkeypatch
):
    build = make_build(dataset_dir, tmp_path / "train", instances_per_shard=6)
    job = planned(build)
    rename = FileSystems.rename

    def finish_first(sources, targets):
        if targets == [job.shard_path(1)]:
            monkeypatch.setattr(FileSystems, "rename", rename)
            build_records(build)
        return rename(sources, targets)

    monkeypatch.setattr(FileSystems, "rename", finish_first)
    with pytest.raises(BeamIOError):
        list(WriteShard(job).process(1))
    assert is_complete(tmp_path / "train", shard_bytes(finished))
