"""Which predicted pose stands for which annotated instance: OKS, and the matching of COCO's own metric.

The rules are pycocotools' (`COCOeval.computeOks`, `evaluateImg`, `accumulate`), computed for many groups of
instances and many thresholds at once. Pure functions of arrays.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_POSES = 20
"""Only the best so many poses of an image count (maxDets of COCO's keypoint task)."""

NOBODY = -1

RECALLS = np.linspace(0, 1, 101)
"""Where COCO reads the precision-recall curve."""


@dataclass(frozen=True)
class AnnotatedImage:
    """One image's G annotated instances and D predicted poses, best first.

    Attributes:
        image_id: of the image.
        instance_ids: G ids of the annotations; None for one without.
        keypoints: (G, K, 3) x, y in image pixels and COCO visibility.
        areas: (G,) square image pixels.
        boxes: (G, 4) x y w h in image pixels.
        crowd: (G,) regions of many instances.
        counts: (G,) labeled keypoints.
        rows: (D,) the poses' places in the list of results.
        poses: (D, K, 2) image pixels.
        scores: (D,).
    """

    image_id: int
    instance_ids: tuple[int | None, ...]
    keypoints: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    boxes: npt.NDArray[np.float64]
    crowd: npt.NDArray[np.bool_]
    counts: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    poses: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]

    def oks(self, sigmas: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(D, G) OKS of every pose with every instance."""
        return annotation_oks(self.poses, self.keypoints, self.areas, self.boxes, sigmas)

    @property
    def ignored(self) -> npt.NDArray[np.bool_]:
        """(G,) instances that are neither to be found nor a mistake to find: crowds, nobody labeled."""
        return self.crowd | (self.counts == 0)

    @property
    def pose_areas(self) -> npt.NDArray[np.float64]:
        """(D,) square image pixels: of the rectangle around all keypoints of a pose."""
        if not len(self.poses):
            return np.zeros(0)
        return np.prod(self.poses.max(axis=1) - self.poses.min(axis=1), axis=-1)


def group_images(
    annotations: Iterable[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    num_keypoints: int,
    image_ids: Iterable[int] | None = None,
) -> list[AnnotatedImage]:
    """Puts annotations and results of the same image together.

    Args:
        annotations: COCO annotations with ``image_id, keypoints, bbox, area``.
        results: COCO results with ``image_id, keypoints, score``.
        num_keypoints: K.
        image_ids: the images to look at; None for all.

    Returns:
        In the order of the ids; images with neither are left out. Poses come by
        falling score, those with equal scores in the order of the results, at most `MAX_POSES`.
    """
    instances, poses = defaultdict(list), defaultdict(list)
    for instance in annotations:
        instances[instance["image_id"]].append(instance)
    for row, result in enumerate(results):
        poses[result["image_id"]].append(row)
    wanted = instances.keys() | poses.keys()
    if image_ids is not None:
        wanted &= set(image_ids)
    return [
        _image(image_id, instances[image_id], poses[image_id], results, num_keypoints)
        for image_id in sorted(wanted)
    ]


def _image(image_id, instances, rows, results, num_keypoints):
    keypoints = np.reshape([instance["keypoints"] for instance in instances], (-1, num_keypoints, 3))
    keypoints = keypoints.astype(np.float64)
    labeled = (keypoints[:, :, 2] > 0).sum(axis=1)
    given = [instance.get("num_keypoints") for instance in instances]
    counts = [n if isinstance(n, int) else count for n, count in zip(given, labeled, strict=True)]
    scores = np.array([results[row]["score"] for row in rows], np.float64)
    best = np.argsort(-scores, kind="stable")[:MAX_POSES]
    poses = np.reshape([results[rows[place]]["keypoints"] for place in best], (-1, num_keypoints, 3))
    return AnnotatedImage(
        image_id=image_id,
        instance_ids=tuple(instance.get("id") for instance in instances),
        keypoints=keypoints,
        areas=np.array([instance["area"] for instance in instances], np.float64),
        boxes=np.reshape([instance["bbox"] for instance in instances], (-1, 4)).astype(np.float64),
        crowd=np.array([bool(instance.get("iscrowd", 0)) for instance in instances], bool),
        counts=np.array(counts, np.int64),
        rows=np.array(rows, np.int64)[best],
        poses=poses[:, :, :2].astype(np.float64),
        scores=scores[best],
    )


def similarities(
    poses: npt.NDArray[np.float64],
    ground_truth: npt.NDArray[np.float64],
    areas: npt.ArrayLike,
    sigmas: npt.ArrayLike,
) -> npt.NDArray[np.float64]:
    """Keypoint similarity of each pose's keypoint with the same keypoint of each instance.

    Args:
        poses: (..., D, K, 2) image pixels.
        ground_truth: (G, K, 2 or 3) image pixels.
        areas: (G,) square image pixels.
        sigmas: (K,).

    Returns:
        (..., D, G, K) in 0..1.
    """
    squares = ((poses[..., :, None, :, :2] - ground_truth[..., :2]) ** 2).sum(axis=-1)
    return _similarity(squares, np.asarray(areas)[:, None], np.asarray(sigmas))


def _similarity(
    squares: npt.NDArray[np.float64], areas: npt.ArrayLike, sigmas: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """exp(-d² / (2 s² k²)), distance d, area s², k = 2 sigma: https://cocodataset.org/#keypoints-eval.

    In the order in which pycocotools computes it, which decides the last bits.
    """
    return np.exp(-(squares / (4 * sigmas**2) / (areas + np.spacing(1)) / 2))


def annotation_oks(
    poses: npt.NDArray[np.float64],
    keypoints: npt.NDArray[np.float64],
    areas: npt.ArrayLike,
    boxes: npt.ArrayLike,
    sigmas: npt.ArrayLike,
) -> npt.NDArray[np.float64]:
    """OKS of every pose with every annotated instance: pycocotools' `computeOks` to the last bits.

    As there, sums run over the labeled keypoints alone, and each pose's terms lie side by side: NumPy adds
    them up in the same order, so that equal OKS stay equal. For instances without a labeled keypoint (crowds)
    a keypoint's distance is that to their box, grown by its own size to every side.

    (`nms.oks_matrix` is the OKS between poses, of which none is the truth: it takes the mean of two areas.)

    Args:
        poses: (D, K, 2) image pixels.
        keypoints: (G, K, 3) x, y in image pixels and COCO visibility.
        areas: (G,) square image pixels.
        boxes: (G, 4) x y w h in image pixels.
        sigmas: (K,).

    Returns:
        (D, G) in 0..1.
    """
    spreads, sizes = np.asarray(sigmas, np.float64), np.asarray(areas, np.float64)
    rectangles = np.asarray(boxes, np.float64)
    oks = np.empty((len(poses), len(keypoints)))
    for column, instance in enumerate(keypoints):
        counted = np.flatnonzero(instance[:, 2] > 0)
        if len(counted):
            offsets = poses.take(counted, axis=1) - instance[counted, :2]
        else:
            counted = np.arange(len(instance))
            corner, size = np.reshape(rectangles[column], (2, 2))
            low, high = corner - size, corner + size * 2
            offsets = np.maximum(0, low - poses) + np.maximum(0, poses - high)
        squares = offsets[:, :, 0] ** 2 + offsets[:, :, 1] ** 2
        oks[:, column] = _similarity(squares, sizes[column], spreads[counted]).sum(axis=1) / len(counted)
    return oks


def match(
    oks: npt.NDArray[np.float64],
    ignored: npt.NDArray[np.bool_],
    crowd: npt.NDArray[np.bool_],
    thresholds: npt.NDArray[np.float64] | Sequence[float],
) -> npt.NDArray[np.int64]:
    """Gives each pose, best first, the instance it fits best among those still free.

    An instance that counts is preferred to one who is ignored, whatever the OKS; of equal OKS the later
    instance is taken; crowds may be taken any number of times.

    Args:
        oks: (D, G) poses by falling score.
        ignored: (A, G) who does not count in each of A groups.
        crowd: (G,).
        thresholds: (T,) the smallest OKS that makes a match.

    Returns:
        (A, T, D) the instance's index, or `NOBODY`.
    """
    poses, instances = oks.shape
    matches = np.full((len(ignored), len(thresholds), poses), NOBODY)
    if not instances:
        return matches
    least = np.minimum(np.asarray(thresholds, np.float64), 1 - 1e-10)[:, None]
    taken = np.zeros((len(ignored), len(thresholds), instances), np.bool_)
    for pose in range(poses):
        fits = (oks[pose] >= least) & (~taken | crowd)
        counting = np.where(fits & ~ignored[:, None], oks[pose], -1.0)
        other = np.where(fits & ignored[:, None], oks[pose], -1.0)
        # argmax of the reversed array, because the last of equals is taken.
        chosen, second = (instances - 1 - np.argmax(part[..., ::-1], axis=-1) for part in (counting, other))
        chosen = np.where(counting.max(axis=-1) >= 0, chosen, second)
        found = fits.any(axis=-1)
        matches[..., pose] = np.where(found, chosen, NOBODY)
        taken |= found[..., None] & (np.arange(instances) == chosen[..., None])
    return matches


def precision_at_recalls(
    scores: npt.NDArray[np.float64],
    right: npt.NDArray[np.bool_],
    counted: npt.NDArray[np.bool_],
    instances: int,
) -> tuple[npt.NDArray[np.float64], float]:
    """The precision-recall curve as COCO reads it.

    Args:
        scores: (N,) of all poses of all images.
        right: (N,) whether a pose has found somebody.
        counted: (N,) False for poses that are neither right nor wrong.
        instances: how many there are to find, > 0.

    Returns:
        precision: (101,) at `RECALLS`, the highest at this recall or a higher one; 0 beyond the end.
        recall: at the end of the curve.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[counted[order]]
    right = right[order]
    found, precision = np.cumsum(right), np.zeros(len(RECALLS))
    if not len(right):
        return precision, 0.0
    recalls = found / instances
    precisions = found / (np.arange(1, len(right) + 1) + np.spacing(1))
    highest = np.maximum.accumulate(precisions[::-1])[::-1]
    places = np.searchsorted(recalls, RECALLS, side="left")
    reached = places < len(highest)
    precision[reached] = highest[places[reached]]
    return precision, float(recalls[-1])
