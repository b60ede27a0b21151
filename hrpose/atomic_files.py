"""Files as the evaluator writes them: whole or not at all."""

import errno
import json
import os
import secrets
from pathlib import Path
from typing import Any

from hrpose.command import CommandError

#: Why a file system does not take a file because of what it is called.
OF_THE_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class WriteError(CommandError):
    """A file that could not be written. What stood there before is intact."""


def write_whole(path: Path | str, content: bytes | str) -> Path:
    """Writes a file so that it appears under its name only when it is complete.

    Args:
        path: of the file, in an existing folder; a file that stands there is replaced.
        content: bytes, or a str to be written as UTF-8.

    Returns:
        The path, as a `Path`.

    Raises:
        WriteError: if it cannot be written, with path and reason.
    """
    # Text may name files, whose names need not be UTF-8.
    content = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    path = Path(path)
    # A name of its own, so that two processes never write into one file. The file's may be as long as the
    # file system takes: 255 bytes.
    name = os.fsdecode(os.fsencode(path.name)[:200])
    temporary = path.with_name(f"{name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        remedy = f"see to it that there is room in {path.parent} and that it may be written"
        if error.errno in OF_THE_NAME:
            remedy = "the file system does not take this name, give what it is called after a shorter one"
        raise WriteError(f"{path} could not be written: {error.strerror or error}; {remedy}") from error
    return path


def write_json(path: Path | str, content: Any, indent: int | None = None) -> Path:
    """Writes a JSON file as `write_whole` does, and returns its path."""
    return write_whole(path, json.dumps(content, indent=indent))
