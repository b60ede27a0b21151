"""Which engine runs the job: Beam's options, checked before anything is read or written.

Also what a job that is sent away asks of the hosts there, and whether the command sees its end.
"""

import difflib
import logging
import pkgutil
import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions
from apache_beam.runners import create_runner
from apache_beam.runners.portability.portable_runner import PortableRunner

from hrpose.command import UsageError
from hrpose.proxies import bypass_proxies, host_of
from pipelines.errors import BuildError

log = logging.getLogger(__name__)

#: One process on this host, or with ``--direct_running_mode=multi_processing`` several.
LOCAL_RUNNER = "FnApiRunner"

#: What workers that were started elsewhere import before they unpack their work.
WORKER_MODULE = "hrpose.worker"

#: Names that Beam takes otherwise. Its DirectRunner first tries to download a Go program (Prism), and without
#: one is the FnApiRunner; the DaskRunner is part of Beam, but not of its list of short names.
_RUNNERS = {
    "direct": LOCAL_RUNNER,
    "directrunner": LOCAL_RUNNER,
    "switchingdirectrunner": LOCAL_RUNNER,
    "apache_beam.runners.direct.direct_runner.directrunner": LOCAL_RUNNER,
    "portablerunner": "PortableRunner",
    "dask": "apache_beam.runners.dask.dask_runner.DaskRunner",
    "daskrunner": "apache_beam.runners.dask.dask_runner.DaskRunner",
}

#: How options begin that do nothing unless their runner is named.
_NEEDS = {
    "--dask_": "DaskRunner",
    "--flink_": "FlinkRunner",
    "--spark_": "SparkRunner",
    "--parallelism": "FlinkRunner",
    "--no_wait_until_finish": "DataflowRunner, PortableRunner, FlinkRunner or SparkRunner",
    "--job_endpoint": "PortableRunner, FlinkRunner or SparkRunner",
    "--environment_": "PortableRunner, FlinkRunner or SparkRunner",
    "--dataflow_": "DataflowRunner",
    "--template_location": "DataflowRunner",
    "--worker_machine_type": "DataflowRunner",
    "--num_workers": "DataflowRunner",
    "--max_num_workers": "DataflowRunner",
    "--region": "DataflowRunner",
}


#: For runners that look at resource hints. A worker computes on one core and holds one shard: 0.3 GB with
#: 1,024 instances, 0.9 GB with --crop_encoding=exact. Hints of the whole job, not of the writing step: a step
#: with hints of its own gets an environment of its own, and every host twice as many workers.
_HINTS = ("--resource_hints=min_ram=2GB", "--resource_hints=cpu_count=1")


def beam_arguments(rest: Sequence[str], workers: int) -> tuple[str, ...]:
    """The arguments for Beam's `PipelineOptions`.

    Args:
        rest: what the user wrote after ``--``.
        workers: number of processes on this host.

    Returns:
        A tuple of arguments that names a runner. Beam takes the last one of an option that is given twice.

    Raises:
        UsageError: for an option or a runner that Beam does not know, options that do nothing or contradict
            each other, and those that are known to lose records.
        BuildError: if the runner's own packages are not installed.
    """
    if rest and not rest[0].startswith("-"):
        raise UsageError(f"unexpected argument {rest[0]!r} after --: Apache Beam's options are --flags")
    named = _beam_parser().parse_known_args(rest)[0].runner
    if named and workers > 1:
        raise UsageError("--workers is for this host; a --runner has its own options for that")
    name = _RUNNERS.get((named or LOCAL_RUNNER).lower(), named or LOCAL_RUNNER)
    runner = _load(name)
    parser = _beam_parser()  # knows the options of the runner now, whose module is imported
    options, unknown = parser.parse_known_args(rest)
    if not named:
        _check_runner_not_forgotten(rest)
    if unknown:
        _judge_unknown(unknown, parser, isinstance(runner, PortableRunner))
    if options.direct_running_mode == "multi_threading":
        raise UsageError(
            "--direct_running_mode=multi_threading has lost records with Beam 2.77, without an error; "
            "--workers=N runs N processes"
        )
    ends_with_us = name == LOCAL_RUNNER or is_dask(name) or options.environment_type == "LOOPBACK"
    if options.no_wait_until_finish and ends_with_us:
        raise UsageError("--no_wait_until_finish: on this engine all work ends with the command")
    arguments = [*rest, f"--runner={name}"]
    if not ends_with_us:
        arguments.append(f"--beam_plugins={WORKER_MODULE}")  # Beam takes all of several
    if workers > 1:
        if any(argument.startswith(("--direct_num_workers", "--direct_running_mode")) for argument in rest):
            raise UsageError("--workers sets --direct_num_workers and --direct_running_mode: leave those out")
        arguments += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    if name == "PortableRunner" and not options.job_endpoint:
        raise UsageError("--runner=PortableRunner needs --job_endpoint=host:port of a Beam job service")
    services = (options.job_endpoint, options.artifact_endpoint, options.environment_config)
    bypass_proxies(host_of(address) for address in services if address)
    if options.job_endpoint and not any(argument.startswith("--job_server_timeout") for argument in rest):
        arguments.append("--job_server_timeout=60")  # Beam would wait for five minutes
    if is_dask(name) and not (options.npartitions or options.partition_size):
        # By default Dask would take 128 shards for one piece of work.
        arguments.append("--dask_partition_size=1")
    return tuple(arguments)


