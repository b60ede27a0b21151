"""Running the Beam job: on this host or elsewhere, to its end or to one clear line."""

import contextlib
import os
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import grpc
import psutil
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from hrpose.command import captured_stderr
from hrpose.storage import absolute
from pipelines.errors import BuildError
from pipelines.progress import ShardProgress
from pipelines.runner_options import LOCAL_RUNNER, check_dask, is_dask, only_submits, with_hints
from pipelines.shard_job import ShardJob
from pipelines.transforms import WriteShards
from pipelines.watchdog import DRIVER

_KEPT = "Finished shards are kept: the same command goes on"

#: What a part of a worker's error means.
_HINTS = {
    "No module named": "the project and what it requires have to be installed where the workers run and be "
    "on their path (python -m hrpose.worker names it), or sent there by --setup_file=./setup.py "
    "(docs/clusters.md)",
    "No such file or directory: ''": "a --setup_file needs its folder: ./setup.py",
    "FutureTimeoutError": "the job service does not answer (--job_server_timeout)",
    "/plan-": "the workers need dataset and records under the same paths as "
    "here, and only one command at a time may build a folder",
}


def run_pipeline(job: ShardJob, beam_args: Sequence[str], instances: int) -> None:
    """Runs the Beam job with a progress bar. Without a runner in `beam_args` it runs on this host.

    Args:
        beam_args: arguments for Beam's `PipelineOptions`, as `pipelines.runner_options.beam_arguments`
            returns them.
        instances: how many instances are planned.

    Raises:
        BuildError: if Beam refuses its options, its engine fails, or a worker fails or dies.
        KeyboardInterrupt: if the user asks for it.
    """
    # Worker processes start afresh and must find our packages too, wherever the command was called.
    root, path = str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")
    if root not in (path or "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([root, path] if path else [root])
    os.environ["PYTHONSAFEPATH"] = "1"  # `python -m` would find what the user has in the working directory
    os.environ[DRIVER] = str(os.getpid())
    job = replace(job, images=absolute(job.images), folder=absolute(job.folder))
    # Of two runners, Beam takes the last.
    options = PipelineOptions([f"--runner={LOCAL_RUNNER}", *with_hints(beam_args)])
    with captured_stderr() as stderr, ShardProgress(job, instances, stderr), _dead_workers_noticed():
        try:
            pipeline = beam.Pipeline(options=options)
        except ValueError as error:  # options that contradict each other
            raise BuildError(f"Apache Beam refuses its options: {error}") from error
        _ = pipeline | "Shards" >> beam.Create(range(job.count), reshuffle=False) | WriteShards(job)
        with _errors_in_one_line():
            _run(pipeline, options, wait=not only_submits(beam_args))


def _run(pipeline, options, wait):
    """Runs a pipeline, to its end if asked to wait; an interrupt ends it on its engine too."""
    dask = is_dask(options.view_as(StandardOptions).runner)
    if dask:
        check_dask(options)
    result = pipeline.run()
    try:
        if wait:
            result.wait_until_finish()
    except KeyboardInterrupt:
        with contextlib.suppress(Exception):  # the user leaves, whether the engine can do it or not
            result.cancel()
        raise
    finally:
        if dask:
            result.client.close()


@contextlib.contextmanager
def _errors_in_one_line():
    """Makes one clear line of what an engine raises: whole stack traces of its workers, of any type.

    Raises:
        BuildError: with the line.
    """
    try:
        yield
    except BuildError:
        raise
    except Exception as error:
        text = str(error)
        if "KeyboardInterrupt" in text:
            raise KeyboardInterrupt from None
        if not isinstance(error, RuntimeError | OSError):
            text = f"{type(error).__name__}: {text}"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
        if isinstance(error, grpc.RpcError) or "RpcError" in reason:
            details = re.search(r'details = "(.+)"', text)
            reason = details[1] if details else reason
        hints = "".join(f"; {hint}" for part, hint in _HINTS.items() if part in reason)
        raise BuildError(f"the job failed: {reason[:500].rstrip('.:;')}{hints}. {_KEPT}") from error


#: Seconds after which the main thread is asked once more to end.
_ASK_AGAIN = 5


@contextlib.contextmanager
def _dead_workers_noticed() -> Iterator[None]:
    """Ends the run when a worker process of this host dies; Beam would wait for it for ever.

    Beam's thread that waits for the process raises an exception that nobody sees.

    Raises:
        BuildError: instead of waiting.
    """
    died: list[BaseException | None] = []
    over, usual, main = threading.Event(), threading.excepthook, threading.main_thread().ident or 0

    def notice(arguments: threading.ExceptHookArgs) -> None:
        if arguments.thread is None or arguments.thread.name != "run_worker":
            usual(arguments)
        elif not died:
            died.append(arguments.exc_value)
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()  # the other workers, which would be waited for at exit
            # A real signal: it wakes the main thread, which waits for the dead worker. Where the interrupt
            # is raised in a callback that drops exceptions, it takes another.
            while not over.is_set():
                signal.pthread_kill(main, signal.SIGINT)
                over.wait(_ASK_AGAIN)

    threading.excepthook = notice
    try:
        yield
    except KeyboardInterrupt:
        if died:
            raise BuildError(
                f"a worker process ended before its work ({died[0]}), perhaps for want of memory. {_KEPT}"
            ) from None
        raise
    finally:
        over.set()
        threading.excepthook = usual
