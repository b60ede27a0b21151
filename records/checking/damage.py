"""Where shards are damaged, and what of them can still be read."""

import contextlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from hrpose.storage import copies_folder, is_remote, local_folder, path_of
from records.errors import RecordsError
from records.examine import Damage, examine_shard
from records.manifest import Shard, read_manifest

#: Shards that are read at the same time.
_WORKERS = 4

#: What TensorFlow raises over a record's content, and over a file that cannot be read.
_CONTENT = (tf.errors.DataLossError, tf.errors.InvalidArgumentError)
_READING = (*_CONTENT, tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.UnknownError)


def find_damage(folder: Path | str) -> tuple[Damage, ...]:
    """Reads every shard of a folder and looks through its records, see `records.examine`.

    A shard in a store that is not what the manifest says is lost as a whole: only whole ones are copied.

    Args:
        folder: of one build.

    Returns:
        In the manifest's order; none if all is well.

    Raises:
        RecordsError: if the folder has no manifest that can be read.
    """
    manifest = read_manifest(folder, missing_ok=True)
    shards = path_of(local_folder(folder, manifest, missing_ok=True))

    def check(shard: Shard) -> Damage | None:
        try:
            return examine_shard(shards / shard.name, shard, manifest.skeleton.num_keypoints)
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
            if is_remote(folder) and isinstance(error, FileNotFoundError):
                problem = "missing, or not what the manifest says"
            return Damage(shard.name, 0, shard.records, problem)

    found: list[Damage] = []
    with (
        ThreadPoolExecutor(_WORKERS) as pool,
        tqdm(total=manifest.records, desc="check", unit=" instances", dynamic_ncols=True, delay=2) as bar,
    ):
        for shard, damage in zip(manifest.shards, pool.map(check, manifest.shards), strict=True):
            found += [damage] if damage else []
            bar.update(shard.records)
    return tuple(found)


@contextlib.contextmanager
def damage_reported(folder: Path | str, way_out: str = "", fingerprint: str | None = None) -> Iterator[None]:
    """Makes one clear error of what is said when a damaged record is read, or one that is gone.

    Args:
        folder: of one build.
        way_out: what else the user can do if records can be left out, as the end of a sentence.
        fingerprint: of the records that are read, as for `records.manifest.read_manifest`.

    Raises:
        RecordsError: naming the shard and the place in it, if there is one that `find_damage` finds; or
            saying that the folder holds other records by now.
    """
    try:
        yield
    except _READING as error:
        # What the file system says names the file. Without it, it is about something else.
        where = copies_folder() if is_remote(folder) else folder
        if not isinstance(error, _CONTENT) and str(where) not in error.message:
            raise
        read_manifest(folder, missing_ok=True, fingerprint=fingerprint)
        damage = find_damage(folder)
        if not damage:  # every record is what it should be by now: nothing that could be left out
            raise RecordsError(
                f"the records in {folder} could not be read ({_reason(error)}), and yet all shards are there "
                f"with the right checksums; python records/check.py {folder} looks at every crop, and "
                "build_records.py --overwrite builds them again"
            ) from error
        copied = f", or their copies in {where} (which may be removed)," if is_remote(folder) else ""
        more = f" (and {len(damage) - 1} more shards)" if len(damage) > 1 else ""
        raise RecordsError(
            f"the records in {folder}{copied} are damaged ({damage[0].shard}: {damage[0].problem}{more}); "
            f"python records/check.py {folder} names every such shard, and build_records.py --overwrite "
            f"builds them again{way_out}"
        ) from error


def _reason(error: tf.errors.OpError) -> str:
    """What an error of TensorFlow says, in one line, without where in the graph it came up."""
    line = (error.message.splitlines() or [""])[0]
    return re.sub(r"\{\{.*?\}\}\s*|Error in user-defined function .*? Iterator::\S+ |ValueError: ", "", line)
