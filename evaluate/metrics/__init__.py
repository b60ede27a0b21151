"""The metrics, each a `Metric` in a file of its own. To add one is to write such a file and name it here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evaluate.metrics import coco, pck, pckh, posetrack
from evaluate.metrics.metric import Metric, MetricInput, MetricResult
from evaluate.run_inputs import EvaluationSplit
from hrpose.command import CommandError

#: By name.
METRICS: dict[str, Metric] = {module.METRIC.name: module.METRIC for module in (coco, pckh, posetrack, pck)}

#: {metric's name: {own option: value}} of an evaluation; the first is the headline metric.
ChosenMetrics = Mapping[str, Mapping[str, Any]]


def choose_metrics(names: Sequence[str], values: Mapping[str, Any] | None = None) -> ChosenMetrics:
    """Metrics with the values of their own options.

    Args:
        names: keys of `METRICS`.
        values: {option: value} of any of their options; the others have their defaults.
    """
    given = values or {}
    return {
        name: {option.name: given.get(option.name, option.default) for option in METRICS[name].options}
        for name in names
    }


def check_metrics(chosen: ChosenMetrics, split: EvaluationSplit) -> None:
    """Refuses metrics that could not measure a split, whatever the predictions: called before predicting.

    Raises:
        CommandError: naming what is wrong, and what to do.
    """
    for name, options in chosen.items():
        try:
            METRICS[name].check(split, options)
        except (ValueError, FileNotFoundError) as error:
            raise CommandError(f"{split.ground_truth.path}: {error}") from error


def measure(chosen: ChosenMetrics, metric_input: MetricInput) -> dict[str, MetricResult]:
    """What metrics say of predictions, of a split that `check_metrics` has let pass.

    Returns:
        By the metric's name, in the order of `chosen`.

    Raises:
        CommandError: if the predictions, or the files to measure against, cannot be used.
    """
    results = {}
    for name, options in chosen.items():
        try:
            results[name] = METRICS[name].measure(replace(metric_input, options=options))
        except (ValueError, FileNotFoundError) as error:
            raise CommandError(f"{metric_input.split.ground_truth.path}: {error}") from error
    return results
