"""Files on any of Beam's file systems: what each needs that `FileSystems` leaves open.

Object stores such as gs:// have no folders, only names that begin alike: there is nothing to make or to ask
for. Each has exceptions of its own for a file that is not there.
"""

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from hrpose.json_text import loads
from hrpose.storage import FOLDER, irregular_kind, is_remote
from pipelines.errors import BuildError

#: What ends the names of files that are not complete yet, after the names they are to have.
PARTIAL = re.compile(r"(\.[0-9a-f]{12})?\.partial\Z")

#: Files that are read from a store at the same time: each takes two requests, with connections of their own.
FETCHED = 32

_CREDENTIALS = (
    "`gcloud auth application-default login` makes them, or GOOGLE_APPLICATION_CREDENTIALS names a key file"
)


def use_options(beam_args: Sequence[str]) -> None:
    """Opens files with these of Beam's `PipelineOptions` from now on, such as `--s3_region_name`.

    Args:
        beam_args: list of text. Without this call Beam would take our own command line for them.
    """
    FileSystems.set_options(PipelineOptions(list(beam_args)))


def check_reachable(*paths: str | Path | None) -> None:
    """Refuses paths of stores whose packages or credentials are missing, before Beam looks for them.

    Beam looks for Google's credentials five times, which takes half a minute, and goes on without.

    Args:
        paths: of files and folders; those on this host are fine.

    Raises:
        BuildError: naming what is missing.
    """
    for scheme, path in {FileSystems.get_scheme(str(path)): path for path in paths if path}.items():
        if scheme is None:
            continue
        try:
            FileSystems.get_filesystem(str(path))
        except ValueError as error:
            raise BuildError(
                f"Apache Beam cannot open {path}: it knows no {scheme}://, or the packages for it are not "
                "installed (for gs://: pip install -r requirements-cloud.txt)"
            ) from error
        if scheme == "gs" and not os.environ.get("STORAGE_EMULATOR_HOST"):
            import google.auth.exceptions

            try:
                google.auth.default()
            except google.auth.exceptions.GoogleAuthError as error:
                raise BuildError(f"no credentials for {path}: {_CREDENTIALS}") from error


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Makes one clear line of what a store refuses.

    Raises:
        BuildError: for the errors of Beam's file systems and of Google's libraries, without their wrapping.
    """
    try:
        yield
    except Exception as error:
        cause, place = error, str(error)
        while isinstance(cause, BeamIOError) and cause.exception_details:
            place, cause = next(iter(cause.exception_details.items()))
        if not isinstance(error, BeamIOError) and not type(cause).__module__.startswith("google."):
            raise
        place = place[-1] if isinstance(place, tuple) else place  # source and target of a rename
        if isinstance(error, BeamIOError) and not is_remote(place):
            raise BuildError(f"{place}: {' '.join(str(cause).split())[:300]}") from error
        code = cause if isinstance(cause, int) else getattr(cause, "code", None)
        hint = _CREDENTIALS if code in (401, 403) else "is there such a bucket?" if code == 404 else ""
        said = " ".join(str(cause).split())[:300]
        raise BuildError(f"the store refuses: {said}{hint and '; '}{hint}") from error


def exists(path: str | Path) -> bool:
    """Whether a file is there, or a folder: on an object store one with something in it."""
    path = str(path)
    if FileSystems.get_filesystem(path).has_dirs():
        return FileSystems.exists(path)
    path = path.rstrip("/")
    if FileSystems.match([f"{path}/**"], [1])[0].metadata_list:
        return True
    return path.count("/") > 2 and FileSystems.exists(path)  # a bucket, gs://name, is no file to ask for


def list_files(folder: str, pattern: str = "*") -> dict[str, int]:
    """The files of a folder whose names match, with one request: {name: size in bytes}."""
    (match,) = FileSystems.match([FileSystems.join(folder, pattern)])
    return {PurePath(file.path).name: file.size_in_bytes for file in match.metadata_list}


def open_if_there(path: str) -> BinaryIO | None:
    """A file, opened for reading; None if there is none, or if it has vanished meanwhile.

    Raises:
        BuildError: if it is a pipe, such as a shell's <(command), a device or a socket.
    """
    kind = irregular_kind(path)
    if kind and kind != FOLDER:
        raise BuildError(
            f"{path} is {kind}; expected a file, because it is read more than once. What comes from a "
            "command has to be saved in a file first"
        )
    try:
        return FileSystems.open(path, compression_type="uncompressed")
    except Exception:  # every store has its own
        if FileSystems.exists(path):
            raise
        return None


def read_if_there(path: str) -> bytes | None:
    """A file's content as bytes, or None if there is none."""
    file = open_if_there(path)
    if file is None:
        return None
    with file:
        return file.read()


