"""What an average precision is made of: curves, kinds of instances, kinds of mistakes.

Pure functions of annotations and results in COCO's form, for any number of keypoints.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluate.metrics.oks_matching import (
    NOBODY,
    AnnotatedImage,
    group_images,
    match,
    precision_at_recalls,
    similarities,
)
from records.skeletons import Skeleton

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's OKS thresholds, whose mean is AP."""

SIZES = (("all sizes", 0.0, 1e10), ("medium", 32.0**2, 96.0**2), ("large", 96.0**2, 1e10))
"""Name and annotated area in square pixels, ends included (pycocotools' `Params.setKpParams`)."""

VISIBLE_OF_17 = (5, 10, 15, 17)
"""Upper ends of the groups by labeled keypoints, for COCO's 17 (coco-analyze's ``num_kpt_groups``)."""

ERROR_MATCH = 0.1
"""OKS from which on a pose is taken for an attempt at an instance (Ronchi and Perona's tool,
``oksLocThrs``).
"""

ERRORS = ("good", "jitter", "inversion", "swap", "miss")

GOOD, NEAR = 0.85, 0.5
"""Keypoint similarity from which on a keypoint is good, and near to something at all (``jitterKsThrs``)."""


@dataclass(frozen=True)
class Group:
    """One kind of instances.

    Attributes:
        name: for example "medium" or "1-5".
        instances: how many there are to find.
        ap: mean over `THRESHOLDS`; None without instances.
        ar: mean recall over them; None without instances.
    """

    name: str
    instances: int
    ap: float | None
    ar: float | None


@dataclass(frozen=True)
class Pair:
    """A pose and the instance it was taken for.

    Attributes:
        row: the pose's place in the results.
        instance_id, image_id: of the annotation.
        keypoints: (K, 3) float64, its x, y in image pixels and visibility.
        oks: float.
        errors: (K,) int, places in `ERRORS`; -1 for keypoints that are not labeled.
        similarity: (K,) float64, keypoint similarity; 0 for keypoints that are not labeled.
    """

    row: int
    instance_id: int
    image_id: int
    keypoints: npt.NDArray[np.float64]
    oks: float
    errors: npt.NDArray[np.int64]
    similarity: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Analysis:
    """What `analyze` finds.

    Attributes:
        sizes, visible: tuples of `Group`, by annotated size and by number of labeled keypoints.
        curves: {OKS threshold: (101,) precision at `RECALLS`} for 0.5, 0.75 and 0.9; empty without instances.
        pairs: list of `Pair`, poses matched at an OKS of at least `ERROR_MATCH`.
        unmatched: number of labeled instances without such a pose.
    """

    sizes: tuple[Group, ...]
    visible: tuple[Group, ...]
    curves: dict[float, npt.NDArray[np.float64]]
    pairs: list[Pair]
    unmatched: int


def visible_groups(num_keypoints: int) -> list[tuple[int, int]]:
    """Ranges of labeled keypoints, ends included: 1-5, 6-10, 11-15, 16-17 of 17, others in proportion."""
    ends = sorted({max(1, round(num_keypoints * end / 17)) for end in VISIBLE_OF_17})
    starts = [1, *(end + 1 for end in ends[:-1])]
    return list(zip(starts, ends, strict=True))


