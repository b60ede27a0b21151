"""What stays in the command's process while others make the shards, and what it checks afterwards."""

import gc

import pytest

from pipelines.build import build_records
from pipelines.errors import BuildError
from pipelines.instances import AnnotatedImage
from pipelines.runner import run_pipeline
from tests.helpers.builders import make_build, shard_bytes


def images_in_memory():
    gc.collect()
    return sum(isinstance(one, AnnotatedImage) for one in gc.get_objects())


def test_nobody_stays_in_memory_while_the_shards_are_made(dataset_dir, finished, tmp_path):
    seen = []

    def run(job, beam_args, instances):
        seen.append((images_in_memory() - before, instances))
        plans = [job.planned(tmp_path.joinpath(job.plan_path(n)).read_bytes()) for n in range(job.count)]
        seen.append((images_in_memory() - before, sum(len(p.instances) for plan in plans for p in plan)))
        del plans
        run_pipeline(job, beam_args, instances)

    before = images_in_memory()
    manifest = build_records(make_build(dataset_dir, tmp_path / "out", instances_per_shard=6), run)
    assert seen[0] == (0, 24)
    assert seen[1] == (manifest.images, 24)  # where there are any, they are counted
    assert shard_bytes(tmp_path / "out") == shard_bytes(finished)


def test_shards_that_nobody_made_do_not_add_up(dataset_dir, tmp_path):
    build = make_build(dataset_dir, tmp_path / "out")
    with pytest.raises(BuildError, match=r"1 of 1 shards .* missing \(the first: 0\)"):
        build_records(build, run=lambda *_: None)


def test_shards_of_a_command_that_was_at_work_meanwhile_do_not_stay(dataset_dir, tmp_path):
    stray = tmp_path / "out/coco-train.tfrecord-00000-of-00009"

    def run(*arguments):
        run_pipeline(*arguments)
        stray.write_bytes(b"of the other command")

    build_records(make_build(dataset_dir, tmp_path / "out"), run)
    assert not stray.exists()
