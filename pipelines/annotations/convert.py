"""The step before a build that brings MPII's and PoseTrack's own annotations to COCO format.

What it writes stands in the dataset's `annotations/`, or where the user says, beside `conversion.json`, which
says what it was made of: so it is made once, made again when images that were missing have come, and never
mixed up with files that somebody else has put there.
"""

import contextlib
import errno
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePath

from apache_beam.io.filesystems import FileSystems
from tqdm import tqdm

from pipelines.annotations import mpii, posetrack
from pipelines.annotations.json_stream import read_json
from pipelines.annotations.mpii_release import read_release
from pipelines.annotations.raw_files import digest, is_there, list_json
from pipelines.exchange import exchange
from pipelines.existing_build import differences
from pipelines.image_sizes import header_sizes
from pipelines.instances import BuildError
from pipelines.storage import (
    PARTIAL,
    discard,
    exists,
    file_sha256,
    list_files,
    read_json_if_there,
    remove_folder,
    write_whole,
)

#: Raised whenever the same release gives other files.
CONVERTER_VERSION = 2

RECORD = "conversion.json"

#: Inside annotations/: what is converted until all of it is there.
WORK_FOLDER = ".conversion"

#: Image headers that are read at the same time; on a network's file system each takes a while.
_READERS = 16


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        mpii_boxes: one of `pipelines.annotations.mpii.MPII_BOXES`.
        validation_list: a file that divides MPII's training part, see `pipelines.annotations.mpii.read_list`;
            None leaves it whole.
        overwrite: whether to replace files that were converted otherwise or by somebody else. They stay until
            those that replace them are whole.
        annotations_dir: the folder for the files; None: the dataset folder's annotations/.
    """

    mpii_boxes: str = "objpos"
    validation_list: str | None = None
    overwrite: bool = False
    annotations_dir: str | None = None


@dataclass(frozen=True)
class Converted:
    """A conversion's result.

    Attributes:
        files: {split: COCO-format dict}.
        filtered: {split: {reason: count}} of the instances that are in none of the files on purpose.
    """

    files: dict
    filtered: dict


def find_mpii(folder, options):
    """The release in a dataset's folder, and what a conversion makes of it: {split: [path]}."""
    path = FileSystems.join(folder, "mpii_human_pose_v1_u12_1.mat")
    if not is_there(path):
        return {}
    return {split: [path] for split in ("train", "val", "test") if split != "val" or options.validation_list}


def find_posetrack(folder, options):
    """The files `original_annotations/{train,val,test}/*.json` in a dataset's folder: {split: paths}."""
    originals = FileSystems.join(folder, "original_annotations")
    if not is_there(originals):
        return {}
    found = {split: list_json(FileSystems.join(originals, split)) for split in ("train", "val", "test")}
    return {split: paths for split, paths in found.items() if paths}


def convert_mpii(raw, measure, options):
    """Converts an MPII release; returns `Converted`.

    Args:
        raw: {split: paths} as `find_mpii` returns it.
        measure: function of images' names, and of what these begin with that is not part of the path below
            the image folder; returns {name: (width, height) in pixels, or None without a readable image}.
        options: `ConvertOptions`.

    Raises:
        BuildError: as `read_release`, `read_list` and `divide` do.
    """
    entries = read_release(*raw["train"])
    filtered = {}
    if options.validation_list:
        listed = mpii.read_list(options.validation_list)
        entries, others = mpii.divide(entries, listed, options.validation_list)
        filtered["val"] = {"not_in_validation_list": len(others)} if others else {}
    sizes = measure([entry.file_name for entry in entries if entry.instances])
    files = mpii.convert(entries, sizes.get, options.mpii_boxes)
    for split, file in files.items():
        missing = sum(len(entry.instances) for entry in entries if entry.split == split)
        if missing := missing - len(file["annotations"]):
            reason = "test_part" if split == "test" else "no_extent"
            filtered[split] = filtered.get(split, {}) | {reason: missing}
    return Converted(files, filtered)


