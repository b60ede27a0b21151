"""Training augmentation: what the official loader draws, as one affine map per person.

Every function works on a whole batch of NumPy arrays. Nothing touches pixels: the maps computed here are
composed with the record's own and the crop is resampled once, so an augmented input is the same computation
as drawing from the full picture.

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


@dataclass(frozen=True)
class Augmentation:
    """How strongly to augment. The defaults are the official COCO recipe's.

    Attributes:
        scale_factor: the scale is multiplied by 1 + this times a standard normal, within 1 -+ this.
        rotation_factor: degrees; the angle is this times a standard normal, within -+ twice this.
        rotation_probability: how often a rotation is drawn at all.
        flip_probability: how often the picture is mirrored.
        half_body_probability: how often only the upper or lower half is shown.
        half_body_min_keypoints: … for people with more labelled keypoints than this.

    Raises:
        ValueError: for a factor below 0 (the scale's must also stay below 1, where nothing would be left of a
            person), a probability outside of 0 to 1, or a number of keypoints below 0; and for NaN.
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


class People(TypedDict):
    """What of N people decides where they land in the network input, and whose draws they get.

    Attributes:
        center, scale: (N, 2) image pixels.
        keypoints: (N, K, 3) x, y in image pixels and visibility.
        image_size: (N, 2) width and height in pixels.
        person_id: (N,).
    """

    center: npt.NDArray[np.floating[Any]]
    scale: npt.NDArray[np.floating[Any]]
    keypoints: npt.NDArray[np.floating[Any]]
    image_size: npt.NDArray[np.integer[Any]]
    person_id: npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Draws:
    """What was drawn for each of N people.

    Attributes:
        half_body: (N,) show half of the body, if enough keypoints are labelled.
        upper_first: (N,) prefer the upper half.
        scale: (N,) factor.
        rotation: (N,) degrees, positive counter-clockwise.
        flip: (N,) mirror the picture.
    """

    half_body: npt.NDArray[np.bool_]
    upper_first: npt.NDArray[np.bool_]
    scale: npt.NDArray[np.float64]
    rotation: npt.NDArray[np.float64]
    flip: npt.NDArray[np.bool_]


def draw(augmentation: Augmentation, seed: int, epoch: int, person_ids: npt.ArrayLike) -> Draws:
    """Draws for each person from its own stream, keyed by (seed, epoch, person).

    So what a person gets depends neither on the order of the records nor on the batch, and can be replayed.

    Args:
        augmentation: how strongly.
        seed, epoch: not negative.
        person_ids: (N,) integers.

    Returns:
        `Draws` for the N people.
    """
    ids = np.asarray(person_ids, np.int64)
    uniform, normal = np.empty((len(ids), 3)), np.empty((len(ids), 3))
    key, counter = np.array([seed, epoch], np.uint64), np.zeros(4, np.uint64)
    for row, person in enumerate(ids.view(np.uint64)):
        counter[3] = person
        stream = np.random.Generator(np.random.Philox(key=key, counter=counter))
        uniform[row], normal[row] = stream.random(3), stream.standard_normal(3)
    a = augmentation
    rotation = np.clip(a.rotation_factor * normal[:, 1], -2 * a.rotation_factor, 2 * a.rotation_factor)
    return Draws(
        half_body=uniform[:, 0] < a.half_body_probability,
        upper_first=normal[:, 2] < 0.5,  # a normal, not a uniform: the official code's preference of 69 %
        scale=np.clip(1 + a.scale_factor * normal[:, 0], 1 - a.scale_factor, 1 + a.scale_factor),
        rotation=np.where(uniform[:, 1] < a.rotation_probability, rotation, 0.0),
        flip=uniform[:, 2] < a.flip_probability,
    )


def choose_half_body(
    people: People,
    draws: Draws,
    skeleton: Skeleton,
    input_size: tuple[int, int],
    min_keypoints: int,
) -> People:
    """Replaces centre and scale by those of half of the body where drawn and possible.

    Args:
        people: N of them.
        draws: what was drawn for them.
        skeleton: whose upper body to use.
        input_size: (width, height) of the network input.
        min_keypoints: only people with more labelled keypoints than this.

    Returns:
        The same people.
    """
    enough = (people["keypoints"][..., 2] > 0).sum(1) > min_keypoints
    valid, center, scale = half_body_box(
        people["keypoints"], skeleton.upper_body, draws.upper_first, input_size
    )
    spans = scale[:, 0] > 0  # keypoints in one point are a valid half without a box
    use = (draws.half_body & enough & valid & spans)[:, None]
    return {
        **people,
        "center": np.where(use, center, people["center"]),
        "scale": np.where(use, scale, people["scale"]),
    }


def place(
    people: People,
    scale: npt.NDArray[np.float64],
    rotation: npt.NDArray[np.float64],
    flip: npt.NDArray[np.bool_],
    skeleton: Skeleton,
    input_size: tuple[int, int],
    unbiased: bool = False,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """The map from the picture onto the network input, and the keypoints there.

    Args:
        people: N of them.
        scale: (N,) factor on the person's scale.
        rotation: (N,) degrees.
        flip: (N,) mirror the picture first, and swap left and right keypoints.
        skeleton: whose keypoints to swap.
        input_size: (width, height) of the network input.
        unbiased: the affine's convention, see `affine_to_input`.

    Returns:
        input_affine: (N, 2, 3): image pixels -> input pixels, mirroring included.
        keypoints_input: (N, K, 3) x, y in input pixels and visibility; all 0 where not labelled.
    """
    width, center = people["image_size"][:, 0], people["center"]
    mirrored_center = np.stack([width - 1 - center[:, 0], center[:, 1]], axis=-1)
    center = np.where(flip[:, None], mirrored_center, center)
    affine = affine_to_input(center, people["scale"] * scale[:, None], rotation, input_size, unbiased)
    keypoints = np.where(
        flip[:, None, None],
        flip_keypoints(people["keypoints"], width, skeleton.flip_permutation),
        people["keypoints"],
    )
    points = transform_points(keypoints[..., :2], affine)
    visibility = keypoints[..., 2:]
    keypoints_input = np.concatenate([points, visibility], axis=-1) * (visibility > 0)
    mirrored = compose_affine(affine, mirror_affine(width))
    return np.where(flip[:, None, None], mirrored, affine), keypoints_input.astype(np.float32)


def augment(
    people: People,
    augmentation: Augmentation | None,
    seed: int,
    epoch: int,
    skeleton: Skeleton,
    input_size: tuple[int, int],
    unbiased: bool = False,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Draws and applies the whole augmentation; with ``augmentation=None`` the plain view of each person.

    Arguments and result as for `place` and `draw`.
    """
    if augmentation is None:
        count = len(people["center"])
        still = np.zeros(count), np.zeros(count, bool)
        return place(people, np.ones(count), *still, skeleton, input_size, unbiased)
    draws = draw(augmentation, seed, epoch, people["person_id"])
    people = choose_half_body(people, draws, skeleton, input_size, augmentation.half_body_min_keypoints)
    return place(people, draws.scale, draws.rotation, draws.flip, skeleton, input_size, unbiased)
