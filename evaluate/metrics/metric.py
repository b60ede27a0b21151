"""What a metric is to this project: one `Metric` each, in a file of its own beside this one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluate.predictions import Predictions
from evaluate.run_inputs import EvaluationSplit
from hrpose.options import Option

#: A metric's number in percent or another unit of its own; None where it is not defined.
Number = float | None


@dataclass(frozen=True)
class MetricInput:
    """What a metric looks at.

    Attributes:
        split: the records that were predicted, their annotations, and where all of it is.
        predictions: for each record.
        kept: (M,) the poses left after rescoring and OKS-NMS, as indices of the predictions.
        results: M COCO result dicts, of these poses.
        name: path without extension for the files to write.
        options: the values of the metric's own options, by name.
    """

    split: EvaluationSplit
    predictions: Predictions
    kept: npt.NDArray[np.int64]
    results: list[dict[str, Any]]
    name: Path
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MetricResult:
    """A metric's outcome.

    Without `values` and `per_keypoint` there was nothing to measure, and `table` says why.

    Attributes:
        headline: the number that counts, as text: "AP 0.874".
        table: text to show.
        values: the numbers that are not of single keypoints, by name.
        per_keypoint: {name: {keypoint, or "total": number}}, for the report's table of keypoints. Names are
            others than those of `values`.
        best_by: the number that decides which epoch of a run is the best, the higher the better: a name in
            `values`, or "NAME/KEYPOINT".
        details: more for the metrics file, JSON-ready, which is too much for curves.
        files: paths of files written for the dataset's server.
        notes: lines that say what the metric does not count: for the console, the metrics file and the
            report.
        remarks: sentences for the report only.
        shares: which of `values` are shares of 1; the others are in percent.
        undefined: what stands for a number that is not defined, besides None.
        unlike_published: which of `values` are not what publications call so.
        analyzed: whether it is AP by OKS, which the report's curves and groups take apart.
    """

    headline: str
    table: str
    values: Mapping[str, Number] = field(default_factory=dict)
    per_keypoint: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    best_by: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    shares: frozenset[str] = frozenset()
    undefined: float | None = None
    unlike_published: frozenset[str] = frozenset()
    analyzed: bool = False

    @property
    def content(self) -> dict[str, Any]:
        """What the metrics file says; empty if there was nothing to measure."""
        return {**self.values, **self.per_keypoint, **self.details}

    @property
    def curves(self) -> dict[str, float]:
        """{name: number} of everything that is defined and worth a curve over the epochs."""
        flat = dict(self.values)
        for name, numbers in self.per_keypoint.items():
            flat |= {f"{name}/{keypoint}": number for keypoint, number in numbers.items()}
        return {name: number for name, number in flat.items() if number is not None}


def not_measured(why: str, files: tuple[Path, ...] = ()) -> MetricResult:
    """The result where there is nothing to measure; `files` may have been written all the same."""
    return MetricResult("not measured", why, files=files)


def fits_everything(split: EvaluationSplit, options: Mapping[str, Any]) -> None:
    """The `check` of a metric that can measure any split."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as ``--metric`` has it.
        summary: what it measures, in a few words, for ``--help``.
        measure: the metric itself, of what `check` has let pass. Raises ValueError or FileNotFoundError if
            the predictions, or the files to measure against, cannot be used.
        check: called before anything is predicted, with the split and the values of the metric's own options.
            Raises ValueError or FileNotFoundError, in one line, if the metric does not fit the split.
        options: its own, which become flags.
    """

    name: str
    summary: str
    measure: Callable[[MetricInput], MetricResult]
    check: Callable[[EvaluationSplit, Mapping[str, Any]], None] = fits_everything
    options: tuple[Option, ...] = ()


def with_ending(name: Path, ending: str) -> Path:
    """A path with something after its name, which may have dots in it."""
    return name.with_name(name.name + ending)


def number_or_none(value: float) -> Number:
    """NaN, which JSON does not have, as None."""
    return None if np.isnan(value) else float(value)
