"""What an average precision is made of: curves, kinds of people, kinds of mistakes.

Pure functions of annotations and results in COCO's form, for any number of joints.
"""

from dataclasses import dataclass

import numpy as np

from evaluate.metrics.oks_matching import (
    NOBODY,
    group_pictures,
    match,
    oks_matrix,
    precision_at_recalls,
    similarities,
)

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""COCO's OKS thresholds, whose mean is AP."""

SIZES = (("all sizes", 0.0, 1e10), ("medium", 32.0**2, 96.0**2), ("large", 96.0**2, 1e10))
"""Name and annotated area in square pixels, ends included (pycocotools' `Params.setKpParams`)."""

VISIBLE_OF_17 = (5, 10, 15, 17)
"""Upper ends of the groups by labelled keypoints, for COCO's 17 (coco-analyze's ``num_kpt_groups``)."""

ERROR_MATCH = 0.1
"""OKS from which on a pose is taken for an attempt at a person (Ronchi and Perona's tool, ``oksLocThrs``)."""

ERRORS = ("good", "jitter", "inversion", "swap", "miss")

GOOD, NEAR = 0.85, 0.5
"""Keypoint similarity from which on a joint is good, and near to something at all (``jitterKsThrs``)."""


@dataclass(frozen=True)
class Group:
    """One kind of people.

    Attributes:
        name: for example "medium" or "1-5".
        people: how many there are to find.
        ap: mean over `THRESHOLDS`; None without people.
        ar: mean recall over them; None without people.
    """

    name: str
    people: int
    ap: float | None
    ar: float | None


@dataclass(frozen=True)
class Pair:
    """A pose and the person it was taken for.

    Attributes:
        row: the pose's place in the results.
        person_id, image_id: of the annotation.
        keypoints: (K, 3) float64, its x, y in image pixels and visibility.
        oks: float.
        errors: (K,) int, places in `ERRORS`; -1 for joints that are not labelled.
        similarity: (K,) float64, keypoint similarity; 0 for joints that are not labelled.
    """

    row: int
    person_id: int
    image_id: int
    keypoints: np.ndarray
    oks: float
    errors: np.ndarray
    similarity: np.ndarray


@dataclass(frozen=True)
class Analysis:
    """What `analyse` finds.

    Attributes:
        sizes, visible: tuples of `Group`, by annotated size and by number of labelled keypoints.
        curves: {OKS threshold: (101,) precision at `RECALLS`} for 0.5, 0.75 and 0.9; empty without people.
        pairs: list of `Pair`, poses matched at an OKS of at least `ERROR_MATCH`.
        unmatched: number of labelled people without such a pose.
    """

    sizes: tuple
    visible: tuple
    curves: dict
    pairs: list
    unmatched: int


def visible_groups(num_keypoints):
    """Ranges of labelled keypoints, ends included: 1-5, 6-10, 11-15, 16-17 of 17, others in proportion."""
    ends = sorted({max(1, round(num_keypoints * end / 17)) for end in VISIBLE_OF_17})
    starts = [1, *(end + 1 for end in ends[:-1])]
    return list(zip(starts, ends, strict=True))


def analyse(annotations, results, skeleton, image_ids=None):
    """Takes an average precision apart.

    In the groups by labelled keypoints everybody else is ignored, and so are poses that fit one of them best
    (with an OKS of at least `ERROR_MATCH`), as COCO ignores poses of another size. Poses next to nobody count
    against every group.

    Args:
        annotations: list of COCO annotations with ``image_id, keypoints, bbox, area``.
        results: list of COCO results, or of dicts with their ``image_id, keypoints, score``.
        skeleton: a `records.skeletons.Skeleton`.
        image_ids: the pictures to look at; None for all.

    Returns:
        `Analysis`. The AP of the sizes are those of `evaluate.metrics.coco.evaluate_coco`.
    """
    joints = skeleton.num_keypoints
    pictures = group_pictures(annotations, results, joints, image_ids)
    groups = [(name, low, high, 0, np.inf) for name, low, high in SIZES]
    groups += [
        (f"{first}-{last}" if first < last else f"{first}", 0.0, np.inf, first, last)
        for first, last in visible_groups(joints)
    ]
    areas, counts = np.array([g[1:3] for g in groups]), np.array([g[3:5] for g in groups])
    parts, pairs, unmatched, people = [], [], 0, np.zeros(len(groups), int)
    for picture in pictures:
        oks = oks_matrix(picture, skeleton.sigmas)
        ignored = picture.ignored | _outside(picture.areas, areas) | _outside(picture.counts, counts)
        people += (~ignored).sum(axis=1)
        matches = match(oks, ignored, picture.crowd, THRESHOLDS)
        found = matches != NOBODY
        if len(picture.areas):
            to_ignored = np.take_along_axis(ignored[:, None], matches.clip(0), axis=-1)
        else:
            to_ignored = np.zeros_like(found)
        outside = _outside(picture.pose_areas, areas)
        outside[len(SIZES) :] |= _next_to(oks, ignored[len(SIZES) :])
        parts.append((picture.scores, found, np.where(found, ~to_ignored, ~outside[:, None])))
        new_pairs = find_pairs(picture, oks, skeleton)
        unmatched += int((~picture.ignored).sum()) - len(new_pairs)
        pairs += new_pairs

    scores = np.concatenate([np.zeros(0), *(part[0] for part in parts)])
    empty = np.zeros((len(groups), len(THRESHOLDS), 0), bool)
    found = np.concatenate([empty, *(part[1] for part in parts)], axis=-1)
    counted = np.concatenate([empty, *(part[2] for part in parts)], axis=-1)
    summaries, curves = [], {}
    for number, (name, *_) in enumerate(groups):
        if not people[number]:
            summaries.append(Group(name, 0, None, None))
            continue
        read = [
            precision_at_recalls(scores, found[number, t], counted[number, t], people[number])
            for t in range(len(THRESHOLDS))
        ]
        precision = np.array([curve for curve, _ in read])
        recall = float(np.mean([recall for _, recall in read]))
        summaries.append(Group(name, int(people[number]), float(precision.mean()), recall))
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


