"""Where a release's own annotation files lie, and what stands for their content.

A link to nothing is an error wherever it stands: left out silently, it would be missing instances.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path, PurePath

from apache_beam.io.filesystems import FileSystems

from pipelines.errors import BuildError
from pipelines.storage import exists, file_sha256, list_files


def is_there(path: str) -> bool:
    """Whether a file or folder is there.

    Raises:
        BuildError: if it is a link to nothing.
    """
    if exists(path):
        return True
    if Path(path).is_symlink():  # never so on another file system than the local one
        raise BuildError(f"{path} is a link to {Path(path).readlink()}, which does not exist")
    return False


def list_json(folder: str) -> list[str]:
    """The paths of a folder's .json files, sorted; the folder itself may be a link.

    Raises:
        BuildError: if the folder is there but cannot be listed, or it or a file is a link to nothing.
    """
    if FileSystems.get_scheme(folder):
        return sorted(FileSystems.join(folder, name) for name in list_files(folder, "*.json"))
    if not is_there(folder):
        return []
    # Not Beam's match: locally it leaves out what it cannot read and does not follow links to folders.
    try:
        paths = sorted(str(path) for path in Path(folder).iterdir() if path.suffix == ".json")
    except OSError as error:
        raise BuildError(f"{folder} cannot be read: {error.strerror}; expected a folder") from error
    return [path for path in paths if is_there(path)]


def digest(folder: str, paths: Iterable[str]) -> str:
    """SHA-256 of the files' paths below the folder and their SHA-256s, so that moving one changes it.

    Raises:
        BuildError: if a file cannot be read.
    """
    files = [[PurePath(path).relative_to(folder).as_posix(), file_sha256(path)] for path in paths]
    return hashlib.sha256(json.dumps(sorted(files)).encode()).hexdigest()
