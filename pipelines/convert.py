"""The step before a build that brings MPII's and PoseTrack's own annotations to COCO format.

What it writes stands in the dataset's `annotations/`, beside `conversion.json`, which says what it was made
of: so it is made once, made again when pictures that were missing have come, and never mixed up with files
that somebody else has put there.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from apache_beam.io.filesystems import FileSystems
from tqdm import tqdm

from pipelines import mpii, posetrack
from pipelines.mpii_release import read_release
from pipelines.people import BuildError
from pipelines.transforms import file_sha256, read_json_if_there, write_whole

#: Raised whenever the same release gives other files.
CONVERTER_VERSION = 1

RECORD = "conversion.json"

#: Picture headers that are read at the same time; on a network's file system each takes a while.
_READERS = 16


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        mpii_boxes: one of `pipelines.mpii.MPII_BOXES`.
        validation_list: a file that divides MPII's training part, see `pipelines.mpii.read_list`; None leaves
            it whole.
        overwrite: whether to replace files that were converted otherwise or by somebody else.
    """

    mpii_boxes: str = "objpos"
    validation_list: str | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Converted:
    """A conversion's result.

    Attributes:
        files: {split: COCO-format dict}.
        left_out: {split: {reason: count}} of the people who are in none of the files on purpose.
    """

    files: dict
    left_out: dict


def convert_mpii(folder, measure, options):
    """Converts the release `mpii_human_pose_v1_u12_1.mat` in a dataset's folder; returns `Converted`.

    Args:
        folder: the dataset's folder.
        measure: function of pictures' names, and of what these begin with that is not part of the path below
            the picture folder; returns {name: (width, height) in pixels, or None without a readable picture}.
        options: `ConvertOptions`.

    Raises:
        BuildError: as `read_release`, `read_list` and `divide` do.
    """
    entries = read_release(FileSystems.join(folder, "mpii_human_pose_v1_u12_1.mat"))
    left_out = {}
    if options.validation_list:
        listed = mpii.read_list(options.validation_list)
        entries, others = mpii.divide(entries, listed, options.validation_list)
        left_out["val"] = {"not_in_validation_list": len(others)} if others else {}
    sizes = measure([entry.file_name for entry in entries if entry.people])
    files = mpii.convert(entries, sizes.get, options.mpii_boxes)
    for split, file in files.items():
        missing = sum(len(entry.people) for entry in entries if entry.split == split)
        if missing := missing - len(file["annotations"]):
            reason = "test_part" if split == "test" else "no_extent"
            left_out[split] = left_out.get(split, {}) | {reason: missing}
    return Converted(files, left_out)


def convert_posetrack(folder, measure, options):
    """Converts `original_annotations/{train,val,test}` in a dataset's folder; see `convert_mpii`."""
    files, left_out = {}, {}
    originals = FileSystems.join(folder, "original_annotations")
    for split in ("train", "val", "test"):
        if FileSystems.exists(FileSystems.join(originals, split)):
            read = posetrack.read_folder(FileSystems.join(originals, split))
            names = [image["file_name"] for _, data in read for image in _images(data)]
            files[split], left_out[split] = posetrack.convert(read, measure(names, "images/").get, split)
    return Converted(files, left_out)


def _images(data):
    """The entries of "images" that have a file name; `posetrack.convert` says what is wrong with others."""
    entries = data.get("images") if isinstance(data, dict) else None
    entries = entries if isinstance(entries, list) else []
    return [e for e in entries if isinstance(e, dict) and isinstance(e.get("file_name"), str)]


#: Per dataset: what the raw annotations are, as patterns below the dataset's folder, and what converts them.
CONVERTERS = {
    "mpii": (("mpii_human_pose_v1_u12_1.mat",), convert_mpii),
    "posetrack": (("original_annotations/*/*.json",), convert_posetrack),
}


