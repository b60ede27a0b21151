"""Shard files and the manifest that describes them."""

import hashlib
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Self

from hrpose.storage import file_sizes, path_of, remote_errors
from records.errors import RecordsError
from records.manifest_checks import wrong_manifest
from records.schema import SCHEMA_VERSION
from records.skeletons import Skeleton
from records.tfrecord import FRAME

MANIFEST = "manifest.json"

#: What `shard_name` makes.
_SHARD = re.compile(r"[^/]+\.tfrecord-\d{5,}-of-\d{5,}")

#: The build options that readers look at.
REQUIRED_OPTIONS = {"input_size", "scale_factor", "half_body_min_keypoints", "annotations_sha256"}


def shard_prefix(dataset: str, split: str) -> str:
    """How the names of a build's shards begin."""
    return f"{dataset}-{split}.tfrecord-"


def shard_name(dataset: str, split: str, index: int, count: int) -> str:
    """A shard's file name, in the form TensorFlow Datasets uses."""
    return f"{shard_prefix(dataset, split)}{index:05d}-of-{count:05d}"


def is_shard_name(name: str, prefix: str = "") -> bool:
    """Whether a file is called like a shard.

    Args:
        name: the file's.
        prefix: from `shard_prefix`; "" for a shard of any build.
    """
    return name.startswith(prefix) and _SHARD.fullmatch(name) is not None


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
    def from_json(cls, data: dict[str, Any], records_dir: Path | None = None) -> Self:
        """The inverse of `to_json`.

        Args:
            data: the parsed file.
            records_dir: what the folder of these records stands in, for messages.

        Raises:
            RecordsError: for another schema version.
            KeyError, TypeError, ValueError: for anything that is not a manifest.
        """
        if data["schema_version"] != SCHEMA_VERSION:
            raise RecordsError(
                f"the records were built with schema version {repr(data['schema_version'])[:50]}, this code "
                f"reads version {SCHEMA_VERSION}; build them again, from where their dataset is: "
                f"{_build_command(data, records_dir)} --overwrite"
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
        manifest = Manifest.from_json(json.loads(content), folder.parent)
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


def _build_command(data: dict[str, Any], records_dir: Path | None) -> str:
    """The command that builds what a manifest of any version says, as far as it can be believed."""
    chosen = {name: data.get(name) for name in ("dataset", "split", "boxes")}
    known = {name: value for name, value in chosen.items() if isinstance(value, str) and value.isidentifier()}
    if records_dir:
        known["records_dir"] = shlex.quote(str(records_dir))
    return " ".join(["python pipelines/build_records.py", *(f"--{name}={known[name]}" for name in known)])
