"""What stands in a records folder before a build, and how to make room for one."""

from pathlib import PurePath

from apache_beam.io.filesystems import FileSystems

from pipelines.people import BuildError
from pipelines.storage import PARTIAL, discard, list_files, read_json_if_there, remove_folder
from pipelines.transforms import WORK_FOLDER
from records.shards import MANIFEST, Manifest, RecordsError
from records.tfds_files import DATASET_INFO, FEATURES

OPTIONS = "options.json"
DEAD_LETTERS = "rejected.jsonl"


def settle(folder, shard_prefix, options, begun, overwrite):
    """Finds out whether a build is done, can be continued, or has to make room first.

    Args:
        folder: the records folder.
        shard_prefix: what our shards' names begin with.
        options: everything that decides the shards' bytes, by name.
        begun: what a build under way must have in common with this one, by name.
        overwrite: whether records that were built differently may be removed.

    Returns:
        The `Manifest` of a finished build with these options, or None.

    Raises:
        BuildError: if the folder holds records that were built differently and may not be removed, or a
            manifest of something else.
    """
    shards = list_files(folder, f"{shard_prefix}*")
    manifest, problem = _read_manifest(folder)
    if manifest:
        damaged = [shard.name for shard in manifest.shards if shards.get(shard.name) != shard.size]
        problem = differences(options, manifest.options)
        problem = problem or (f"{len(damaged)} shards are missing or of another size now" if damaged else "")
    elif not problem and shards:
        try:
            before = read_json_if_there(FileSystems.join(folder, WORK_FOLDER, OPTIONS))
        except ValueError:
            before = None
        if isinstance(before, dict):
            problem = differences(begun, before)
        else:
            problem = f"{len(shards)} shards stand there without a manifest"
    if overwrite and (manifest or problem):
        remove(folder, shard_prefix)
        return None
    if problem:
        raise BuildError(
            f"{folder} cannot be kept: {problem}. --overwrite replaces it, --records_dir builds elsewhere"
        )
    if manifest:  # whose build may have been killed right after writing it
        clean_up(folder)
    return manifest


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


def remove_others(folder, shard_prefix, paths):
    """Removes shards of an earlier plan, whose names say another number of shards."""
    wanted = {PurePath(path).name for path in paths}
    _remove(folder, [name for name in list_files(folder, f"{shard_prefix}*") if name not in wanted])


def remove_outdated(job):
    """Removes shards that were made from another plan than the one that stands there now.

    Here and not by the workers, several of which may be at work on the same shard.
    """
    outcomes = job.outcomes(job.written())
    discard(job.shard_path(index) for index, side in outcomes.items() if side is None)


def clean_up(folder):
    """Removes what a build needs only while it is under way, and what writers left who were ended."""
    remove_folder(FileSystems.join(folder, WORK_FOLDER))
    _remove(folder, list_files(folder, PARTIAL))


def remove(folder, shard_prefix):
    """Removes the files of a build, and nothing else that may stand in the folder."""
    ours = {MANIFEST, FEATURES, DATASET_INFO, DEAD_LETTERS}
    _remove(folder, [name for name in list_files(folder) if name in ours or name.startswith(shard_prefix)])
    remove_folder(FileSystems.join(folder, WORK_FOLDER))


def _remove(folder, names):
    discard(FileSystems.join(folder, name) for name in names)


def differences(options, before):
    """The options that differ, as text; empty if none does. Of a file's hash the first digits tell enough."""

    def short(value):
        return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else value

    names = sorted(name for name in {**options, **before} if options.get(name) != before.get(name))
    changes = [f"{name} was {short(before.get(name))}, now {short(options.get(name))}" for name in names]
    return "; ".join(changes)