def ensure_converted(layout, folder, images, options, say=print):
    """Converts a dataset's raw annotations unless that has been done.

    Args:
        layout: the dataset's `Layout`; its name is a key of `CONVERTERS`.
        folder: the dataset's folder.
        images: the picture folder.
        options: `ConvertOptions`.
        say: function that shows a line to the user.

    Returns:
        {split: {reason: count}} of people left out by the conversion; empty if there is nothing to convert
        from, so that annotations which are there are used as they are.

    Raises:
        BuildError: if the raw annotations cannot be converted, or the files to write are there already and
            come from something else.
    """
    folder = str(folder)
    if set("*?[") & set(folder):
        raise BuildError(f"{folder}: the path of a dataset's folder must not hold the signs * ? [")
    patterns, converter = CONVERTERS[layout.name]
    raw = sorted(
        metadata.path
        for pattern in patterns
        for metadata in FileSystems.match([FileSystems.join(folder, pattern)])[0].metadata_list
    )
    if not raw:
        return {}
    paths = {split: FileSystems.join(folder, path) for split, path in layout.annotations.items()}
    record_path = FileSystems.join(folder, "annotations", RECORD)
    origin = {
        "converter": CONVERTER_VERSION,
        "raw_sha256": digest(raw),
        "mpii_boxes": options.mpii_boxes if layout.name == "mpii" else None,
        "validation_list_sha256": digest([options.validation_list]) if options.validation_list else None,
    }
    record = _read_record(record_path)
    ours = [split for split, path in paths.items() if record and _is_ours(record, split, path)]
    whole = record and set(ours) == set(record["files"]) and not record["unreadable_pictures"]
    if whole and record["origin"] == origin:
        say(f"{folder}: annotations already converted ({', '.join(ours)})")
        return record["left_out"]
    if not options.overwrite:
        _refuse_to_replace(paths, ours, record, origin)

    sizes = {}

    def measure(names, name_prefix=""):
        measured = measure_pictures(images, names, name_prefix)
        sizes.update(measured)
        return measured

    converted = converter(folder, measure, options)
    directory = FileSystems.join(folder, "annotations")
    FileSystems.exists(directory) or FileSystems.mkdirs(directory)
    contents = {split: json.dumps(file).encode() for split, file in converted.files.items()}
    if ours:  # now out of date
        FileSystems.delete([paths[split] for split in ours])
    unreadable = sum(size is None for size in sizes.values())
    record = {
        "origin": origin,
        "files": {split: hashlib.sha256(content).hexdigest() for split, content in contents.items()},
        "left_out": converted.left_out,
        "unreadable_pictures": unreadable,
    }
    # The record comes first: after an interruption the next run knows what was written for its own.
    write_whole(record_path, json.dumps(record, indent=1).encode())
    for split, content in contents.items():
        write_whole(paths[split], content)
    for split, file in converted.files.items():
        say(
            f"{paths[split]}: {len(file['annotations']):,} people in {len(file['images']):,} pictures, "
            f"converted from {raw[0] if len(raw) == 1 else f'{len(raw):,} files'}"
        )
    if unreadable:
        say(f"warning: {unreadable:,} of {len(sizes):,} pictures are missing or unreadable")
    if layout.name == "mpii" and not options.validation_list:
        say("all of MPII's training part is in train; --validation_list divides it (--help says how)")
    return converted.left_out


def measure_pictures(folder, file_names, name_prefix=""):
    """Sizes of many pictures, from their headers, with a progress bar.

    Args:
        folder: the picture folder.
        file_names: list of names.
        name_prefix: what they begin with that is not part of the path below the folder.

    Returns:
        {file name: (width, height) in pixels, or None for a picture that is missing or unreadable}.
    """
    size_of = mpii.header_sizes(folder, name_prefix)
    with ThreadPoolExecutor(_READERS) as pool:
        sizes = pool.map(size_of, file_names)
        bar = tqdm(sizes, total=len(file_names), desc="sizes", unit=" pictures", delay=1, leave=False)
        return dict(zip(file_names, bar, strict=True))


def digest(paths):
    """SHA-256 of the files' SHA-256s."""
    return hashlib.sha256("".join(map(file_sha256, paths)).encode()).hexdigest()


def _read_record(path):
    """The parsed `conversion.json`; None if there is none that can be used."""
    try:
        record = read_json_if_there(path)
    except ValueError:
        return None
    types = {"origin": dict, "files": dict, "left_out": dict, "unreadable_pictures": int}
    good = isinstance(record, dict) and all(isinstance(record.get(key), kind) for key, kind in types.items())
    return record if good else None


def _is_ours(record, split, path):
    """Whether the file of a split is there and as the conversion wrote it."""
    return FileSystems.exists(path) and record["files"].get(split) == file_sha256(path)


def _refuse_to_replace(paths, ours, record, origin):
    """Raises BuildError if converting now would replace what it should not."""
    foreign = [path for split, path in paths.items() if split not in ours and FileSystems.exists(path)]
    if foreign:
        raise BuildError(
            f"{foreign[0]} is there, but this command has not written it: --annotations with --split uses it "
            "as it is, --overwrite replaces it by a conversion"
        )
    before = record["origin"] if ours else origin
    if different := [name for name in origin if before.get(name) != origin[name]]:
        changes = "; ".join(f"{name} was {before.get(name)}, now {origin[name]}" for name in different)
        raise BuildError(
            f"{', '.join(paths[split] for split in ours)}: converted otherwise ({changes}); --overwrite "
            "converts again"
        )