def is_dask(runner: str) -> bool:
    """Whether a runner's name in `beam_arguments` means Dask."""
    return runner == _RUNNERS["dask"]


def with_hints(beam_args: Sequence[str]) -> list[str]:
    """Arguments for Beam's `PipelineOptions` with the job's resource hints; the user's own ones win.

    Dataflow's delayed jobs (--flexrs_goal) get none, because they do not take any
    (https://cloud.google.com/dataflow/docs/guides/right-fitting).
    """
    if any(argument.startswith("--flexrs_goal") for argument in beam_args):
        return list(beam_args)
    return [*_HINTS, *beam_args]


def only_submits(beam_args: Sequence[str]) -> bool:
    """Whether the command hands the job over without seeing its end: as a template, or by the user's wish."""
    options = PipelineOptions(list(beam_args))
    template = options.view_as(GoogleCloudOptions).template_location
    return bool(template or options.view_as(StandardOptions).no_wait_until_finish)


def check_listening(arguments: Sequence[str]) -> None:
    """Finds out whether something listens where the job shall be sent: the runners would wait for minutes.

    Args:
        arguments: from `beam_arguments`.

    Raises:
        UsageError: for an address that is none.
        BuildError: if nothing listens there.
    """
    options = _beam_parser().parse_known_args(arguments)[0]
    if options.job_endpoint and options.job_endpoint != "embed":
        _connect("job_endpoint", options.job_endpoint, "a Beam job service")
    if is_dask(options.runner) and options.address:
        _connect("dask_client_address", options.address, "a Dask scheduler")


def check_dask(options: PipelineOptions) -> None:
    """Finds out whether the hosts of a Dask cluster have this project; one without would wait for ever.

    Args:
        options: Beam's `PipelineOptions`.

    Raises:
        BuildError: naming a host and what it lacks.
        OSError: if the scheduler does not answer.
    """
    from apache_beam.runners.dask.dask_runner import DaskOptions
    from distributed import Client

    settings = options.view_as(DaskOptions).get_all_options(drop_default=True, current_only=True)
    settings = {name: settings[name] for name in ("address", "scheduler_file", "timeout") if name in settings}
    if not {"address", "scheduler_file"} & settings.keys():
        return  # Dask starts processes of its own on this host
    with Client(**settings) as client:
        if not client.scheduler_info(n_workers=0)["workers"]:
            log.info("the Dask scheduler has no workers yet; the job waits for the first")
        # A function of the standard library, because ours cannot be sent to a host that lacks them.
        for name in ("pipelines.shard_job:WORK_FOLDER", "pipelines.crops:BUILD_VERSION"):
            try:
                found = {"the scheduler": client.run_on_scheduler(pkgutil.resolve_name, name)}
            except (ImportError, AttributeError) as error:
                found = {"the scheduler": error}
            found |= client.run(pkgutil.resolve_name, name, on_error="return")
            for host, value in found.items():
                if value != pkgutil.resolve_name(name):
                    raise BuildError(
                        f"{host} of Dask cannot run the job ({name} there: {value}): the project and what "
                        "it requires have to be installed on the scheduler and all workers, as they are here "
                        f"(--preload {WORKER_MODULE} with each)"
                    )


def _connect(flag, address, what):
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        if parts.scheme not in ("tcp", "tls"):  # only its own library knows how to ask
            return
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise UsageError(f"--{flag}={address}: expected host:port of {what}")
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        reason = error.strerror or error
        raise BuildError(f"--{flag}={address} cannot be reached: {reason}; expected {what} there") from error


def _beam_parser():
    """Beam's own parser with the options of all runners that are imported. It raises instead of leaving."""
    parsers = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)

    def refuse(message):
        raise UsageError(f"Apache Beam refuses its options: {message}")

    parsers[0].error = refuse
    return parsers[0]


def _load(name):
    """A runner by its name."""
    try:
        return create_runner(name)
    except ValueError as error:
        raise UsageError(f"--runner={name}: {error}") from error
    except (ImportError, AttributeError) as error:
        extra = "dask" if is_dask(name) else "cloud" if "dataflow" in name.lower() else None
        if extra is None:
            raise UsageError(f"--runner={name} cannot be imported: {error}") from error
        raise BuildError(
            f"--runner={name} cannot be imported: {error}; "
            f"pip install -r requirements-{extra}.txt -c constraints.txt"
        ) from error


def _check_runner_not_forgotten(rest):
    for argument in rest:
        for start, runner in _NEEDS.items():
            if argument.startswith(start):
                raise UsageError(f"{argument.split('=')[0]} does nothing here without --runner ({runner})")


def _judge_unknown(unknown, parser, portable):
    """Refuses options that Beam would leave out without a word; a job service may have some of its own."""
    flags = [argument.split("=")[0] for argument in unknown if argument.startswith("-")]
    if not flags:
        raise UsageError(f"unexpected argument {unknown[0]!r} after --: Apache Beam's options are --flags")
    known = re.findall(r"--\w+", parser.format_usage())
    close = difflib.get_close_matches(flags[0], known, 1)
    text = f"Apache Beam has no option {', '.join(flags)}" + (f"; is it {close[0]}?" if close else "")
    if not portable:
        raise UsageError(text)
    log.warning("%s: it counts only if the job service knows it", text)
