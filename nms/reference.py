"""What the compiled functions of `nms` compute, in plain NumPy: to read, and to test against.

Same arguments and results as in `nms`, where they are documented, but one image at a time and unchecked.
"""

import numpy as np
import numpy.typing as npt

from nms import COCO_SIGMAS, SOFT_MAX_KEPT


def oks_matrix(
    keypoints: npt.ArrayLike,
    areas: npt.ArrayLike,
    sigmas: npt.ArrayLike | None = None,
    min_visibility: float | None = None,
) -> npt.NDArray[np.float64]:
    """(N, N) OKS of row i and column j over the keypoints the column's scores let count."""
    keypoints = np.asarray(keypoints, np.float64)
    areas = np.asarray(areas, np.float64)
    sigmas = COCO_SIGMAS if sigmas is None else np.asarray(sigmas, np.float64)

    points = keypoints[:, :, :2]
    squared_distance = ((points[:, None] - points[None, :]) ** 2).sum(axis=-1)  # (N, N, K)
    mean_area = (areas[:, None] + areas[None, :]) / 2 + np.spacing(1)  # as in pycocotools: no division by 0
    similarity = np.exp(-squared_distance / (2 * mean_area[:, :, None] * (2 * sigmas) ** 2))

    counts = np.ones(keypoints.shape[:2], bool)
    if min_visibility is not None:
        counts = keypoints[:, :, 2] > min_visibility
    total = np.where(counts[None], similarity, 0).sum(axis=-1)
    return total / np.maximum(counts.sum(axis=-1), 1)


def iou_matrix(boxes: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(N, N) intersection over union of boxes (N, 4) x1 y1 x2 y2 of inclusive pixels."""
    x1, y1, x2, y2 = np.asarray(boxes, np.float64).T
    area = (x2 - x1 + 1) * (y2 - y1 + 1)
    width = np.minimum(x2[:, None], x2) - np.maximum(x1[:, None], x1) + 1
    height = np.minimum(y2[:, None], y2) - np.maximum(y1[:, None], y1) + 1
    intersection = np.maximum(width, 0) * np.maximum(height, 0)
    return intersection / (area[:, None] + area - intersection)


def oks_nms(
    keypoints: npt.ArrayLike,
    scores: npt.ArrayLike,
    areas: npt.ArrayLike,
    threshold: float,
    sigmas: npt.ArrayLike | None = None,
    min_visibility: float | None = None,
) -> npt.NDArray[np.intp]:
    """(M,) indices kept by greedy NMS on OKS."""
    return _greedy(oks_matrix(keypoints, areas, sigmas, min_visibility), scores, threshold)


def box_nms(boxes: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> npt.NDArray[np.intp]:
    """(M,) indices kept by greedy NMS on intersection over union."""
    return _greedy(iou_matrix(boxes), scores, threshold)


def soft_oks_nms(
    keypoints: npt.ArrayLike,
    scores: npt.ArrayLike,
    areas: npt.ArrayLike,
    threshold: float,
    sigmas: npt.ArrayLike | None = None,
    min_visibility: float | None = None,
    max_kept: int = SOFT_MAX_KEPT,
) -> npt.NDArray[np.intp]:
    """(min(N, max_kept),) indices in the order taken by soft NMS."""
    similarity = oks_matrix(keypoints, areas, sigmas, min_visibility)
    scores = np.array(scores, np.float64)
    remaining = np.arange(len(scores))
    kept: list[np.intp] = []
    while len(remaining) and len(kept) < max_kept:
        best = remaining[np.argmax(scores[remaining])]  # argmax: the first, so the lowest index, of equals
        kept.append(best)
        remaining = remaining[remaining != best]
        scores[remaining] *= np.exp(-(similarity[best, remaining] ** 2) / threshold)
    return np.array(kept, np.intp)


def _greedy(
    overlap: npt.NDArray[np.float64], scores: npt.ArrayLike, threshold: float
) -> npt.NDArray[np.intp]:
    """Keeps the best, drops those that overlap it by more than the threshold, repeats."""
    remaining = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    kept: list[np.intp] = []
    while len(remaining):
        best, remaining = remaining[0], remaining[1:]
        kept.append(best)
        remaining = remaining[overlap[best, remaining] <= threshold]
    return np.array(kept, np.intp)