def _next_to(oks, people):
    """(A, D) bool: which of D poses fit best somebody of each of A groups, given as (A, G) bool."""
    if not people.shape[1]:
        return np.zeros((len(people), len(oks)), bool)
    return people[:, oks.argmax(axis=1)] & (oks.max(axis=1) >= ERROR_MATCH)


def find_pairs(picture, oks, skeleton):
    """The poses of a picture that are attempts at labelled people, with what is wrong with them.

    Args:
        picture: `evaluate.metrics.oks_matching.Picture`.
        oks: (D, G) float64, from `oks_matrix`.
        skeleton: a `Skeleton`.

    Returns:
        A list of `Pair`, poses by falling score.
    """
    matches = match(oks, picture.ignored[None], picture.crowd, [ERROR_MATCH])[0, 0]
    pairs = []
    for pose, person in enumerate(matches.tolist()):
        if person == NOBODY or picture.ignored[person]:
            continue
        errors, similarity = joint_errors(
            picture.poses[pose], picture.keypoints, picture.areas, person, skeleton
        )
        pairs.append(
            Pair(
                row=int(picture.rows[pose]),
                person_id=picture.person_ids[person],
                image_id=picture.image_id,
                keypoints=picture.keypoints[person],
                oks=float(oks[pose, person]),
                errors=errors,
                similarity=similarity,
            )
        )
    return pairs


def joint_errors(pose, keypoints, areas, person, skeleton):
    """What is wrong with each joint of a pose.

    After Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation" (ICCV 2017),
    as their tool has it (github.com/matteorr/coco-analyze, ``COCOanalyze._find_kpt_errors``). A predicted
    joint is held against this joint and the mirrored one (left for right) of everybody in the picture who has
    them labelled, by keypoint similarity, ks. The place with the largest ks decides. For a joint that is
    labelled in the person it was meant for, it is, if this ks is at least 0.5,

    * good: it is the joint's own place, and ks is at least 0.85;
    * jitter: it is the joint's own place, a small error;
    * inversion: it is the same person's mirrored joint, left and right confused;
    * swap: it is this joint or the mirrored one of another person;

    and otherwise a miss. Of equal ks the joint's own place counts, then another person's same joint, then the
    own mirrored one. A ks takes the area of the person whose place it is and the predicted joint's sigma.
    (The tool calls a ks of exactly 0.85 neither good nor jitter; here it is good.)

    Args:
        pose: (K, 2) float, image pixels.
        keypoints: (G, K, 3) float, x, y in image pixels and visibility, of everybody in the picture.
        areas: (G,) float, square image pixels.
        person: index of the one the pose was meant for.
        skeleton: a `Skeleton`.

    Returns:
        errors: (K,) int, places in `ERRORS`; -1 where the joint is not labelled.
        similarity: (K,) float64, with its own place; 0 where the joint is not labelled.
    """
    order = [person, *(other for other in range(len(keypoints)) if other != person)]
    people, areas = keypoints[order], np.asarray(areas)[order]
    places = np.concatenate([people, people[:, skeleton.flip_permutation]])
    ks = similarities(pose[None], places, np.tile(areas, 2), skeleton.sigmas)[0]
    ks = np.where(places[:, :, 2] > 0, ks, 0)
    largest, place = ks.max(axis=0), ks.argmax(axis=0)
    errors = np.select(
        [largest < NEAR, (place == 0) & (largest >= GOOD), place == 0, place == len(people)],
        [ERRORS.index(name) for name in ("miss", "good", "jitter", "inversion")],
        ERRORS.index("swap"),
    )
    return np.where(people[0, :, 2] > 0, errors, -1), ks[0]


def count_errors(pairs, num_keypoints):
    """Errors and similarity of each joint.

    Args:
        pairs: list of `Pair`.
        num_keypoints: K.

    Returns:
        counts: (K, 5) int64, joints of each of `ERRORS`.
        similarity: (K,) float64, mean keypoint similarity of the joint; NaN where nobody has it labelled.
    """
    errors = np.reshape([pair.errors for pair in pairs], (-1, num_keypoints))
    counts = np.stack([(errors == kind).sum(axis=0) for kind in range(len(ERRORS))], axis=1)
    total = np.reshape([pair.similarity for pair in pairs], (-1, num_keypoints)).sum(axis=0)
    people = counts.sum(axis=1)
    similarity = np.full(num_keypoints, np.nan)
    np.divide(total, people, out=similarity, where=people > 0)
    return counts, similarity
