"""Holds shards against the manifest and their records against the schema."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from records.files import path_of, remote_errors
from records.plausibility import count_placement
from records.schema import FIELDS, parse_examples
from records.shards import RecordsError, unframe

#: Records that are parsed in one call.
_BATCH = 256


@dataclass(frozen=True)
class People:
    """What statistics need of N people.

    Attributes:
        box_sizes: (N, 2) float32, width and height in image pixels.
        visibility: (N, K) int8, COCO's 0, 1, 2.
        crop_sizes: (N, 2) int32, width and height of the stored crops in pixels.
        crop_bytes: (N,) int64, size of the stored crops.
    """

    box_sizes: np.ndarray
    visibility: np.ndarray
    crop_sizes: np.ndarray
    crop_bytes: np.ndarray

    def __len__(self):
        return len(self.crop_bytes)


@dataclass(frozen=True)
class ShardReport:
    """What came of one shard.

    Attributes:
        name: its file name.
        problems: what is wrong with it; empty if nothing is.
        people: `People` of the records that are good.
        samples: the first of these, {field: value} each.
        placement: what `records.plausibility.count_placement` counts of them.
    """

    name: str
    problems: tuple[str, ...]
    people: People
    samples: list
    placement: Counter


def check_shards(folder, manifest, samples=0, workers=1):
    """Checks every shard of a folder, with a progress bar.

    Args:
        folder: of one build.
        manifest: its `Manifest`.
        samples: how many records of each shard to keep at most.
        workers: shards that are checked at the same time; each is held in memory.

    Returns:
        A list of `ShardReport`, in the manifest's order.
    """
    reports = []

    def check(shard):
        return check_shard(folder, shard, manifest.skeleton.num_keypoints, samples)

    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=manifest.records, desc="check", unit=" people", dynamic_ncols=True) as bar,
    ):
        for shard, report in zip(manifest.shards, pool.map(check, manifest.shards), strict=True):
            reports.append(report)
            bar.set_postfix_str(f"{len(reports)}/{len(manifest.shards)} shards", refresh=False)
            bar.update(shard.records)
    return reports


def check_shard(folder, shard, num_keypoints, samples=0):
    """Checks one shard.

    Args:
        folder: where it lies.
        shard: its `records.shards.Shard` of the manifest.
        num_keypoints: K.
        samples: how many records to keep at most.

    Returns:
        A `ShardReport`.
    """
    try:
        with remote_errors(folder):
            content = (path_of(folder) / shard.name).read_bytes()
    except OSError as error:
        problem = "missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        return ShardReport(shard.name, (problem,), join_people([], num_keypoints), [], Counter())
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
    people, kept, bad, placement = [], [], [], Counter()
    for start in range(0, len(payloads), _BATCH):
        good = []
        for number, record in enumerate(_parse(payloads[start : start + _BATCH], num_keypoints), start):
            problem, of_record = _examine(record)
            if problem:
                bad.append(f"record {number}: {problem}")
                continue
            people.append(of_record)
            good.append(record)
            if len(kept) < samples:
                kept.append(record)
        if good:
            values = ([one[name] for one in good] for name in ("box", "keypoints", "image_size", "area"))
            placement.update(count_placement(*values, input_size=good[0]["scale"]))  # its ratio counts
    if bad:
        problems.append(bad[0] + (f" (and {len(bad) - 1} more bad records)" if len(bad) > 1 else ""))
    return ShardReport(shard.name, tuple(problems), join_people(people, num_keypoints), kept, placement)


def join_people(parts, num_keypoints):
    """One `People` of several."""
    empty = People(
        np.zeros((0, 2), np.float32),
        np.zeros((0, num_keypoints), np.int8),
        np.zeros((0, 2), np.int32),
        np.zeros(0, np.int64),
    )
    parts = (empty, *parts)
    return People(*(np.concatenate([getattr(part, name) for part in parts]) for name in vars(empty)))


def _parse(payloads, num_keypoints):
    """For each serialised record {field: value}, or what is wrong with it as a str."""
    try:
        batch = {name: values.numpy() for name, values in parse_examples(payloads, num_keypoints).items()}
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
        if len(payloads) == 1:
            # TensorFlow's message quotes the record, which need not be text.
            detail = "unreadable" if isinstance(error, UnicodeDecodeError) else error.message
            return [f"does not fit the schema: {detail.splitlines()[0][:200]}"]
        return [record for payload in payloads for record in _parse([payload], num_keypoints)]
    return [{name: values[row] for name, values in batch.items()} for row in range(len(payloads))]


def _examine(record):
    """(what is wrong with a parsed record or None, its `People` of one or None)."""
    if isinstance(record, str):
        return record, None
    for field in FIELDS:
        if field.dtype == "float32" and not np.isfinite(record[field.name]).all():
            return f"{field.name} is not finite", None
    visibility = record["keypoints"][:, 2]
    if not np.isin(visibility, (0, 1, 2)).all():
        return f"a keypoint's visibility is {visibility[~np.isin(visibility, (0, 1, 2))][0]:g}", None
    if min(record["scale"]) <= 0:
        return f"scale is {record['scale'].tolist()}", None
    pixels = decode_crop(record["crop"])
    if pixels is None:
        return "the crop is not a picture", None
    return None, People(
        record["box"][None, 2:],
        visibility.astype(np.int8)[None],
        np.array([[pixels.shape[1], pixels.shape[0]]], np.int32),
        np.array([len(record["crop"])]),
    )


def decode_crop(crop):
    """The stored crop as (h, w, 3) uint8 BGR, or None if the bytes are not a picture."""
    if not crop:
        return None
    return cv2.imdecode(np.frombuffer(crop, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
