"""Which images go into which shard: deterministic, shuffled, balanced."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

from pipelines.instances import AnnotatedImage, Instance, Instances, as_json

#: Mixed into every hash, so that our order has nothing to do with other tools' hashes of the same ids.
SALT = "hrpose-1"


def hash_key(*parts: int) -> bytes:
    """A fixed pseudo-random sort key of some ids."""
    return hashlib.sha256(":".join(map(str, (SALT, *parts))).encode()).digest()


def shard_count(instances: int, instances_per_shard: int) -> int:
    """How many shards to cut: about `instances_per_shard` each, at least one."""
    return max(1, round(instances / instances_per_shard))


def plan_shards(images: Sequence[AnnotatedImage], count: int) -> list[list[AnnotatedImage]]:
    """Cuts images, in hash order, into consecutive ranges with about equally many instances.

    Args:
        images: list of `AnnotatedImage`, in any order.
        count: number of shards.

    Returns:
        A list of `count` lists of images. An image is divided, and then decoded once in each shard, only
        if more instances are in it than in a shard of average size.
    """
    ordered = sorted(images, key=lambda image: hash_key(image.image_id))
    total = sum(len(image.instances) for image in ordered)
    shards: list[list[AnnotatedImage]] = [[] for _ in range(count)]
    before = 0
    for image in ordered:
        for part in _divide(image, max(1, total // count)):
            middle = before + len(part.instances) / 2
            shards[min(int(middle * count / total), count - 1)].append(part)
            before += len(part.instances)
    return [_joined(shard) for shard in shards]


def _divide(image, size):
    """An image, as several with at most `size` instances each; in whatever order it has them, the same
    ones.
    """
    if len(image.instances) <= size:
        return [image]
    instances = sorted(image.instances, key=lambda instance: hash_key(image.image_id, instance.instance_id))
    return [
        replace(image, instances=Instances(instances[start : start + size]))
        for start in range(0, len(instances), size)
    ]


def _joined(parts):
    """A shard's images, with the parts of one that are in the same shard as one again."""
    images = []
    for part in parts:
        if images and images[-1].image_id == part.image_id:
            instances = Instances([*images.pop().instances, *part.instances])
            images.append(replace(part, instances=instances))
        else:
            images.append(part)
    return images


def dump_plan(images: Sequence[AnnotatedImage]) -> bytes:
    """A shard's plan as bytes for its plan file: a JSON list of images and their `Instances`."""

    def row(image):
        values = as_json((image.image_id, image.file_name, image.width, image.height))
        unstated = "" if image.size_stated else ",false"
        return f"{values[:-1]},[{','.join(image.instances.rows)}]{unstated}]"

    return f"[{','.join(map(row, images))}]".encode()


def load_plan(data: bytes) -> list[AnnotatedImage]:
    """The images of a shard's plan file, each with a list of `Instance`."""
    images = []
    for image_id, file_name, width, height, rows, *stated in json.loads(data):
        instances = [Instance(*row) for row in rows]
        images.append(AnnotatedImage(image_id, file_name, width, height, instances, *stated))
    return images
