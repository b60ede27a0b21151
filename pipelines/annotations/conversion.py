"""The step before a build that brings annotations in a format of their own to COCO format.

What it writes stands in the dataset's `annotations/`, or where the user says, beside `conversion.json`, which
says what it was made of: so it is made once, made again when images that were missing have come, and never
mixed up with files that somebody else has put there.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

from apache_beam.io.filesystems import FileSystems
from tqdm import tqdm

from pipelines.annotations.conversion_record import (
    RECORD,
    WORK_FOLDER,
    finish_exchange,
    hint_at_another_folder,
    read_record,
)
from pipelines.annotations.raw_files import digest
from pipelines.errors import BuildError
from pipelines.existing_build import differences
from pipelines.image_sizes import header_sizes
from pipelines.storage import (
    file_sha256,
    refuse_pattern,
    write_whole,
)
from records.datasets import Dataset, DatasetPaths

#: Image headers that are read at the same time; on a network's file system each takes a while.
_READERS = 16

log = logging.getLogger(__name__)

#: The values of a dataset's own options, by name.
Options = Mapping[str, Any]

#: {split to convert: paths of the raw annotations it is made of}.
Raw = Mapping[str, Sequence[str]]

#: {split: {reason: count}} of instances that a conversion leaves out on purpose.
Filtered = Mapping[str, Mapping[str, int]]


class Measure(Protocol):
    """Reads images' sizes from their headers.

    Args:
        names: file names of a split's images, below its image folder.
        name_prefix: what they begin with that is not part of the path below that folder.
        split: whose image folder.

    Returns:
        {name: (width, height) in pixels, or None without a readable image}.
    """

    def __call__(  # noqa: D102
        self, names: Collection[str], name_prefix: str = "", split: str = "train"
    ) -> dict[str, tuple[int, int] | None]: ...


@dataclass(frozen=True)
class ConversionTask:
    """What a build has to have before it reads a dataset's annotations.

    Attributes:
        dataset: whose annotations.
        paths: where its files are, and those to write belong.
        options: the values of the dataset's own options.
        annotations_given: whether the user names the annotation file: then nothing is converted.
        overwrite: whether to replace files that were made otherwise or by somebody else. They stay until
            those that replace them are whole.
        workers: number of processes.
    """

    dataset: Dataset
    paths: DatasetPaths
    options: Options
    annotations_given: bool = False
    overwrite: bool = False
    workers: int = 1


@dataclass(frozen=True)
class Converted:
    """A conversion's result.

    Attributes:
        files: {split: COCO-format dict}.
        filtered: of the instances that are in none of the files on purpose.
        notes: lines for the user.
    """

    files: Mapping[str, dict[str, Any]]
    filtered: Filtered
    notes: tuple[str, ...] = ()


def _as_they_are(options: Options) -> dict[str, Any]:
    return dict(options)


@dataclass(frozen=True)
class Conversion:
    """How one dataset's raw annotations become COCO files; touches no file but to read.

    Attributes:
        find: function of the dataset's folder and its own options that finds the raw annotations there; of
            nothing found nothing is converted.
        convert: function of what `find` found, of a `Measure` and of the options. Raises BuildError.
        version: raised whenever the same raw annotations give other files.
        facts: function of the options: what of them decides the files, as `conversion.json` keeps it. A
            file's hash is called after the option, with ``_sha256``.
        one_release: where all splits are parts of one release, so that no file of another origin may stand
            beside them: why not, and what to do. Empty: it may.
    """

    find: Callable[[str, Options], Raw]
    convert: Callable[[Raw, Measure, Options], Converted]
    version: int = 1
    facts: Callable[[Options], dict[str, Any]] = _as_they_are
    one_release: str = ""

    def prepare(self, task: ConversionTask) -> Filtered:
        """Converts a dataset's raw annotations unless that has been done.

        Returns:
            Of the instances left out by the conversion; empty if there is nothing to convert from, or the
            user names the annotation file. Annotations of a split without raw ones are used as they are.

        Raises:
            BuildError: if the raw annotations cannot be read or converted, or the files to write are there
                already and come from something else; also if there is a file of somebody else's beside those
                of one release.
        """
        if task.annotations_given:
            return {}
        folder = str(task.paths.dataset_dir)
        refuse_pattern(folder, "a dataset's folder")
        raw = self.find(folder, task.options)
        if not raw:
            return {}
        paths = {split: str(path) for split, path in task.paths.annotations.items()}
        directory = str(next(iter(task.paths.annotations.values())).parent)
        refuse_pattern(directory, "a folder for annotations")
        finish_exchange(directory, paths)
        origin = {
            "converter": self.version,
            "raw_sha256": digest(folder, {path for found in raw.values() for path in found}),
            **self.facts(task.options),
        }
        before = read_record(FileSystems.join(directory, RECORD))
        there = {split: file_sha256(path) for split, path in paths.items() if FileSystems.exists(path)}
        ours = [split for split in there if before and before["files"].get(split) == there[split]]
        foreign = [split for split in there if split not in ours and (split in raw or self.one_release)]
        done = before if before and set(ours) == set(before["files"]) and not foreign else None
        if done and not done["unreadable_images"] and not differences(origin, done["origin"]):
            log.info("%s: annotations already converted (%s)", folder, ", ".join(ours))
            return done["filtered"]
        if not task.overwrite:
            self._refuse_to_replace(paths, raw, ours, foreign, before, origin)
        measured = _Measured(task.paths)
        converted = self.convert(raw, measured, task.options)
        contents = {split: json.dumps(file).encode() for split, file in converted.files.items()}
        record: dict[str, Any] = {
            "origin": origin,
            "files": {split: hashlib.sha256(content).hexdigest() for split, content in contents.items()},
            "filtered": converted.filtered,
            "unreadable_images": measured.unreadable,
        }
        # Files that would come out the same are not touched: somebody may be reading them.
        outdated = [split for split in ours + foreign if record["files"].get(split) != there[split]]
        new = [split for split in contents if split in outdated or split not in there]
        with hint_at_another_folder(directory):
            made = FileSystems.join(directory, WORK_FOLDER)
            for split in new:
                write_whole(FileSystems.join(made, PurePath(paths[split]).name), contents[split])
            if new or outdated or record != before:
                write_whole(FileSystems.join(made, RECORD), json.dumps(record, indent=1).encode())
                finish_exchange(directory, paths, [paths[split] for split in outdated if split not in new])
        for split in sorted(set(outdated) - set(new)):
            log.info("%s: removed", paths[split])
        for split in sorted(set(foreign) & set(new)):
            log.info("%s: replaced, which this command had not written", paths[split])
        for split in new:
            file, found = converted.files[split], raw[split]
            log.info(
                "%s: %s instances in %s images, converted from %s",
                paths[split],
                f"{len(file['annotations']):,}",
                f"{len(file['images']):,}",
                found[0] if len(found) == 1 else f"{len(found):,} files",
            )
        if not new:
            log.info("%s: annotations already converted (%s)", folder, ", ".join(contents))
        if measured.unreadable:
            log.warning(
                "%s of %s images are missing or unreadable", f"{measured.unreadable:,}", f"{measured.count:,}"
            )
        for note in converted.notes:
            log.info("%s", note)
        return converted.filtered

    def _refuse_to_replace(
        self,
        paths: Mapping[str, str],
        raw: Raw,
        ours: Sequence[str],
        foreign: Sequence[str],
        before: dict[str, Any] | None,
        origin: dict[str, Any],
    ) -> None:
        """Raises BuildError if converting now would replace or contradict what it should not."""
        for split in foreign:
            what_to_do = (
                "--annotations with --split uses it as it is, --overwrite replaces it by a conversion"
                if split in raw
                else self.one_release
            )
            raise BuildError(f"{paths[split]} is there, but this command has not written it: {what_to_do}")
        earlier = before["origin"] if before and ours else origin
        if changes := differences(origin, earlier):
            gone = [name for name in earlier if earlier[name] is not None and origin.get(name) is None]
            hint = "".join(f"give the same --{name.removesuffix('_sha256')} again, or " for name in gone)
            raise BuildError(
                f"{', '.join(paths[split] for split in ours)}: converted otherwise ({changes}); {hint}"
                "--overwrite converts again"
            )


class _Measured:
    """A `Measure` of a dataset's images that counts those it has measured, with a progress bar.

    Attributes:
        count: of the images that were measured.
        unreadable: how many of them are missing or unreadable.
    """

    def __init__(self, paths: DatasetPaths) -> None:
        self._folders = paths.images
        self.count = self.unreadable = 0

    def __call__(
        self, names: Collection[str], name_prefix: str = "", split: str = "train"
    ) -> dict[str, tuple[int, int] | None]:
        size_of = header_sizes(self._folders[split], name_prefix)
        with ThreadPoolExecutor(_READERS) as pool:
            sizes = pool.map(size_of, names)
            bar = tqdm(sizes, total=len(names), desc="sizes", unit=" images", delay=1, leave=False)
            measured = dict(zip(names, bar, strict=True))
        self.count += len(measured)
        self.unreadable += sum(size is None for size in measured.values())
        return measured
