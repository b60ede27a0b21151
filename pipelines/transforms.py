"""The Beam side of a build: one chain, whose elements are shard numbers.

Neither pixels nor annotations travel through the runner. A worker reads a shard's plan file, writes the
shard and a side file that says what became of everyone in the plan, and passes the shard's number on.
"""

import contextlib
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
import cv2
import psutil
from apache_beam.io.filesystems import FileSystems

from pipelines.crops import make_record
from pipelines.errors import UnusableImageError
from pipelines.images import decode_image, fetch_image
from pipelines.instances import AnnotatedImage, rejection
from pipelines.shard_job import ShardJob
from pipelines.sharding import hash_key
from pipelines.spool import Spool
from pipelines.storage import (
    FETCHED,
    discard,
    read_if_there,
    write_blocks,
    write_whole,
)
from pipelines.watchdog import DRIVER, end_with_driver
from records.schema import to_example
from records.tfrecord import frame


class WriteShards(beam.PTransform):
    """Shard numbers → the same numbers, each once its shard is complete."""

    def __init__(self, job: ShardJob) -> None:
        super().__init__()
        self.job = job

    def expand(self, numbers: beam.PCollection[int]) -> beam.PCollection[int]:
        """`numbers`: a PCollection of ints."""
        return numbers | "Spread" >> beam.Reshuffle() | "WriteShard" >> beam.ParDo(WriteShard(self.job))


class WriteShard(beam.DoFn):
    """Writes one shard and its side file; a shard that is already complete is left as it is."""

    def __init__(self, job: ShardJob) -> None:
        self.job = job

    def setup(self) -> None:
        """Leaves the cores to the runner's workers, and none of them running without a driver."""
        cv2.setNumThreads(1)
        end_with_driver()

    def process(self, index: int) -> Iterator[int]:
        """Yields `index` when the shard is complete."""
        if DRIVER in os.environ and not psutil.pid_exists(int(os.environ[DRIVER])):
            raise RuntimeError("the driver of this worker is gone")  # and Beam would go on for many shards
        job = self.job
        if job.finished(index) is None:
            with FileSystems.open(job.plan_path(index)) as file:
                plan = file.read()
            with Spool() as records:
                rejected, notes = make_records(job.planned(plan), job, records)
                self._write(index, plan, records, {"rejected": rejected, "notes": notes})
        yield index

    def _write(self, index, plan, records, about):
        """Writes the shard and its side file, unless the build is over or another one now."""
        job, size, digest = self.job, 0, hashlib.sha256()
        for record in map(frame, records):
            size += len(record)
            digest.update(record)
        result = {"records": len(records), "size": size, "sha256": digest.hexdigest()}
        result |= about | {"plan_sha256": hashlib.sha256(plan).hexdigest()}
        if read_if_there(job.plan_path(index)) != plan:  # another worker was faster
            return
        # The shard comes last: where it exists, it is complete and its side file stands beside it.
        write_whole(job.result_path(index), json.dumps(result).encode())
        write_blocks(job.shard_path(index), map(frame, records))
        now = read_if_there(job.plan_path(index))
        if now not in (None, plan):  # another build began just now: its own worker writes the shard
            discard([job.shard_path(index)])
        elif now is None:  # the build ended just now
            discard([job.result_path(index), *([job.shard_path(index)] if job.replaces else [])])
            with contextlib.suppress(OSError):  # a folder there is on this host only
                Path(job.work_folder).rmdir()


def make_records(
    images: Sequence[AnnotatedImage], job: ShardJob, records: Spool
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Makes the records of a shard, one after the other.

    Args:
        records: `Spool` that takes the serialized records, in hash order of the instances.

    Returns:
        rejected: who could not be made one: list of dicts as `pipelines.instances.rejection` makes them.
        notes: {note of `pipelines.exif.orient`: number of instances}.
    """
    rejected: list[dict[str, Any]] = []
    notes: Counter[str] = Counter()
    for image, fetched in _fetched(images, job):
        try:
            path, content = fetched()
            pixels, note = decode_image(image, path, content, job.exif_orientation)
        except UnusableImageError as error:
            rejected += [
                rejection(image.image_id, instance.instance_id, error.reason, error.detail)
                for instance in image.instances
            ]
            continue
        for instance in image.instances:
            where = image.image_id, instance.instance_id
            try:
                values = make_record(pixels, image, instance, job.skeleton, job.options)
            except ValueError as error:  # a crop that is larger than its format allows
                rejected.append(rejection(*where, "unstorable_crop", str(error)))
                continue
            if values is None:
                rejected.append(rejection(*where, "box_outside", f"box {instance.box}"))
                continue
            records.add(hash_key(*where), to_example(values, job.skeleton.num_keypoints))
            if note:
                notes[note] += 1
    return rejected, notes


def _fetched(
    images: Sequence[AnnotatedImage], job: ShardJob
) -> Iterator[tuple[AnnotatedImage, Callable[[], tuple[str, bytes]]]]:
    """(image, function without arguments that gives or raises what `fetch_image` does) of each, in order.

    From a store many are read at the same time.
    """

    def fetch(image: AnnotatedImage) -> tuple[str, bytes]:
        return fetch_image(job.images, image, job.name_prefix, job.follow_links)

    if not FileSystems.get_scheme(job.images):
        yield from ((image, partial(fetch, image)) for image in images)
        return
    with ThreadPoolExecutor(FETCHED) as pool:
        for start in range(0, len(images), FETCHED):
            batch = images[start : start + FETCHED]
            futures = [pool.submit(fetch, image) for image in batch]
            yield from ((image, future.result) for image, future in zip(batch, futures, strict=True))
