"""The TFRecord format: how records stand one behind another in a file."""

import io
import itertools
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

from records.errors import RecordsError

#: Bytes of a record besides its payload.
FRAME = 16


def frame(payload: bytes) -> bytes:
    """One record in TFRecord framing: length, masked CRC-32C of it, payload, masked CRC-32C of that.

    The format is the one of TensorFlow's `RecordWriter` (tensorflow/core/lib/io/record_writer.h); written
    here so that a shard can be made in memory and stored on any of Beam's file systems.
    """
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _masked_crc(length), payload, _masked_crc(payload)))


def unframe(content: bytes | bytearray | BinaryIO) -> Iterator[bytes]:
    """The inverse of `frame` for a whole file.

    Args:
        content: the file's bytes, or the file, open for reading from its start. A length is believed only as
            far as the file goes, so that none asks for more memory than there is.

    Yields:
        The payload of each record.

    Raises:
        RecordsError: at the first record that is damaged or cut off, with its number from 0 and its place.
    """
    file = io.BytesIO(content) if isinstance(content, bytes | bytearray) else content
    end = file.seek(0, os.SEEK_END)
    start = file.seek(0)
    for number in itertools.count():
        if start == end:
            return
        place = f"record {number} at byte {start:,}"
        header = file.read(12)
        if len(header) < 12:
            raise RecordsError(f"{place} is cut off")
        if _masked_crc(header[:8]) != header[8:]:
            raise RecordsError(f"{place} has a wrong checksum of its length")
        (length,) = struct.unpack("<Q", header[:8])
        if length > end - start - FRAME:
            raise RecordsError(f"{place} is cut off")
        payload, checksum = file.read(length), file.read(4)
        if _masked_crc(payload) != checksum:
            raise RecordsError(f"{place} has a wrong checksum")
        yield payload
        start += length + FRAME


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
