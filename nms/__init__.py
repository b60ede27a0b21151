"""Non-maximum suppression of boxes and poses, in compiled code.

    box_nms       greedy NMS by intersection over union
    oks_nms       greedy NMS by object keypoint similarity (OKS)
    soft_oks_nms  the same, but overlapping poses lose score instead of being removed
    oks_matrix    OKS of every pose with every other

OKS is the similarity of the COCO keypoint task (https://cocodataset.org/#keypoints-eval), here between two
predictions, as Simple Baselines and HRNet use it to remove doubled instances: the mean over the keypoints of
exp(-d_k^2 / (2 s^2 k_k^2)), with d_k the distance between the two keypoints k, s^2 the mean of the areas and
k_k twice the keypoint's sigma.

Poses of many images can be given at once, with their ``image_ids``: one call checks them all.

All functions take anything ``np.asarray`` takes, compute in float64 and leave their arguments unchanged; the
NMS functions return indices, best first. **Ties**: of equal scores, the lower index comes first. Bad input
raises ValueError naming the argument, what was received and what was expected.

``nms.batched`` has box NMS of whole batches in TensorFlow, for GPUs; only importing it imports TensorFlow.
``nms.reference`` has the same functions in plain NumPy, unchecked and slower; tests hold the two together.
"""

import numpy as np
import numpy.typing as npt

try:
    from nms import _kernels
except ImportError as error:
    raise ImportError(
        "The compiled part of nms (nms._kernels) is missing; build it with `pip install -e .` "
        "in the repository root (see BUILD.md)."
    ) from error

__all__ = ["COCO_SIGMAS", "SOFT_MAX_KEPT", "box_nms", "oks_matrix", "oks_nms", "soft_oks_nms"]

COCO_SIGMAS = np.array(
    [0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89]
) / 10  # fmt: skip
"""(17,) float64: spread of COCO's annotators per keypoint, as a share of the instance's scale
(pycocotools).
"""
COCO_SIGMAS.setflags(write=False)

SOFT_MAX_KEPT = 20
"""Poses kept per image by soft NMS: as many as COCO's keypoint evaluation looks at."""


def box_nms(boxes: npt.ArrayLike, scores: npt.ArrayLike, threshold: float) -> npt.NDArray[np.intp]:
    """Greedy NMS: take the best box, drop those that overlap it by more than ``threshold``, repeat.

    Boxes are inclusive pixel ranges, so widths are x2 - x1 + 1 (the convention of Fast R-CNN's NMS, which the
    official HRNet code uses); a box with x1 == x2 and y1 == y2 covers one pixel.

    Args:
        boxes: (N, 4) x1 y1 x2 y2 in pixels, x1 <= x2 and y1 <= y2.
        scores: (N,).
        threshold: >= 0; a box whose intersection over union with a kept box is exactly this, stays.

    Returns:
        (M,) indices of the kept boxes, best score first.
    """
    boxes = _array("boxes", boxes, (None, 4))
    scores = _array("scores", scores, (len(boxes),))
    threshold = _similarity("threshold", threshold)
    inverted = (boxes[:, 0] > boxes[:, 2]) | (boxes[:, 1] > boxes[:, 3])
    if inverted.any():
        row = int(np.argmax(inverted))
        raise ValueError(
            f"boxes: row {row} is {boxes[row].tolist()}; expected x1 y1 x2 y2 with x1 <= x2 and y1 <= y2 "
            "(convert boxes given as x y w h)"
        )
    return _kernels.box_nms(boxes, _best_first(scores), threshold)


