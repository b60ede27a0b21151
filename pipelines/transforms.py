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
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import cv2
import psutil
from apache_beam.io.filesystems import FileSystems

from pipelines.crops import CropOptions, make_record
from pipelines.images import decode_image, fetch_image
from pipelines.instances import BuildError, rejection
from pipelines.sharding import dump_plan, hash_key, load_plan
from pipelines.spool import Spool
from pipelines.storage import (
    FETCHED,
    discard,
    list_files,
    read_if_there,
    read_json_if_there,
    write_blocks,
    write_whole,
)
from pipelines.watchdog import DRIVER, end_with_driver
from records.manifest import shard_name, shard_prefix
from records.schema import to_example
from records.skeletons import Skeleton
from records.tfrecord import frame

#: Inside a records folder: plan and side files while a build is under way.
WORK_FOLDER = ".build"

#: The same of a build that is to replace what stands in the folder, and its shards until all are there.
REPLACING_FOLDER = ".build-new"


@dataclass(frozen=True)
class ShardJob:
    """What a worker needs to know besides the number of its shard.

    Attributes:
        images: the image folder.
        name_prefix: what file names begin with that is not part of the path below it.
        folder: where the shards go.
        dataset, split: parts of the shards' names.
        count: number of shards.
        skeleton: the `Skeleton`.
        options: `CropOptions`.
        key: stands for all that decides the shards besides their plans. Each plan file begins with it, so
            that workers of an earlier job, which may still be busy, neither read nor pass for this one's.
        follow_links: whether links may lead out of the image folder.
        exif_orientation: see `pipelines.exif.orient`.
        replaces: whether what stands in the folder stays until all shards are there.
    """

    images: str
    name_prefix: str
    folder: str
    dataset: str
    split: str
    count: int
    skeleton: Skeleton
    options: CropOptions
    key: str = ""
    follow_links: bool = False
    exif_orientation: str = "ignore"
    replaces: bool = False

    @property
    def work_folder(self):
        """Plan and side files; removed when the manifest is written."""
        return FileSystems.join(self.folder, REPLACING_FOLDER if self.replaces else WORK_FOLDER)

    @property
    def shards_folder(self):
        """Where the job writes its shards, and all else that is to stay."""
        return self.work_folder if self.replaces else self.folder

    def shard_path(self, index):
        """Where a finished shard stands."""
        return FileSystems.join(self.shards_folder, shard_name(self.dataset, self.split, index, self.count))

    def plan_path(self, index):
        """A shard's plan file."""
        return FileSystems.join(self.work_folder, f"plan-{index:05d}.json")

    def plan_content(self, images):
        """The content of a plan file."""
        return f"{self.key}\n".encode() + dump_plan(images)

    def planned(self, content):
        """The images of a plan file's content.

        Raises:
            BuildError: if it is another job's.
        """
        key, _, images = content.partition(b"\n")
        if key.decode() != self.key:
            raise BuildError(f"{self.folder} is being built with other options now")
        return load_plan(images)

    def result_path(self, index):
        """A shard's side file: records, size, sha256, and the instances rejected or noted on the way."""
        return FileSystems.join(self.work_folder, f"shard-{index:05d}.json")

    def finished(self, index):
        """The content of a finished shard's side file; None while the shard is not there, see
        `shard_result`.
        """
        return self.shard_result(index) if FileSystems.exists(self.shard_path(index)) else None

    def shard_result(self, index):
        """The content of a side file, of a shard that is there.

        None if it was made from another plan, of annotations as they were before, or if the build is over.
        """
        result, plan = read_json_if_there(self.result_path(index)), read_if_there(self.plan_path(index))
        if not result or plan is None or result["plan_sha256"] != hashlib.sha256(plan).hexdigest():
            return None
        return result

    def shard_results(self, indexes):
        """`shard_result` of several shards, of many at the same time: {number: content or None}."""
        indexes = list(indexes)
        with ThreadPoolExecutor(FETCHED) as pool:
            return dict(zip(indexes, pool.map(self.shard_result, indexes), strict=True))

    def written(self):
        """The shards that are there, whatever plan they were made from, by one request: {number: bytes}."""
        sizes = list_files(self.shards_folder, f"{shard_prefix(self.dataset, self.split)}*")
        names = (shard_name(self.dataset, self.split, index, self.count) for index in range(self.count))
        return {index: sizes[name] for index, name in enumerate(names) if name in sizes}


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


def count_reasons(rejected):
    """{reason: count}, the most frequent first."""
    return dict(Counter(entry["reason"] for entry in rejected).most_common())
