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
import numpy as np
import psutil
from apache_beam.io.filesystems import FileSystems

from pipelines.crops import CropOptions, make_record
from pipelines.people import BuildError, rejection
from pipelines.plan import dump_plan, hash_key, load_plan
from pipelines.storage import (
    discard,
    list_files,
    read_if_there,
    read_json_if_there,
    write_whole,
)
from pipelines.watchdog import DRIVER, end_with_driver
from records.schema import to_example
from records.shards import frame, shard_name
from records.skeletons import Skeleton

#: Inside a records folder: plan and side files while a build is under way.
WORK_FOLDER = ".build"

#: The same of a build that is to replace what stands in the folder, and its shards until all are there.
REPLACING_FOLDER = ".build-new"

#: Files that are read from a store at the same time: each takes two requests, with connections of their own.
_FETCHED = 32


@dataclass(frozen=True)
class ShardJob:
    """What a worker needs to know besides the number of its shard.

    Attributes:
        images: the picture folder.
        name_prefix: what file names begin with that is not part of the path below it.
        folder: where the shards go.
        dataset, split: parts of the shards' names.
        count: number of shards.
        skeleton: the `Skeleton`.
        options: `CropOptions`.
        key: stands for all that decides the shards besides their plans. Each plan file begins with it, so
            that workers of an earlier job, which may still be busy, neither read nor pass for this one's.
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

    def plan_content(self, pictures):
        """The content of a plan file."""
        return f"{self.key}\n".encode() + dump_plan(pictures)

    def planned(self, content):
        """The pictures of a plan file's content.

        Raises:
            BuildError: if it is another job's.
        """
        key, _, pictures = content.partition(b"\n")
        if key.decode() != self.key:
            raise BuildError(f"{self.folder} is being built with other options now")
        return load_plan(pictures)

    def side_path(self, index):
        """A shard's side file: records, size, sha256, and the people rejected on the way."""
        return FileSystems.join(self.work_folder, f"shard-{index:05d}.json")

    def finished(self, index):
        """The content of a finished shard's side file; None while the shard is not there, see `outcome`."""
        return self.outcome(index) if FileSystems.exists(self.shard_path(index)) else None

    def outcome(self, index):
        """The content of a side file, of a shard that is there.

        None if it was made from another plan, of annotations as they were before, or if the build is over.
        """
        side, plan = read_json_if_there(self.side_path(index)), read_if_there(self.plan_path(index))
        if not side or plan is None or side["plan_sha256"] != hashlib.sha256(plan).hexdigest():
            return None
        return side

    def outcomes(self, indexes):
        """`outcome` of several shards, of many at the same time: {number: content or None}."""
        indexes = list(indexes)
        with ThreadPoolExecutor(_FETCHED) as pool:
            return dict(zip(indexes, pool.map(self.outcome, indexes), strict=True))

    def written(self):
        """The shards that are there, whatever plan they were made from, by one request: {number: bytes}."""
        sizes = list_files(self.shards_folder, f"{self.dataset}-{self.split}.tfrecord-*")
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
            records, rejected = make_records(job.planned(plan), job)
            content = b"".join(map(frame, records))
            side = {
                "records": len(records),
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "rejected": rejected,
                "plan_sha256": hashlib.sha256(plan).hexdigest(),
            }
            # Otherwise the build is over or another one now: another worker was faster.
            if read_if_there(job.plan_path(index)) == plan:
                # The shard comes last: where it exists, it is complete and its side file stands beside it.
                write_whole(job.side_path(index), json.dumps(side).encode())
                write_whole(job.shard_path(index), content)
                now = read_if_there(job.plan_path(index))
                if now not in (None, plan):  # another build began just now: its own worker writes the shard
                    discard([job.shard_path(index)])
                elif now is None:  # the build ended just now
                    discard([job.side_path(index), *([job.shard_path(index)] if job.replaces else [])])
                    with contextlib.suppress(OSError):  # a folder there is on this machine only
                        Path(job.work_folder).rmdir()
        yield index


def make_records(pictures, job):
    """The serialised records of a shard, in their final order, and who could not be made one.

    Args:
        pictures: list of `Picture`.
        job: `ShardJob`.

    Returns:
        records: list of bytes, in hash order of the people.
        rejected: list of dicts as `pipelines.people.rejection` makes them.
    """
    keyed, rejected = [], []
    for picture, fetched in _fetched(pictures, job):
        pixels, reason, detail = decode_picture(picture, *fetched)
        for person in picture.people:
            where = picture.image_id, person.person_id
            if pixels is None:
                rejected.append(rejection(*where, reason, detail))
                continue
            try:
                values = make_record(pixels, picture, person, job.skeleton, job.options)
            except ValueError as error:  # a crop that is larger than its format allows
                rejected.append(rejection(*where, "unstorable_crop", str(error)))
                continue
            if values is None:
                rejected.append(rejection(*where, "box_outside", f"box {person.box}"))
            else:
                keyed.append((hash_key(*where), to_example(values, job.skeleton.num_keypoints)))
    return [record for _, record in sorted(keyed)], rejected


