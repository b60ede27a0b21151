"""What stands in a records folder before a build, and how a build comes to stand there."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from apache_beam.io.filesystems import FileSystems

from hrpose.storage import is_remote
from pipelines.dead_letters import DEAD_LETTERS
from pipelines.errors import BuildError
from pipelines.exchange import exchange
from pipelines.shard_job import REPLACING_FOLDER, WORK_FOLDER, ShardJob
from pipelines.storage import (
    PARTIAL,
    discard,
    list_files,
    open_if_there,
    read_json_if_there,
    refuse_folder,
    remove_folder,
)
from records.errors import RecordsError
from records.manifest import MANIFEST, Manifest, is_shard_name, shard_prefix
from records.tfds_files import DATASET_INFO, FEATURES

OPTIONS = "options.json"

#: What our files beside the shards have in them near their beginning, and hardly anybody else's.
_SIGNS = {FEATURES: b'"crop_affine"', DATASET_INFO: b"one record per ", DEAD_LETTERS: b'{"image_id": '}

_WORK_FILE = re.compile(rf"(plan|shard)-\d+\.json|{OPTIONS}")


@dataclass(frozen=True)
class Found:
    """What a build finds in its folder.

    Attributes:
        manifest: the `Manifest` of a finished build with the same options, or None.
        replaces: whether the folder holds something that stays until the build is whole.
        waiting: whether beside the finished build there are shards of one that was to replace it.
    """

    manifest: Manifest | None
    replaces: bool = False
    waiting: bool = False


def find_existing_build(
    folder: str,
    prefix: str,
    options: Mapping[str, Any],
    resume_options: Mapping[str, Any],
    overwrite: bool,
) -> Found:
    """Finds out whether a build is done, can be continued, or has something to replace.

    Ends an exchange that was interrupted; nothing else is changed but what a finished build has left over.

    Args:
        folder: the records folder.
        prefix: what our shards' names begin with.
        options: everything that decides the shards' bytes, by name.
        resume_options: what a build under way must have in common with this one, by name.
        overwrite: whether records that stand there are to be replaced.

    Returns:
        What is `Found`.

    Raises:
        BuildError: if the folder holds records that were built differently and may not be replaced, or
            something that is nobody's but its owner's.
    """
    exchanged = finish_exchange(folder)
    names = list_files(folder)
    shards = {name: size for name, size in names.items() if is_shard_name(name, prefix)}
    _refuse_foreign(folder, names)
    manifest, problem = _read_manifest(folder)
    if manifest:
        damaged = [shard.name for shard in manifest.shards if names.get(shard.name) != shard.size]
        problem = differences(options, manifest.options)
        problem = problem or (f"{len(damaged)} shards are missing or of another size now" if damaged else "")
    elif not problem and shards:
        try:
            before = read_json_if_there(FileSystems.join(folder, WORK_FOLDER, OPTIONS))
        except ValueError:
            before = None
        if isinstance(before, dict):
            problem = differences(resume_options, before)
        else:
            problem = f"{len(shards)} shards stand there without a manifest ({min(shards)} …)"
    # A command that was ended while its records took the place of earlier ones has done what it was to do.
    if overwrite and (problem or (manifest and not exchanged)):
        return Found(None, replaces=True)
    if problem:
        raise BuildError(
            f"{folder} cannot be kept: {problem}. --overwrite replaces it, --records_dir builds elsewhere"
        )
    if not manifest:
        return Found(None)
    waiting = any(is_shard_name(name) for name in list_files(FileSystems.join(folder, REPLACING_FOLDER)))
    clean_up(folder, (WORK_FOLDER,) if waiting else (WORK_FOLDER, REPLACING_FOLDER))
    return Found(manifest, waiting=waiting)


def _read_manifest(folder):
    """(`Manifest` or None, why there is one that cannot be used)."""
    try:
        data = read_json_if_there(FileSystems.join(folder, MANIFEST))
    except ValueError as error:
        return None, f"its manifest is not JSON: {error}"
    if data is None:
        return None, ""
    if not isinstance(data, dict) or not {"schema_version", "options", "shards"} <= data.keys():
        raise BuildError(
            f"{folder} holds a {MANIFEST} that is not one of records; --records_dir builds elsewhere"
        )
    try:
        return Manifest.from_json(data), ""
    except RecordsError as error:
        return None, str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return None, f"its manifest cannot be read: {error!r}"


def _refuse_foreign(folder, names):
    """Raises BuildError if a build would replace or remove a file that none has written.

    Beside a manifest those that every build writes are ours, also when they are damaged.
    """
    for name in (MANIFEST, *_SIGNS):
        refuse_folder(FileSystems.join(folder, name))
    ours = {FEATURES, DATASET_INFO} if MANIFEST in names else set()
    foreign = [
        name
        for name, sign in _SIGNS.items()
        if name in names and name not in ours and sign not in _beginning(FileSystems.join(folder, name))
    ]
    if foreign:
        raise BuildError(
            f"{folder} holds {', '.join(foreign)}, which no build has written and a build would replace; "
            "move it away, or build elsewhere with --records_dir"
        )


def _beginning(path):
    file = open_if_there(path)
    if file is None:
        return b""
    with file:
        return file.read(1 << 16)


def finish_exchange(folder: str) -> bool:
    """Puts a whole build that was to replace another one in its place, unless there is none.

    Returns:
        Whether there was one.
    """
    made = FileSystems.join(folder, REPLACING_FOLDER)
    new, problem = _read_manifest(made)
    if not new and not problem:
        return False
    waiting, standing = list_files(made), list_files(folder)
    if not new or any(waiting.get(s.name, standing.get(s.name)) != s.size for s in new.shards):
        discard([FileSystems.join(made, MANIFEST)])  # a shard that somebody has removed is made again
        return False
    old, _ = _read_manifest(folder)
    obsolete = {name for name in standing if is_shard_name(name, shard_prefix(new.dataset, new.split))}
    obsolete |= {shard.name for shard in old.shards if is_shard_name(shard.name)} if old else set()
    obsolete -= {shard.name for shard in new.shards}
    if DEAD_LETTERS in standing and not new.rejected:
        obsolete.add(DEAD_LETTERS)
    parts, labels = [shard.name for shard in new.shards], (FEATURES, DATASET_INFO, DEAD_LETTERS)
    exchange(made, folder, parts, labels, MANIFEST, obsolete)
    return True


def remove_others(job: ShardJob) -> None:
    """Removes shards of an earlier plan, whose names say another number of shards."""
    wanted = {PurePath(job.shard_path(index)).name for index in range(job.count)}
    prefix = shard_prefix(job.dataset, job.split)
    names = list_files(job.shards_folder)
    _remove(job.shards_folder, [name for name in names if is_shard_name(name, prefix) and name not in wanted])


def remove_outdated(job: ShardJob) -> None:
    """Removes shards that were made from another plan than the one that stands there now.

    Here and not by the workers, several of which may be at work on the same shard.
    """
    shard_results = job.shard_results(job.written())
    discard(job.shard_path(index) for index, result in shard_results.items() if result is None)


def clean_up(folder: str, work_folders: Sequence[str] = (WORK_FOLDER, REPLACING_FOLDER)) -> None:
    """Removes what builds need only while they are under way, and what writers left who were ended."""
    for work in work_folders:
        path = FileSystems.join(folder, work)
        names = list_files(path)
        if is_remote(path) and all(map(_is_ours, names)):
            remove_folder(path)  # many with one request
            continue
        _remove(path, filter(_is_ours, names))
        if not is_remote(path):
            with contextlib.suppress(OSError):
                Path(path).rmdir()
    _remove(folder, [name for name in list_files(folder) if PARTIAL.search(name) and _is_ours(name)])


def _is_ours(name):
    """Whether a build writes files of this name, or has not finished to."""
    name = PARTIAL.sub("", name)
    return name in (MANIFEST, *_SIGNS) or _WORK_FILE.fullmatch(name) is not None or is_shard_name(name)


def _remove(folder, names):
    discard(FileSystems.join(folder, name) for name in names)


def differences(options: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The options that differ, as text; empty if none does. Of a file's hash the first digits tell enough."""

    def short(value):
        return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else value

    names = sorted(name for name in {**options, **before} if options.get(name) != before.get(name))
    changes = [f"{name} was {short(before.get(name))}, now {short(options.get(name))}" for name in names]
    return "; ".join(changes)
