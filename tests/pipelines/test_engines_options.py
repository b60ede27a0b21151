"""What is said after --: Beam's options and the engine they name."""

import sys

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from hrpose.command import UsageError
from pipelines.cli import command
from pipelines.errors import BuildError
from pipelines.runner_options import beam_arguments, check_listening
from tests.helpers.engines import free_port

pytest.importorskip("dask")

DASK = "--runner=apache_beam.runners.dask.dask_runner.DaskRunner"
PLUGIN = "--beam_plugins=hrpose.worker"


@pytest.mark.parametrize(
    ("rest", "workers", "added"),
    [
        ([], 1, ["--runner=FnApiRunner"]),
        ([], 3, ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=3"]),
        (["--runner=DirectRunner"], 1, ["--runner=FnApiRunner"]),
        (["--runner", "direct"], 1, ["--runner=FnApiRunner"]),
        (["--runner=SwitchingDirectRunner"], 1, ["--runner=FnApiRunner"]),
        (["--runner=dask"], 1, [DASK, "--dask_partition_size=1"]),
        (["--runner=DaskRunner", "--dask_npartitions=7"], 1, [DASK]),
        (["--runner=DaskRunner", "--dask_partition_size", "2"], 1, [DASK]),
        (
            ["--runner=PortableRunner", "--job_endpoint=a:1"],
            1,
            ["--runner=PortableRunner", PLUGIN, "--job_server_timeout=60"],
        ),
        (
            ["--runner=PortableRunner", "--job_endpoint=a:1", "--environment_type=LOOPBACK"],
            1,
            ["--runner=PortableRunner", "--job_server_timeout=60"],
        ),
        (
            ["--runner=FlinkRunner", "--job_endpoint=a:1", "--job_server_timeout=9"],
            1,
            ["--runner=FlinkRunner", PLUGIN],
        ),
        (["--runner=SparkRunner"], 1, ["--runner=SparkRunner", PLUGIN]),
        (["--runner=DataflowRunner", "--region=r"], 1, ["--runner=DataflowRunner", PLUGIN]),
    ],
)
def test_the_runner_is_named_for_beam_and_the_plugin_of_workers_elsewhere(rest, workers, added):
    assert beam_arguments(rest, workers) == (*rest, *added)


def test_a_plugin_of_the_user_s_own_is_kept_beside_ours():
    arguments = beam_arguments(["--runner=SparkRunner", "--beam_plugins=mine"], 1)
    assert PipelineOptions(arguments).view_as(SetupOptions).beam_plugins == ["mine", "hrpose.worker"]


@pytest.mark.parametrize(
    "rest",
    [
        ["--job_name", "mine", "--temp_location=gs://bucket/temp", "--project=p"],
        ["--runner=FnApiRunner", "--direct_running_mode=multi_processing", "--direct_num_workers=2"],
        ["--runner=DaskRunner", "--dask_client_address=tcp://a:8786", "--dask_connection_timeout=5"],
        ["--runner=PortableRunner", "--job_endpoint=a:8099", "--environment_type=EXTERNAL"],
        ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_config=a:50000"],
        ["--runner=FlinkRunner", "--flink_master=a:8081", "--parallelism=8", "--flink_version=1.20"],
        ["--runner=SparkRunner", "--spark_master_url=spark://a:7077", "--spark_version=3"],
        ["--runner=DataflowRunner", "--region=r", "--setup_file=./setup.py", "--worker_machine_type=m"],
        ["--runner=DataflowRunner", "--num_workers=4", "--experiments=e", "--sdk_container_image=i"],
    ],
)
def test_the_options_of_every_runner_are_known(rest, capsys):
    assert beam_arguments(rest, 1)[: len(rest)] == tuple(rest)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (["--color=red"], "has no option --color$"),
        (["--job_nam=x"], r"has no option --job_nam; is it --job_name\?"),
        (["--job_name=x", "stray"], "unexpected argument 'stray'"),
        (["stray"], "unexpected argument 'stray'"),
        (["--runner=DaskRunner", "--dask_client_adress=a"], "is it --dask_client_address"),
        (["--runner=DataflowRunner", "--regoin=r"], "is it --region"),
        (["--direct_num_workers=many"], "invalid int value: 'many'"),
        (["--runner"], "expected one argument"),
        (["--runner=Nope"], "--runner=Nope: Unexpected pipeline runner"),
        (["--runner=no.such.Runner"], "No module named 'no'"),
        (["--runner=pipelines.runner_options.Nothing"], "has no attribute 'Nothing'"),
        (["--direct_running_mode=multi_threading"], "has lost records"),
        (["--runner=FnApiRunner", "--direct_running_mode", "multi_threading"], "has lost records"),
        (["--direct_running=multi_threading"], "has no option --direct_running"),
        (["--direct_running", "multi_threading"], "has no option --direct_running"),
        (["--runner=PortableRunner"], "--job_endpoint"),
        (["--job_endpoint=a:1"], r"--job_endpoint does nothing here without --runner \(PortableRunner"),
        (["--dask_client_address=tcp://a:1"], r"without --runner \(DaskRunner"),
        (["--flink_master=a:1"], r"without --runner \(FlinkRunner"),
        (["--spark_master_url=local"], r"without --runner \(SparkRunner"),
        (["--environment_type=LOOPBACK"], r"without --runner \(PortableRunner"),
        (["--parallelism=4"], r"without --runner \(FlinkRunner"),
        (["--no_wait_until_finish"], r"without --runner \(DataflowRunner"),
        (["--runner=dask", "--no_wait_until_finish"], "all work ends with the command"),
        (["--runner=portablerunner"], "--job_endpoint"),
        (["--region=europe-west1"], r"without --runner \(DataflowRunner"),
    ],
)
def test_what_beam_would_leave_out_without_a_word_is_a_usage_error(rest, said):
    with pytest.raises(UsageError, match=said):
        beam_arguments(rest, 1)