def analyze(
    annotations: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    skeleton: Skeleton,
    image_ids: Iterable[int] | None = None,
) -> Analysis:
    """Takes an average precision apart.

    In the groups by labeled keypoints everybody else is ignored, and so are poses that fit one of them best
    (with an OKS of at least `ERROR_MATCH`), as COCO ignores poses of another size. Poses next to nobody count
    against every group.

    Args:
        annotations: COCO annotations with ``image_id, keypoints, bbox, area``.
        results: COCO results, or dicts with their ``image_id, keypoints, score``.
        skeleton: of their keypoints.
        image_ids: the images to look at; None for all.

    Returns:
        The AP of the sizes are those of `evaluate.metrics.coco.evaluate_coco`.
    """
    keypoints = skeleton.num_keypoints
    images = group_images(annotations, results, keypoints, image_ids)
    groups = [(name, low, high, 0, np.inf) for name, low, high in SIZES]
    groups += [
        (f"{first}-{last}" if first < last else f"{first}", 0.0, np.inf, first, last)
        for first, last in visible_groups(keypoints)
    ]
    areas, counts = np.array([g[1:3] for g in groups]), np.array([g[3:5] for g in groups])
    parts, pairs, unmatched, instances = [], [], 0, np.zeros(len(groups), int)
    for image in images:
        oks = image.oks(skeleton.sigmas)
        ignored = image.ignored | _outside(image.areas, areas) | _outside(image.counts, counts)
        instances += (~ignored).sum(axis=1)
        matches = match(oks, ignored, image.crowd, THRESHOLDS)
        found = matches != NOBODY
        if len(image.areas):
            to_ignored = np.take_along_axis(ignored[:, None], matches.clip(0), axis=-1)
        else:
            to_ignored = np.zeros_like(found)
        outside = _outside(image.pose_areas, areas)
        outside[len(SIZES) :] |= _next_to(oks, ignored[len(SIZES) :])
        parts.append((image.scores, found, np.where(found, ~to_ignored, ~outside[:, None])))
        new_pairs = find_pairs(image, oks, skeleton)
        unmatched += int((~image.ignored).sum()) - len(new_pairs)
        pairs += new_pairs

    scores = np.concatenate([np.zeros(0), *(part[0] for part in parts)])
    empty = np.zeros((len(groups), len(THRESHOLDS), 0), bool)
    found = np.concatenate([empty, *(part[1] for part in parts)], axis=-1)
    counted = np.concatenate([empty, *(part[2] for part in parts)], axis=-1)
    summaries, curves = [], {}
    for number, (name, *_) in enumerate(groups):
        if not instances[number]:
            summaries.append(Group(name, 0, None, None))
            continue
        read = [
            precision_at_recalls(scores, found[number, t], counted[number, t], instances[number])
            for t in range(len(THRESHOLDS))
        ]
        precision = np.array([curve for curve, _ in read])
        recall = float(np.mean([recall for _, recall in read]))
        summaries.append(Group(name, int(instances[number]), float(precision.mean()), recall))
        if number == 0:
            curves = {0.5: precision[0], 0.75: precision[5], 0.9: precision[8]}
    return Analysis(
        sizes=tuple(summaries[: len(SIZES)]),
        visible=tuple(summaries[len(SIZES) :]),
        curves=curves,
        pairs=pairs,
        unmatched=unmatched,
    )


def _outside(values, ranges):
    """(A, N) bool: which of (N,) values lie outside of each of (A, 2) ranges, whose ends are inside."""
    return (values < ranges[:, :1]) | (values > ranges[:, 1:])


def _next_to(oks, instances):
    """(A, D) bool: which of D poses fit best somebody of each of A groups, given as (A, G) bool."""
    if not instances.shape[1]:
        return np.zeros((len(instances), len(oks)), bool)
    return instances[:, oks.argmax(axis=1)] & (oks.max(axis=1) >= ERROR_MATCH)


def find_pairs(image: AnnotatedImage, oks: npt.NDArray[np.float64], skeleton: Skeleton) -> list[Pair]:
    """The poses of an image that are attempts at labeled instances, with what is wrong with them.

    Args:
        image: with its poses.
        oks: (D, G) of its poses and instances.
        skeleton: of their keypoints.

    Returns:
        Poses by falling score.
    """
    matches = match(oks, image.ignored[None], image.crowd, [ERROR_MATCH])[0, 0]
    pairs = []
    for pose, instance in enumerate(matches.tolist()):
        if instance == NOBODY or image.ignored[instance]:
            continue
        errors, similarity = keypoint_errors(
            image.poses[pose], image.keypoints, image.areas, instance, skeleton
        )
        pairs.append(
            Pair(
                row=int(image.rows[pose]),
                instance_id=image.instance_ids[instance],
                image_id=image.image_id,
                keypoints=image.keypoints[instance],
                oks=float(oks[pose, instance]),
                errors=errors,
                similarity=similarity,
            )
        )
    return pairs


