"""A planned build as its workers see it: what to make, and where its plan files and results are."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from apache_beam.io.filesystems import FileSystems

from pipelines.crops import CropOptions
from pipelines.errors import BuildError
from pipelines.instances import AnnotatedImage
from pipelines.sharding import dump_plan, load_plan
from pipelines.storage import FETCHED, list_files, read_if_there, read_json_if_there
from records.manifest import shard_name, shard_prefix
from records.skeletons import Skeleton

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
    def work_folder(self) -> str:
        """Plan and side files; removed when the manifest is written."""
        return FileSystems.join(self.folder, REPLACING_FOLDER if self.replaces else WORK_FOLDER)

    @property
    def shards_folder(self) -> str:
        """Where the job writes its shards, and all else that is to stay."""
        return self.work_folder if self.replaces else self.folder

    def shard_path(self, index: int) -> str:
        """Where a finished shard stands."""
        return FileSystems.join(self.shards_folder, shard_name(self.dataset, self.split, index, self.count))

    def plan_path(self, index: int) -> str:
        """A shard's plan file."""
        return FileSystems.join(self.work_folder, f"plan-{index:05d}.json")

    def plan_content(self, images: Sequence[AnnotatedImage]) -> bytes:
        """The content of a plan file."""
        return f"{self.key}\n".encode() + dump_plan(images)

    def planned(self, content: bytes) -> list[AnnotatedImage]:
        """The images of a plan file's content.

        Raises:
            BuildError: if it is another job's.
        """
        key, _, images = content.partition(b"\n")
        if key.decode() != self.key:
            raise BuildError(f"{self.folder} is being built with other options now")
        return load_plan(images)

    def result_path(self, index: int) -> str:
        """A shard's side file: records, size, sha256, and the instances rejected or noted on the way."""
        return FileSystems.join(self.work_folder, f"shard-{index:05d}.json")

    def finished(self, index: int) -> dict[str, Any] | None:
        """The content of a finished shard's side file; None while the shard is not there, see
        `shard_result`.
        """
        return self.shard_result(index) if FileSystems.exists(self.shard_path(index)) else None

    def shard_result(self, index: int) -> dict[str, Any] | None:
        """The content of a side file, of a shard that is there.

        None if it was made from another plan, of annotations as they were before, or if the build is over.
        """
        result, plan = read_json_if_there(self.result_path(index)), read_if_there(self.plan_path(index))
        if not result or plan is None or result["plan_sha256"] != hashlib.sha256(plan).hexdigest():
            return None
        return result

    def shard_results(self, indexes: Iterable[int]) -> dict[int, dict[str, Any] | None]:
        """`shard_result` of several shards, of many at the same time: {number: content or None}."""
        indexes = list(indexes)
        with ThreadPoolExecutor(FETCHED) as pool:
            return dict(zip(indexes, pool.map(self.shard_result, indexes), strict=True))

    def written(self) -> dict[int, int]:
        """The shards that are there, whatever plan they were made from, by one request: {number: bytes}."""
        sizes = list_files(self.shards_folder, f"{shard_prefix(self.dataset, self.split)}*")
        names = (shard_name(self.dataset, self.split, index, self.count) for index in range(self.count))
        return {index: sizes[name] for index, name in enumerate(names) if name in sizes}
