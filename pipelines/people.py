"""What every dataset is brought to before planning: pictures with the people to cut out of them."""

from dataclasses import dataclass, field

import numpy as np

from records.command import CommandError
from records.skeletons import Skeleton

#: Pixels. Smaller boxes have no extent: float32 could not hold how much the network's input enlarges them.
SMALLEST_SIDE = 1e-6


class BuildError(CommandError):
    """A build that cannot start or must not succeed."""


@dataclass(frozen=True, slots=True)
class Person:
    """One person box.

    Attributes:
        person_id: unique in its source.
        box: x, y, w, h in image pixels.
        keypoints: flat list of 3 K numbers: x, y in image pixels and COCO visibility.
        area: square image pixels.
        score: confidence of the box; 1 for ground truth.
    """

    person_id: int
    box: list
    keypoints: list
    area: float
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and its people.

    `file_name` is relative to the image folder; sizes are in pixels, 0 where a converter found no picture.
    """

    image_id: int
    file_name: str
    width: int
    height: int
    people: list = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A dataset's split, ready to be planned.

    Attributes:
        skeleton: whose keypoints the people have.
        pictures: every picture that has people.
        dropped: {reason: count} of people that are left out on purpose.
        rejected: what is wrong with the others, one dict (image_id, person_id, reason, detail) per person.
    """

    skeleton: Skeleton
    pictures: list
    dropped: dict
    rejected: list

    @property
    def count(self):
        """Number of people to make records of."""
        return sum(len(picture.people) for picture in self.pictures)


def rejection(image_id, person_id, reason, detail):
    """One line of the dead-letter file; ids that are none, and long details, are shortened to text."""
    ids = [key if key is None or type(key) is int else str(key)[:100] for key in (image_id, person_id)]
    return {"image_id": ids[0], "person_id": ids[1], "reason": reason, "detail": detail[:500]}


def wrong_box(box):
    """Why a box cannot be used, or None.

    Args:
        box: should be x, y, w, h: four finite numbers, w and h at least `SMALLEST_SIDE`.
    """
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return f"expected 4 finite numbers x, y, w, h, received {box!r}"
    if min(box[2:]) < SMALLEST_SIDE:
        return f"width and height must be positive, received {box!r}"
    return None


def wrong_keypoints(keypoints, num_keypoints):
    """Why a flat keypoint list cannot be used, or None.

    Args:
        keypoints: should be 3 K finite numbers, every third of them 0, 1 or 2.
        num_keypoints: K.
    """
    if not isinstance(keypoints, list) or len(keypoints) != 3 * num_keypoints:
        size = len(keypoints) if isinstance(keypoints, list) else repr(keypoints)
        return f"expected {3 * num_keypoints} numbers, received {size}"
    if not all(map(is_number, keypoints)):
        return "a keypoint is not a finite number"
    if not set(keypoints[2::3]) <= {0, 1, 2}:
        return f"visibility must be 0, 1 or 2, received {sorted(set(keypoints[2::3]))}"
    return None


def is_number(value):
    """Whether a parsed JSON value is a number that float32, even of a product of two, can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18


def is_id(value):
    """Whether a parsed JSON value is a whole number that int64 can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def keypoint_array(person):
    """A person's keypoints as (K, 3) float64."""
    return np.asarray(person.keypoints, np.float64).reshape(-1, 3)
