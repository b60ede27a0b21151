"""The record job as Dataflow gets it: a template, made from start to end beside an emulated Cloud Storage."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from types import SimpleNamespace

import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from google.cloud import storage

from pipelines.build import build_records
from pipelines.cli import command
from pipelines.runner_options import only_submits, with_hints
from tests.helpers.builders import make_build, make_dataset, shard_bytes
from tests.helpers.cloud import BUCKET, emulated_storage
from tests.helpers.messages import messages
from tests.helpers.shared import ROOT

pytestmark = pytest.mark.timeout(120)

OPTIONS = (
    "--runner=DataflowRunner",
    "--project=hrpose-test",
    "--region=europe-west1",
    f"--temp_location=gs://{BUCKET}/tmp",
    f"--staging_location=gs://{BUCKET}/staging",
    f"--template_location=gs://{BUCKET}/template",
)
#: Sends the job of some shards. Names that are looked up outside of this host end on standard output.
DRIVER = """
import socket, sys
look_up = socket.getaddrinfo
def inside(host, *others, **more):
    if host not in ("127.0.0.1", "localhost", "::1"):
        print("outside:", host)
        raise OSError("no network in tests")
    return look_up(host, *others, **more)
socket.getaddrinfo = inside
from pipelines.crops import CropOptions
from pipelines.runner import run_pipeline
from pipelines.shard_job import ShardJob
from records.skeletons import COCO
count, bucket, *options = sys.argv[1:]
job = ShardJob(
    images=f"gs://{bucket}/images", name_prefix="", folder=f"gs://{bucket}/records/train", dataset="coco",
    split="train", count=int(count), skeleton=COCO, options=CropOptions(input_size=(192, 256)),
)
run_pipeline(job, options, 1024 * job.count)
"""

MIN_RAM, CPU_COUNT = "beam:resources:min_ram_bytes:v1", "beam:resources:cpu_count:v1"


def submit(folder, count, *options):
    """Makes the template of a job with so many shards.

    Returns:
        blobs: {name without the job's own folder: content} of all that was staged.
        pipeline: the staged `Pipeline`.
    """
    with emulated_storage(folder) as variables:
        # google-auth asks Google about service accounts; it shall get no further than this proxy.
        variables |= {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1", "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            [sys.executable, "-c", DRIVER, str(count), BUCKET, *OPTIONS, *options],
            cwd=folder,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == ""
        client = storage.Client.create_anonymous_client()
        client._connection.API_BASE_URL = variables["STORAGE_EMULATOR_HOST"]
        blobs = {
            re.sub(r"beamapp-[^/]+/", "", blob.name): blob.download_as_bytes()
            for blob in client.list_blobs(BUCKET)
        }
    pipeline = beam_runner_api_pb2.Pipeline.FromString(blobs["staging/pipeline.pb"])
    return SimpleNamespace(blobs=blobs, pipeline=pipeline)


def environments(pipeline):
    """{environment id: its resource hints} of a pipeline."""
    return {key: dict(value.resource_hints) for key, value in pipeline.components.environments.items()}


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """150 shards of 1,024 instances, which is COCO train."""
    return submit(tmp_path_factory.mktemp("dataflow"), 150, f"--setup_file={ROOT}/setup.py")


def chain(pipeline):
    """The names of a pipeline's steps in their order, of which each has to feed exactly the next."""
    transforms = pipeline.components.transforms.values()
    steps = [transform for transform in transforms if transform.spec.urn and not transform.subtransforms]
    after = {source: step for step in steps for source in step.inputs.values()}
    (step,) = [step for step in steps if not step.inputs]
    names = []
    while step:
        names.append(re.sub(r"\(.*\)", "", step.unique_name))
        (output,) = step.outputs.values()
        step = after.pop(output, None)
    assert not after
    assert len(names) == len(steps)
    return names


def test_the_pipeline_is_one_chain_of_create_reshuffle_and_our_step(staged):
    assert chain(staged.pipeline) == [
        "Shards/Impulse",
        "Shards/FlatMap",
        "Shards/Map",
        "WriteShards/Spread/AddRandomKeys",
        "WriteShards/Spread/ReshufflePerKey/Map",
        "WriteShards/Spread/ReshufflePerKey/GroupByKey",
        "WriteShards/Spread/ReshufflePerKey/FlatMap",
        "WriteShards/Spread/RemoveRandomKeys",
        "WriteShards/WriteShard",
    ]


def test_every_step_asks_for_the_memory_and_the_core_of_one_worker(staged):
    (hints,) = environments(staged.pipeline).values()
    assert hints == {MIN_RAM: b"2000000000", CPU_COUNT: b"1"}


@pytest.mark.slow
def test_the_graph_carries_no_data(staged, tmp_path):
    million = submit(tmp_path, 977, "--save_main_session")
    sizes = [len(submitted.blobs["staging/pipeline.pb"]) for submitted in (staged, million)]
    assert max(sizes) < 100_000
    assert sizes[1] - sizes[0] < 20 * (977 - 150)


def test_the_staged_archive_holds_our_packages(staged):
    with tarfile.open(fileobj=io.BytesIO(staged.blobs["staging/workflow.tar.gz"])) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "requirements-worker.txt", "nms/_kernels.pyx"} <= names
    assert {"pipelines/transforms.py", "pipelines/crops.py", "records/schema.py"} <= names


