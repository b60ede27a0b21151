"""Boxes, affine maps and the part of an image that training can reach. Pure functions of NumPy arrays.

Coordinates are (x, y), x to the right and y down, with a pixel's center at its integer index. An affine map
is a (2, 3) matrix A: out = A[:, :2] @ p + A[:, 2]. All functions accept leading batch axes and compute in
float64. Boxes are x, y, w, h.

The rules are those of the official HRNet code (leoxiaobin/deep-high-resolution-net.pytorch:
utils.transforms, dataset.JointsDataset, dataset.coco); its scales are divided by 200, ours are in pixels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

#: Larger instances are made smaller by averaging first, to this many times the network's input, unless a
#: build says otherwise (--max_crop_scale). A bilinear sample of a large photo would alias.
MAX_CROP_SCALE = 1.5


def check_positive(name: str, values: npt.ArrayLike) -> None:
    """Refuses numbers that are not finite and above 0, with a ValueError that begins with `name`."""
    array = np.asarray(values, np.float64)
    if not (np.isfinite(array).all() and (array > 0).all()):
        raise ValueError(f"{name}: received {str(values)[:100]}; expected finite numbers above 0")


def clean_box(box_xywh: npt.ArrayLike, image_size: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Cuts an annotated box to its image as the official loader does.

    Args:
        box_xywh: (..., 4) x, y, w, h in image pixels.
        image_size: (..., 2) width, height.

    Returns:
        (..., 4) x, y, w, h. The official rule counts the last pixel inclusively, so a box that fits comes
        back one pixel smaller. Width or height is negative if nothing of the box lies inside the image.
    """
    box = np.asarray(box_xywh, np.float64)
    low = np.maximum(box[..., :2], 0)
    high = np.minimum(np.asarray(image_size) - 1, low + np.maximum(box[..., 2:] - 1, 0))
    return np.concatenate([low, high - low], axis=-1)


