"""Where shards are damaged, and what of them can still be read."""

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import tensorflow as tf
from tqdm import tqdm

from records.files import copies_folder, is_remote, local_folder, path_of
from records.shards import RecordsError, read_manifest, unframe

#: Shards that are read at the same time; each is held in memory.
_WORKERS = 4

#: What TensorFlow raises over a record's content, and over a file that cannot be read.
_CONTENT = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)
_READING = (*_CONTENT, tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.UnknownError)


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

    A shard in a store that is not what the manifest says is lost as a whole: only whole ones are copied.

    Args:
        folder: of one build.

    Returns:
        A tuple of `Damage`, in the manifest's order; empty if all is well.

    Raises:
        RecordsError: if the folder has no manifest that can be read.
    """
    manifest = read_manifest(folder, missing_ok=True)
    shards = path_of(local_folder(folder, manifest, missing_ok=True))

    def check(shard):
        usable, problem = 0, "ends too early"
        try:
            for _ in unframe((shards / shard.name).read_bytes()):
                usable += 1
        except (RecordsError, OSError) as error:
            problem = error.strerror.lower() if isinstance(error, OSError) else str(error)
            if is_remote(folder) and isinstance(error, FileNotFoundError):
                problem = "missing, or not what the manifest says"
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
    """Makes one clear error of what TensorFlow says when it reads a damaged record, or one that is gone.

    Args:
        folder: of one build.
        way_out: what else the user can do if records can be left out, as the end of a sentence.

    Raises:
        RecordsError: naming the shard and the place in it, if there is one that `find_damage` finds.
    """
    try:
        yield
    except _READING as error:
        # What the file system says names the file. Without it, it is about something else.
        where = copies_folder() if is_remote(folder) else folder
        if not isinstance(error, _CONTENT) and str(where) not in error.message:
            raise
        # Without the graph node that TensorFlow names in double braces.
        detail = re.sub(r"\{\{.*?\}\}\s*", "", error.message.splitlines()[0])[:200]
        damage = find_damage(folder)
        if not damage:  # the checksums are right, or the files are back: nothing that could be left out
            raise RecordsError(
                f"the records in {folder} could not be read ({detail}), and yet all shards are there with "
                f"the right checksums; python records/check.py {folder} looks at every record, and "
                "build_records.py --overwrite builds them again"
            ) from error
        copied = f", or their copies in {where} (which may be removed)," if is_remote(folder) else ""
        more = f" (and {len(damage) - 1} more shards)" if len(damage) > 1 else ""
        raise RecordsError(
            f"the records in {folder}{copied} are damaged ({damage[0].shard}: {damage[0].problem}{more}); "
            f"python records/check.py {folder} names every such shard, and build_records.py --overwrite "
            f"builds them again{way_out}"
        ) from error
