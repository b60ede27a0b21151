"""A metric of one file: what `docs/extending.md` says is all there is to write."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from evaluate.cli import command
from evaluate.metrics import METRICS
from evaluate.metrics.metric import Metric, MetricInput, MetricResult
from evaluate.run_inputs import EvaluationSplit
from hrpose.options import Option
from model.networks import NETWORKS
from tests.helpers.small_runs import SMALL, make_records, small_options
from train.loop import train


def check(split: EvaluationSplit, options: Mapping[str, Any]) -> None:
    """Refuses a split, in one line, before anything is predicted."""
    if split.manifest.boxes != "ground_truth":
        raise ValueError("the toy compares each annotation with the pose in its box: --boxes=ground_truth")


def measure(metric_input: MetricInput) -> MetricResult:
    """Percent of keypoints that score at least ``--toy_score``, and of each keypoint by itself."""
    scores = metric_input.predictions.keypoints[:, :, 2]
    shares = 100 * np.mean(scores >= metric_input.options["toy_score"], axis=0)
    names = metric_input.split.skeleton.keypoints
    return MetricResult(
        headline=f"toy {shares.mean():.1f}",
        table=f"toy score {shares.mean():.1f} %",
        values={"toy": float(shares.mean())},
        per_keypoint={"toy by keypoint": dict(zip(names, shares.tolist(), strict=True))},
        best_by="toy",
    )


METRIC = Metric(
    name="toy",
    summary="percent of keypoints with a score",
    measure=measure,
    check=check,
    options=(Option("toy_score", 0.0, "the lowest score that counts."),),
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """`TrainOptions` of a run of an epoch; the toy is a metric."""
    monkeypatch.setitem(NETWORKS, SMALL.name, SMALL)
    monkeypatch.setitem(METRICS, "toy", METRIC)
    options = small_options(make_records(tmp_path), tmp_path / "run", epochs=1)
    train(options)
    return options


def metrics_file(run):
    (path,) = run.paths.run_dir.glob("result/*_metrics.json")
    return json.loads(path.read_text())


def test_a_metric_of_one_file_has_its_flags_its_place_in_the_results_and_in_the_report(run, capsys):
    places = [
        f"--run_dir={run.paths.run_dir}",
        f"--dataset_dir={run.paths.dataset.dataset_dir}",
        "--batch_size=4",
        "--gpus=0",
    ]
    assert command([*places, "--metric=toy", "--toy_score=-1e9"]) == 0
    said = capsys.readouterr().out
    assert "toy score 100.0 %" in said
    content = metrics_file(run)
    assert content["metrics"]["toy"] == content["metrics"]["toy by keypoint"]["nose"] == 100
    report = (run.paths.run_dir / "result/report.html").read_text()
    assert "toy 100.0" in report
    assert "toy by keypoint" in report

    assert command([*places, "--metric=coco,toy", "--toy_score=1e9"]) == 0
    content = metrics_file(run)
    assert "AP" in content["metrics"]
    assert content["other_metrics"]["toy"]["toy"] == 0

    capsys.readouterr()
    assert command([*places, "--toy_score=1"]) == 2
    assert "--toy_score is for --metric=toy, here it is coco" in capsys.readouterr().err
    assert command([*places, "--metric=toy", "--boxes=detections"]) == 1


def test_its_check_refuses_a_split_in_one_line(run, capsys, monkeypatch):
    def never(split, options):
        raise ValueError("the toy is not in the mood")

    monkeypatch.setitem(METRICS, "toy", Metric("toy", "", measure, never))
    monkeypatch.setattr("evaluate.run.load_network", lambda *_: pytest.fail("that takes a while"))
    places = [
        f"--run_dir={run.paths.run_dir}",
        f"--dataset_dir={run.paths.dataset.dataset_dir}",
        "--gpus=0",
        "--metric=toy",
    ]
    assert command(places) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("person_keypoints_val2017.json: the toy is not in the mood")
