"""Killed in the middle, on every engine: a second run ends with the same bytes and leaves nothing behind."""

import os
import signal

import pytest

from pipelines.cli import command
from tests.helpers.engines import dask_cluster, job_service, wait_for, worker_pool
from tests.helpers.large_builds import (
    IMAGES,
    arguments,
    build_unbroken,
    finished,
    is_complete,
    kill_after,
    start,
    wait_for_shards,
    write_dataset,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("large"))


@pytest.fixture(scope="module")
def unbroken(dataset, tmp_path_factory):
    return build_unbroken(dataset, tmp_path_factory.mktemp("unbroken"))


@pytest.fixture(params=["Dask", "EXTERNAL", "LOOPBACK"])
def engine(request, tmp_path_factory):
    """What the command gets after its flags."""
    if request.param == "Dask":
        pytest.importorskip("distributed")
        with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
            yield cluster.arguments
        return
    folder = tmp_path_factory.mktemp("portable")
    with job_service(folder) as service, worker_pool(folder) as pool:
        beam = ["--", "--runner=PortableRunner", f"--job_endpoint={service}"]
        if request.param == "EXTERNAL":
            yield [*beam, "--environment_type=EXTERNAL", f"--environment_config={pool}"]
        else:
            yield [*beam, "--environment_type=LOOPBACK"]


def test_after_the_submitting_process_was_killed_the_same_command_completes_the_build(
    engine, dataset, unbroken, tmp_path
):
    """At once, while workers that have lost their driver may still be at the same shards."""
    process = start(dataset, tmp_path, *engine)
    assert kill_after(process, tmp_path, IMAGES // 10) == -signal.SIGKILL
    kept = finished(tmp_path)
    assert IMAGES // 10 <= len(kept) < IMAGES
    assert not (tmp_path / "train/manifest.json").exists()
    assert command([*arguments(dataset, tmp_path), *engine]) == 0
    wait_for(lambda: is_complete(tmp_path / "train", unbroken), "incomplete, or leftovers", seconds=10)
    assert kept.items() <= finished(tmp_path).items()  # nothing is made twice


def test_a_build_survives_the_death_of_a_dask_worker(dataset, unbroken, tmp_path):
    pytest.importorskip("distributed")
    with dask_cluster(tmp_path / "cluster") as cluster:
        process = start(dataset, tmp_path, *cluster.arguments)
        try:
            wait_for_shards(process, tmp_path, IMAGES // 10)
            cluster.workers[0].kill()
            assert len(finished(tmp_path)) < IMAGES
            assert process.wait(timeout=100) == 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert is_complete(tmp_path / "train", unbroken)
