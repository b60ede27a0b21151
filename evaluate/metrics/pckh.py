"""PCKh, MPII's own metric.

PCKh (Andriluka et al., "2D Human Pose Estimation: New Benchmark and State of the Art Analysis", 2014): a
keypoint is right if it is off by at most half the head's size. Groups, mean and the head's size are those of
the official HRNet code (``MPIIDataset.evaluate``), which follows MPII's evaluation toolkit.

    heads = load_ground_truth("gt_valid.mat")
    print(format_table(evaluate_mpii(predictions_image, heads)))
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluate.metrics.metric import (
    Metric,
    MetricInput,
    MetricResult,
    not_measured,
    number_or_none,
    with_ending,
)
from evaluate.metrics.mpii_files import HeadGroundTruth, write_submission
from evaluate.metrics.pck import checked, keypoints_of, percent_within
from evaluate.run_inputs import EvaluationSplit
from hrpose.json_checks import is_number
from hrpose.options import Option
from records.skeletons import MPII

GROUPS = {
    "head": ("head_top",),
    "shoulder": ("l_shoulder", "r_shoulder"),
    "elbow": ("l_elbow", "r_elbow"),
    "wrist": ("l_wrist", "r_wrist"),
    "hip": ("l_hip", "r_hip"),
    "knee": ("l_knee", "r_knee"),
    "ankle": ("l_ankle", "r_ankle"),
}
"""Columns of the official table and the keypoints whose mean they are."""

NOT_IN_MEAN = ("pelvis", "thorax")
"""Keypoints the official mean leaves out (6 and 7)."""

OFFICIAL_TENTH = 0.11
"""What the official code takes for the threshold of its column Mean@0.1: element 11 of 0, 0.01, 0.02 ..."""


def pckh(
    predictions_image: npt.ArrayLike, ground_truth: HeadGroundTruth, threshold: float = 0.5
) -> dict[str, Any]:
    """PCKh of each keypoint, of the official groups, and their mean, in percent.

    Args:
        predictions_image: (N, 16, 2) float, x, y in image pixels from 0: instance i is row i of the ground
            truth.
        ground_truth: `HeadGroundTruth` of N instances.
        threshold: float, > 0, in head sizes; an error of exactly this is right.

    Returns:
        Dict of float: "head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle" (mean of left and right);
        "mean" of all annotated keypoints but pelvis and thorax; and "per_joint", (16,) float64. NaN stands
        for what no one has annotated.

    Raises:
        ValueError: on a wrong shape, another number of instances, numbers that are not finite, or a threshold
            that is no number above 0, naming the argument.
    """
    predictions = checked("predictions_image", predictions_image, (len(ground_truth), MPII.num_keypoints, 2))
    errors = (
        np.linalg.norm(predictions - ground_truth.keypoints_image, axis=2) / ground_truth.head_sizes[:, None]
    )
    annotated = ~ground_truth.missing
    _, per_keypoint = percent_within(errors, annotated, threshold)
    in_mean = [name not in NOT_IN_MEAN for name in MPII.keypoints]
    mean, _ = percent_within(errors[:, in_mean], annotated[:, in_mean], threshold)
    groups = {
        group: float(np.mean([per_keypoint[MPII.keypoints.index(name)] for name in names]))
        for group, names in GROUPS.items()
    }
    return {"mean": mean, "per_joint": per_keypoint} | groups


def evaluate_mpii(
    predictions_image: npt.ArrayLike, ground_truth: HeadGroundTruth, official_tenth: bool = False
) -> dict[str, float]:
    """The columns of the official table: PCKh@0.5 by group and mean, and the mean of PCKh@0.1.

    Args:
        predictions_image, ground_truth: as for `pckh`.
        official_tenth: take 0.11 for the threshold of the last column, as the official code does, instead of
            the 0.1 it is named after; the published numbers of HRNet have it so.

    Returns:
        Dict of float in percent: "Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean",
        "Mean@0.1", in this order; NaN for what no one has annotated.

    Raises:
        ValueError: as `pckh`.
    """
    half = pckh(predictions_image, ground_truth, 0.5)
    tenth = pckh(predictions_image, ground_truth, OFFICIAL_TENTH if official_tenth else 0.1)
    columns = {group.capitalize(): half[group] for group in GROUPS}
    return columns | {"Mean": half["mean"], "Mean@0.1": tenth["mean"]}


def format_table(metrics: Mapping[str, float], name: str = "PCKh") -> str:
    """The metrics of `evaluate_mpii` as the official code prints them: a Markdown table of three lines.

    Args:
        metrics: dict of float.
        name: what the row is called, for example the network.

    Returns:
        str, without a newline at the end.
    """
    header = "| Arch " + " ".join(f"| {column}" for column in metrics) + " |"
    row = f"| {name} " + " ".join(f"| {value:.3f}" for value in metrics.values()) + " |"
    return "\n".join([header, "|---" * (len(metrics) + 1) + "|", row])


def check(split: EvaluationSplit, options: Mapping[str, Any]) -> None:
    """Raises ValueError for other keypoints than MPII's."""
    if split.skeleton.keypoints != MPII.keypoints:
        raise ValueError(
            f"PCKh is a measure of MPII's {MPII.num_keypoints} keypoints, these are the "
            f"{split.skeleton.num_keypoints} of {split.skeleton.name}; --metric names others"
        )


