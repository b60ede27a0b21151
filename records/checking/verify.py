"""Holds shards against the manifest and their records against the schema."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from hrpose.storage import path_of, remote_errors
from records.errors import RecordsError
from records.examine import examine_payloads, instance_of
from records.manifest import Manifest, Shard
from records.plausibility import count_placement
from records.schema import Record
from records.tfrecord import unframe


@dataclass(frozen=True)
class Instances:
    """What statistics need of N instances.

    Attributes:
        box_sizes: (N, 2) width and height in image pixels.
        visibility: (N, K) COCO's 0, 1, 2.
        crop_sizes: (N, 2) width and height of the stored crops in pixels.
        crop_bytes: (N,) bytes, size of the stored crops.
    """

    box_sizes: npt.NDArray[np.float32]
    visibility: npt.NDArray[np.int8]
    crop_sizes: npt.NDArray[np.int32]
    crop_bytes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.crop_bytes)


@dataclass(frozen=True)
class ShardReport:
    """What came of one shard.

    Attributes:
        name: its file name.
        problems: what is wrong with it; empty if nothing is.
        instances: `Instances` of the records that are good.
        samples: the first of these, {field: value} each.
        placement: what `records.plausibility.count_placement` counts of them.
    """

    name: str
    problems: tuple[str, ...]
    instances: Instances
    samples: list[Record]
    placement: Counter[str]


def check_shards(
    folder: Path | str, manifest: Manifest, samples: int = 0, workers: int = 1
) -> list[ShardReport]:
    """Checks every shard of a folder, with a progress bar.

    Args:
        folder: of one build.
        manifest: the build's.
        samples: how many records of each shard to keep at most.
        workers: shards that are checked at the same time; each is held in memory.

    Returns:
        In the manifest's order.
    """
    reports = []

    def check(shard: Shard) -> ShardReport:
        return check_shard(folder, shard, manifest.skeleton.num_keypoints, samples)

    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=manifest.records, desc="check", unit=" instances", dynamic_ncols=True) as bar,
    ):
        for shard, report in zip(manifest.shards, pool.map(check, manifest.shards), strict=True):
            reports.append(report)
            bar.set_postfix_str(f"{len(reports)}/{len(manifest.shards)} shards", refresh=False)
            bar.update(shard.records)
    return reports


def check_shard(folder: Path | str, shard: Shard, num_keypoints: int, samples: int = 0) -> ShardReport:
    """Checks one shard.

    Args:
        folder: where it lies.
        shard: its `records.manifest.Shard` of the manifest.
        num_keypoints: K.
        samples: how many records to keep at most.
    """
    try:
        with remote_errors(folder):
            content = (path_of(folder) / shard.name).read_bytes()
    except OSError as error:
        problem = "missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        return ShardReport(shard.name, (problem,), join_instances([], num_keypoints), [], Counter())
    problems, payloads = [], []
    digest = hashlib.sha256(content).hexdigest()
    if len(content) != shard.size:
        problems.append(f"{len(content):,} bytes, the manifest says {shard.size:,}")
    elif digest != shard.sha256:
        problems.append(f"SHA-256 {digest[:12]}…, the manifest says {shard.sha256[:12]}…")
    try:
        for payload in unframe(content):
            payloads.append(payload)
    except RecordsError as error:
        problems.append(str(error))
    if len(payloads) != shard.records:
        problems.append(f"{len(payloads)} readable records, the manifest says {shard.records}")
    instances, bad, placed = [], [], []
    kept: list[Record] = []
    for number, (record, wrong) in enumerate(examine_payloads(payloads, num_keypoints)):
        of_record = None
        if record and not wrong:
            of_record = _measure(record)
            wrong = None if of_record else f"the crop is not an image, {instance_of(record)}"
        if record is None or of_record is None:
            bad.append(f"record {number}: {wrong}")
            continue
        instances.append(of_record)
        placed.append(
            (record["box"], record["keypoints"], record["image_size"], record["area"], record["scale"])
        )
        if len(kept) < samples:
            kept.append(record)
    placement = Counter[str]()
    if placed:
        boxes, keypoints, sizes, areas, scales = zip(*placed, strict=True)
        placement = count_placement(boxes, keypoints, sizes, areas, scales[0])  # whose ratio is the input's
    if bad:
        problems.append(bad[0] + (f" (and {len(bad) - 1} more bad records)" if len(bad) > 1 else ""))
    return ShardReport(shard.name, tuple(problems), join_instances(instances, num_keypoints), kept, placement)


def join_instances(parts: Sequence[Instances], num_keypoints: int) -> Instances:
    """One `Instances` of several."""
    empty = Instances(
        np.zeros((0, 2), np.float32),
        np.zeros((0, num_keypoints), np.int8),
        np.zeros((0, 2), np.int32),
        np.zeros(0, np.int64),
    )
    parts = (empty, *parts)
    return Instances(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(empty)))


def _measure(record: Record) -> Instances | None:
    """The `Instances` of a record, one; None if its crop is not an image."""
    pixels = decode_crop(record["crop"])
    if pixels is None:
        return None
    return Instances(
        record["box"][None, 2:],
        record["keypoints"][:, 2].astype(np.int8)[None],
        np.array([[pixels.shape[1], pixels.shape[0]]], np.int32),
        np.array([len(record["crop"])]),
    )


def decode_crop(crop: bytes) -> npt.NDArray[np.uint8] | None:
    """The stored crop as (h, w, 3) BGR, or None if the bytes are not an image."""
    try:
        content = np.frombuffer(crop, np.uint8)
        decoded = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # no bytes, or more pixels than OpenCV takes
        decoded = None
    return None if decoded is None else np.asarray(decoded, np.uint8)