def keypoint_errors(
    pose: npt.NDArray[np.float64],
    keypoints: npt.NDArray[np.float64],
    areas: npt.ArrayLike,
    instance: int,
    skeleton: Skeleton,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """What is wrong with each keypoint of a pose.

    After Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation" (ICCV 2017),
    as their tool has it (github.com/matteorr/coco-analyze, ``COCOanalyze._find_kpt_errors``). A predicted
    keypoint is held against this keypoint and the mirrored one (left for right) of everybody in the image who
    has them labeled, by keypoint similarity, ks. The place with the largest ks decides. For a keypoint that
    is labeled in the instance it was meant for, it is, if this ks is at least 0.5,

    * good: it is the keypoint's own place, and ks is at least 0.85;
    * jitter: it is the keypoint's own place, a small error;
    * inversion: it is the same instance's mirrored keypoint, left and right confused;
    * swap: it is this keypoint or the mirrored one of another instance;

    and otherwise a miss. Of equal ks the keypoint's own place counts, then another instance's same keypoint,
    then the own mirrored one. A ks takes the area of the instance whose place it is and the predicted
    keypoint's sigma. (The tool calls a ks of exactly 0.85 neither good nor jitter; here it is good.)

    Args:
        pose: (K, 2) float, image pixels.
        keypoints: (G, K, 3) float, x, y in image pixels and visibility, of everybody in the image.
        areas: (G,) float, square image pixels.
        instance: index of the one the pose was meant for.
        skeleton: of their keypoints.

    Returns:
        errors: (K,) int, places in `ERRORS`; -1 where the keypoint is not labeled.
        similarity: (K,) float64, with its own place; 0 where the keypoint is not labeled.
    """
    order = [instance, *(other for other in range(len(keypoints)) if other != instance)]
    instances, areas = keypoints[order], np.asarray(areas)[order]
    places = np.concatenate([instances, instances[:, skeleton.flip_permutation]])
    ks = similarities(pose[None], places, np.tile(areas, 2), skeleton.sigmas)[0]
    ks = np.where(places[:, :, 2] > 0, ks, 0)
    largest, place = ks.max(axis=0), ks.argmax(axis=0)
    errors = np.select(
        [largest < NEAR, (place == 0) & (largest >= GOOD), place == 0, place == len(instances)],
        [ERRORS.index(name) for name in ("miss", "good", "jitter", "inversion")],
        ERRORS.index("swap"),
    )
    return np.where(instances[0, :, 2] > 0, errors, -1), ks[0]


def count_errors(
    pairs: Sequence[Pair], num_keypoints: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Errors and similarity of each keypoint.

    Args:
        pairs: of poses and instances.
        num_keypoints: K.

    Returns:
        counts: (K, 5) int64, keypoints of each of `ERRORS`.
        similarity: (K,) float64, mean keypoint similarity of the keypoint; NaN where nobody has it labeled.
    """
    errors = np.reshape([pair.errors for pair in pairs], (-1, num_keypoints))
    counts = np.stack([(errors == kind).sum(axis=0) for kind in range(len(ERRORS))], axis=1)
    total = np.reshape([pair.similarity for pair in pairs], (-1, num_keypoints)).sum(axis=0)
    instances = counts.sum(axis=1)
    similarity = np.full(num_keypoints, np.nan)
    np.divide(total, instances, out=similarity, where=instances > 0)
    return counts, similarity