def read_json_if_there(path: str) -> Any:
    """The parsed content of a JSON file, or None if there is none.

    Raises:
        ValueError: if it is not JSON.
    """
    content = read_if_there(path)
    return None if content is None else loads(content.decode())


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's content as hexadecimal digits.

    Raises:
        BuildError: if it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        file = open_if_there(str(path))
    except (IsADirectoryError, PermissionError) as error:
        raise BuildError(f"{path} cannot be read: {error.strerror}") from error
    if file is None:
        raise BuildError(f"{path} does not exist")
    with file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_whole(path: str, content: bytes) -> None:
    """Writes a file's bytes with `write_blocks`."""
    write_blocks(path, [content])


def write_blocks(path: str, blocks: Iterable[bytes]) -> None:
    """Writes a file, an iterable of bytes, so that it appears under its name only when it is complete.

    Several may write the same file at the same time, as where a runner tries a task once more: each writes to
    a name of its own, and the last one stands. `hrpose.atomic_files` does this for files of this host; here a
    path is one of any engine's file systems, which Beam alone opens, and some of which do not put a file in
    the place of another one.
    """
    temporary = f"{path}.{uuid.uuid4().hex[:12]}.partial"
    try:
        with FileSystems.create(
            temporary, mime_type="application/octet-stream", compression_type="uncompressed"
        ) as file:
            for block in blocks:
                file.write(block)
        _put([temporary], [path])
    except BaseException as error:  # Ctrl-C too
        with contextlib.suppress(Exception):
            discard([temporary])
        if isinstance(error, OSError) and error.errno and not error.filename:
            raise OSError(error.errno, error.strerror, path) from error  # a full disk does not say where
        raise


def move(names: Sequence[str], source: str, target: str) -> None:
    """Moves files from one folder to another one, where they replace those of the same names.

    Args:
        names: list of the files' names.
        source, target: the folders, of one file system. `target` is there already.
    """
    paths = [[FileSystems.join(folder, name) for name in names] for folder in (source, target)]
    if FileSystems.get_filesystem(target).has_dirs():
        for pair in zip(*paths, strict=True):
            _put(*([path] for path in pair))
    elif names:
        FileSystems.rename(*paths)  # many with one request


def _put(sources, targets):
    """Renames a file, given as a list of one, so that it takes the place of another one."""
    try:
        FileSystems.rename(sources, targets)
    except BeamIOError:
        # HDFS does not put a file in another's place. Where our own file is gone, as when a finished
        # build removed what was under way, the one that stands there is whole and stays.
        folders = FileSystems.get_filesystem(targets[0]).has_dirs()
        if not (folders and FileSystems.exists(sources[0]) and FileSystems.exists(targets[0])):
            raise
        refuse_folder(targets[0])
        FileSystems.delete(targets)
        FileSystems.rename(sources, targets)


def refuse_pattern(path: str, what: str) -> None:
    """Refuses a path that Beam would take for a pattern of several.

    Raises:
        BuildError: naming it, and `what` it is of.
    """
    if set("*?[") & set(path):
        raise BuildError(f"{path}: the path of {what} must not hold the signs * ? [")


def refuse_folder(path: str) -> None:
    """Refuses a folder where a file is to be written or removed: Beam would delete it with all that it holds.

    Raises:
        BuildError: naming it.
    """
    if irregular_kind(path) == FOLDER:
        raise BuildError(f"{path} is a folder, and a file belongs there; move it away")


def discard(paths: Iterable[str]) -> None:
    """Removes files; one that is not there any more is none to remove.

    Raises:
        BuildError: if one is a folder.
    """
    paths = list(paths)
    for path in paths:
        refuse_folder(path)
    _delete(paths)


def _delete(paths):
    """Removes files and folders."""
    try:
        FileSystems.delete(paths)
    except BeamIOError:
        if any(map(FileSystems.exists, paths)):
            raise


def remove_folder(path: str) -> None:
    """Removes a folder and everything in it, if it is there."""
    if FileSystems.get_filesystem(path).has_dirs():
        _delete([path])
    else:
        FileSystems.delete([f"{path}/"])  # Beam removes everything whose name begins like this