def _fetched(pictures, job):
    """(picture, what `fetch_picture` returns of it) of each, in order; from a store many at the same time."""

    def fetch(picture):
        return fetch_picture(job.images, picture, job.name_prefix)

    if not FileSystems.get_scheme(job.images):
        yield from ((picture, fetch(picture)) for picture in pictures)
        return
    with ThreadPoolExecutor(_FETCHED) as pool:
        for start in range(0, len(pictures), _FETCHED):
            batch = pictures[start : start + _FETCHED]
            yield from zip(batch, list(pool.map(fetch, batch)), strict=True)


def locate_picture(folder, file_name, name_prefix=""):
    """The path of a picture inside the picture folder.

    The folder itself may be a link; the picture must not lead out of it, neither by name nor by a link. In a
    store, where asking costs as much as opening, it need not be there; on this machine it is.

    Args:
        folder: the picture folder.
        file_name: as the annotations have it.
        name_prefix: what it begins with that is not part of the path below the folder.

    Returns:
        (path, None, None), or (None, reason, detail).
    """
    name = file_name.replace("\\", "/")
    if not name.startswith(name_prefix):
        return None, "missing_image", f"{file_name!r} does not begin with {name_prefix!r}"
    parts = name[len(name_prefix) :].split("/")
    if ".." in parts or parts[0] in ("", "~"):
        return None, "unsafe_path", f"{file_name!r} leaves the image folder"
    path = FileSystems.join(folder, *parts)
    if FileSystems.get_scheme(folder):
        if not _is_object_name(path):
            return None, "missing_image", f"{file_name!r} is no name that a store allows"
        return path, None, None
    if not FileSystems.exists(path):
        return None, "missing_image", path
    if not Path(path).resolve().is_relative_to(Path(folder).resolve()):
        return None, "unsafe_path", f"{path} is a link that leaves the image folder"
    return path, None, None


def _is_object_name(path):
    """Whether a store can have such a path: UTF-8 of up to 1024 bytes without line ends.

    Cloud Storage's rule ("Object name requirements" in its documentation), with the bucket's name counted
    too; to ask for another name is an error there.
    """
    try:
        return len(path.encode()) <= 1024 and not set("\r\n") & set(path)
    except UnicodeEncodeError:
        return False


def read_picture(folder, picture, name_prefix=""):
    """Reads and decodes a picture: `fetch_picture` and `decode_picture`."""
    return decode_picture(picture, *fetch_picture(folder, picture, name_prefix))


def fetch_picture(folder, picture, name_prefix=""):
    """Reads a picture's file: (path, content, None, None), or (path or None, None, reason, detail)."""
    path, reason, detail = locate_picture(folder, picture.file_name, name_prefix)
    if path is None:
        return None, None, reason, detail
    try:
        content = read_if_there(path)
    except (IsADirectoryError, PermissionError) as error:
        return path, None, "unreadable_image", str(error)
    return (path, None, "missing_image", path) if content is None else (path, content, None, None)


def decode_picture(picture, path, content, reason, detail):
    """Decodes what `fetch_picture` has read; EXIF orientation is ignored, as COCO's own tools do.

    Grey and CMYK pictures become BGR, transparency is left away. More than 8 bits a channel are not accepted:
    which 8 of them show the people, only the owner of such pictures knows.

    Returns:
        (pixels (height, width, 3) uint8 BGR, None, None), or (None, reason, detail).
    """
    if content is None:
        return None, reason, detail
    data = np.frombuffer(content, np.uint8)
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
        pixels = cv2.imdecode(data, flags) if data.size else None
    except cv2.error as error:  # for example a header that promises more pixels than OpenCV allows
        return None, "unreadable_image", f"{path}: {error.err}"
    if pixels is None:
        return None, "unreadable_image", f"{path}: {data.size} bytes that OpenCV cannot decode"
    if pixels.dtype != np.uint8:
        detail = f"{path} has channels of type {pixels.dtype}; convert the picture to 8 bits a channel"
        return None, "unsupported_image", detail
    if pixels.shape[:2] != (picture.height, picture.width):
        received = f"{pixels.shape[1]}x{pixels.shape[0]}"
        return None, "wrong_image_size", f"{path} is {received}, annotated {picture.width}x{picture.height}"
    return pixels, None, None


def count_reasons(rejected):
    """{reason: count}, the most frequent first."""
    return dict(Counter(entry["reason"] for entry in rejected).most_common())
