"""The record job on workers that have this project only from the archive the job brings along."""

import contextlib
import importlib.metadata
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time
import venv
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.cli import command
from tests.helpers.builders import make_dataset, shard_bytes
from tests.helpers.shared import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

#: What builds and installs an archive, besides what the archive requires.
BUILD_TOOLS = ("pip", "setuptools", "cython")
PACKAGES = ("records", "pipelines", "model", "nms", "evaluate", "train")
FLAGS = ("--split=train", "--people_per_shard=5")


def requirements():
    """The names in requirements-worker.txt."""
    lines = (ROOT / "requirements-worker.txt").read_text().splitlines()
    return [re.match(r"[\w-]+", line)[0] for line in lines if line and not line.startswith("#")]


def with_all_they_need(names):
    """The distributions of these names and those they require, extras left out."""
    found, open_names = {}, list(names)
    while open_names:
        name = open_names.pop().lower().replace("_", "-")
        if name not in found:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # for another system
                found[name] = importlib.metadata.distribution(name)
                needed = found[name].requires or []
                open_names += [re.match(r"[\w.-]+", line)[0] for line in needed if "extra ==" not in line]
    return found.values()


def make_environment(folder):
    """A virtual environment with what a worker needs, but this project; returns its Python.

    Links to the packages of this environment stand for installing them.
    """
    venv.create(folder, symlinks=True)
    (links := folder / "links").mkdir()
    for distribution in with_all_they_need([*requirements(), *BUILD_TOOLS]):
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (links / name).exists():
                (links / name).symlink_to(distribution.locate_file(name))
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "links.pth").write_text(str(links))
    return folder / "bin/python"


def surroundings():
    """The environment's variables less the path to our packages, which builds in this process set."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def runs(python, folder, code):
    """Lets an environment's Python run some code, as far from the checkout as a worker is."""
    return subprocess.run(
        [python, "-c", code], cwd=folder, env=surroundings(), capture_output=True, text=True, timeout=60
    )


@contextlib.contextmanager
def running(folder, *arguments):
    """A service of this environment's Python in a process group of its own, which ends with the block."""
    with (folder / f"{arguments[0]}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder,
            env=surroundings(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def wait_for(condition, process):
    end = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "a service ended at once"
        assert time.monotonic() < end, "a service did not start"
        time.sleep(0.05)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def cluster(folder):
    """Beam's job service and a pool of workers that boot in an environment of their own.

    Yields:
        python: that environment's Python.
        options: of Beam, that send a job there.
    """
    python = make_environment(folder / "environment")
    boot, port = folder / "boot", free_port()
    boot.write_text(
        f'#!/bin/sh\nexec {python} -P {ROOT}/tests/worker_boot.py --semi_persist_dir={folder} "$@"'
        f" >{folder}/boot.log 2>&1\n"
    )
    boot.chmod(0o755)
    service = "apache_beam.runners.portability.local_job_service_main"
    pool = "apache_beam.runners.worker.worker_pool_main"
    port_file = folder / "port"
    with (
        running(folder, service, f"--port_file={port_file}") as service_process,
        running(folder, pool, f"--service_port={port}", f"--container_executable={boot}") as pool_process,
    ):
        wait_for(port_file.exists, service_process)
        wait_for(lambda: answers(port), pool_process)
        yield SimpleNamespace(
            python=python,
            options=(
                "--runner=PortableRunner",
                f"--job_endpoint=localhost:{port_file.read_text()}",
                "--environment_type=EXTERNAL",
                f"--environment_config=localhost:{port}",
            ),
        )


def build(folder, dataset, *options):
    """Runs the command in a process of its own, as a user does from the repository's root."""
    return subprocess.run(
        [
            sys.executable,
            "pipelines/build_records.py",
            f"--dataset_dir={dataset}",
            f"--records_dir={folder}/records",
            *FLAGS,
            "--",
            *options,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
    )


def uncommitted():
    """What git has to say of the checkout; nothing where there is none."""
    git = ["git", "status", "--porcelain"]
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(git, cwd=ROOT, capture_output=True, text=True).stdout
    return ""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset")
    make_dataset(folder, images=6)
    return folder


@pytest.fixture(scope="module")
def staged(dataset, tmp_path_factory):
    """What is there after a build on workers without the project, with `--setup_file`."""
    folder, before = tmp_path_factory.mktemp("staged"), uncommitted()
    with cluster(folder) as there:
        at_first = [
            name
            for name in (*PACKAGES, "tensorflow")
            if runs(there.python, folder, f"import {name}").returncode == 0
        ]
        result = build(folder, dataset, *there.options, "--setup_file=./setup.py")
    assert result.returncode == 0, result.stderr + (folder / "boot.log").read_text()
    left = (before, uncommitted())
    return SimpleNamespace(folder=folder, python=there.python, at_first=at_first, left=left)


def test_workers_install_the_archive_and_write_the_same_shards(staged, dataset, tmp_path):
    assert staged.at_first == []
    assert command([f"--dataset_dir={dataset}", f"--records_dir={tmp_path}", *FLAGS]) == 0
    here = shard_bytes(tmp_path / "train")
    assert len(here) > 1
    assert shard_bytes(staged.folder / "records/train") == here


def test_the_extension_is_compiled_in_the_workers_environment(staged):
    code = "import nms; print(nms._kernels.__file__, nms.box_nms([[0, 0, 1, 1]], [1.0], 0.5))"
    path, kept = runs(staged.python, staged.folder, code).stdout.split()
    assert Path(path).is_relative_to(staged.folder / "environment")
    assert kept == "[0]"


def test_the_archive_holds_the_sources_of_all_packages_and_nothing_made_here(staged):
    with tarfile.open(staged.folder / "staged/workflow.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames() if not name.endswith("/")}
    sources = {path for package in PACKAGES for path in (ROOT / package).rglob("*.*")}
    wanted = {str(path.relative_to(ROOT)) for path in sources if path.suffix in (".py", ".pyx", ".cfg")}
    wanted |= {path.name for path in ROOT.glob("requirements*.txt")} | {"README.md", "LICENSE", "setup.py"}
    assert wanted <= names
    rooms = {name.split("/")[0] for name in names if "/" in name}
    assert rooms <= {*PACKAGES, "docs", "docker", "hrpose.egg-info"}
    assert not [name for name in names if name.endswith((".so", ".c", ".pyc", ".tfrecord"))]


def test_the_checkout_is_as_it_was(staged):
    before, after = staged.left
    assert after == before


def test_without_the_archive_the_build_ends_in_one_line(dataset, tmp_path):
    with cluster(tmp_path) as there:
        result = build(tmp_path, dataset, *there.options)
    assert result.returncode == 1
    assert "No module named 'pipelines'" in result.stderr.strip().splitlines()[-1]


def test_what_workers_need_is_a_part_of_what_everybody_installs():
    everything = (ROOT / "requirements.txt").read_text().splitlines()
    lines = (ROOT / "requirements-worker.txt").read_text().splitlines()
    assert {line for line in lines if not line.startswith("#")} <= set(everything)
