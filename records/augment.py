"""Training augmentation: what the official loader draws, as one affine map per instance.

Every function works on a whole batch of NumPy arrays. Nothing but `drop_rectangles` touches pixels: the maps
computed here are composed with the record's own and the crop is resampled once, so an augmented input is the
same computation as drawing from the full image.

The rules are those of the official HRNet code (JointsDataset.__getitem__ and half_body_transform).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from records.geometry import (
    affine_to_input,
    compose_affine,
    flip_keypoints,
    half_body_box,
    mirror_affine,
    transform_points,
)
from records.skeletons import Skeleton

#: Sides of the rectangle that `drop_rectangles` blackens, as a share of the input's: those of RTMPose's
#: recipes (Jiang et al. 2023; in mmpose albumentations' CoarseDropout with one hole, min 0.2 and max 0.4).
_SMALLEST, _LARGEST = 0.2, 0.4

#: Sets its draws apart from the others, which use the same key.
_DROPOUT_STREAM = 1


@dataclass(frozen=True)
class Augmentation:
    """How strongly to augment. The defaults are the official COCO recipe's.

    Attributes:
        scale_factor: the scale is multiplied by 1 + this times a standard normal, within 1 -+ this.
        rotation_factor: degrees; the angle is this times a standard normal, within -+ twice this.
        rotation_probability: how often a rotation is drawn at all.
        flip_probability: how often the image is mirrored.
        half_body_probability: how often only the upper or lower half is shown.
        half_body_min_keypoints: … for instances with more labeled keypoints than this.

    Raises:
        ValueError: for a factor below 0 (the scale's must also stay below 1, where nothing would be left of
            an instance), a probability outside of 0 to 1, or a number of keypoints below 0; and for NaN.
    """

    scale_factor: float = 0.35
    rotation_factor: float = 45.0
    rotation_probability: float = 0.6
    flip_probability: float = 0.5
    half_body_probability: float = 0.3
    half_body_min_keypoints: int = 8

    def __post_init__(self) -> None:
        bounds: tuple[tuple[str, Callable[[float], bool], str], ...] = (
            ("scale_factor", lambda value: 0 <= value < 1, "from 0 to below 1"),
            ("rotation_factor", lambda value: 0 <= value < math.inf, "of degrees from 0"),
            ("rotation_probability", lambda value: 0 <= value <= 1, "from 0 to 1"),
            ("flip_probability", lambda value: 0 <= value <= 1, "from 0 to 1"),
            ("half_body_probability", lambda value: 0 <= value <= 1, "from 0 to 1"),
            ("half_body_min_keypoints", lambda value: value >= 0, "of keypoints from 0"),
        )
        for name, fits, expected in bounds:
            value = getattr(self, name)
            if not fits(value):
                raise ValueError(f"{name}: received {value!r}; expected a number {expected}")


class Instances(TypedDict):
    """What of N instances decides where they land in the network input, and whose draws they get.

    Attributes:
        center, scale: (N, 2) image pixels.
        keypoints: (N, K, 3) x, y in image pixels and visibility.
        image_size: (N, 2) width and height in pixels.
        instance_id: (N,).
    """

    center: npt.NDArray[np.floating[Any]]
    scale: npt.NDArray[np.floating[Any]]
    keypoints: npt.NDArray[np.floating[Any]]
    image_size: npt.NDArray[np.integer[Any]]
    instance_id: npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class AugmentationParameters:
    """What was drawn for each of N instances.

    Attributes:
        half_body: (N,) show half of the body, if enough keypoints are labeled.
        upper_first: (N,) prefer the upper half.
        scale: (N,) factor.
        rotation: (N,) degrees, positive counter-clockwise.
        flip: (N,) mirror the image.
    """

    half_body: npt.NDArray[np.bool_]
    upper_first: npt.NDArray[np.bool_]
    scale: npt.NDArray[np.float64]
    rotation: npt.NDArray[np.float64]
    flip: npt.NDArray[np.bool_]


def sample_parameters(
    augmentation: Augmentation, seed: int, epoch: int, instance_ids: npt.ArrayLike
) -> AugmentationParameters:
    """Draws for each instance from its own stream, keyed by (seed, epoch, instance).

    So what an instance gets depends neither on the order of the records nor on the batch, and can be
    replayed.

    Args:
        augmentation: how strongly.
        seed, epoch: not negative.
        instance_ids: (N,) integers.

    Returns:
        `AugmentationParameters` for the N instances.
    """
    ids = np.asarray(instance_ids, np.int64)
    uniform, normal = np.empty((len(ids), 3)), np.empty((len(ids), 3))
    key, counter = np.array([seed, epoch], np.uint64), np.zeros(4, np.uint64)
    for row, instance in enumerate(ids.view(np.uint64)):
        counter[3] = instance
        stream = np.random.Generator(np.random.Philox(key=key, counter=counter))
        uniform[row], normal[row] = stream.random(3), stream.standard_normal(3)
    a = augmentation
    rotation = np.clip(a.rotation_factor * normal[:, 1], -2 * a.rotation_factor, 2 * a.rotation_factor)
    return AugmentationParameters(
        half_body=uniform[:, 0] < a.half_body_probability,
        upper_first=normal[:, 2] < 0.5,  # a normal, not a uniform: the official code's preference of 69 %
        scale=np.clip(1 + a.scale_factor * normal[:, 0], 1 - a.scale_factor, 1 + a.scale_factor),
        rotation=np.where(uniform[:, 1] < a.rotation_probability, rotation, 0.0),
        flip=uniform[:, 2] < a.flip_probability,
    )


def choose_half_body(
    instances: Instances,
    parameters: AugmentationParameters,
    skeleton: Skeleton,
    input_size: tuple[int, int],
    min_keypoints: int,
) -> Instances:
    """Replaces center and scale by those of half of the body where drawn and possible.

    Args:
        instances: N of them.
        parameters: what was drawn for them.
        skeleton: whose upper body to use.
        input_size: (width, height) of the network input.
        min_keypoints: only instances with more labeled keypoints than this.

    Returns:
        The same instances.
    """
    enough = (instances["keypoints"][..., 2] > 0).sum(1) > min_keypoints
    valid, center, scale = half_body_box(
        instances["keypoints"], skeleton.upper_body, parameters.upper_first, input_size
    )
    spans = scale[:, 0] > 0  # keypoints in one point are a valid half without a box
    use = (parameters.half_body & enough & valid & spans)[:, None]
    return {
        **instances,
        "center": np.where(use, center, instances["center"]),
        "scale": np.where(use, scale, instances["scale"]),
    }


def apply_parameters(
    instances: Instances,
    scale: npt.NDArray[np.float64],
    rotation: npt.NDArray[np.float64],
    flip: npt.NDArray[np.bool_],
    skeleton: Skeleton,
    input_size: tuple[int, int],
    unbiased: bool = False,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """The map from the image onto the network input, and the keypoints there.

    Args:
        instances: N of them.
        scale: (N,) factor on the instance's scale.
        rotation: (N,) degrees.
        flip: (N,) mirror the image first, and swap left and right keypoints.
        skeleton: whose keypoints to swap.
        input_size: (width, height) of the network input.
        unbiased: the affine's convention, see `affine_to_input`.

    Returns:
        input_affine: (N, 2, 3): image pixels -> input pixels, mirroring included.
        keypoints_input: (N, K, 3) x, y in input pixels and visibility; all 0 where not labeled.
    """
    width, center = instances["image_size"][:, 0], instances["center"]
    mirrored_center = np.stack([width - 1 - center[:, 0], center[:, 1]], axis=-1)
    center = np.where(flip[:, None], mirrored_center, center)
    affine = affine_to_input(center, instances["scale"] * scale[:, None], rotation, input_size, unbiased)
    keypoints = np.where(
        flip[:, None, None],
        flip_keypoints(instances["keypoints"], width, skeleton.flip_permutation),
        instances["keypoints"],
    )
    points = transform_points(keypoints[..., :2], affine)
    visibility = keypoints[..., 2:]
    keypoints_input = np.concatenate([points, visibility], axis=-1) * (visibility > 0)
    mirrored = compose_affine(affine, mirror_affine(width))
    return np.where(flip[:, None, None], mirrored, affine), keypoints_input.astype(np.float32)


def augment(
    instances: Instances,
    augmentation: Augmentation | None,
    seed: int,
    epoch: int,
    skeleton: Skeleton,
    input_size: tuple[int, int],
    unbiased: bool = False,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Draws and applies the whole augmentation; with ``augmentation=None`` the plain view of each instance.

    Arguments and result as for `apply_parameters` and `sample_parameters`.
    """
    if augmentation is None:
        count = len(instances["center"])
        still = np.zeros(count), np.zeros(count, bool)
        return apply_parameters(instances, np.ones(count), *still, skeleton, input_size, unbiased)
    parameters = sample_parameters(augmentation, seed, epoch, instances["instance_id"])
    instances = choose_half_body(
        instances, parameters, skeleton, input_size, augmentation.half_body_min_keypoints
    )
    return apply_parameters(
        instances, parameters.scale, parameters.rotation, parameters.flip, skeleton, input_size, unbiased
    )