def oks_nms(
    keypoints: npt.ArrayLike,
    scores: npt.ArrayLike,
    areas: npt.ArrayLike,
    threshold: float,
    sigmas: npt.ArrayLike | None = None,
    min_visibility: float | None = None,
    image_ids: npt.ArrayLike | None = None,
) -> npt.NDArray[np.intp]:
    """Greedy NMS: take the best pose, drop those whose OKS with it is above ``threshold``, repeat.

    Args:
        keypoints: (N, K, 3) x and y in image pixels and the keypoint's score.
        scores: (N,) one per pose.
        areas: (N,) >= 0, the instances' areas in square pixels (the official code: of the padded box).
        threshold: >= 0; a pose whose OKS with a kept pose is exactly this, stays.
        sigmas: (K,) > 0, in parts of the instance's scale; None: COCO's, for COCO's 17 keypoints only.
        min_visibility: None: all keypoints count. A float: only keypoints whose score *in the pose that may
            be dropped* is above it count, as in the official code; a pose without any is similar to nothing.
        image_ids: (N,) integers, in any order: the poses of many images at once, each image for itself.
            One call for all is several times faster than one for each. None: all poses are of one image.

    Returns:
        (M,) indices of the kept poses, best score first; with ``image_ids`` one image after the other,
        in the order first met.
    """
    poses = _pose_arguments(keypoints, areas, sigmas, min_visibility)
    count = len(poses[0])
    scores = _array("scores", scores, (count,))
    threshold = _similarity("threshold", threshold)
    return _kernels.oks_nms(*poses, scores, *_by_image(image_ids, count), threshold)


def soft_oks_nms(
    keypoints: npt.ArrayLike,
    scores: npt.ArrayLike,
    areas: npt.ArrayLike,
    threshold: float,
    sigmas: npt.ArrayLike | None = None,
    min_visibility: float | None = None,
    max_kept: int = SOFT_MAX_KEPT,
    image_ids: npt.ArrayLike | None = None,
) -> npt.NDArray[np.intp]:
    """Soft NMS (Bodla et al., 2017, Gaussian): take the best pose, lower the others' scores, repeat.

    A pose with similarity o to the one just taken has its score multiplied by exp(-o^2 / threshold). Nothing
    is dropped for its similarity; the end comes when ``max_kept`` poses are taken. The lowered scores decide
    the order only and are not returned.

    Args:
        keypoints, scores, areas, sigmas, min_visibility, image_ids: as for `oks_nms`.
        threshold: > 0: the decay's width, smaller lowers more.
        max_kept: >= 1, of an image.

    Returns:
        (min(N, max_kept),) indices in the order taken; with ``image_ids`` one image after the other, in
        the order first met, of each at most ``max_kept``.
    """
    poses = _pose_arguments(keypoints, areas, sigmas, min_visibility)
    count = len(poses[0])
    scores = _array("scores", scores, (count,))
    threshold = _finite("threshold", threshold)
    if threshold <= 0:
        raise ValueError(f"threshold: received {threshold}; soft NMS expects a number above 0")
    if not isinstance(max_kept, int | np.integer) or max_kept < 1:
        raise ValueError(f"max_kept: received {max_kept!r}; expected an integer of at least 1")
    max_kept = min(max_kept, max(count, 1))  # what a C integer holds, whatever was asked for
    return _kernels.soft_oks_nms(*poses, scores, *_by_image(image_ids, count), threshold, max_kept)


def oks_matrix(
    keypoints: npt.ArrayLike,
    areas: npt.ArrayLike,
    sigmas: npt.ArrayLike | None = None,
    min_visibility: float | None = None,
) -> npt.NDArray[np.float64]:
    """OKS of every pose with every other.

    Args:
        keypoints, areas, sigmas, min_visibility: as for `oks_nms`.

    Returns:
        (N, N) in [0, 1]: row i against column j, where the column's keypoint scores decide which keypoints
        count; symmetric without ``min_visibility``.
    """
    return _kernels.oks_matrix(*_pose_arguments(keypoints, areas, sigmas, min_visibility))