def convert_posetrack(raw, measure, options):
    """Converts PoseTrack's files, {split: paths} as `find_posetrack` returns them; see `convert_mpii`."""
    files, filtered = {}, {}
    for split, paths in raw.items():
        read = [(path, read_json(path)) for path in paths]
        names = [image["file_name"] for _, data in read for image in _images(data)]
        files[split], filtered[split] = posetrack.convert(read, measure(names, "images/").get, split)
    return Converted(files, filtered)


def _images(data):
    """The entries of "images" that have a file name; `posetrack.convert` says what is wrong with others."""
    entries = data.get("images") if isinstance(data, dict) else None
    entries = entries if isinstance(entries, list) else []
    return [e for e in entries if isinstance(e, dict) and isinstance(e.get("file_name"), str)]


#: Per dataset: what finds the raw annotations, {split to convert: paths}, and what converts them.
CONVERTERS = {"mpii": (find_mpii, convert_mpii), "posetrack": (find_posetrack, convert_posetrack)}


def ensure_converted(layout, folder, images, options, say=print):
    """Converts a dataset's raw annotations unless that has been done.

    Args:
        layout: the dataset's `Layout`; its name is a key of `CONVERTERS`.
        folder: the dataset's folder.
        images: the image folder.
        options: `ConvertOptions`.
        say: function that shows a line to the user.

    Returns:
        {split: {reason: count}} of instances left out by the conversion; empty if there is nothing to convert
        from. Annotations of a split without raw ones are used as they are.

    Raises:
        BuildError: if the raw annotations cannot be read or converted, or the files to write are there
            already and come from something else; also if there is a validation file of somebody else's
            beside an MPII that is not divided.
    """
    folder = str(folder)
    if set("*?[") & set(folder):
        raise BuildError(f"{folder}: the path of a dataset's folder must not hold the signs * ? [")
    find, converter = CONVERTERS[layout.name]
    raw = find(folder, options)
    if not raw:
        return {}
    directory = str(options.annotations_dir or FileSystems.join(folder, "annotations"))
    if set("*?[") & set(directory):
        raise BuildError(f"{directory}: the path of a folder for annotations must not hold the signs * ? [")
    paths = {s: FileSystems.join(directory, PurePath(path).name) for s, path in layout.annotations.items()}
    record_path = FileSystems.join(directory, RECORD)
    _finish_exchange(directory, paths)
    origin = {
        "converter": CONVERTER_VERSION,
        "raw_sha256": digest(folder, {path for found in raw.values() for path in found}),
        "mpii_boxes": options.mpii_boxes if layout.name == "mpii" else None,
        "validation_list_sha256": file_sha256(options.validation_list) if options.validation_list else None,
    }
    before = _read_record(record_path)
    there = {split: file_sha256(path) for split, path in paths.items() if FileSystems.exists(path)}
    ours = [split for split in there if before and before["files"].get(split) == there[split]]
    # MPII's splits are parts of one release: none of them can come from somewhere else.
    foreign = [split for split in there if split not in ours and (split in raw or layout.name == "mpii")]
    whole = before and set(ours) == set(before["files"]) and not before["unreadable_images"]
    if whole and before["origin"] == origin and not foreign:
        say(f"{folder}: annotations already converted ({', '.join(ours)})")
        return before["filtered"]
    if not options.overwrite:
        _refuse_to_replace(paths, raw, ours, foreign, before, origin)

    sizes = {}

    def measure(names, name_prefix=""):
        measured = measure_images(images, names, name_prefix)
        sizes.update(measured)
        return measured

    converted = converter(raw, measure, options)
    contents = {split: json.dumps(file).encode() for split, file in converted.files.items()}
    unreadable = sum(size is None for size in sizes.values())
    record = {
        "origin": origin,
        "files": {split: hashlib.sha256(content).hexdigest() for split, content in contents.items()},
        "filtered": converted.filtered,
        "unreadable_images": unreadable,
    }
    # Files that would come out the same are not touched: somebody may be reading them.
    outdated = [split for split in ours + foreign if record["files"].get(split) != there[split]]
    new = [split for split in contents if split in outdated or split not in there]
    with _hint_at_another_folder(directory):
        made = FileSystems.join(directory, WORK_FOLDER)
        for split in new:
            write_whole(FileSystems.join(made, PurePath(paths[split]).name), contents[split])
        if new or outdated or record != before:
            write_whole(FileSystems.join(made, RECORD), json.dumps(record, indent=1).encode())
            _finish_exchange(directory, paths, [paths[split] for split in outdated if split not in new])
    for split in sorted(set(outdated) - set(new)):
        say(f"{paths[split]}: removed")
    for split in sorted(set(foreign) & set(new)):
        say(f"{paths[split]}: replaced, which this command had not written")
    for split in new:
        file, found = converted.files[split], raw[split]
        say(
            f"{paths[split]}: {len(file['annotations']):,} instances in {len(file['images']):,} images, "
            f"converted from {found[0] if len(found) == 1 else f'{len(found):,} files'}"
        )
    if not new:
        say(f"{folder}: annotations already converted ({', '.join(contents)})")
    if unreadable:
        say(f"warning: {unreadable:,} of {len(sizes):,} images are missing or unreadable")
    if layout.name == "mpii" and not options.validation_list:
        say("all of MPII's training part is in train; --validation_list divides it (--help says how)")
    return converted.filtered


