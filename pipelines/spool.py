"""A shard's records on their way: made image by image, written in the order of their keys."""

import tempfile
from collections.abc import Iterator
from typing import Self

#: Bytes of records that are held in memory; more are in a temporary file. An ordinary shard has 30 MB.
_IN_MEMORY = 1 << 26


class Spool:
    """Records that are added in any order and come out, again and again, in that of their keys.

    However many and large they are, memory holds `_IN_MEMORY` bytes of them and where the others are. Use it
    in a `with` statement, which removes the temporary file.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._places: list[tuple[bytes, int, int]] = []  # (key, offset, length) of each

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def add(self, key: bytes, record: bytes) -> None:
        """Adds a record, bytes, with a key that no other has.

        Raises:
            OSError: if there is no room for the temporary file; it names the folder.
        """
        self._places.append((key, self._file.seek(0, 2), len(record)))
        try:
            self._file.write(record)
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from error

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[bytes]:
        for _, offset, length in sorted(self._places):
            self._file.seek(offset)
            yield self._file.read(length)
