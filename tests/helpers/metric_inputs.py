"""What metrics are given, made of annotations: predictions that are the annotated keypoints."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluate.ground_truth import read_ground_truth
from evaluate.metrics import check_metrics, choose_metrics
from evaluate.metrics import measure as measure_by
from evaluate.metrics.metric import MetricInput
from evaluate.predictions import Predictions
from evaluate.rescoring import as_results
from records.datasets import DATASETS
from records.manifest import Manifest
from tests.helpers.evaluation_splits import NOWHERE, make_split


def metric_input(data, skeleton, instances, dataset="custom", image_ids=None, **changes):
    """`MetricInput` of predictions that are the annotated keypoints of some instances."""
    split, boxes = changes.pop("split", "val"), changes.pop("boxes", "ground_truth")
    manifest = Manifest(dataset, split, boxes, skeleton, {}, ())
    ground_truth = read_ground_truth(Path("truth.json"), data, skeleton, image_ids)
    keypoints = np.array([p["keypoints"] for p in instances], float).reshape(-1, skeleton.num_keypoints, 3)
    keypoints[..., 2] = 0.9
    ids = [np.array([p[key] for p in instances], np.int64) for key in ("image_id", "id")]
    count = len(instances)
    predictions = Predictions(keypoints, np.full(count, 5000.0), np.ones(count), *ids)
    results = as_results(keypoints, ids[0], range(count), np.full(count, 0.9), ground_truth.category)
    split = make_split(manifest, skeleton, ground_truth, dataset_dir=changes.pop("dataset_dir", NOWHERE))
    made = MetricInput(split, predictions, np.arange(count), results, Path("none"))
    return replace(made, **changes)


def chosen(made, metric=None, **options):
    """The metric of that name, or the dataset's, with these of its own options."""
    return choose_metrics([metric or DATASETS[made.split.manifest.dataset].metrics[0]], options)


def measure(made, metric=None, **options):
    """Its `MetricResult`."""
    (result,) = measure_by(chosen(made, metric, **options), made).values()
    return result


def check(made, metric=None, **options):
    """Raises what refuses the split."""
    check_metrics(chosen(made, metric, **options), made.split)


def of_split(made, **changes):
    """The same with changes of the split."""
    return replace(made, split=replace(made.split, **changes))
