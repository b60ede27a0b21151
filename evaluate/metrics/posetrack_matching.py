"""Which predicted keypoints of a frame are right, by the rules that `evaluate.metrics.posetrack` tells."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evaluate.metrics.posetrack_files import KEYPOINTS, Frame

DISTANCE_THRESHOLD = 0.5
"""In head sizes."""

HEAD_SHARE = 0.6
"""The head's size is this share of its box's diagonal."""


@dataclass(frozen=True)
class FrameMatch:
    """What one frame says: P predicted instances, 15 keypoints.

    Attributes:
        predicted: (P, 15) bool, keypoints that are predicted.
        right: (P, 15) bool, those of them that are right.
        scores: (P, 15).
        annotated: (15,) how many there are to find.
        tracks: per keypoint (object ids, hypothesis ids, distances) for `count_events`; empty without
            tracking.
    """

    predicted: npt.NDArray[np.bool_]
    right: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    annotated: npt.NDArray[np.int64]
    tracks: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]]


def without_ignored(ground_truth: Frame, prediction: Frame) -> tuple[Frame, Frame]:
    """The two frames without keypoints inside the ground truth's ignore regions, and without instances
    left with none.
    """
    regions = ground_truth.ignore_regions
    if not regions:
        return ground_truth, prediction

    def outside(frame: Frame) -> Frame:
        present = frame.present.copy()
        for polygon in regions:
            present &= ~inside(frame.points, polygon)
        left = present.any(axis=1)
        return replace(
            frame,
            points=frame.points[left],
            present=present[left],
            scores=frame.scores[left],
            head_diagonals=frame.head_diagonals[left],
            track_ids=None if frame.track_ids is None else frame.track_ids[left],
        )

    return outside(ground_truth), outside(prediction)


def inside(points: npt.NDArray[np.float64], polygon: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which points lie inside a polygon, its border not included, by the even-odd rule.

    Args:
        points: (..., 2) x, y.
        polygon: (n, 2) corners in order, open or closed; with fewer than 3 it has no inside.

    Returns:
        (...).
    """
    x, y = points[..., 0, None], points[..., 1, None]
    (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, axis=0).T
    side = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
    spans = (y1 <= y) != (y2 <= y)
    crossed = spans & ((side > 0) == (y2 > y1))
    on_border = (
        (side == 0)
        & (np.minimum(x1, x2) <= x)
        & (x <= np.maximum(x1, x2))
        & (np.minimum(y1, y2) <= y)
        & (y <= np.maximum(y1, y2))
    )
    return (crossed.sum(axis=-1) % 2 == 1) & ~on_border.any(axis=-1)


def match_frame(ground_truth: Frame, prediction: Frame, tracking: bool) -> FrameMatch:
    """Assigns one frame's predictions to its ground truth."""
    instances, others = len(ground_truth.points), len(prediction.points)
    offsets = prediction.points[:, None] - ground_truth.points[None]
    distances = np.linalg.norm(offsets, axis=3) / (HEAD_SHARE * ground_truth.head_diagonals[:, None])
    both = prediction.present[:, None] & ground_truth.present[None]
    near = both & (distances <= DISTANCE_THRESHOLD)
    right = np.zeros((others, len(KEYPOINTS)), bool)
    if instances and others:
        shares = near.sum(axis=2) / np.maximum(ground_truth.present.sum(axis=1), 1)
        chosen = shares.argmax(axis=1)
        shares[np.arange(instances) != chosen[:, None]] = 0
        winners = shares.argmax(axis=0)
        for instance in np.flatnonzero(shares.max(axis=0) > 0):
            right[winners[instance]] = near[winners[instance], instance]
    tracks: list[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]] = []
    if tracking and instances and others:
        tracks = [
            (
                np.asarray(ground_truth.track_ids)[ground_truth.present[:, keypoint]],
                np.asarray(prediction.track_ids)[prediction.present[:, keypoint]],
                np.where(near, distances, np.nan)[prediction.present[:, keypoint], :, keypoint].T[
                    ground_truth.present[:, keypoint]
                ],
            )
            for keypoint in range(len(KEYPOINTS))
        ]
    elif tracking:
        tracks = [([0], [0], [[np.nan]])] * len(KEYPOINTS)
    return FrameMatch(prediction.present, right, prediction.scores, ground_truth.present.sum(axis=0), tracks)
