"""A build that takes a while, so that it can be killed in the middle: one shard per large image."""

import os
import signal
import subprocess
import sys
import time

import numpy as np

from pipelines.cli import command
from records.manifest import read_manifest
from tests.helpers.builders import annotations, image, instance, shard_bytes, write_split
from tests.helpers.shared import ROOT

IMAGES = 40


def write_dataset(folder):
    """Large images with two instances each, all of whom can be built; returns the folder."""
    rng = np.random.default_rng(5)
    instances = [
        instance(10 * image_id + n, image_id, [*rng.uniform(0, 500, 2).round(1).tolist(), 400, 600])
        for image_id in range(1, IMAGES + 1)
        for n in (0, 1)
    ]
    write_split(folder, "train", annotations([image(n + 1, 1400, 1200) for n in range(IMAGES)], instances))
    return folder


def arguments(dataset, out):
    """The command's flags for one shard per image, each of which takes a while."""
    flags = ["--split=train", "--instances_per_shard=2", "--input_size=192x256", "--max_crop_scale=10"]
    return [f"--dataset_dir={dataset}", f"--records_dir={out}", *flags]


def build_unbroken(dataset, out):
    """The shards of one process that nobody kills: {file name: content}."""
    assert command(arguments(dataset, out)) == 0
    assert read_manifest(out / "train").records == 2 * IMAGES
    shards = shard_bytes(out / "train")
    assert len(shards) == IMAGES
    return shards


def start(dataset, out, *more):
    """The command as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "pipelines/build_records.py"), *arguments(dataset, out), *more],
        cwd=out,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def finished(out):
    """{name: time of the last change} of the shards that stand under their final names."""
    found = (out / "train").glob("*.tfrecord-*")
    return {path.name: path.stat().st_mtime_ns for path in found if path.suffix != ".partial"}


def wait_for_shards(process, out, count):
    """Waits until so many shards are there, or the process has ended."""
    end = time.monotonic() + 120
    while process.poll() is None and len(finished(out)) < count and time.monotonic() < end:
        time.sleep(0.002)


def kill_after(process, out, shards, delay=0):
    """Kills a build and all its processes a moment after so many shards are there; returns the exit code."""
    try:
        wait_for_shards(process, out, shards)
        time.sleep(delay)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def is_complete(folder, shards):
    """Whether a folder holds these shards and what belongs to them, and nothing else."""
    done = {"manifest.json", "features.json", "dataset_info.json"}
    return {path.name for path in folder.iterdir()} == {*shards, *done} and shard_bytes(folder) == shards