@pytest.mark.parametrize(
    "rest",
    [
        ["--runner=DirectRunner"],
        ["--runner", "DataflowRunner"],
        ["--direct_num_workers=4"],
        ["--direct_running_mode=in_memory"],
    ],
)
def test_workers_say_all_there_is_to_say_about_this_worker(rest):
    with pytest.raises(UsageError, match="--workers"):
        beam_arguments(rest, 2)


def test_an_option_that_only_a_job_service_can_know_is_passed_on_with_a_warning(capsys):
    rest = ["--runner=FlinkRunner", "--checkpointing_interval=1000"]
    assert beam_arguments(rest, 1)[:2] == tuple(rest)
    err = capsys.readouterr().err
    assert err.startswith("warning: Apache Beam has no option --checkpointing_interval")
    assert err.count("\n") == 1


def test_a_runner_whose_packages_are_missing_says_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.bag", None)
    for name in [name for name in sys.modules if name.startswith("apache_beam.runners.dask")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(BuildError, match=r"pip install -r requirements-dask.txt -c constraints.txt"):
        beam_arguments(["--runner=DaskRunner"], 1)


@pytest.mark.parametrize(
    ("runner", "flag", "form"),
    [
        ("PortableRunner", "job_endpoint", "localhost:{}"),
        ("DaskRunner", "dask_client_address", "tcp://localhost:{}"),
        ("DaskRunner", "dask_client_address", "localhost:{}"),
    ],
)
def test_an_address_where_nothing_listens_is_refused_at_once(tmp_path, capsys, runner, flag, form):
    """Before anything is read: not even the dataset has to be there."""
    option = f"--{flag}={form.format(free_port())}"
    arguments = [f"--dataset_dir={tmp_path / 'nowhere'}", "--", f"--runner={runner}", option]
    assert command(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{option} cannot be reached: Connection refused; expected a" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("address", ["localhost", "localhost:many", "localhost:99999", ":1", "tcp://["])
def test_an_address_that_is_none_is_a_usage_error(address):
    arguments = beam_arguments(["--runner=PortableRunner", f"--job_endpoint={address}"], 1)
    with pytest.raises(UsageError, match="expected host:port of a Beam job service"):
        check_listening(arguments)


@pytest.mark.parametrize(
    "rest",
    [
        [],
        ["--runner=DaskRunner"],
        ["--runner=DaskRunner", "--dask_client_address=ucx://localhost:1"],
        ["--runner=PortableRunner", "--job_endpoint=embed"],
        ["--runner=PortableRunner", "--job_endpoint=unix:///nowhere"],
    ],
)
def test_what_has_no_address_on_a_network_of_ours_is_left_to_its_library(rest):
    check_listening(beam_arguments(rest, 1))
