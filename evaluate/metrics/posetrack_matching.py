"""Which predicted joints of a frame are right, by the rules that `evaluate.metrics.posetrack` tells."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from evaluate.metrics.posetrack_files import JOINTS, Frame

DISTANCE_THRESHOLD = 0.5
"""In head sizes."""

HEAD_SHARE = 0.6
"""The head's size is this share of its box's diagonal."""


@dataclass(frozen=True)
class FrameMatch:
    """What one frame says: P predicted people, 15 joints.

    Attributes:
        predicted: (P, 15) bool, joints that are predicted.
        right: (P, 15) bool, those of them that are right.
        scores: (P, 15).
        annotated: (15,) how many there are to find.
        tracks: per joint (object ids, hypothesis ids, distances) for `count_events`; empty without tracking.
    """

    predicted: npt.NDArray[np.bool_]
    right: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    annotated: npt.NDArray[np.int64]
    tracks: list[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]]


def without_ignored(truth: Frame, prediction: Frame) -> tuple[Frame, Frame]:
    """The two frames without joints inside the truth's ignore regions, and without people left with none."""
    regions = truth.ignore_regions
    if not regions:
        return truth, prediction
    frames = []
    for frame in (truth, prediction):
        present = frame.present.copy()
        for polygon in regions:
            present &= ~inside(frame.points, polygon)
        left = present.any(axis=1)
        frames.append(
            replace(
                frame,
                points=frame.points[left],
                present=present[left],
                scores=frame.scores[left],
                head_diagonals=frame.head_diagonals[left],
                track_ids=None if frame.track_ids is None else frame.track_ids[left],
            )
        )
    return tuple(frames)


def inside(points: npt.NDArray[np.float64], polygon: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which points lie inside a polygon, its border not included, by the even-odd rule.

    Args:
        points: (..., 2) float64, x, y.
        polygon: (n, 2) float64, corners in order, open or closed; with fewer than 3 it has no inside.

    Returns:
        (...) bool.
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


def match_frame(truth: Frame, prediction: Frame, tracking: bool) -> FrameMatch:
    """Assigns one frame's predictions to its truth."""
    people, others = len(truth.points), len(prediction.points)
    offsets = prediction.points[:, None] - truth.points[None]
    distances = np.linalg.norm(offsets, axis=3) / (HEAD_SHARE * truth.head_diagonals[:, None])
    both = prediction.present[:, None] & truth.present[None]
    near = both & (distances <= DISTANCE_THRESHOLD)
    right = np.zeros((others, len(JOINTS)), bool)
    if people and others:
        shares = near.sum(axis=2) / np.maximum(truth.present.sum(axis=1), 1)
        chosen = shares.argmax(axis=1)
        shares[np.arange(people) != chosen[:, None]] = 0
        winners = shares.argmax(axis=0)
        for person in np.flatnonzero(shares.max(axis=0) > 0):
            right[winners[person]] = near[winners[person], person]
    tracks = []
    if tracking and people and others:
        tracks = [
            (
                truth.track_ids[truth.present[:, joint]],
                prediction.track_ids[prediction.present[:, joint]],
                np.where(near, distances, np.nan)[prediction.present[:, joint], :, joint].T[
                    truth.present[:, joint]
                ],
            )
            for joint in range(len(JOINTS))
        ]
    elif tracking:
        tracks = [([0], [0], [[np.nan]])] * len(JOINTS)
    return FrameMatch(prediction.present, right, prediction.scores, truth.present.sum(axis=0), tracks)
