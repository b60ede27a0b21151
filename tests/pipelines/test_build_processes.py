"""The command with several processes: the same bytes however many, and however often it is killed."""

import os
import random
import signal
import subprocess
import sys

import psutil
import pytest

from pipelines.cli import command
from pipelines.watchdog import DRIVER
from records.manifest import read_manifest
from tests.helpers.builders import shard_bytes
from tests.helpers.commands import succeeds
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
from tests.helpers.shared import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("large"))


@pytest.fixture(scope="module")
def unbroken(dataset, tmp_path_factory):
    return build_unbroken(dataset, tmp_path_factory.mktemp("unbroken"))


def test_a_build_that_is_killed_again_and_again_ends_with_the_same_bytes(dataset, unbroken, tmp_path):
    moments, flags = random.Random(7), [*arguments(dataset, tmp_path), "--workers=2"]
    kept, interrupted = {}, 0
    for share in (0.0, 0.15, 0.5):
        process = start(dataset, tmp_path, "--workers=2")
        target = int(IMAGES * share) or len(kept) + 1
        exit_code = kill_after(process, tmp_path, target, moments.uniform(0, 0.05))
        done = finished(tmp_path)
        assert kept.items() <= done.items()  # nothing is made twice
        for name in done:
            assert (tmp_path / "train" / name).read_bytes() == unbroken[name]
        interrupted += exit_code == -signal.SIGKILL and len(done) < IMAGES
        assert (tmp_path / "train/manifest.json").exists() == (exit_code == 0)
        kept = done
    assert interrupted >= 2
    assert 0 < len(kept) < IMAGES
    result = succeeds(tmp_path, "pipelines/build_records.py", *flags)
    assert "rejected            0" in result.stdout
    assert kept.items() <= finished(tmp_path).items()
    assert is_complete(tmp_path / "train", unbroken)
    assert read_manifest(tmp_path / "train").records == 2 * IMAGES


def test_four_processes_give_the_bytes_of_one(dataset, unbroken, tmp_path):
    succeeds(tmp_path, "pipelines/build_records.py", *arguments(dataset, tmp_path), "--workers=4")
    assert shard_bytes(tmp_path / "train") == unbroken


def started(tmp_path, dataset, *flags):
    """The command in a process group of its own, once two shards are there."""
    command = [
        sys.executable,
        str(ROOT / "pipelines/build_records.py"),
        *arguments(dataset, tmp_path),
        *flags,
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for_shards(process, tmp_path, 2)
    return process


def ended(process):
    """(exit code, last line on standard error) of a process that has to end by itself."""
    try:
        _, err = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert "Traceback" not in err
    return process.returncode, err.strip().splitlines()[-1]


def test_a_worker_process_that_dies_ends_the_build_in_one_line(dataset, unbroken, tmp_path):
    process = started(tmp_path, dataset, "--workers=2")
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if any("sdk_worker_main" in word for word in child.cmdline()) and child.name() != "sh"
    ]
    assert len(workers) == 2
    assert {worker.environ()[DRIVER] for worker in workers} == {str(process.pid)}
    workers[0].kill()
    code, line = ended(process)
    assert code == 1
    assert "a worker process ended before its work" in line
    assert command([*arguments(dataset, tmp_path), "--workers=1"]) == 0
    assert shard_bytes(tmp_path / "train") == unbroken


def test_an_interrupt_ends_a_build_of_one_process_in_one_line(dataset, tmp_path):
    process = started(tmp_path, dataset)
    os.kill(process.pid, signal.SIGINT)
    assert ended(process) == (130, "python pipelines/build_records.py: interrupted")
