"""Which pictures go into which shard: deterministic, shuffled, balanced."""

import hashlib
import json

from pipelines.people import Person, Picture, as_json

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
        A list of `count` lists of pictures. A picture is never divided, so it is decoded once.
    """
    ordered = sorted(pictures, key=lambda picture: hash_key(picture.image_id))
    total = sum(len(picture.people) for picture in ordered)
    shards = [[] for _ in range(count)]
    before = 0
    for picture in ordered:
        middle = before + len(picture.people) / 2
        shards[min(int(middle * count / total), count - 1)].append(picture)
        before += len(picture.people)
    return shards


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
