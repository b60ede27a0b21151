"""Multi-object tracking accuracy per keypoint by motmetrics, added up as PoseTrack's tool poseval does it.

CLEAR MOT (Bernardin and Stiefelhagen, 2008): each keypoint is a kind of object of its own, with the
instance's track id as identity. See `evaluate.metrics.posetrack` for what counts as near enough.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_COUNTS = ("num_misses", "num_switches", "num_false_positives", "num_objects", "num_detections")

EVENTS = (*_COUNTS, "distance")
"""What `count_events` counts. Distances are those of all events that motmetrics lists: a match is listed as a
candidate, as a match, and again if it changes identity, and so are near candidates that were not matched.
poseval adds them all up, so its MOTP depends on them; MOTA does not."""


def count_events(
    frames: Sequence[tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike]],
) -> npt.NDArray[np.float64]:
    """Counts a video's events for one keypoint.

    Args:
        frames: list of (object ids (G,), hypothesis ids (P,), distances (G, P), NaN for pairs that cannot be
            a match).

    Returns:
        (6,) in the order of `EVENTS`.
    """
    if not frames:
        return np.zeros(len(EVENTS))
    import motmetrics  # brings pandas, and half a second

    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for object_ids, hypothesis_ids, distances in frames:
        accumulator.update(object_ids, hypothesis_ids, distances)
    counts = motmetrics.metrics.create().compute(accumulator, metrics=_COUNTS, return_dataframe=False)
    return np.array([*(counts[name] for name in _COUNTS), accumulator.events["D"].sum()], np.float64)


def mot_metrics(counts: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """MOTA, MOTP, precision and recall in percent.

    Args:
        counts: (K, 6) float64, of one video or the sum over several, in the order of `EVENTS`.

    Returns:
        Dict of (K,) float64: "MOTA" (can be negative), "MOTP", "MOT precision", "MOT recall". NaN: without
        objects or, for precision, without hypotheses. MOTP is 0 without matches.
    """
    misses, switches, false_positives, objects, detections, distance = counts.T
    objects = np.where(objects > 0, objects, np.nan)
    hypotheses = false_positives + detections
    return {
        "MOTA": 100 * (1 - (misses + switches + false_positives) / objects),
        "MOTP": np.where(detections > 0, 100 * (1 - distance / np.maximum(detections, 1)), 0.0),
        "MOT precision": 100 * detections / np.where(hypotheses > 0, hypotheses, np.nan),
        "MOT recall": 100 * detections / objects,
    }
