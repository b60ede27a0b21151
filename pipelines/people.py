"""What every dataset is brought to before planning: pictures with the people to cut out of them."""

from dataclasses import dataclass, field

import numpy as np

from records.command import CommandError
from records.people_checks import (  # noqa: F401 - the readers of all datasets take them from here
    SMALLEST_SIDE,
    is_id,
    is_number,
    wrong_box,
    wrong_keypoints,
)
from records.skeletons import Skeleton


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


def keypoint_array(person):
    """A person's keypoints as (K, 3) float64."""
    return np.asarray(person.keypoints, np.float64).reshape(-1, 3)
