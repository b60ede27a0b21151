"""`benchmarks/overfit.py` runs; what it reaches is for the benchmark itself to say."""

import pytest

from tests.helpers.commands import fails, succeeds
from tests.helpers.shared import shared_data

COMMAND = "benchmarks/overfit.py"


@pytest.mark.slow
def test_it_trains_and_measures_real_instances_and_leaves_nothing_behind(tmp_path):
    data = shared_data("dataset", "COCO")
    result = succeeds(tmp_path, COMMAND, "--smoke", f"--dataset_dir={data}")
    assert "Overfitting 86 instances" in result.stdout
    assert "5 updates of 16 instances" in result.stdout
    name, value = result.stdout.split("\n")[-3].split()
    assert name == "overfit_ap"
    assert 0 <= float(value) < 0.9
    assert not list(tmp_path.iterdir())


def test_without_the_instances_it_says_what_is_missing(tmp_path):
    fails(
        2,
        r"person_keypoints_train2017\.json does not exist; --dataset_dir",
        tmp_path,
        COMMAND,
        "--smoke",
        f"--dataset_dir={tmp_path}",
    )
