"""The Beam side of a build: one chain, whose elements are shard numbers.

Neither pixels nor annotations travel through the runner. A worker reads a shard's plan file, writes the
shard and a side file that says what became of everyone in the plan, and passes the shard's number on.
"""

import contextlib
import hashlib
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apache_beam as beam
import cv2
import psutil
from apache_beam.io.filesystems import FileSystems

from pipelines.crops import make_record
from pipelines.images import decode_image, fetch_image
from pipelines.instances import rejection
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

    def __init__(self, job):
        super().__init__()
        self.job = job

    def expand(self, numbers):
        """`numbers`: a PCollection of ints."""
        return numbers | "Spread" >> beam.Reshuffle() | "WriteShard" >> beam.ParDo(WriteShard(self.job))


class WriteShard(beam.DoFn):
    """Writes one shard and its side file; a shard that is already complete is left as it is."""

    def __init__(self, job):
        self.job = job

    def setup(self):
        """Leaves the cores to the runner's workers, and none of them running without a driver."""
        cv2.setNumThreads(1)
        end_with_driver()

    def process(self, index):
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


def make_records(images, job, records):
    """Makes the records of a shard, one after the other.

    Args:
        images: list of `AnnotatedImage`.
        job: `ShardJob`.
        records: `Spool` that takes the serialized records, in hash order of the instances.

    Returns:
        rejected: who could not be made one: list of dicts as `pipelines.instances.rejection` makes them.
        notes: {note of `pipelines.exif.orient`: number of instances}.
    """
    rejected, notes = [], Counter()
    for image, fetched in _fetched(images, job):
        pixels, reason, detail, note = decode_image(image, *fetched, job.exif_orientation)
        for instance in image.instances:
            where = image.image_id, instance.instance_id
            if pixels is None:
                rejected.append(rejection(*where, reason, detail))
                continue
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


def _fetched(images, job):
    """(image, what `fetch_image` returns of it) of each, in order; from a store many at the same time."""

    def fetch(image):
        return fetch_image(job.images, image, job.name_prefix, job.follow_links)

    if not FileSystems.get_scheme(job.images):
        yield from ((image, fetch(image)) for image in images)
        return
    with ThreadPoolExecutor(FETCHED) as pool:
        for start in range(0, len(images), FETCHED):
            batch = images[start : start + FETCHED]
            yield from zip(batch, list(pool.map(fetch, batch)), strict=True)
