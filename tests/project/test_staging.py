"""The record job on workers that have this project only from the archive the job brings along.

Their environment has packages of others called `evaluate` and `records`, with modules named as ours are.
"""

import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

import hrpose
from pipelines.cli import command
from pipelines.runner_options import WORKER_MODULE
from tests.helpers.builders import make_dataset, shard_bytes
from tests.helpers.engines import dask_cluster
from tests.helpers.shared import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

#: What builds and installs an archive, besides what the archive requires.
BUILD_TOOLS = ("pip", "setuptools", "cython")
FOR_WORKERS = ("records", "pipelines", "model", "nms", "evaluate")
PACKAGES = ("hrpose", *FOR_WORKERS, "train")
#: Of which the workers' environment has packages of others'.
THEIRS = ("evaluate", "records")
FLAGS = ("--split=train", "--instances_per_shard=5")


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
    for distribution in with_all_they_need([*requirements(), *BUILD_TOOLS, "dask", "distributed"]):
        for name in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (links / name).exists():
                (links / name).symlink_to(distribution.locate_file(name))
    (site_packages(folder / "bin/python") / "links.pth").write_text(str(links))
    return folder / "bin/python"


def site_packages(python):
    """The folder into which pip installs."""
    (found,) = python.parents[1].glob("lib/python*/site-packages")
    return found


