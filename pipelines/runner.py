"""Running the Beam job: on this machine or elsewhere, to its end or to one clear line."""

import contextlib
import os
import signal
import threading
from pathlib import Path

import apache_beam as beam
import psutil
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.people import BuildError
from pipelines.progress import ShardProgress
from pipelines.submission import only_submits, with_hints
from pipelines.transforms import WriteShards
from records.command import captured_stderr

_KEPT = "Finished shards are kept: the same command goes on"


def run_pipeline(job, beam_args, people):
    """Runs the Beam job with a progress bar. Without a runner in `beam_args` it runs on this machine.

    Args:
        job: the `ShardJob`.
        beam_args: arguments for Beam's `PipelineOptions`.
        people: how many people are planned.

    Raises:
        BuildError: if Beam refuses its options, or a worker fails or dies.
        KeyboardInterrupt: if the user asks for it.
    """
    # Worker processes start afresh and must find our packages too, wherever the command was called.
    root, path = str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")
    if root not in (path or "").split(os.pathsep):
        os.environ["PYTHONPATH"] = os.pathsep.join([root, path] if path else [root])
    local = not any(argument.startswith("--runner") for argument in beam_args)
    # Beam's plain DirectRunner would first try to download a Go binary, so the local runner is named.
    options = PipelineOptions(["--runner=FnApiRunner", *beam_args] if local else with_hints(beam_args))
    with (
        captured_stderr() if local else contextlib.nullcontext() as stderr,
        ShardProgress(job, people, stderr),
        _dead_workers_noticed(),
    ):
        try:
            pipeline = beam.Pipeline(options=options)
        except ValueError as error:  # a runner nobody knows, options that contradict each other
            raise BuildError(f"Apache Beam refuses its options {' '.join(beam_args)}: {error}") from error
        _ = pipeline | "Shards" >> beam.Create(range(job.count), reshuffle=False) | WriteShards(job)
        try:
            result = pipeline.run()
            if not only_submits(beam_args):
                result.wait_until_finish()
        except (RuntimeError, OSError) as error:  # Beam's text is the worker's whole stack trace
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            reason = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else "")
            if "KeyboardInterrupt" in str(error):
                raise KeyboardInterrupt from None
            raise BuildError(f"a worker failed: {reason[:500]}. {_KEPT}") from error


@contextlib.contextmanager
def _dead_workers_noticed():
    """Ends the run when a worker process of this machine dies; Beam would wait for it for ever.

    Beam's thread that waits for the process raises an exception that nobody sees.

    Raises:
        BuildError: instead of waiting.
    """
    died = []

    def notice(arguments):
        if arguments.thread is None or arguments.thread.name != "run_worker":
            usual(arguments)
        elif not died:
            died.append(arguments.exc_value)
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()  # the other workers, which would be waited for at exit
            # A real signal: it wakes the main thread, which waits for the dead worker.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    usual, threading.excepthook = threading.excepthook, notice
    try:
        yield
    except KeyboardInterrupt:
        if died:
            raise BuildError(
                f"a worker process ended before its work ({died[0]}), perhaps for want of memory. {_KEPT}"
            ) from None
        raise
    finally:
        threading.excepthook = usual
