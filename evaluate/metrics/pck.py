"""PCK, the share of keypoints predicted near enough to where they are: for data without the area OKS
needs.
"""

import numpy as np


def pck(predictions_image, keypoints_image, boxes, threshold=0.2):
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
        Dict: "mean", percent of all annotated keypoints that are right, NaN without any; "per_keypoint", (K,)
        float64, the same of each keypoint, NaN where nobody has it annotated.

    Raises:
        ValueError: on wrong shapes, numbers that are not finite and boxes without extent, naming the
            argument.
    """
    keypoints = checked("keypoints_image", keypoints_image, (None, None, 3))
    count, num_keypoints, _ = keypoints.shape
    predictions = checked("predictions_image", predictions_image, (count, num_keypoints, 2))
    sides = checked("boxes", boxes, (count, 4))[:, 2:].max(axis=1, initial=0)
    if (sides <= 0).any():
        row = int(np.argmax(sides <= 0))
        raise ValueError(f"boxes: row {row} is {boxes[row]}; expected x y w h with w or h above 0")
    errors = np.linalg.norm(predictions - keypoints[:, :, :2], axis=2) / sides[:, None]
    mean, per_keypoint = percent_within(errors, keypoints[:, :, 2] > 0, threshold)
    return {"mean": mean, "per_joint": per_keypoint}


def percent_within(errors, annotated, threshold):
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


def checked(name, value, shape):
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
