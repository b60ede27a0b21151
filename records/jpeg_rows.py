"""Cutting whole rows of blocks out of a JPEG that has a restart marker after each of them.

A decoder cannot start in the middle of a JPEG, unless there are restart markers (ITU-T T.81, section E.1.4):
what stands between two of them decodes on its own. With one after each row of blocks, an image of fewer rows
is the same header with another height, and a run of what stands between the markers.
"""

import struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: Pixels along a block's side, where no color has more blocks than another (T.81, section A.1.1).
BLOCK = 8

# Markers (T.81, table B.1), each after a byte 255.
_START_OF_IMAGE = b"\xff\xd8"
_END_OF_IMAGE = b"\xff\xd9"
_BASELINE_FRAME = 0xC0
_START_OF_SCAN = 0xDA
_RESTART_INTERVAL = 0xDD
_FIRST_RESTART = 0xD0
_RESTARTS = 8  # they are numbered modulo this


class RestartRows(NamedTuple):
    """Where the rows of blocks of a JPEG are.

    Attributes:
        height: of the image, pixels.
        height_at: offset of the two bytes that say so.
        starts: (rows + 1,) offset of each row's bytes, and two beyond the last one's end. What ends a
            row takes two bytes: a restart marker, or the end of the image.
    """

    height: int
    height_at: int
    starts: npt.NDArray[np.intp]


def restart_interval(width: int) -> int:
    """Blocks between restart markers that put one after each row of blocks.

    Args:
        width: of the image, pixels.
    """
    return -(-width // BLOCK)


def find_rows(jpeg: bytes) -> RestartRows | None:
    """Finds the rows of blocks of a JPEG.

    Args:
        jpeg: anything.

    Returns:
        `RestartRows`; None for what is not a baseline JPEG of one scan, with as many blocks of one color as
        of another and a restart marker after each row but the last.
    """
    if not jpeg.startswith(_START_OF_IMAGE):
        return None
    at, height_at, interval = len(_START_OF_IMAGE), None, None
    try:
        while True:
            mark, marker, length = struct.unpack_from(">BBH", jpeg, at)
            if mark != 0xFF:
                return None
            if marker == _BASELINE_FRAME:
                height_at = at + 5
                height, width, colors = struct.unpack_from(">HHB", jpeg, height_at)
                sampling = jpeg[height_at + 6 : height_at + 5 + 3 * colors : 3]
                if sampling != b"\x11" * colors:
                    return None
            elif marker == _RESTART_INTERVAL:
                (interval,) = struct.unpack_from(">H", jpeg, at + 4)
            elif marker == _START_OF_SCAN:
                scan_colors = jpeg[at + 4]
                break
            at += 2 + length
        at += 2 + length
        if height_at is None or scan_colors != colors or interval != restart_interval(width):
            return None
    except (struct.error, IndexError):  # it ends before its header does
        return None
    scan = np.frombuffer(jpeg, np.uint8)[at:]
    marks = np.flatnonzero(scan[:-1] == 0xFF)
    markers = scan[marks + 1]
    restarts = marks[(markers >= _FIRST_RESTART) & (markers < _FIRST_RESTART + _RESTARTS)]
    starts = np.concatenate([[at], restarts + (at + 2)])
    end = len(jpeg) if jpeg.endswith(_END_OF_IMAGE) else len(jpeg) + 2
    if len(starts) != -(-height // BLOCK) or end < starts[-1] + 2:
        return None
    return RestartRows(height, height_at, np.append(starts, end))


def cut_rows(jpeg: bytes, rows: RestartRows, first: int, last: int) -> npt.NDArray[np.uint8]:
    """A JPEG of some of the rows of blocks of another, whose pixels are exactly the same.

    Args:
        jpeg: the whole one.
        rows: what `find_rows` says of it.
        first, last: 0 <= first < last: the rows of blocks from `first` to before `last`.

    Returns:
        (n,) bytes: the JPEG, min(8 last, height) - 8 first pixels high.
    """
    header, begin, end = rows.starts[0], rows.starts[first], rows.starts[last] - 2
    part = np.empty(header + end - begin + 2, np.uint8)
    content = np.frombuffer(jpeg, np.uint8)
    part[:header] = content[:header]
    part[header:-2] = content[begin:end]
    part[-2:] = 0xFF, _END_OF_IMAGE[1]
    height = min(BLOCK * last, rows.height) - BLOCK * first
    part[rows.height_at], part[rows.height_at + 1] = divmod(height, 256)
    if first % _RESTARTS:  # markers are numbered from 0
        within = rows.starts[first + 1 : last] - begin + header - 1
        part[within] = _FIRST_RESTART + np.arange(len(within)) % _RESTARTS
    return part
