"""One build on every engine: the same bytes, and nothing that an engine loses goes unnoticed."""

import socket
import subprocess
import sys

import pytest

from pipelines.cli import command
from pipelines.transforms import WriteShard
from records.manifest import read_manifest
from tests.helpers.builders import shard_bytes
from tests.helpers.engines import dask_cluster, job_service, worker_pool
from tests.helpers.large_builds import is_complete
from tests.helpers.shared import ROOT

pytestmark = pytest.mark.timeout(100)

SHARDS = 12


def flags(dataset_dir, out):
    return [
        f"--dataset_dir={dataset_dir}",
        f"--records_dir={out}",
        "--split=train",
        "--instances_per_shard=2",
        "--input_size=96x128",
    ]


@pytest.fixture(scope="module")
def in_memory(dataset_dir, tmp_path_factory):
    """The shards that one process makes."""
    out = tmp_path_factory.mktemp("in-memory")
    assert command(flags(dataset_dir, out)) == 0
    shards = shard_bytes(out / "train")
    assert len(shards) == SHARDS
    return shards


@pytest.fixture(scope="module")
def dask(tmp_path_factory):
    pytest.importorskip("distributed")
    with dask_cluster(tmp_path_factory.mktemp("dask")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with job_service(tmp_path_factory.mktemp("service")) as address:
        yield address


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    with worker_pool(tmp_path_factory.mktemp("pool")) as address:
        yield address


@pytest.mark.parametrize(
    "arguments",
    [["--workers=2"], ["--", "--runner=DirectRunner"], ["--", "--runner=BundleBasedDirectRunner"]],
    ids=" ".join,
)
def test_processes_and_other_runners_of_this_worker_give_the_same_bytes(
    arguments, dataset_dir, in_memory, tmp_path
):
    assert command([*flags(dataset_dir, tmp_path), *arguments]) == 0
    assert is_complete(tmp_path / "train", in_memory)


def test_a_dask_cluster_gives_the_same_bytes(dask, dataset_dir, in_memory, tmp_path, monkeypatch, capfd):
    """From another working folder than the workers', with a path that begins there."""
    monkeypatch.chdir(tmp_path)
    assert command([*flags(dataset_dir, "out"), *dask.arguments]) == 0
    assert is_complete(tmp_path / "out/train", in_memory)
    out, err = capfd.readouterr()
    assert f"shards {SHARDS:>14}" in out
    assert f"{SHARDS}/{SHARDS} shards, 0 rejected" in err


def test_every_shard_is_work_of_its_own_for_dask(dask, dataset_dir, tmp_path):
    """Beam would hand 128 of them to one worker."""
    from distributed import Client, get_task_stream

    with Client(dask.address) as client, get_task_stream(client) as stream:
        assert command([*flags(dataset_dir, tmp_path), *dask.arguments]) == 0
    assert len({task["key"] for task in stream.data}) >= SHARDS
    assert len({task["worker"] for task in stream.data}) == 2


@pytest.mark.parametrize("environment", ["EXTERNAL", "LOOPBACK"])
def test_a_job_service_gives_the_same_bytes(
    environment, service, pool, dataset_dir, in_memory, tmp_path, capfd
):
    """The path that Flink and Spark use, with workers in a pool and with this process as the worker."""
    beam = ["--runner=PortableRunner", f"--job_endpoint={service}", f"--environment_type={environment}"]
    if environment == "EXTERNAL":
        beam.append(f"--environment_config={pool}")
    assert command([*flags(dataset_dir, tmp_path), "--", *beam]) == 0
    assert is_complete(tmp_path / "train", in_memory)
    assert f"{SHARDS}/{SHARDS} shards, 0 rejected" in capfd.readouterr().err


def in_a_process(folder, *arguments):
    """The command as a user calls it from a folder: with nobody else's handlers of messages."""
    program = [sys.executable, str(ROOT / "pipelines/build_records.py"), *arguments]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_in_a_process_of_its_own_ends_by_itself(dask, dataset_dir, in_memory, tmp_path):
    result = in_a_process(tmp_path, *flags(dataset_dir, tmp_path), *dask.arguments)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    assert is_complete(tmp_path / "train", in_memory)


# ---- what goes wrong


def test_what_an_engine_loses_fails_the_build_which_the_same_command_completes(
    dataset_dir, in_memory, tmp_path, monkeypatch, capfd
):
    """Counters say that all is well: every element comes out at the end."""
    process = WriteShard.process

    def lose(self, index):
        return [index] if index in (3, 7) else process(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(WriteShard, "process", lose)
        assert command(flags(dataset_dir, tmp_path)) == 1
    err = capfd.readouterr().err
    assert f"2 of {SHARDS} shards of" in err
    assert "the engine has lost them" in err
    assert "run the same command again" in err
    folder = tmp_path / "train"
    assert len(shard_bytes(folder)) == SHARDS - 2
    assert not (folder / "manifest.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.tfrecord-*")}
    assert command(flags(dataset_dir, tmp_path)) == 0
    assert is_complete(folder, in_memory)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert read_manifest(folder).records == 24


BLOCK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pipelines":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""


def test_a_dask_worker_without_the_project_is_named(dataset_dir, tmp_path, capfd):
    """It would end while it unpacks its work, and the build would wait for ever."""
    pytest.importorskip("distributed")
    (tmp_path / "block.py").write_text(BLOCK)
    with dask_cluster(tmp_path / "cluster", "--preload", tmp_path / "block.py") as cluster:
        assert command([*flags(dataset_dir, tmp_path / "out"), *cluster.arguments]) == 1
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert "of Dask cannot run the job" in line
    assert "No module named 'pipelines'" in line
    assert "installed on the scheduler and all workers" in line


def test_a_dask_worker_with_an_older_version_of_the_project_is_named(
    dask, dataset_dir, tmp_path, monkeypatch, capfd
):
    monkeypatch.setattr("pipelines.crops.BUILD_VERSION", 10_000)
    assert command([*flags(dataset_dir, tmp_path), *dask.arguments]) == 1
    assert "pipelines.crops:BUILD_VERSION there: " in capfd.readouterr().err


def test_a_pool_without_the_project_fails_in_one_line_that_says_what_to_do(service, dataset_dir, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    with worker_pool(tmp_path / "pool", path=tmp_path) as address:
        beam = ["--runner=PortableRunner", f"--job_endpoint={service}", "--environment_type=EXTERNAL"]
        arguments = [*flags(dataset_dir, tmp_path), "--", *beam, f"--environment_config={address}"]
        result = in_a_process(ROOT, *arguments)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    line = result.stderr.strip().splitlines()[-1]
    assert "No module named 'pipelines'; the project and what it requires have to be installed" in line


def test_a_pool_that_is_not_there_fails_in_one_line(service, dataset_dir, tmp_path):
    beam = ["--runner=PortableRunner", f"--job_endpoint={service}", "--environment_type=EXTERNAL"]
    nowhere = "--environment_config=localhost:1"
    result = in_a_process(tmp_path, *flags(dataset_dir, tmp_path), "--", *beam, nowhere)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "Connection refused" in result.stderr.strip().splitlines()[-1]


def test_something_that_listens_and_is_no_job_service_fails_in_one_line(dataset_dir, tmp_path, capfd):
    with socket.create_server(("localhost", 0)) as silent:
        beam = ["--runner=PortableRunner", f"--job_endpoint=localhost:{silent.getsockname()[1]}"]
        assert command([*flags(dataset_dir, tmp_path), "--", *beam, "--job_server_timeout=1"]) == 1
    err = capfd.readouterr().err
    assert "Traceback" not in err
    assert "the job service does not answer" in err.strip().splitlines()[-1]


def test_workers_that_see_other_folders_fail_in_one_line_that_says_what_to_do(
    service, pool, dataset_dir, tmp_path, monkeypatch, capfd
):
    """The plan is where the driver wrote it, but not where the workers look."""
    monkeypatch.setattr("pipelines.build.ShardJob.plan_path", lambda job, index: f"{tmp_path}/plan-{index}")
    beam = ["--runner=PortableRunner", f"--job_endpoint={service}", "--environment_type=EXTERNAL"]
    arguments = [*flags(dataset_dir, tmp_path), "--", *beam, f"--environment_config={pool}"]
    assert command(arguments) == 1
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert "the workers need dataset and records under the same paths as here" in line
