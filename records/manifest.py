"""Shard files and the manifest that describes them."""

import hashlib
import io
import itertools
import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

import google_crc32c

from hrpose.command import CommandError
from hrpose.storage import file_sizes, path_of, remote_errors
from records.manifest_checks import wrong_manifest
from records.schema import SCHEMA_VERSION
from records.skeletons import Skeleton

MANIFEST = "manifest.json"

#: How the names of shards end, as a regular expression; see `shard_name`.
SHARD_NUMBERS = r"\.tfrecord-\d{5,}-of-\d{5,}"

#: The build options that readers look at.
REQUIRED_OPTIONS = {"input_size", "scale_factor", "half_body_min_keypoints", "annotations_sha256"}


#: Bytes of a record besides its payload.
FRAME = 16


class RecordsError(CommandError):
    """Records that are missing, damaged, or not what the caller needs."""


def shard_name(dataset: str, split: str, index: int, count: int) -> str:
    """A shard's file name, in the form TensorFlow Datasets uses."""
    return f"{dataset}-{split}.tfrecord-{index:05d}-of-{count:05d}"


def frame(payload: bytes) -> bytes:
    """One record in TFRecord framing: length, masked CRC-32C of it, payload, masked CRC-32C of that.

    The format is the one of TensorFlow's `RecordWriter` (tensorflow/core/lib/io/record_writer.h); written
    here so that a shard can be made in memory and stored on any of Beam's file systems.
    """

    length = struct.pack("<Q", len(payload))
    return b"".join((length, _masked_crc(length), payload, _masked_crc(payload)))


def unframe(content: bytes | BinaryIO) -> Iterator[bytes]:
    """The inverse of `frame` for a whole file.

    Args:
        content: the file's bytes, or the file, open for reading from its start. A length is believed only as
            far as the file goes, so that none asks for more memory than there is.

    Yields:
        The payload of each record.

    Raises:
        RecordsError: at the first record that is damaged or cut off, with its number from 0 and its place.
    """
    file = io.BytesIO(content) if isinstance(content, bytes) else content
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


@dataclass(frozen=True)
class Shard:
    """A finished shard: file name, number of records, size in bytes and SHA-256 of the file."""

    name: str
    records: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a folder of records holds.

    Attributes:
        dataset, split, boxes: what was built; boxes is "ground_truth" or "detections".
        skeleton: whose keypoints the records carry.
        options: everything that decides the shards' bytes, by name.
        shards: the files, in order.
        filtered: instances left out on purpose (crowds, no keypoints …), counted by reason.
        rejected: instances left out because something was wrong with them, counted by reason.
        images: number of images in the plan.
        source: where the build found "annotations", "images" and "image_ids"; decides nothing, and files may
            have moved since.
        placement: of the planned instances' keypoints how many are "labeled", and of these "outside_box" and
            "outside_image", see `records.plausibility`; empty if an earlier version built them.
        schema_version: of `records.schema`.
    """

    dataset: str
    split: str
    boxes: str
    skeleton: Skeleton
    options: dict[str, Any]
    shards: tuple[Shard, ...]
    filtered: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    images: int = 0
    source: dict[str, Any] = field(default_factory=dict)
    placement: dict[str, int] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def records(self) -> int:
        """Number of records in all shards."""
        return sum(shard.records for shard in self.shards)

    @property
    def input_size(self) -> tuple[int, int]:
        """(width, height) of the network input the build was for."""
        width, height = self.options["input_size"]
        return width, height

    @property
    def fingerprint(self) -> str:
        """A hash of the shards' hashes: two folders with the same one hold the same records."""
        return hashlib.sha256("".join(shard.sha256 for shard in self.shards).encode()).hexdigest()[:16]

    def to_json(self) -> dict[str, Any]:
        """A dict of plain values."""
        return {
            "schema_version": self.schema_version,
            "dataset": self.dataset,
            "split": self.split,
            "boxes": self.boxes,
            "records": self.records,
            "images": self.images,
            "filtered": self.filtered,
            "rejected": self.rejected,
            "placement": self.placement,
            "source": self.source,
            "options": self.options,
            "skeleton": self.skeleton.to_json(),
            "shards": [vars(shard) for shard in self.shards],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            RecordsError: for another schema version.
            KeyError, TypeError, ValueError: for anything that is not a manifest.
        """
        if data["schema_version"] != SCHEMA_VERSION:
            raise RecordsError(
                f"the records were built with schema version {repr(data['schema_version'])[:50]}, this code "
                f"reads version {SCHEMA_VERSION}; build them again with --overwrite"
            )
        missing = REQUIRED_OPTIONS - set(data["options"])
        if missing:
            raise ValueError(f"options lack {', '.join(sorted(missing))}")
        if problem := wrong_manifest(data):
            raise ValueError(problem)
        return cls(
            dataset=data["dataset"],
            split=data["split"],
            boxes=data["boxes"],
            skeleton=Skeleton.from_json(data["skeleton"]),
            options=data["options"],
            shards=tuple(Shard(**shard) for shard in data["shards"]),
            filtered=data["filtered"],
            rejected=data["rejected"],
            images=data["images"],
            source=data["source"],
            placement=data.get("placement", {}),
        )


def read_manifest(folder: Path | str, missing_ok: bool = False, fingerprint: str | None = None) -> Manifest:
    """Reads a records folder's manifest.

    Args:
        folder: of one build.
        missing_ok: whether shards that it names may be missing or of another size.
        fingerprint: a `Manifest.fingerprint`, of the records that shall be there because they are being read
            already; None for any.

    Raises:
        RecordsError: if there is none, if it cannot be read, if it is of other records than shall be there,
            or if a shard it names is missing or cut off.
    """
    folder = path_of(folder)
    path = folder / MANIFEST
    with remote_errors(path):
        there = file_sizes(folder)
        content = path.read_bytes() if MANIFEST in there else None
    if content is None:
        raise RecordsError(
            f"no records in {folder}: {MANIFEST} is missing. Build them with "
            "python pipelines/build_records.py (its --help says how), or say with --dataset_dir or "
            "--records_dir where they are"
        )
    try:
        manifest = Manifest.from_json(json.loads(content))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordsError(f"{path} is not a manifest this version can read: {error!r}") from error
    if fingerprint not in (None, manifest.fingerprint):
        raise RecordsError(
            f"the records in {folder} are no longer those that this began with (fingerprint "
            f"{manifest.fingerprint}, expected {fingerprint}): another build has replaced them. What is "
            "saved so far is kept; go on when the former records are back, or begin anew in another output "
            "folder"
        )
    for shard in manifest.shards:
        if shard.name == ".." or PurePosixPath(shard.name).name != shard.name:
            raise RecordsError(f"{path} names a shard outside of its folder: {shard.name}")
        if shard.records * FRAME > shard.size:
            raise RecordsError(
                f"{path} says that {shard.name} holds {shard.records:,} records in {shard.size:,} bytes, "
                "which cannot be; build the records again with --overwrite"
            )
        if not missing_ok and there.get(shard.name) != shard.size:
            raise RecordsError(
                f"the shard {folder / shard.name} is missing or not the {shard.size:,} bytes that {MANIFEST} "
                "says; build the records again with --overwrite"
            )
    return manifest
