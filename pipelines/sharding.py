"""Which pictures go into which shard: deterministic, shuffled, balanced."""

import hashlib
import json
from dataclasses import replace

from pipelines.instances import People, Person, Picture, as_json

#: Mixed into every hash, so that our order has nothing to do with other tools' hashes of the same ids.
SALT = "hrpose-1"


def hash_key(*parts):
    """A fixed pseudo-random sort key of some ids."""
    return hashlib.sha256(":".join(map(str, (SALT, *parts))).encode()).digest()


def shard_count(people, people_per_shard):
    """How many shards to cut: about `people_per_shard` each, at least one."""
    return max(1, round(people / people_per_shard))


def plan_shards(pictures, count):
    """Cuts pictures, in hash order, into consecutive ranges with about equally many people.

    Args:
        pictures: list of `Picture`, in any order.
        count: number of shards.

    Returns:
        A list of `count` lists of pictures. A picture is divided, and then decoded once in each shard, only
        if more people are in it than in a shard of average size.
    """
    ordered = sorted(pictures, key=lambda picture: hash_key(picture.image_id))
    total = sum(len(picture.people) for picture in ordered)
    shards = [[] for _ in range(count)]
    before = 0
    for picture in ordered:
        for part in _divide(picture, max(1, total // count)):
            middle = before + len(part.people) / 2
            shards[min(int(middle * count / total), count - 1)].append(part)
            before += len(part.people)
    return [_joined(shard) for shard in shards]


def _divide(picture, size):
    """A picture, as several with at most `size` people each; in whatever order it has them, the same ones."""
    if len(picture.people) <= size:
        return [picture]
    people = sorted(picture.people, key=lambda person: hash_key(picture.image_id, person.person_id))
    return [
        replace(picture, people=People(people[start : start + size])) for start in range(0, len(people), size)
    ]


def _joined(parts):
    """A shard's pictures, with the parts of one that are in the same shard as one again."""
    pictures = []
    for part in parts:
        if pictures and pictures[-1].image_id == part.image_id:
            people = People([*pictures.pop().people, *part.people])
            pictures.append(replace(part, people=people))
        else:
            pictures.append(part)
    return pictures


def dump_plan(pictures):
    """A shard's plan as bytes for its plan file: a JSON list of pictures and their `People`."""

    def row(picture):
        values = as_json((picture.image_id, picture.file_name, picture.width, picture.height))
        unstated = "" if picture.size_stated else ",false"
        return f"{values[:-1]},[{','.join(picture.people.rows)}]{unstated}]"

    return f"[{','.join(map(row, pictures))}]".encode()


def load_plan(data):
    """The pictures of a shard's plan file, each with a list of `Person`."""
    return [Picture(*row[:4], [Person(*person) for person in row[4]], *row[5:]) for row in json.loads(data)]
