"""PCK, the share of keypoints predicted near enough to where they are: for data without the area OKS
needs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluate.metrics.metric import Metric, MetricInput, MetricResult, number_or_none
from evaluate.run_inputs import EvaluationSplit

THRESHOLD = 0.2
"""Of the box's longer side: the usual one."""


def pck(
    predictions_image: npt.ArrayLike,
    keypoints_image: npt.ArrayLike,
    boxes: npt.ArrayLike,
    threshold: float = THRESHOLD,
) -> dict[str, Any]:
    """PCK: a keypoint is right if it is off by at most ``threshold`` of the longer side of the instance's
    box.

    The measure of Yang and Ramanan, "Articulated Human Detection with Flexible Mixtures of Parts" (2013),
    with its usual threshold.

    Args:
        predictions_image: (N, K, 2) float, x, y in image pixels.
        keypoints_image: (N, K, 3) float, x, y in image pixels and COCO visibility; keypoints with visibility
            0 are not annotated and do not count.
        boxes: (N, 4) float, x y w h in image pixels, with an extent.
        threshold: float, > 0.

    Returns:
        Dict: "mean", percent of all annotated keypoints that are right, NaN without any; "per_joint", (K,)
        float64, the same of each keypoint, NaN where nobody has it annotated.

    Raises:
        ValueError: on wrong shapes, numbers that are not finite and boxes without extent, naming the
            argument.
    """
    keypoints = checked("keypoints_image", keypoints_image, (None, None, 3))
    count, num_keypoints, _ = keypoints.shape
    predictions = checked("predictions_image", predictions_image, (count, num_keypoints, 2))
    boxes = checked("boxes", boxes, (count, 4))
    sides = boxes[:, 2:].max(axis=1, initial=0)
    if (sides <= 0).any():
        row = int(np.argmax(sides <= 0))
        raise ValueError(f"boxes: row {row} is {boxes[row]}; expected x y w h with w or h above 0")
    errors = np.linalg.norm(predictions - keypoints[:, :, :2], axis=2) / sides[:, None]
    mean, per_keypoint = percent_within(errors, keypoints[:, :, 2] > 0, threshold)
    return {"mean": mean, "per_joint": per_keypoint}


def percent_within(
    errors: npt.NDArray[np.float64], annotated: npt.NDArray[np.bool_], threshold: float
) -> tuple[float, npt.NDArray[np.float64]]:
    """How many of the annotated keypoints are off by at most the threshold.

    Args:
        errors: (N, K) float, distances in the unit of the threshold.
        annotated: (N, K) bool.
        threshold: float, > 0; an error of exactly this is right.

    Returns:
        mean: float, percent of all annotated keypoints, NaN without any.
        per_keypoint: (K,) float64, percent, NaN where nobody has the keypoint annotated.

    Raises:
        ValueError: if the threshold is not a number above 0.
    """
    if not (np.isfinite(threshold) and threshold > 0):
        raise ValueError(f"threshold: received {threshold!r}; expected a number above 0")
    counts = annotated.sum(axis=0)
    right = ((errors <= threshold) & annotated).sum(axis=0)
    per_keypoint = np.full(len(counts), np.nan)
    np.divide(100.0 * right, counts, out=per_keypoint, where=counts > 0)
    mean = 100.0 * right.sum() / counts.sum() if counts.any() else np.nan
    return float(mean), per_keypoint


def checked(name: str, value: npt.ArrayLike, shape: tuple[int | None, ...]) -> npt.NDArray[np.float64]:
    """A float64 array of this shape (None: any length) and all finite.

    Raises:
        ValueError: naming the argument, what was received and what was expected.
    """
    try:
        array = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: received no array of numbers ({error})") from error
    if array.ndim != len(shape) or any(
        want not in (None, have) for want, have in zip(shape, array.shape, strict=True)
    ):
        expected = str(shape).replace("None", "any")
        raise ValueError(f"{name}: received shape {array.shape}; expected {expected}")
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name}: received {array[place]} at index {place}; expected finite numbers")
    return array


def keypoints_of(instances: Sequence[Mapping[str, Any]], num_keypoints: int) -> npt.NDArray[np.float64]:
    """(N, K, 3) of N annotations: x, y in image pixels and COCO visibility."""
    flat = [instance["keypoints"] for instance in instances]
    return np.asarray(flat, np.float64).reshape(-1, num_keypoints, 3)


def pck_of_boxes(metric_input: MetricInput) -> dict[str, Any]:
    """`pck` of the annotated instances that were predicted, each in its own box."""
    instances, predictions = metric_input.split.ground_truth.instances, metric_input.predictions
    rows = [row for row, one in enumerate(predictions.instance_ids.tolist()) if one in instances]
    annotated = [instances[one] for one in predictions.instance_ids[rows].tolist()]
    return pck(
        predictions.keypoints[rows, :, :2],
        keypoints_of(annotated, metric_input.split.skeleton.num_keypoints),
        np.reshape([one["bbox"] for one in annotated], (-1, 4)),
    )


def check(split: EvaluationSplit, options: Mapping[str, Any]) -> None:
    """Raises ValueError unless each annotated instance has a prediction that is meant for it."""
    if split.manifest.boxes != "ground_truth":
        raise ValueError("PCK compares each annotation with the prediction in its box: --boxes=ground_truth")
    if not split.ground_truth.instances:
        raise ValueError("PCK needs annotated keypoints, and nobody has any")


def measure(metric_input: MetricInput) -> MetricResult:
    """PCK of all keypoints together, and of each."""
    name, numbers = f"PCK@{THRESHOLD:g}", pck_of_boxes(metric_input)
    keypoints = metric_input.split.skeleton.keypoints
    per_keypoint = {
        keypoint: number_or_none(value)
        for keypoint, value in zip(keypoints, numbers["per_joint"], strict=True)
    } | {"total": number_or_none(numbers["mean"])}
    headline = f"{name} {numbers['mean']:.1f}"
    return MetricResult(
        headline=headline,
        table=f"{name} of the box's longer side = {numbers['mean']:.1f} %",
        per_keypoint={name: per_keypoint},
        best_by=f"{name}/total",
    )


METRIC = Metric(
    name="pck",
    summary="percent of keypoints off by at most a fifth of the box's longer side, on annotated boxes",
    measure=measure,
    check=check,
)
