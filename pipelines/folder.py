"""What stands in a records folder before a build, and how to make room for one."""

from pathlib import PurePath

from apache_beam.io.filesystems import FileSystems

from pipelines.people import BuildError
from pipelines.transforms import WORK_FOLDER, read_json_if_there
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
    (match,) = FileSystems.match([FileSystems.join(folder, f"{shard_prefix}*")])
    shards = {PurePath(file.path).name: file.size_in_bytes for file in match.metadata_list}
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
    work_folder = FileSystems.join(folder, WORK_FOLDER)
    if manifest and FileSystems.exists(work_folder):  # killed right after the manifest was written
        FileSystems.delete([work_folder])
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
    others = [path.name for path in matching(folder, f"{shard_prefix}*") if path.name not in wanted]
    if others:
        FileSystems.delete([FileSystems.join(folder, name) for name in others])


def matching(folder, pattern):
    """The files of a folder whose names match, as `pathlib.PurePath`."""
    (match,) = FileSystems.match([FileSystems.join(folder, pattern)])
    return [PurePath(metadata.path) for metadata in match.metadata_list]


def remove(folder, shard_prefix):
    """Removes the files of a build, and nothing else that may stand in the folder."""
    names = (MANIFEST, FEATURES, DATASET_INFO, DEAD_LETTERS, WORK_FOLDER)
    paths = [FileSystems.join(folder, name) for name in names]
    shards = [FileSystems.join(folder, path.name) for path in matching(folder, f"{shard_prefix}*")]
    FileSystems.delete([path for path in paths if FileSystems.exists(path)] + shards)


def differences(options, before):
    """The options that differ, as text; empty if none does. Of a file's hash the first digits tell enough."""

    def short(value):
        return f"{value[:8]}…" if isinstance(value, str) and len(value) == 64 else value

    names = sorted(name for name in {**options, **before} if options.get(name) != before.get(name))
    changes = [f"{name} was {short(before.get(name))}, now {short(options.get(name))}" for name in names]
    return "; ".join(changes)
