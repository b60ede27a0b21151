"""Reads damaged records in a process of its own, because a reader that is not careful ends it.

``python -m tests.helpers.reader_fuzz FOLDER PAYLOADS SHARDS`` damages copies of the first shard of a folder
of records in as many ways, from a fixed seed, always with all checksums right. It prints one line of JSON:
how often somebody was lost without a word, what was said otherwise, and how many were read as if nothing
were.
"""

import json
import random
import shutil
import struct
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from records.checking.damage import damage_reported, find_damage
from records.checking.verify import check_shard
from records.errors import RecordsError
from records.manifest import read_manifest
from records.reader import read_records
from records.schema import from_example, parse_examples
from records.tfrecord import unframe
from tests.helpers.builders import masked_crc, rewrite_shard

LENGTHS = (2**63 - 1, 2**63, 2**64 - 1, 2**40, 2**41 + 5, 2**31, 2**32)


def mutate(rng, content):
    """Some bytes changed, removed or inserted, all of them outside of the crop's pixels."""
    first, last = content.find(b"\xff\xd8\xff"), content.rfind(b"\xff\xd9")
    places = [*range(first), *range(last, len(content))]
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        place = min(rng.choice(places), len(changed) - 1)
        some = rng.randbytes(rng.randint(1, 3))
        changed[place : place + rng.choice((len(some), len(some), 0, 8))] = some
    return bytes(changed)


def damage_frames(rng, payloads):
    """The bytes of a shard in which a length, or the number of records, is not what it should be."""
    frames = []
    for payload in payloads:
        length = struct.pack("<Q", len(payload))
        frames.append([length, masked_crc(length), payload, masked_crc(payload)])
    kind, row = rng.choice(("length", "near", "less", "twice", "cut")), rng.randrange(len(frames))
    if kind in ("length", "near"):
        lie = rng.choice(LENGTHS) if kind == "length" else max(0, len(payloads[row]) + rng.randint(-40, 40))
        frames[row][0] = struct.pack("<Q", lie)
        frames[row][1] = masked_crc(frames[row][0])
    elif kind == "less":
        del frames[row]
    elif kind == "twice":
        frames.insert(row, frames[row])
    content = b"".join(map(b"".join, frames))
    return content[: rng.randrange(len(content))] if kind == "cut" else content


def attempt(folder):
    """What comes of one pass over a folder: "read" everybody, "said" who is lost, or "silence"."""
    manifest = read_manifest(folder)
    try:
        with damage_reported(folder):
            read = sum(len(batch["instance_id"]) for batch in read_records(folder, 4))
    except RecordsError as error:
        said = str(error)
    else:
        return "read" if read == manifest.records else "silence"
    report = check_shard(folder, manifest.shards[0], manifest.skeleton.num_keypoints)
    (lost,) = find_damage(folder)
    left = sum(len(batch["instance_id"]) for batch in read_records(folder, 4, damage=[lost]))
    named = manifest.shards[0].name in said and report.problems
    return "said" if named and left == manifest.records - lost.lost else "silence"


def main(folder, payloads, shards):
    """Prints what came of it."""
    rng, found = random.Random(0), Counter()
    manifest = read_manifest(folder)
    good = list(unframe((folder / manifest.shards[0].name).read_bytes()))
    for _ in range(payloads):
        bad = mutate(rng, rng.choice(good))
        try:
            record = from_example(bad, manifest.skeleton.num_keypoints)
        except ValueError:
            found["refused"] += 1
            continue
        parsed = parse_examples([bad], manifest.skeleton.num_keypoints)
        for name, value in record.items():
            np.testing.assert_array_equal(parsed[name][0].numpy(), value)
        found["parsed alike"] += 1
    for number in range(shards):
        with tempfile.TemporaryDirectory() as copy:
            copy = Path(shutil.copytree(folder, copy, dirs_exist_ok=True))
            if number % 2:
                rewrite_shard(copy, 0, damage_frames(rng, good))
            else:
                row = rng.randrange(len(good))
                rewrite_shard(copy, 0, [*good[:row], mutate(rng, good[row]), *good[row + 1 :]])
            found[attempt(copy)] += 1
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
