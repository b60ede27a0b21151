"""Clusters on this host: a Dask scheduler with two workers, Beam's job service with a worker pool."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.helpers.shared import ROOT


def wait_for(condition, what, seconds=60):
    """Waits until a function returns something true, and returns that."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, what
        time.sleep(0.01)
    return value


def end(process):
    """Ends a process that a test started, and what that has started."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


@contextlib.contextmanager
def started(folder, name, *arguments, path=ROOT, python=sys.executable):
    """A Python process with `path` on its path, that works in a folder and writes NAME.log there."""
    folder.mkdir(exist_ok=True)
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # the pool's `python`
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [python, *map(str, arguments)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(path), "PATH": programs},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            end(process)


@dataclass(frozen=True)
class Dask:
    """A scheduler's address and the processes of its workers."""

    address: str
    workers: list

    @property
    def arguments(self):
        return ["--", "--runner=DaskRunner", f"--dask_client_address={self.address}"]


@contextlib.contextmanager
def dask_cluster(folder, *worker_options, scheduler_options=(), **process):
    """A `Dask` of two workers with one thread each, on free ports; `process` is for `started`."""
    from distributed import Client

    file = folder / "scheduler.json"
    quiet = ("--no-dashboard", "--scheduler-file", file)
    with contextlib.ExitStack() as stack:
        scheduler = ("-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", 0, "--no-jupyter", *quiet)
        stack.enter_context(started(folder, "scheduler", *scheduler, *scheduler_options, **process))
        worker = ("-m", "dask", "worker", "--nthreads", 1, "--no-nanny", "--local-directory", folder, *quiet)
        wait_for(file.exists, "no scheduler")
        workers = [
            stack.enter_context(started(folder, f"worker-{n}", *worker, *worker_options, **process))
            for n in (1, 2)
        ]
        address = json.loads(file.read_text())["address"]
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield Dask(address, workers)


@contextlib.contextmanager
def job_service(folder):
    """The address of a Beam job service; jobs run there, in an environment that each has to name."""
    file = folder / "port"
    module = "apache_beam.runners.portability.local_job_service_main"
    with started(folder, "service", "-m", module, "--port_file", file, "--staging_dir", folder / "staged"):
        wait_for(file.exists, "no job service")
        yield f"localhost:{file.read_text()}"


@contextlib.contextmanager
def worker_pool(folder, path=ROOT):
    """The address of a pool that starts Beam's workers as processes when a job service asks for them."""
    port = free_port()
    module = "apache_beam.runners.worker.worker_pool_main"
    with started(folder, "pool", "-m", module, f"--service_port={port}", path=path):
        wait_for(lambda: is_open(port), "no worker pool")
        yield f"localhost:{port}"


def free_port():
    """A port of this host that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return taken.getsockname()[1]


def is_open(port):
    """Whether somebody listens at a port of this host."""
    try:
        socket.create_connection(("localhost", port), timeout=5).close()
    except OSError:
        return False
    return True
