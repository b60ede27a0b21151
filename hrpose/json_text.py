"""JSON files as users have them: one rule for every command that reads them.

JSON may be in UTF-8, UTF-16 or UTF-32, with or without a byte order mark (as RFC 8259, 8.1 and Python's
`json.loads` allow), and packed: by gzip, or as the one .json file of a zip archive. What is often given in a
JSON file's place is called by its name.
"""

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Protocol, Self

#: Levels of lists and objects. COCO's files have 5, exports of annotation tools seldom more than 10. How many
#: may stand in one another is a matter of the version for Python's own parser (992, 1,497 and 9,998 in 3.11,
#: 3.12 and 3.13), and what shows, compares or writes a value again may stop a few levels earlier: a limit far
#: below all of these leaves no such place.
MAX_DEPTH = 100

#: Texts, whose brackets do not count, and brackets.
_SIGNS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)

#: Bytes. An archive may hold a thousand times its own size; this is four times COCO's largest keypoint file.
MAX_UNPACKED = 1 << 30

#: What a library raises for archives that are damaged, encrypted, or of a kind it does not know.
_DAMAGE = (
    *(zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error),
    *(EOFError, RuntimeError, OverflowError, ValueError),
)

_ZIP, _GZIP = b"PK", b"\x1f\x8b"

#: How files begin that are no JSON.
_OTHERS = {
    b"BZh": "a bzip2 archive; unpack it",
    b"\xfd7zXZ": "an xz archive; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive; unpack it",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89HDF": "an HDF5 file (or MATLAB's)",
    b"MATLAB": "a MATLAB file",
}

#: Bytes that tell what a file is; a tar archive says so after 257.
_HEAD = 512


class Reader(Protocol):
    """What bytes can be read from; `BinaryIO` can do more."""

    def read(self, size: int = -1, /) -> bytes:
        """The next `size` bytes, fewer only at the end; all that are left without a size."""


def open_json(file: BinaryIO) -> Reader:
    """The JSON in a file that was opened: the file itself, or what is packed in it.

    Args:
        file: a binary file at its beginning, which can seek.

    Returns:
        What gives the bytes of the JSON. It is valid until `file` is closed.

    Raises:
        ValueError: saying what the file is, if it is no JSON by its beginning, or holds not exactly one JSON
            file. Reading on raises it too, for damage, and past `MAX_UNPACKED` bytes of what is packed.
    """
    head = _head(file)
    packed: Reader
    if head.startswith(_GZIP):
        packed = gzip.GzipFile(fileobj=file)
    elif head.startswith(_ZIP):
        packed = _only_json(file)
    else:
        _refuse_others(head)
        return file
    inner = _Unpacked(packed)
    head = inner.read(_HEAD)
    if head.startswith((_GZIP, _ZIP)):
        raise ValueError("an archive within an archive; unpack it")
    _refuse_others(head)
    return inner.back(head)


def json_text(content: bytes) -> str:
    """Text of a file that ought to be JSON or a list of numbers.

    Args:
        content: its bytes, not packed.

    Raises:
        ValueError: if they are no text.
    """
    try:
        return content.decode(json.detect_encoding(content), "surrogatepass")
    except UnicodeDecodeError as error:
        raise ValueError(f"no text in UTF-8 or UTF-16 ({error}); save it as UTF-8") from error


def parse_json(path: Path | str, content: bytes) -> Any:
    """Parses a JSON file's content.

    Args:
        path: of the file, for the message.
        content: its bytes.

    Returns:
        What it says.

    Raises:
        ValueError: if it is not JSON, or as `check_nesting`.
    """
    try:
        return loads(json_text(open_json(io.BytesIO(content)).read()))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error


def loads(text: str, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Parses a JSON text as `json.loads` does, within `MAX_DEPTH`.

    Raises:
        ValueError: if it is not JSON, or as `check_nesting`.
    """
    check_nesting(text)
    return json.loads(text, object_hook=object_hook)


def check_nesting(text: str, inside: int = 0) -> None:
    """Sees to it that a JSON text is nested no deeper than `MAX_DEPTH`.

    Args:
        text: It need not be right, or end where it should.
        inside: how many lists and objects the text stands in.

    Raises:
        ValueError: if it is.
    """
    if inside + text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = inside
    for sign in _SIGNS.finditer(text):
        if sign[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(
                    f"with more than {MAX_DEPTH} levels, its lists and objects are nested too deeply"
                )
        elif sign[0] in "]}":
            depth -= 1


def _head(file: BinaryIO) -> bytes:
    head = file.read(_HEAD)
    file.seek(0)
    return head


def _refuse_others(head: bytes) -> None:
    """Raises ValueError, saying what it is, for the beginning of a file that is no JSON."""
    for sign, what in _OTHERS.items():
        if head.startswith(sign):
            raise ValueError(what)
    if head[257:262] == b"ustar":
        raise ValueError("a tar archive; unpack it")
    if not head:
        raise ValueError("an empty file")
    text = head.decode(json.detect_encoding(head), "replace").lstrip("\ufeff \t\r\n").lower()
    if text.startswith("version https://git-lfs"):
        raise ValueError(
            "a git-lfs pointer and not the file that it stands for, which `git lfs pull` fetches"
        )
    if (text.startswith("<") and "<html" in text) or text.startswith("<!doctype html"):
        raise ValueError(
            "an HTML page, as servers send it where a login is needed or a file has moved; download it again"
        )
    if text.startswith("<"):
        raise ValueError("XML; export the annotations as JSON in COCO format")


def _only_json(file: BinaryIO) -> IO[bytes]:
    """The one .json file of a zip archive, opened; Mac's own notes about files, ._x.json, are none."""
    try:
        archive = zipfile.ZipFile(file)
        names = [
            name
            for name in archive.namelist()
            if name.lower().endswith(".json")
            and not name.startswith("__MACOSX/")
            and not PurePosixPath(name).name.startswith("._")
        ]
        if len(names) == 1:
            if archive.getinfo(names[0]).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{names[0]} in it is compressed in an unusual way; unpack it")
            return archive.open(names[0])
    except _DAMAGE as error:
        raise ValueError(f"a zip archive that cannot be read: {error}") from error
    listed = f" ({', '.join(names)})"[:300] if names else ""
    raise ValueError(
        f"a zip archive with {len(names)} .json files{listed}, expected one; unpack it and name the file"
    )


class _Unpacked:
    """What is packed in a file, with a limit."""

    def __init__(self, packed: Reader) -> None:
        self._packed, self._waiting, self._count = packed, b"", 0

    def back(self, block: bytes) -> Self:
        """Lets `read` begin with a block that was read already; returns this object."""
        self._waiting = block
        return self

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end; all that are left without a size."""
        size = MAX_UNPACKED + 1 if size < 0 else size
        block, self._waiting = self._waiting[:size], self._waiting[size:]
        try:
            more = self._packed.read(size - len(block)) if size > len(block) else b""
        except _DAMAGE as error:
            raise ValueError(f"an archive that cannot be unpacked: {error}") from error
        self._count += len(more)
        if self._count > MAX_UNPACKED:
            raise ValueError(f"packed and has more than {MAX_UNPACKED >> 20:,} MiB; unpack it")
        return block + more
