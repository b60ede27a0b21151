"""Where shards are damaged, and what of them can still be read."""

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from records.shards import RecordsError, read_manifest, unframe

#: Shards that are read at the same time; each is held in memory.
_WORKERS = 4


@dataclass(frozen=True)
class Damage:
    """What is wrong with a shard.

    Attributes:
        shard: its file name.
        usable: how many records come before the place.
        lost: how many come from there on: how long a damaged record is cannot be trusted.
        problem: what is wrong, with the record's number from 0 and its place in the file.
    """

    shard: str
    usable: int
    lost: int
    problem: str


def find_damage(folder):
    """Reads every shard of a folder and holds its records against their checksums.

    Args:
        folder: of one build.

    Returns:
        A tuple of `Damage`, in the manifest's order; empty if all is well.

    Raises:
        RecordsError: if the folder has no manifest that can be read.
    """
    manifest = read_manifest(folder, missing_ok=True)

    def check(shard):
        usable, problem = 0, "ends too early"
        try:
            for _ in unframe((Path(folder) / shard.name).read_bytes()):
                usable += 1
        except (RecordsError, OSError) as error:
            problem = error.strerror.lower() if isinstance(error, OSError) else str(error)
        lost = shard.records - usable
        return Damage(shard.name, usable, lost, problem) if lost else None

    found = []
    with (
        ThreadPoolExecutor(_WORKERS) as pool,
        tqdm(total=manifest.records, desc="check", unit=" people", dynamic_ncols=True, delay=2) as bar,
    ):
        for shard, damage in zip(manifest.shards, pool.map(check, manifest.shards), strict=True):
            found += [damage] if damage else []
            bar.update(shard.records)
    return tuple(found)


@contextlib.contextmanager
def damage_reported(folder, way_out=""):
    """Makes one clear error of what TensorFlow says when it reads a damaged record.

    Args:
        folder: of one build.
        way_out: what else the user can do, as the end of a sentence.

    Raises:
        RecordsError: naming the shard and the place in it.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        # Without the graph node that TensorFlow names in double braces.
        detail = re.sub(r"\{\{.*?\}\}\s*", "", error.message.splitlines()[0])[:200]
        damage = find_damage(folder)
        where = f"{damage[0].shard}: {damage[0].problem}" if damage else detail
        more = f" (and {len(damage) - 1} more shards)" if len(damage) > 1 else ""
        raise RecordsError(
            f"the records in {folder} are damaged ({where}{more}); python records/check.py {folder} names "
            f"every such shard, and build_records.py --overwrite builds them again{way_out}"
        ) from error