def modules(folder, *names):
    """{path below a folder: content} of the sources of some packages there."""
    paths = [path for name in names for path in sorted((folder / name).rglob("*.py"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def make_wheel_of_theirs(folder, name):
    """A package of somebody else's that has a module wherever ours of that name has one."""
    about = f"{name}-1.0.dist-info"
    files = {path: f"WHOSE = 'theirs: {path}'\n" for path in modules(ROOT, name)}
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    files[f"{about}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{about}/RECORD"] = "".join(f"{path},,\n" for path in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return wheel.filename


def install(python, *wheels):
    """Lets an environment's pip install files, in place of what is there by their names."""
    options = ("--no-index", "--no-deps", "--force-reinstall", "--no-compile", "--quiet")
    subprocess.run([python, "-m", "pip", "install", *options, *wheels], env=surroundings(), check=True)


def surroundings():
    """The environment's variables less the path to our packages, which builds in this process set."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def runs(python, folder, *arguments, **variables):
    """Calls an environment's Python as far from the checkout as a worker is."""
    return subprocess.run(
        [python, *arguments],
        cwd=folder,
        env=surroundings() | variables,
        capture_output=True,
        text=True,
        timeout=60,
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
        f'#!/bin/sh\nexec {python} -P {ROOT}/tests/helpers/worker_boot.py --semi_persist_dir={folder} "$@"'
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
            if runs(there.python, folder, "-c", f"import {name}").returncode == 0
        ]
        wheels = [make_wheel_of_theirs(folder, name) for name in THEIRS]
        install(there.python, *wheels)
        result = build(folder, dataset, *there.options, "--setup_file=./setup.py")
    assert result.returncode == 0, result.stderr + (folder / "boot.log").read_text()
    left = (before, uncommitted())
    return SimpleNamespace(
        folder=folder, python=there.python, site=site_packages(there.python), at_first=at_first, left=left
    )


def test_workers_install_the_archive_and_write_the_same_shards(staged, dataset, tmp_path):
    assert staged.at_first == []
    assert command([f"--dataset_dir={dataset}", f"--records_dir={tmp_path}", *FLAGS]) == 0
    here = shard_bytes(tmp_path / "train")
    assert len(here) > 1
    assert shard_bytes(staged.folder / "records/train") == here


def test_the_extension_is_compiled_in_the_workers_environment(staged):
    code = """
import hrpose.worker
import hrpose, nms
print(nms._kernels.__file__, hrpose.box_nms([[0, 0, 1, 1]], [1.0], 0.5))
"""
    path, kept = runs(staged.python, staged.folder, "-c", code).stdout.split()
    assert Path(path).parent == staged.site / "hrpose/_packages/nms"
    assert kept == "[0]"


def test_one_name_is_installed_with_every_module_that_workers_may_need(staged):
    (distribution,) = importlib.metadata.distributions(name="hrpose", path=[str(staged.site)])
    assert distribution.version == hrpose.__version__
    files = [file for file in distribution.files if file.suffix != ".pyc"]
    assert {file.parts[0] for file in files} == {"hrpose", f"hrpose-{hrpose.__version__}.dist-info"}
    ours = modules(ROOT, "hrpose")
    ours |= {f"hrpose/_packages/{path}": content for path, content in modules(ROOT, *FOR_WORKERS).items()}
    assert modules(staged.site, "hrpose") == ours
    others = {file.name.partition(".")[0] for file in files if file.parts[0] == "hrpose"}
    assert others - {Path(path).stem for path in ours} == {"_kernels"}


USE_ALL = """
import evaluate, records, evaluate.metrics.coco, hrpose
print(evaluate.WHOSE, records.WHOSE, evaluate.metrics.coco.WHOSE, sep="; ")
for name in ("evaluate_coco", "box_nms"):
    try:
        getattr(hrpose, name)
    except ImportError as error:
        print(error)
"""


def test_packages_of_the_same_names_stay_their_owners_whoever_is_installed_first(staged, tmp_path):
    """Ours was installed upon theirs; now theirs is installed upon ours."""
    ours = modules(staged.site, "hrpose")
    theirs = {path: f"WHOSE = 'theirs: {path}'\n".encode() for path in modules(ROOT, *THEIRS)}
    assert modules(staged.site, *THEIRS) == theirs
    install(staged.python, *(make_wheel_of_theirs(tmp_path, name) for name in THEIRS))
    assert modules(staged.site, *THEIRS) == theirs
    assert modules(staged.site, "hrpose") == ours
    found, in_the_way, apart = runs(staged.python, tmp_path, "-c", USE_ALL).stdout.splitlines()
    assert found == (
        "theirs: evaluate/__init__.py; theirs: records/__init__.py; theirs: evaluate/metrics/coco.py"
    )
    assert f"{staged.site}/evaluate/__init__.py is in its way; use the API from a checkout" in in_the_way
    assert "pip installs it for workers only (hrpose.worker); use the API from a checkout" in apart


def test_any_process_is_a_worker_with_the_folder_that_the_module_names_on_its_path(staged, tmp_path):
    folder = runs(staged.python, tmp_path, "-m", "hrpose.worker").stdout.strip()
    code = "import pipelines.transforms, records; print(records.__file__)"
    run = runs(staged.python, tmp_path, "-c", code, PYTHONPATH=folder)
    assert run.stdout == f"{staged.site}/hrpose/_packages/records/__init__.py\n", run.stderr


def test_dask_s_workers_find_what_is_installed_there(staged, dataset, tmp_path):
    pytest.importorskip("distributed")
    preload = ("--preload", WORKER_MODULE)
    with dask_cluster(
        tmp_path, *preload, scheduler_options=preload, python=staged.python, path=""
    ) as cluster:
        result = build(tmp_path, dataset, *cluster.arguments[1:])
    assert result.returncode == 0, result.stderr
    assert shard_bytes(tmp_path / "records/train") == shard_bytes(staged.folder / "records/train")


def test_a_wheel_holds_nothing_of_earlier_builds_in_the_checkout(tmp_path):
    """Such as version 0.1.0's packages, at the top."""
    for package in (
        *PACKAGES,
        f"build/lib.{sysconfig.get_platform()}-{sys.implementation.cache_tag}/records",
    ):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "nms/_kernels.pyx").touch()
    for path in (ROOT / "setup.py", ROOT / "pyproject.toml", *ROOT.glob("requirements*.txt")):
        shutil.copy(path, tmp_path)
    (tmp_path / "README.md").touch()
    wheel = [sys.executable, "setup.py", "--quiet", "bdist_wheel"]
    subprocess.run(wheel, cwd=tmp_path, env=surroundings(), check=True, timeout=60)
    (path,) = (tmp_path / "dist").glob("hrpose-1.2.3-*.whl")
    with zipfile.ZipFile(path) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"hrpose", "hrpose-1.2.3.dist-info"}


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