def drop_rectangles(
    images: npt.NDArray[np.uint8],
    instance_ids: npt.ArrayLike,
    probability: float,
    seed: int,
    epoch: int,
) -> npt.NDArray[np.uint8]:
    """Coarse dropout: blackens one rectangle of some instances' inputs, drawn for each from its own stream.

    The network learns to do without what it does not see. What an instance gets depends neither on the order
    of the records nor on the batch, and can be replayed.

    Args:
        images: (N, h, w, 3) uint8.
        instance_ids: (N,) int64.
        probability: how often an instance gets a rectangle.
        seed, epoch: non-negative ints.

    Returns:
        (N, h, w, 3) uint8, a copy. The rectangle lies inside of the input as a whole.
    """
    images = images.copy()
    height, width = images.shape[1:3]
    key, counter = np.array([seed, epoch], np.uint64), np.zeros(4, np.uint64)
    for image, instance in zip(images, np.asarray(instance_ids, np.int64).view(np.uint64), strict=True):
        counter[2:] = _DROPOUT_STREAM, instance
        sampled, *sides, x, y = np.random.Generator(np.random.Philox(key=key, counter=counter)).random(5)
        if sampled >= probability:
            continue
        hole_width, hole_height = (
            round((_SMALLEST + (_LARGEST - _SMALLEST) * share) * side)
            for share, side in zip(sides, (width, height), strict=True)
        )
        left, top = int(x * (width - hole_width + 1)), int(y * (height - hole_height + 1))
        image[top : top + hole_height, left : left + hole_width] = 0
    return images
