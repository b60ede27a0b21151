"""What stands in a records folder before a build, and how to make room for one."""

from pathlib import PurePath

from apache_beam.io.filesystems import FileSystems

from pipelines.people import BuildError
from pipelines.transforms import WORK_FOLDER, read_json_if_there
from records.shards import MANIFEST, Manifest
from records.tfds_files import DATASET_INFO, FEATURES

OPTIONS = "options.json"
DEAD_LETTERS = "rejected.jsonl"


def settle(folder, shard_prefix, options, overwrite):
    """Finds out whether a build is done, can be continued, or has to make room first.

    Args:
        folder: the records folder.
        shard_prefix: what our shards' names begin with.
        options: everything that decides the shards' bytes, by name.
        overwrite: whether records that were built differently may be removed.

    Returns:
        The `Manifest` of a finished build with these options, or None.

    Raises:
        BuildError: if the folder holds records that were built differently and may not be removed, or a
            manifest of something else.
    """
    shards = matching(folder, f"{shard_prefix}*")
    try:
        manifest = read_json_if_there(FileSystems.join(folder, MANIFEST))
        begun = read_json_if_there(FileSystems.join(folder, WORK_FOLDER, OPTIONS))
    except ValueError as error:
        manifest, begun, problem = None, None, f"its manifest or options are not JSON: {error}"
    else:
        if manifest is not None and not _ours(manifest):
            raise BuildError(
                f"{folder} holds a {MANIFEST} that is not one of records; --records_dir builds elsewhere"
            )
        if manifest:
            missing = {shard["name"] for shard in manifest["shards"]} - {path.name for path in shards}
            problem = _differences(options, manifest["options"])
            problem = problem or (f"{len(missing)} shards are missing now" if missing else "")
        elif begun is not None:
            problem = _differences(options, begun)
        else:
            problem = f"{len(shards)} shards stand there without a manifest" if shards else ""
    if overwrite and (manifest or problem):
        remove(folder, shard_prefix)
        return None
    if problem:
        raise BuildError(
            f"{folder} was built differently ({problem}). --overwrite replaces it, --records_dir builds "
            "elsewhere"
        )
    return Manifest.from_json(manifest) if manifest else None


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


def _ours(manifest):
    return (
        isinstance(manifest, dict)
        and {"schema_version", "options", "shards", "skeleton"} <= set(manifest)
        and isinstance(manifest["options"], dict)
        and isinstance(manifest["shards"], list)
        and all(isinstance(shard, dict) and "name" in shard for shard in manifest["shards"])
    )


def _differences(options, before):
    """The options that differ, as text; empty if none does."""
    names = sorted(name for name in {**options, **before} if options.get(name) != before.get(name))
    return "; ".join(f"{name} was {before.get(name)}, now {options.get(name)}" for name in names)