def _best_first(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Order of the scores, highest first and equal ones by index: (N,) -> (N,)."""
    return np.argsort(-scores, kind="stable")


def _pose_arguments(
    keypoints: npt.ArrayLike,
    areas: npt.ArrayLike,
    sigmas: npt.ArrayLike | None,
    min_visibility: float | None,
) -> tuple[
    npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64], float, npt.NDArray[np.intp]
]:
    """What all OKS functions share, checked and in the kernels' form.

    Returns:
        (keypoints, areas, spreads, min_visibility, counted), see `nms/_kernels.pyx`.
    """
    keypoints = _array("keypoints", keypoints, (None, None, 3))
    count, num_keypoints, _ = keypoints.shape
    areas = _array("areas", areas, (count,))
    if (areas < 0).any():
        row = int(np.argmax(areas < 0))
        raise ValueError(f"areas: received {areas[row]} in row {row}; expected square pixels of at least 0")
    if sigmas is None:
        if num_keypoints != len(COCO_SIGMAS):
            raise ValueError(
                f"sigmas: received None with keypoints of {num_keypoints} keypoints; COCO's default sigmas "
                f"are for {len(COCO_SIGMAS)} keypoints, expected ({num_keypoints},) sigmas of this skeleton"
            )
        sigmas = COCO_SIGMAS
    else:
        sigmas = _array("sigmas", sigmas, (num_keypoints,))
        if (sigmas <= 0).any():
            raise ValueError(f"sigmas: received {sigmas.tolist()}; expected numbers above 0")
    if min_visibility is None:
        # Every finite score is above -inf, so "all keypoints count" needs no case of its own in the kernels.
        min_visibility, counted = -np.inf, np.full(count, num_keypoints)
    else:
        min_visibility = _finite("min_visibility", min_visibility)
        counted = np.count_nonzero(keypoints[:, :, 2] > min_visibility, axis=1)
    return keypoints, areas, (2 * sigmas) ** 2, min_visibility, counted


def _by_image(
    image_ids: npt.ArrayLike | None, count: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The poses' indices image by image, and where each image's end.

    Args:
        image_ids: (count,) integers, or None for one image.
        count: number of poses.

    Returns:
        members: (count,) images in the order first met, indices rising within one.
        ends: (I,).
    """
    if image_ids is None:
        return np.arange(count), np.array([count])
    image_ids = np.asarray(image_ids)
    if image_ids.shape != (count,):
        raise ValueError(f"image_ids: received shape {image_ids.shape}; expected ({count},), one per pose")
    if count and not np.issubdtype(image_ids.dtype, np.integer):
        raise ValueError(f"image_ids: received {image_ids.dtype}; expected integers")
    _, first, image = np.unique(image_ids, return_index=True, return_inverse=True)
    met = np.argsort(np.argsort(first))[image]  # 0 for the poses of the image met first, 1 ...
    return np.argsort(met, kind="stable"), np.cumsum(np.bincount(met, minlength=len(first)))


def _array(name: str, value: npt.ArrayLike, shape: tuple[int | None, ...]) -> npt.NDArray[np.float64]:
    """A contiguous array of this shape (None: any length), all finite, or ValueError."""
    try:
        array = np.ascontiguousarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: received a {type(value).__name__} that is no array of numbers ({error}); "
            f"expected shape {_shape_text(shape)}"
        ) from error
    received = np.shape(value)  # ascontiguousarray makes a scalar one-dimensional
    if len(received) != len(shape) or any(
        want not in (None, have) for want, have in zip(shape, received, strict=True)
    ):
        raise ValueError(f"{name}: received shape {received}; expected {_shape_text(shape)}")
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(f"{name}: received {array[place]} at index {place}; expected finite numbers")
    return array


def _shape_text(shape: tuple[int | None, ...]) -> str:
    """For instances: (None, 4) -> "(any, 4)"."""
    return str(shape).replace("None", "any")


def _finite(name: str, value: float) -> float:
    """A finite float, or ValueError."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise ValueError(f"{name}: received {value!r}; expected a finite number")
    return number


def _similarity(name: str, value: float) -> float:
    """A finite number from 0 (above 1 nothing is alike), or ValueError."""
    number = _finite(name, value)
    if number < 0:
        raise ValueError(f"{name}: received {value!r}; expected a number of at least 0")
    return number