def test_the_template_starts_what_was_staged(staged):
    template = json.loads(staged.blobs["template"])
    options = template["environment"]["sdkPipelineOptions"]["options"]
    assert options["pipelineUrl"].endswith("/pipeline.pb")
    assert options["pipelineProtoHash"] == hashlib.sha256(staged.blobs["staging/pipeline.pb"]).hexdigest()
    (pool,) = template["environment"]["workerPools"]
    assert "workflow.tar.gz" in {package["name"] for package in pool["packages"]}
    (image,) = pool["sdkHarnessContainerImages"]
    assert image["containerImage"].endswith("sdk:2.77.0")


def test_nothing_but_the_job_is_written_to_the_bucket(staged):
    assert {name.split("/")[0] for name in staged.blobs} == {"staging", "template"}


def test_the_user_s_own_image_and_hints_win(tmp_path):
    image = "europe-docker.pkg.dev/hrpose-test/hrpose/worker:1"
    own = submit(tmp_path, 3, f"--sdk_container_image={image}", "--resource_hints=min_ram=8GB")
    (hints,) = environments(own.pipeline).values()
    assert hints == {MIN_RAM: b"8000000000", CPU_COUNT: b"1"}
    (environment,) = own.pipeline.components.environments.values()
    payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
    assert payload.container_image == image
    assert "staging/workflow.tar.gz" not in own.blobs


def test_delayed_jobs_get_no_hints_which_dataflow_would_refuse():
    assert with_hints(("--flexrs_goal=COST_OPTIMIZED",)) == ["--flexrs_goal=COST_OPTIMIZED"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), False),
        (("--runner=DataflowRunner",), False),
        (("--no_wait_until_finish",), True),
        (("--template_location=gs://b/t",), True),
    ],
)
def test_templates_and_jobs_nobody_waits_for_are_only_submitted(options, expected):
    assert only_submits(options) is expected


def test_a_build_that_is_handed_over_is_finished_by_the_same_command_later(tmp_path):
    make_dataset(tmp_path)
    build_records(make_build(tmp_path, tmp_path / "plain", instances_per_shard=5))
    folder = tmp_path / "handed_over"
    build = make_build(tmp_path, folder, instances_per_shard=5, beam_args=("--no_wait_until_finish",))
    with messages([]) as said:
        assert build_records(build) is None
    assert "handed over" in said[-1]
    assert not (folder / "manifest.json").exists()
    manifest = build_records(make_build(tmp_path, folder, instances_per_shard=5))
    assert len(manifest.shards) > 1
    assert shard_bytes(folder) == shard_bytes(tmp_path / "plain")


@pytest.mark.slow
def test_the_command_makes_a_template_of_a_store_s_dataset_and_finishes_it_later(tmp_path):
    """With --template_location it plans and stages; without Beam's options it checks the shards that came."""
    make_dataset(tmp_path / "COCO")
    flags = ["--split=train", "--instances_per_shard=5"]
    assert command([f"--dataset_dir={tmp_path}/COCO", f"--records_dir={tmp_path}/here", *flags]) == 0
    with emulated_storage(tmp_path) as variables:
        variables |= {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}
        client = storage.Client.create_anonymous_client()
        client._connection.API_BASE_URL = variables["STORAGE_EMULATOR_HOST"]
        bucket = client.bucket(BUCKET)
        for path in (tmp_path / "COCO").rglob("*.*"):
            bucket.blob(str(path.relative_to(tmp_path))).upload_from_filename(path)
        said = []
        for options in (["--", *OPTIONS], []):
            result = subprocess.run(
                [
                    sys.executable,
                    "pipelines/build_records.py",
                    f"--dataset_dir=gs://{BUCKET}/COCO",
                    *flags,
                    *options,
                ],
                cwd=ROOT,
                env=os.environ | variables,
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert result.returncode == 0, result.stderr
            said.append(result.stderr)
        blobs = {
            blob.name.split("/")[-1]: blob.download_as_bytes()
            for blob in client.list_blobs(BUCKET, prefix="COCO/records/")
        }
        template = json.loads(bucket.blob("template").download_as_bytes())
    assert "hrpose.worker" in template["environment"]["sdkPipelineOptions"]["options"]["beam_plugins"]
    assert "handed over" in said[0]
    assert {name: blob for name, blob in blobs.items() if ".tfrecord-" in name} == shard_bytes(
        tmp_path / "here/train"
    )
    assert "manifest.json" in blobs


def test_a_template_of_several_builds_at_once_is_refused_before_anything_is_planned(tmp_path, capsys):
    make_dataset(tmp_path / "COCO")
    (tmp_path / "COCO/annotations/person_keypoints_val2017.json").write_bytes(
        (tmp_path / "COCO/annotations/person_keypoints_train2017.json").read_bytes()
    )
    (tmp_path / "COCO/images/val2017").mkdir(exist_ok=True)
    options = ["--runner=PortableRunner", "--job_endpoint=embed", "--no_wait_until_finish"]
    assert command([f"--dataset_dir={tmp_path}/COCO", "--", *options]) == 2
    assert (
        "are for one job, and here would be 2: say which with --split and --boxes" in capsys.readouterr().err
    )
    assert not (tmp_path / "COCO/records").exists()


def test_folders_of_this_worker_are_refused_for_dataflow(tmp_path, capsys):
    make_dataset(tmp_path / "COCO")
    options = ["--runner=DataflowRunner", "--project=p", "--region=r"]
    assert command([f"--dataset_dir={tmp_path}/COCO", "--split=train", "--", *options]) == 2
    assert "have to be in gs://" in capsys.readouterr().err
