"""What every dataset is brought to before planning: pictures with the people to cut out of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hrpose.command import CommandError
from hrpose.json_checks import (  # noqa: F401 - the readers of all datasets take them from here
    SMALLEST_SIDE,
    is_id,
    is_number,
    wrong_box,
    wrong_keypoints,
)
from records.skeletons import Skeleton

#: The shortest JSON text of a value.
as_json = json.JSONEncoder(separators=(",", ":")).encode


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


class People(Sequence):
    """The people of one picture, each kept as a row of the plan: an eighth of the objects' memory.

    Attributes:
        rows: list of texts, JSON lists of a `Person`'s attributes in their order. No number is rounded.
    """

    __slots__ = ("rows",)

    def __init__(self, people=()):
        """Args: an iterable of `Person`."""
        self.rows = []
        for person in people:
            self.append(person)

    def append(self, person):
        """Adds a `Person`."""
        values = person.person_id, person.box, person.keypoints, person.area, person.score
        self.rows.append(as_json(values))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return Person(*json.loads(self.rows[index]))

    def __eq__(self, other):
        return isinstance(other, People) and self.rows == other.rows

    __hash__ = None


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and its people.

    `file_name` is relative to the image folder; sizes are in pixels, 0 where a converter found no picture.
    `size_stated` is False where the annotations do not say the size, and it is that of the file's header.
    `people` is a sequence of `Person`: `People` while there are all of a dataset, a list in a shard's plan.
    """

    image_id: int
    file_name: str
    width: int
    height: int
    people: Sequence = field(default_factory=People)
    size_stated: bool = True


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