def fit_aspect(size: npt.ArrayLike, input_size: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Grows width or height until their ratio is the network input's.

    Args:
        size: (..., 2) width, height.
        input_size: (width, height) of the network input; only the ratio counts.

    Returns:
        (..., 2) width, height.
    """
    size = np.asarray(size, np.float64)
    aspect = input_size[0] / input_size[1]
    width = np.maximum(size[..., 0], size[..., 1] * aspect)
    return np.stack([width, width / aspect], axis=-1)


def box_to_center_scale(
    box_xywh: npt.ArrayLike, input_size: tuple[float, float], padding: float = 1.25
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The region of the image that is shown to the network for a person box.

    (Where the official code finds a center at x = -1 exactly, its mark for "missing" in MPII, it leaves the
    padding out. A box may well be centered there, so this function has no such exception.)

    Args:
        box_xywh: (..., 4) x, y, w, h in image pixels.
        input_size: (width, height) of the network input; only the ratio counts.
        padding: factor on the size (official: 1.25).

    Returns:
        center: (..., 2) image pixels.
        scale: (..., 2) width and height in image pixels of the padded, aspect-corrected box.

    Raises:
        ValueError: for boxes of another shape or with a width or height below 0 (corners, perhaps), for NaN,
            and for sizes that are not above 0.
    """
    box = np.asarray(box_xywh, np.float64)
    if box.shape[-1:] != (4,):
        raise ValueError(f"box_xywh: received shape {box.shape}; expected (..., 4)")
    if not (np.isfinite(box).all() and (box[..., 2:] >= 0).all()):
        raise ValueError(f"box_xywh: received {str(box)[:100]}; expected finite x, y, w, h, w and h from 0")
    check_positive("input_size", input_size)
    check_positive("padding", padding)
    return box[..., :2] + 0.5 * box[..., 2:], fit_aspect(box[..., 2:], input_size) * padding


def affine_to_input(
    center: npt.ArrayLike,
    scale: npt.ArrayLike,
    rotation_degrees: npt.ArrayLike,
    output_size: tuple[int, int],
    unbiased: bool = False,
) -> npt.NDArray[np.float64]:
    """The map from the image onto the network input (or onto a heatmap).

    Two conventions, for the codecs of `model`. The official one counts pixels: the box `scale` covers
    output_size of them. The unbiased one ("The Devil is in the Details: Delving into Unbiased Data Processing
    for Human Pose Estimation", Huang et al., CVPR 2020, section 3.2) counts the intervals between pixels'
    centers: the box covers output_size - 1, so its left and right edge land on the first and the last
    pixel's center, and mirroring the output is mirroring the box. For a box of the output's aspect,

        unbiased = official * (output_size - 1) / output_size,    in x and in y each,

    which moves what is in the middle by half an output pixel towards the origin.

    Args:
        center: (..., 2) image pixels; it lands on output_size / 2, or unbiased on (output_size - 1) / 2.
        scale: (..., 2) image pixels; its width fills the output's width. As in the official code the height
            has no influence; unbiased it fills the output's height.
        rotation_degrees: (...) degrees; positive turns the image counter-clockwise on screen.
        output_size: (width, height) in output pixels.
        unbiased: which of the two; True for the codec "udp".

    Returns:
        (..., 2, 3): image pixels -> output pixels.

    Raises:
        ValueError: for what is not a number, and for a scale or an output size that is not above 0 (unbiased,
            not above 1).
    """
    check_positive("scale", scale)
    check_positive("output_size", np.subtract(output_size, 1) if unbiased else output_size)
    for name, values in (("center", center), ("rotation_degrees", rotation_degrees)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: received {str(np.asarray(values))[:100]}; expected finite numbers")
    center, scale = np.asarray(center, np.float64), np.asarray(scale, np.float64)
    angle = np.deg2rad(np.asarray(rotation_degrees, np.float64))
    cosine, sine = np.cos(angle), np.sin(angle)
    width, height = (output_size[0] - 1, output_size[1] - 1) if unbiased else output_size
    factor_x = width / scale[..., 0]
    factor_y = height / scale[..., 1] if unbiased else factor_x
    x, y = center[..., 0], center[..., 1]
    rows = [
        [factor_x * cosine, factor_x * sine, width * 0.5 - factor_x * (cosine * x + sine * y)],
        [-factor_y * sine, factor_y * cosine, height * 0.5 + factor_y * (sine * x - cosine * y)],
    ]
    return np.stack([np.stack(np.broadcast_arrays(*row), axis=-1) for row in rows], axis=-2)


def mirror_affine(width: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The map that mirrors an image left to right: x -> width - 1 - x.

    Args:
        width: (...) image width in pixels.

    Returns:
        (..., 2, 3).
    """
    width = np.asarray(width, np.float64)
    affine = np.zeros((*width.shape, 2, 3))
    affine[..., 0, 0] = -1
    affine[..., 0, 2] = width - 1
    affine[..., 1, 1] = 1
    return affine


def compose_affine(outer: npt.ArrayLike, inner: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The map that applies `inner` (..., 2, 3) first and `outer` (..., 2, 3) then."""
    outer, inner = np.asarray(outer, np.float64), np.asarray(inner, np.float64)
    result = outer[..., :2] @ inner
    result[..., 2] += outer[..., 2]
    return result


def invert_affine(affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The inverse of a map, (..., 2, 3).

    Raises:
        numpy.linalg.LinAlgError: if it has none.
    """
    affine = np.asarray(affine, np.float64)
    linear = np.linalg.inv(affine[..., :2])
    return np.concatenate([linear, -linear @ affine[..., 2:]], axis=-1)


def transform_points(points: npt.ArrayLike, affine: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Maps points.

    Args:
        points: (..., P, 2).
        affine: (..., 2, 3).

    Returns:
        (..., P, 2).
    """
    affine = np.asarray(affine, np.float64)
    return np.asarray(points, np.float64) @ np.swapaxes(affine[..., :2], -1, -2) + affine[..., None, :, 2]


def flip_keypoints(
    keypoints: npt.ArrayLike, width: npt.ArrayLike, flip_permutation: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Mirrors keypoints with their image and swaps left and right.

    Args:
        keypoints: (..., K, 3) x, y in image pixels and visibility.
        width: (...) image width in pixels.
        flip_permutation: (K,) for each keypoint the index of its mirror image.

    Returns:
        (..., K, 3); x and y are 0 where the visibility is 0.
    """
    flipped = np.array(keypoints, np.float64)[..., flip_permutation, :]
    flipped[..., 0] = np.asarray(width, np.float64)[..., None] - 1 - flipped[..., 0]
    flipped[..., :2] *= flipped[..., 2:] > 0
    return flipped


def half_body_box(
    keypoints: npt.ArrayLike,
    upper_body: Sequence[int],
    upper_first: npt.NDArray[np.bool_],
    input_size: tuple[float, float],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The box of the upper or the lower half of an instance (Wang et al. 2018, "Mscoco keypoints challenge").

    The preferred half is taken if it has more than two labeled keypoints, otherwise the other under the same
    condition, otherwise the upper. The box is centered on the keypoints' mean and is 1.5 times their extent.

    Args:
        keypoints: (N, K, 3) x, y in image pixels and visibility.
        upper_body: indices of the upper half's keypoints; empty if the skeleton has no halves.
        upper_first: (N,) whether the upper half is preferred. (The lower is taken first otherwise.)
        input_size: (width, height) of the network input; only the ratio counts.

    Returns:
        valid: (N,) False where the chosen half has fewer than two keypoints, or there are no halves.
        center: (N, 2) image pixels; NaN where not valid.
        scale: (N, 2) image pixels; NaN where not valid.
    """
    keypoints = np.asarray(keypoints, np.float64)
    labeled = keypoints[..., 2] > 0
    is_upper = np.isin(np.arange(keypoints.shape[1]), upper_body)
    upper, lower = labeled & is_upper, labeled & ~is_upper
    use_upper = (upper_first & (upper.sum(1) > 2)) | (lower.sum(1) <= 2)
    chosen = np.where(use_upper[:, None], upper, lower)
    valid = (chosen.sum(1) >= 2) & is_upper.any()

    points, mask = keypoints[..., :2], chosen[..., None]
    center = np.where(mask, points, 0).sum(1) / np.maximum(chosen.sum(1), 1)[:, None]
    extent = np.where(mask, points, -np.inf).max(1) - np.where(mask, points, np.inf).min(1)
    scale = fit_aspect(np.where(valid[:, None], extent, np.nan), input_size) * 1.5
    return valid, np.where(valid[:, None], center, np.nan), scale


def covering_rectangle(
    center: npt.ArrayLike,
    scale: npt.ArrayLike,
    image_size: tuple[int, int],
    any_rotation: bool,
    margin: float = 0.0,
) -> tuple[int, int, int, int] | None:
    """The smallest pixel-aligned part of an image from which some crops can be resampled.

    A bilinear sample reads the four pixels around it, which rounding outwards includes.

    Args:
        center: (M, 2) centers of the crops, image pixels.
        scale: (M, 2) their widths and heights, image pixels.
        image_size: (width, height) of the image.
        any_rotation: whether they may be turned by any angle about their centers.
        margin: image pixels to add on every side: half a stored pixel where the part will be stored smaller,
            since samples between the outermost stored centers and the edge would mix with what is not there.

    Returns:
        (x, y, width, height) in image pixels, inside the image; None if they lie outside of it.
    """
    center, scale = np.asarray(center, np.float64), np.asarray(scale, np.float64)
    reach = np.linalg.norm(scale, axis=1, keepdims=True) / 2 if any_rotation else scale / 2
    reach = reach + margin
    low = np.maximum(np.floor((center - reach).min(0)), 0)
    high = np.minimum(np.ceil((center + reach).max(0)) + 1, image_size)
    if np.any(high <= low):
        return None
    return (*low.astype(int).tolist(), *(high - low).astype(int).tolist())
