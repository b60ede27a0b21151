"""Which predicted pose stands for which annotated instance: OKS, and the matching of COCO's own metric.

The rules are pycocotools' (`COCOeval.computeOks`, `evaluateImg`, `accumulate`), computed for many groups of
instances and many thresholds at once. Pure functions of arrays.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

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
        instance_ids: tuple of G ids of the annotations; None for one without.
        keypoints: (G, K, 3) float64, x, y in image pixels and COCO visibility.
        areas: (G,) float64, square image pixels.
        boxes: (G, 4) float64, x y w h in image pixels.
        crowd: (G,) bool, regions of many instances.
        counts: (G,) int, labeled keypoints.
        rows: (D,) int, the poses' places in the list of results.
        poses: (D, K, 2) float64, image pixels.
        scores: (D,) float64.
    """

    image_id: int
    instance_ids: tuple
    keypoints: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray
    counts: np.ndarray
    rows: np.ndarray
    poses: np.ndarray
    scores: np.ndarray

    @property
    def ignored(self):
        """(G,) bool: instances that are neither to be found nor a mistake to find: crowds, nobody labeled."""
        return self.crowd | (self.counts == 0)

    @property
    def pose_areas(self):
        """(D,) float64, square image pixels: of the rectangle around all keypoints of a pose."""
        if not len(self.poses):
            return np.zeros(0)
        return np.prod(self.poses.max(axis=1) - self.poses.min(axis=1), axis=-1)


def group_images(annotations, results, num_keypoints, image_ids=None):
    """Puts annotations and results of the same image together.

    Args:
        annotations: list of COCO annotations with ``image_id, keypoints, bbox, area``.
        results: list of COCO results with ``image_id, keypoints, score``.
        num_keypoints: K.
        image_ids: the images to look at; None for all.

    Returns:
        A list of `AnnotatedImage` in the order of the ids; images with neither are left out. Poses come by
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


def similarities(poses, ground_truth, areas, sigmas):
    """Keypoint similarity of each pose's keypoint with the same keypoint of each instance.

    exp(-d² / (2 s² k²)) with distance d, the instance's area s², and k = 2 sigma
    (https://cocodataset.org/#keypoints-eval).

    Args:
        poses: (..., D, K, 2) float, image pixels.
        ground_truth: (G, K, 2 or 3) float, image pixels.
        areas: (G,) float, square image pixels.
        sigmas: (K,) float.

    Returns:
        (..., D, G, K) float64 in 0..1.
    """
    squares = ((poses[..., :, None, :, :2] - ground_truth[..., :2]) ** 2).sum(axis=-1)
    spread = 2 * (2 * np.asarray(sigmas)) ** 2 * (np.asarray(areas)[:, None] + np.spacing(1))
    return np.exp(-squares / spread)


def oks_matrix(image, sigmas):
    """OKS of every pose with every instance of an image, (D, G) float64.

    For instances without a labeled keypoint (crowds) pycocotools takes a keypoint's distance to their box,
    grown by its own size to every side, in place of the distance to the keypoint.
    """
    labeled = image.keypoints[:, :, 2] > 0
    keypoint = similarities(image.poses, image.keypoints, image.areas, sigmas)
    total = np.where(labeled, keypoint, 0).sum(axis=-1)
    with_keypoints = total / np.maximum(labeled.sum(axis=1), 1)
    if labeled.any(axis=1).all():
        return with_keypoints
    low = image.boxes[:, None, :2] - image.boxes[:, None, 2:]
    high = image.boxes[:, None, :2] + 2 * image.boxes[:, None, 2:]
    inside = np.clip(image.poses[:, None], low, high)
    squares = ((image.poses[:, None] - inside) ** 2).sum(axis=-1)
    spread = 2 * (2 * np.asarray(sigmas)) ** 2 * (image.areas[:, None] + np.spacing(1))
    return np.where(labeled.any(axis=1), with_keypoints, np.exp(-squares / spread).mean(axis=-1))


def match(oks, ignored, crowd, thresholds):
    """Gives each pose, best first, the instance it fits best among those still free.

    An instance that counts is preferred to one who is ignored, whatever the OKS; of equal OKS the later
    instance is taken; crowds may be taken any number of times.

    Args:
        oks: (D, G) float, poses by falling score.
        ignored: (A, G) bool, who does not count in each of A groups.
        crowd: (G,) bool.
        thresholds: (T,) float, the smallest OKS that makes a match.

    Returns:
        (A, T, D) int64: the instance's index, or `NOBODY`.
    """
    poses, instances = oks.shape
    matches = np.full((len(ignored), len(thresholds), poses), NOBODY)
    if not instances:
        return matches
    least = np.minimum(np.asarray(thresholds, np.float64), 1 - 1e-10)[:, None]
    taken = np.zeros((len(ignored), len(thresholds), instances), bool)
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


def precision_at_recalls(scores, right, counted, instances):
    """The precision-recall curve as COCO reads it.

    Args:
        scores: (N,) float, of all poses of all images.
        right: (N,) bool, whether a pose has found somebody.
        counted: (N,) bool, False for poses that are neither right nor wrong.
        instances: how many there are to find, > 0.

    Returns:
        precision: (101,) float64, at `RECALLS`, the highest at this recall or a higher one; 0 beyond the end.
        recall: float, at the end of the curve.
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
