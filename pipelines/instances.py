"""What every dataset is brought to before planning: images with the instances to cut out of them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from records.skeletons import Skeleton

#: The shortest JSON text of a value.
as_json = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Instance:
    """One person box.

    Attributes:
        instance_id: unique in its source.
        box: x, y, w, h in image pixels.
        keypoints: flat list of 3 K numbers: x, y in image pixels and COCO visibility.
        area: square image pixels.
        score: confidence of the box; 1 for ground truth.
    """

    instance_id: int
    box: list[float]
    keypoints: list[float]
    area: float
    score: float = 1.0


class Instances(Sequence[Instance]):
    """The instances of one image, each kept as a row of the plan: an eighth of the objects' memory.

    Attributes:
        rows: list of texts, JSON lists of a `Instance`'s attributes in their order. No number is rounded.
    """

    __slots__ = ("rows",)

    def __init__(self, instances: Iterable[Instance] = ()) -> None:
        """Args: an iterable of `Instance`."""
        self.rows: list[str] = []
        for instance in instances:
            self.append(instance)

    def append(self, instance: Instance) -> None:
        """Adds a `Instance`."""
        values = instance.instance_id, instance.box, instance.keypoints, instance.area, instance.score
        self.rows.append(as_json(values))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return Instance(*json.loads(self.rows[index]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Instances) and self.rows == other.rows


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """One image and its instances.

    `file_name` is relative to the image folder; sizes are in pixels, 0 where a converter found no image.
    `size_stated` is False where the annotations do not say the size, and it is that of the file's header.
    `instances` is a sequence of `Instance`: `Instances` while there are all of a dataset, a list in a shard's
        plan.
    """

    image_id: int
    file_name: str
    width: int
    height: int
    instances: Instances | list[Instance] = field(default_factory=Instances)
    size_stated: bool = True


@dataclass(frozen=True)
class Source:
    """A dataset's split, ready to be planned.

    Attributes:
        skeleton: whose keypoints the instances have.
        images: every image that has instances.
        filtered: {reason: count} of instances that are left out on purpose.
        rejected: what is wrong with the others, one dict (image_id, instance_id, reason, detail) per
            instance.
    """

    skeleton: Skeleton
    images: list[AnnotatedImage]
    filtered: Mapping[str, int]
    rejected: list[dict[str, Any]]

    @property
    def count(self) -> int:
        """Number of instances to make records of."""
        return sum(len(image.instances) for image in self.images)


def rejection(image_id: Any, instance_id: Any, reason: str, detail: str) -> dict[str, Any]:
    """One line of the dead-letter file; ids that are none, and long details, are shortened to text."""
    ids = [key if key is None or type(key) is int else str(key)[:100] for key in (image_id, instance_id)]
    return {"image_id": ids[0], "instance_id": ids[1], "reason": reason, "detail": detail[:500]}


def keypoint_array(instance: Instance) -> npt.NDArray[np.float64]:
    """An instance's keypoints as (K, 3) float64."""
    return np.asarray(instance.keypoints, np.float64).reshape(-1, 3)
