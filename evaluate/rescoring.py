"""From the network's poses to COCO results: rescoring and OKS NMS per image, as in the official HRNet code.

A top-down pose has two sources of confidence, the box's and the keypoints'. The official
``COCODataset.evaluate`` multiplies them, then removes the poses that say the same instance twice.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from evaluate.options import MIN_VISIBILITY, OKS_NMS_THRESHOLD
from nms import oks_nms, soft_oks_nms
from records.annotations.instance_checks import PERSON_CATEGORY


def to_results(
    keypoints: npt.ArrayLike,
    areas: npt.ArrayLike,
    box_scores: npt.ArrayLike,
    image_ids: npt.ArrayLike,
    oks_threshold: float = OKS_NMS_THRESHOLD,
    min_visibility: float = MIN_VISIBILITY,
    soft: bool = False,
    sigmas: npt.ArrayLike | None = None,
    category: int = PERSON_CATEGORY,
) -> list[dict[str, Any]]:
    """Rescores the poses, removes doubled ones within each image and writes the rest as COCO results.

    The defaults are the official configuration's (OKS_THRE 0.9, IN_VIS_THRE 0.2, SOFT_NMS off).

    Args:
        keypoints: (N, K, 3) x and y in image pixels and the keypoint's score.
        areas: (N,) square pixels, of the padded boxes (``prod(scale)``), as the official code has it.
        box_scores: (N,) the detector's; 1 for ground-truth boxes.
        image_ids: (N,) the poses of an image need not stand together.
        oks_threshold: poses whose OKS with a better one is above this are dropped; with ``soft`` the width of
            the decay (see `nms.soft_oks_nms`).
        min_visibility: the keypoints with a score above it make the pose's score. As in the official code it
            has no part in the OKS, where all keypoints count.
        soft: lower the scores of overlapping poses instead of dropping them. Lowered scores decide the order
            and which 20 poses of an image stay; the scores written are those before.
        sigmas: (K,) for the OKS; None: COCO's, for 17 keypoints only.
        category: the category id to write.

    Returns:
        List of JSON-ready dicts ``{"image_id", "category_id", "keypoints", "score"}``, ``keypoints`` flat
        x, y, score of each keypoint. Images in the order first met, within an image in the order kept. The
        score is the box score times the mean of the keypoint scores above ``min_visibility`` (0 if there is
        none).

    Raises:
        ValueError: on wrong shapes, numbers that are not finite, image ids that are not integers.
    """
    kept, scores = rescore_and_nms(
        keypoints, areas, box_scores, image_ids, oks_threshold, min_visibility, soft, sigmas
    )
    return as_results(keypoints, image_ids, kept, scores, category)


def as_results(
    keypoints: npt.ArrayLike,
    image_ids: npt.ArrayLike,
    kept: npt.NDArray[np.intp],
    scores: npt.NDArray[np.float64],
    category: int = PERSON_CATEGORY,
) -> list[dict[str, Any]]:
    """Poses as COCO result dicts: those of `kept`, in this order, with these scores; see `to_results`."""
    keypoints, image_ids = np.asarray(keypoints, np.float64), np.asarray(image_ids)
    return [
        {
            "image_id": int(image_ids[pose]),
            "category_id": category,
            "keypoints": keypoints[pose].ravel().tolist(),
            "score": float(score),
        }
        for pose, score in zip(kept, scores, strict=True)
    ]


def rescore_and_nms(
    keypoints: npt.ArrayLike,
    areas: npt.ArrayLike,
    box_scores: npt.ArrayLike,
    image_ids: npt.ArrayLike,
    oks_threshold: float,
    min_visibility: float,
    soft: bool,
    sigmas: npt.ArrayLike | None,
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Which poses `to_results` keeps, and their scores; arguments, order and errors are its.

    Of equal scores the later pose comes first, as the official `oks_nms` has it (``scores.argsort()[::-1]``;
    beyond 16 poses of an image NumPy's order of equals is no rule). Equal are above all the scores of poses
    without a keypoint above ``min_visibility``, which are 0. The official `soft_oks_nms` sorts again after
    each pose that it takes, which turns equals around; of those that are 0 this order is kept too.

    Returns:
        kept: (M,) indices of poses.
        scores: (M,) their new scores.
    """
    keypoints = np.asarray(keypoints, np.float64)
    if keypoints.ndim != 3 or keypoints.shape[2] != 3:
        raise ValueError(f"keypoints: received shape {keypoints.shape}; expected (N, K, 3)")
    areas, box_scores = np.asarray(areas, np.float64), np.asarray(box_scores, np.float64)
    image_ids = np.asarray(image_ids)
    for name, values in (("areas", areas), ("box_scores", box_scores), ("image_ids", image_ids)):
        if values.shape != (len(keypoints),):
            raise ValueError(
                f"{name}: received shape {values.shape}; expected ({len(keypoints)},), one per pose"
            )
    for name, values in (("keypoints", keypoints), ("areas", areas), ("box_scores", box_scores)):
        finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(
                f"{name}: pose {row} (image {image_ids[row]}) has numbers that are not finite; "
                f"{int((~finite).sum())} poses in all"
            )
    if len(image_ids) and not np.issubdtype(image_ids.dtype, np.integer):
        raise ValueError(f"image_ids: received {image_ids.dtype}; expected integers, as COCO image ids are")

    scores = rescore(keypoints[:, :, 2], box_scores, min_visibility)

    suppress = soft_oks_nms if soft else oks_nms
    order = _official_order(scores, image_ids, soft)
    kept = order[
        suppress(
            keypoints[order], scores[order], areas[order], oks_threshold, sigmas, image_ids=image_ids[order]
        )
    ]
    return kept, scores[kept]


def _official_order(scores, image_ids, soft):
    """The order in which our NMS, which takes the first of equals, has to see the poses; see
    `rescore_and_nms`.

    Returns:
        (N,) intp: poses image by image, in the order images are first met.
    """
    _, first, image = np.unique(image_ids, return_index=True, return_inverse=True)
    met = first[image]
    order = np.lexsort((-np.arange(len(met)), met))
    in_order = met[order]
    for one in np.unique(met[scores == 0]) if soft else ():
        poses = order[slice(*np.searchsorted(in_order, (one, one + 1)))]  # a view
        zeros = poses[scores[poses] == 0]
        turned = zeros[:: -1 if (len(poses) - len(zeros)) % 2 else 1]
        from_both_ends = np.empty_like(zeros)
        from_both_ends[::2] = turned[: (len(zeros) + 1) // 2]
        from_both_ends[1::2] = turned[::-1][: len(zeros) // 2]
        poses[scores[poses] == 0] = from_both_ends
    return order


def rescore(
    keypoint_scores: npt.ArrayLike, box_scores: npt.ArrayLike, min_visibility: float
) -> npt.NDArray[np.float64]:
    """Pose scores: the box score times the mean of the keypoint scores above ``min_visibility``.

    Args:
        keypoint_scores: (N, K).
        box_scores: (N,).
        min_visibility: scores above it count.

    Returns:
        (N,); 0 where no keypoint score is above ``min_visibility``.
    """
    keypoint_scores = np.asarray(keypoint_scores, np.float64)
    visible = keypoint_scores > min_visibility
    total = np.where(visible, keypoint_scores, 0).sum(axis=1)
    return total / np.maximum(visible.sum(axis=1), 1) * np.asarray(box_scores, np.float64)
