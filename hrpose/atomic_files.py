"""Files and folders on this host that are written whole or not at all.

`pipelines.storage` does the same on whatever Beam's file systems reach; nobody else writes what has to be
whole by means of his own.
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hrpose.command import CommandError

#: Why a file system does not take a file because of what it is called.
OF_THE_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)

#: What ends the names of files and folders that are not complete yet.
PARTIAL = ".partial"


class WriteError(CommandError):
    """A file that could not be written. What stood there before is intact."""

    @classmethod
    def of(cls, path: Path, reason: OSError | str) -> "WriteError":
        """The error for a path, with what to do about it.

        Args:
            path: what could not be written.
            reason: why.
        """
        remedy = f"see to it that there is room in {path.parent} and that it may be written"
        if isinstance(reason, OSError):
            if reason.errno in OF_THE_NAME:
                remedy = "the file system does not take this name, give what it is called after a shorter one"
            reason = reason.strerror or str(reason)
        return cls(f"{path} could not be written: {reason}; {remedy}")


@contextlib.contextmanager
def replacing(path: Path, durable: bool = False, any_kind: bool = False) -> Iterator[Path]:
    """Yields a path beside another one, whose place takes what the body writes there, a file or a folder.

    It does so at the end, as a whole. If the body fails, nothing is left of what it wrote, and what stood
    there stays; of a process that was killed something may be left, whose name ends in `PARTIAL`.

    Args:
        path: in an existing folder.
        durable: whether to wait until the disk has it all.
        any_kind: whether a file may take the place of a folder with all that it holds, and the reverse.

    Raises:
        OSError: if the disk does not take it, or something of another kind stands there.
    """
    # A name of its own, so that two processes never write into one file. The file's may be as long as the
    # file system takes: 255 bytes.
    name = f"{os.fsdecode(os.fsencode(path.name)[:200])}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary, old = path.with_name(f"{name}{PARTIAL}"), path.with_name(f"{name}.old{PARTIAL}")
    try:
        yield temporary
        if durable:
            for written in [temporary, *temporary.rglob("*")]:
                if written.is_file():
                    with written.open("rb") as file:
                        os.fsync(file.fileno())
        folders = path.is_dir(), temporary.is_dir()
        if os.path.lexists(path) and (all(folders) or (any_kind and any(folders))):
            path.rename(old)  # only a file can take the place of another one in one step
        temporary.replace(path)
    finally:  # the disk may be full
        discard(temporary)
    discard(old)


def discard(path: Path) -> None:
    """Removes a file, a link, or a folder with all that it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_whole(path: Path | str, content: bytes | str) -> Path:
    """Writes a file so that it appears under its name only when it is complete.

    Args:
        path: of the file, in an existing folder; a file that stands there is replaced.
        content: text is written as UTF-8.

    Returns:
        The path.

    Raises:
        WriteError: if it cannot be written, with path and reason.
    """
    # Text may name files, whose names need not be UTF-8.
    content = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    path = Path(path)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise WriteError.of(path, error) from error
    return path


def write_json(path: Path | str, content: Any, indent: int | None = None) -> Path:
    """Writes a JSON file as `write_whole` does, and returns its path."""
    return write_whole(path, json.dumps(content, indent=indent))