@contextlib.contextmanager
def _hint_at_another_folder(directory):
    """Says what to do where nothing can be written.

    Raises:
        BuildError: for storage that is read-only, or that somebody else owns.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise BuildError(
            f"{directory} cannot be written ({error.strerror}); --annotations_dir says where the converted "
            "annotations go instead"
        ) from error


def _finish_exchange(directory, paths, obsolete=()):
    """Puts whole files of a conversion in their places, if there are any; those of others' hands go then.

    Args:
        directory: the folder annotations/.
        paths: {split: where its file goes}.
        obsolete: paths of files that go.
    """
    made = FileSystems.join(directory, WORK_FOLDER)
    record, waiting = _read_record(FileSystems.join(made, RECORD)), list_files(made)
    if record:
        names = {PurePath(paths[split]).name for split in record["files"] if split in paths}
        obsolete = [PurePath(path).name for path in obsolete]
        exchange(made, directory, sorted(names & waiting.keys()), (), RECORD, obsolete)
        left = [name for name in list_files(directory) if name != RECORD and PARTIAL.sub("", name) == RECORD]
        discard(FileSystems.join(directory, name) for name in left)
    if exists(made):
        remove_folder(made)


def measure_images(folder, file_names, name_prefix=""):
    """Sizes of many images, from their headers, with a progress bar.

    Args:
        folder: the image folder.
        file_names: list of names.
        name_prefix: what they begin with that is not part of the path below the folder.

    Returns:
        {file name: (width, height) in pixels, or None for an image that is missing or unreadable}.
    """
    size_of = header_sizes(folder, name_prefix)
    with ThreadPoolExecutor(_READERS) as pool:
        sizes = pool.map(size_of, file_names)
        bar = tqdm(sizes, total=len(file_names), desc="sizes", unit=" images", delay=1, leave=False)
        return dict(zip(file_names, bar, strict=True))


def _read_record(path):
    """The parsed `conversion.json`; None if there is none that can be used."""
    try:
        record = read_json_if_there(path)
    except ValueError:
        return None
    types = {"origin": dict, "files": dict, "filtered": dict, "unreadable_images": int}
    good = isinstance(record, dict) and all(isinstance(record.get(key), kind) for key, kind in types.items())
    return record if good else None


def _refuse_to_replace(paths, raw, ours, foreign, before, origin):
    """Raises BuildError if converting now would replace or contradict what it should not."""
    for split in foreign:
        said = f"{paths[split]} is there, but this command has not written it: "
        if split in raw:
            said += "--annotations with --split uses it as it is, --overwrite replaces it by a conversion"
        else:
            said += (
                "without --validation_list all of MPII's training part is in train, so that the two may have "
                "instances in common. Divide the part with --validation_list, move the file away, or remove "
                "it with --overwrite"
            )
        raise BuildError(said)
    earlier = before["origin"] if ours else origin
    if changes := differences(origin, earlier):
        hint = ""
        if earlier.get("validation_list_sha256") and not origin["validation_list_sha256"]:
            hint = "give the same --validation_list again, or "
        raise BuildError(
            f"{', '.join(paths[split] for split in ours)}: converted otherwise ({changes}); {hint}"
            "--overwrite converts again"
        )
