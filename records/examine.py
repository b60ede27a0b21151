"""What is wrong with records, found before anything else reads them.

TensorFlow believes what a file says of itself: a length of 2^40 in a record's frame, or a wrong one within
its message, ends the process. So a shard is looked through once here, by code that raises instead.
"""

import functools
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from records.annotations.instance_checks import SMALLEST_SIDE
from records.errors import RecordsError
from records.manifest import Shard
from records.schema import FIELDS, Record, from_example
from records.tfrecord import FRAME, unframe

#: Records whose values are looked at in one call.
_BATCH = 256


@dataclass(frozen=True)
class Damage:
    """What is wrong with a shard.

    Attributes:
        shard: its file name.
        usable: how many records come before the place.
        lost: how many come from there on: how long a damaged record is cannot be trusted.
        problem: what is wrong, with the record's number from 0 and its place in the file.
    """

    shard: str
    usable: int
    lost: int
    problem: str


def examine_once(path: Path | str, shard: Shard, num_keypoints: int) -> Damage | None:
    """`examine_shard`, for each version of a file once in this process.

    Measured, it adds 75 us a record to the reader's 850 us of processor time, in the first of many epochs
    only. Another size, time of change or inode is another version.
    """
    found = Path(path).stat()
    version = found.st_ino, found.st_size, found.st_mtime_ns
    return _examined(str(path), shard, num_keypoints, version)


@functools.lru_cache(maxsize=2**14)
def _examined(path: str, shard: Shard, num_keypoints: int, version: tuple[int, int, int]) -> Damage | None:
    return examine_shard(path, shard, num_keypoints)


def examine_shard(path: Path | str, shard: Shard, num_keypoints: int) -> Damage | None:
    """Looks through a shard: frames, checksums, messages, values, number of records, SHA-256.

    Args:
        path: of the file.
        shard: what the manifest says of it, a `records.manifest.Shard`.
        num_keypoints: K.

    Returns:
        What is wrong with it; None if all is well.

    Raises:
        OSError: if it cannot be read.
    """
    with Path(path).open("rb") as file:
        usable, problem = _examine_records(file, num_keypoints)
        if not problem and usable >= shard.records:
            file.seek(0)
            if hashlib.file_digest(file, "sha256").hexdigest() != shard.sha256:
                # Which of its records are the manifest's cannot be said: it may be a shard of another build.
                problem = "its SHA-256 is not the manifest's, as if it were of another build"
                return Damage(shard.name, 0, shard.records, problem)
    if not problem and usable != shard.records:
        problem = f"holds {usable} records, the manifest says {shard.records}"
        problem = "ends too early" if usable < shard.records else problem
    usable = min(usable, shard.records)
    return Damage(shard.name, usable, shard.records - usable, problem) if problem else None


def _examine_records(file: BinaryIO, num_keypoints: int) -> tuple[int, str | None]:
    """(number of good records before the first bad one, what is wrong with that one or None)."""
    usable, start = 0, 0
    problem: str | None = None
    payloads = unframe(file)
    while not problem:
        batch = []
        try:
            for payload in itertools.islice(payloads, _BATCH):
                batch.append(payload)  # one by one, so that those before a bad one are kept
        except RecordsError as error:
            problem = str(error)
        for payload, (_, wrong) in zip(batch, examine_payloads(batch, num_keypoints), strict=True):
            if wrong:
                return usable, f"record {usable} at byte {start:,}: {wrong}"
            usable, start = usable + 1, start + len(payload) + FRAME
        if len(batch) < _BATCH:
            break
    return usable, problem


def examine_payloads(payloads: Sequence[bytes], num_keypoints: int) -> list[tuple[Record | None, str | None]]:
    """Parses records and looks at their values, but not at the pixels of crops.

    Args:
        payloads: N serialized records; may be anything.
        num_keypoints: K.

    Returns:
        N pairs: the record as `records.schema.from_example` gives it, None if it is no record;
        what is wrong with it, None if nothing is.
    """
    found: list[tuple[Record | None, str | None]] = []
    for payload in payloads:
        try:
            found.append((from_example(payload, num_keypoints), None))
        except ValueError as error:
            found.append((None, f"does not fit the schema: {error}"))
    records = [record for record, _ in found if record]
    wrong = iter(wrong_values(records))
    return [(record, problem or next(wrong)) for record, problem in found]


def wrong_values(records: Sequence[Record]) -> list[str | None]:
    """Why the values of records cannot be used.

    Args:
        records: N of them.

    Returns:
        N texts that name the field and the instance, None where nothing is wrong.
    """
    problems: list[str | None] = [None] * len(records)
    if not records:
        return problems

    def check(good: npt.NDArray[np.bool_], what: Callable[..., str]) -> None:
        """Notes `what`, of a row, where `good` (N, …) is not all true, unless there is a problem already."""
        for row in np.flatnonzero(~good.reshape(len(records), -1).all(axis=1)).tolist():
            problems[row] = problems[row] or f"{what(row)}, {instance_of(records[row])}"

    rows = cast("Sequence[Mapping[str, Any]]", records)  # looked up by the table's names
    values = {
        field.name: np.stack([record[field.name] for record in rows])
        for field in FIELDS
        if field.dtype != "bytes"
    }
    for name, column in values.items():
        if column.dtype.kind == "f":
            check(np.isfinite(column), lambda row, name=name: f"{name} is not finite")
            # No build writes more, see `hrpose.json_checks.is_number`.
            check(np.abs(column) < 1e18, lambda row, name=name: f"{name} has numbers above 1e18")
    visibility = values["keypoints"][..., 2]
    right = np.isin(visibility, (0, 1, 2))
    check(right, lambda row: f"a keypoint's visibility is {visibility[row][~right[row]][0]:g}")
    for name, least in (("scale", SMALLEST_SIDE), ("image_size", 1)):
        column = values[name]
        check(column >= least, lambda row, name=name, column=column: f"{name} is {column[row].tolist()}")
    with np.errstate(all="ignore"):  # not finite: named already
        flat = np.linalg.det(values["crop_affine"][..., :2].astype(np.float64)) == 0
    check(~flat, lambda row: "crop_affine shows a line of the image only")
    crops = np.array([bool(record["crop"]) for record in records])
    check(crops, lambda row: "the crop is not an image")
    return problems


def instance_of(record: Record) -> str:
    """Who a record is of, in words."""
    name = record["file_name"].decode(errors="backslashreplace")
    return f"instance {record['instance_id']} in image {record['image_id']}, {name[:100]}"