def measure(metric_input: MetricInput) -> MetricResult:
    """PCKh, and the predictions in the form of the official ``pred.mat``.

    The file has one row for everybody annotated, in the order of the list that chose the validation
    instances: with the official list that of ``gt_valid.mat``; without a list, as for the test split, in the
    order of the release (`annolist`, then `annorect`). PCKh is that of instances with a record, a labeled
    keypoint and a head box; rows of instances without a record are 0, 0 in image pixels from 0.
    """
    split, predictions = metric_input.split, metric_input.predictions
    annotated, official_tenth = split.ground_truth, metric_input.options["official_tenth"]
    if split.manifest.boxes != "ground_truth":
        return not_measured("PCKh needs annotated boxes: --boxes=ground_truth")
    predicted = dict(zip(predictions.instance_ids.tolist(), predictions.keypoints[:, :, :2], strict=True))
    files = tuple(with_ending(metric_input.name, ending) for ending in (".mat", ".pred.json"))
    nowhere = np.zeros((MPII.num_keypoints, 2))
    everybody = [predicted.get(instance, nowhere) for instance in annotated.listed]
    write_submission(np.reshape(everybody, (-1, MPII.num_keypoints, 2)), *files)
    empty, rows = sum(instance not in predicted for instance in annotated.listed), ""
    if empty:
        rows = (
            f"\n{empty:,} of the {len(annotated.listed):,} rows in {files[0].name} are of instances without "
            "a record: all their keypoints are 0, 0 (image pixels from 0)"
        )
    if split.manifest.split == "test":
        text = (
            f"the test split's keypoints are not public; {files[0].name} has a row for each of its instances"
        )
        return not_measured(text + rows, files)
    ids = [
        instance
        for instance in annotated.listed
        if instance in predicted and _has_head(annotated.instances.get(instance))
    ]
    if not ids:
        text = "PCKh needs annotated keypoints and head boxes, which these annotations do not have"
        return not_measured(text + rows, files)
    chosen = [annotated.instances[instance] for instance in ids]
    keypoints = keypoints_of(chosen, MPII.num_keypoints)
    heads = HeadGroundTruth(
        keypoints_image=keypoints[:, :, :2],
        missing=keypoints[:, :, 2] == 0,
        head_boxes=np.reshape([instance["head_box"] for instance in chosen], (-1, 2, 2)).astype(np.float64),
    )
    numbers = evaluate_mpii(np.stack([predicted[instance] for instance in ids]), heads, official_tenth)
    table = format_table(numbers, "PCKh@0.5")
    if len(ids) < len(annotated.listed):
        table += (
            f"\nmeasured on {len(ids):,} of {len(annotated.listed):,} annotated instances: those with a "
            "record, a labeled keypoint and a head box"
        )
    table += rows
    values = {name: number_or_none(value) for name, value in numbers.items()}
    return MetricResult(
        headline=f"PCKh@0.5 {values['Mean'] or 0:.1f}",
        table=table,
        values=values,
        best_by="Mean",
        files=files,
        # The published Mean@0.1 is that of 0.11.
        unlike_published=frozenset() if official_tenth else frozenset({"Mean@0.1"}),
    )


def _has_head(instance: Mapping[str, Any] | None) -> bool:
    """Whether an instance, or None, has a head box with an extent, PCKh's unit."""
    box = instance.get("head_box") if instance else None
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return False
    return box[:2] != box[2:]


METRIC = Metric(
    name="pckh",
    summary="MPII's PCKh: percent of keypoints off by at most half the head's size",
    measure=measure,
    check=check,
    options=(
        Option(
            "official_tenth",
            False,
            "take 0.11 for the threshold of Mean@0.1, as the official code and the published numbers do.",
        ),
    ),
)
