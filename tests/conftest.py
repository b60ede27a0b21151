"""Settings every test runs under: quiet TensorFlow, few threads, hypothesis without a clock."""

import json
import os
import subprocess
import sys

from hypothesis import settings

# Native libraries read these when they are first imported, so they are set before any test module is.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "2")

# A busy host may stall any example for a second; the same examples in every run make a failure repeatable.
settings.register_profile("hrpose", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("hrpose")

# Imported only now: they import TensorFlow.
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from hrpose import logs  # noqa: E402
from pipelines.build import build_records  # noqa: E402
from tests.helpers.builders import (  # noqa: E402
    make_build,
    random_annotations,
    shard_bytes,
    write_detections,
    write_split,
)
from tests.helpers.shared import ROOT  # noqa: E402


@pytest.fixture(autouse=True)
def messages():
    """What a test's own process says goes to standard error; none of it waits for a later test's log file."""
    logs.start()


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory):
    """24 instances in 12 images, none of them rejected."""
    folder = tmp_path_factory.mktemp("dataset")
    data = random_annotations(0, images=12)
    sizes = {entry["id"]: (entry["width"], entry["height"]) for entry in data["images"]}
    inside = [
        p
        for p in data["annotations"]
        if np.less(p["bbox"][:2], sizes[p["image_id"]]).all()
        and np.add(p["bbox"][:2], p["bbox"][2:]).min() > 0
    ]
    data["annotations"] = inside[:24]
    write_split(folder, "train", data)
    write_detections(folder, data)
    return folder


@pytest.fixture(scope="session")
def finished(dataset_dir, tmp_path_factory):
    """Their records in 4 shards."""
    folder = tmp_path_factory.mktemp("records") / "train"
    build_records(make_build(dataset_dir, folder, instances_per_shard=6))
    assert len(shard_bytes(folder)) == 4
    return folder


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """The records of `tests.helpers.small_runs`, not to be changed."""
    from tests.helpers.small_runs import make_records  # here, because the trainer takes a second to import

    return make_records(tmp_path_factory.mktemp("small-runs"))


@pytest.fixture
def small_networks(monkeypatch):
    """Makes runs be of the network of `tests.helpers.small_runs`."""
    from model.networks import NETWORKS
    from tests.helpers.small_runs import SMALL

    monkeypatch.setitem(NETWORKS, SMALL.name, SMALL)


@pytest.fixture(scope="session")
def replicas():
    """What tests/helpers/two_replicas.py prints."""
    results = {}
    for count in ("2", "4"):
        command = [sys.executable, "-m", "tests.helpers.two_replicas", count]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        assert run.returncode == 0, run.stderr[-3000:]
        results |= json.loads(run.stdout)
    return results
