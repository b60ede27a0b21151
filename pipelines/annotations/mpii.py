"""MPII Human Pose in COCO format, with MPII's own boxes or with those of the older converters.

Reading, dividing and converting are separate steps, of which the last two touch no file:

    entries = read_release("mpii_human_pose_v1_u12_1.mat")
    entries, filtered = divide(entries, read_list("validation.json"), "validation.json")
    splits = coco_files(entries, header_sizes("images"))
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from apache_beam.io.filesystems import FileSystems

from pipelines.annotations.conversion import Conversion, Converted, Measure, Options, Raw
from pipelines.annotations.mpii_division import divide, read_list
from pipelines.annotations.mpii_release import Entry, read_release
from pipelines.annotations.raw_files import is_there
from pipelines.storage import file_sha256
from records.annotations.instance_checks import PERSON_CATEGORY
from records.skeletons import MPII

RELEASE = "mpii_human_pose_v1_u12_1.mat"

#: How an instance's box is made; `coco_files` says more.
MPII_BOXES = ("objpos", "keypoints")


def find(folder: str, options: Options) -> Raw:
    """The release in a dataset's folder, and what a conversion makes of it: {split: [path]}."""
    path = FileSystems.join(folder, RELEASE)
    if not is_there(path):
        return {}
    listed = options["validation_list"]
    return {split: [path] for split in ("train", "val", "test") if split != "val" or listed}


def convert(raw: Raw, measure: Measure, options: Options) -> Converted:
    """Converts a release.

    Args:
        raw: as `find` returns it.
        measure: for the images' sizes.
        options: `mpii_boxes`, one of `MPII_BOXES`, and `validation_list`, a file that divides the training
            part, see `read_list`; None leaves it whole.

    Raises:
        BuildError: as `read_release`, `read_list` and `divide` do.
    """
    entries = read_release(*raw["train"])
    filtered, listed = {}, options["validation_list"]
    if listed:
        entries, others = divide(entries, read_list(listed), listed)
        filtered["val"] = {"not_in_validation_list": len(others)} if others else {}
    sizes = measure([entry.file_name for entry in entries if entry.instances])
    files = coco_files(entries, sizes.get, options["mpii_boxes"])
    for split, file in files.items():
        missing = sum(len(entry.instances) for entry in entries if entry.split == split)
        if missing := missing - len(file["annotations"]):
            reason = "test_part" if split == "test" else "no_extent"
            filtered[split] = filtered.get(split, {}) | {reason: missing}
    whole = "all of MPII's training part is in train; --validation_list divides it (--help says how)"
    return Converted(files, filtered, notes=() if listed else (whole,))


def _facts(options: Options) -> dict[str, Any]:
    listed = options["validation_list"]
    return {
        "mpii_boxes": options["mpii_boxes"],
        "validation_list_sha256": file_sha256(listed) if listed else None,
    }


CONVERSION = Conversion(
    find=find,
    convert=convert,
    version=2,
    facts=_facts,
    one_release=(
        "without --validation_list all of MPII's training part is in train, so that the two may have "
        "instances in common. Divide the part with --validation_list, move the file away, or remove it with "
        "--overwrite"
    ),
)


def coco_files(
    entries: Sequence[Entry],
    image_size_of: Callable[[str], tuple[int, int] | None],
    boxes: str = "objpos",
) -> dict[str, dict[str, Any]]:
    """The release in COCO format.

    An image is listed if it has instances. One without a size (missing, unreadable) gets width and height 0:
    its instances are in the file, for the build to reject them with the reason it meets.

    boxes="objpos": every element of `annorect` becomes an annotation, whether or not it has keypoints; all
    coordinates are counted from 0. `bbox` is what `objpos_box` makes of MPII's own center and scale, and
    `area` is the box's; all of them are 0 for instances without center or scale. Visibility is 1 for hidden
    keypoints, 2 for visible ones: a keypoint counts as hidden only where the release says so, and it says
        nothing
    of most necks and heads. What cannot be understood is null (a coordinate, a visibility; all keypoints, if
    a keypoint has no place in the skeleton). Further fields, or null: `objpos` (x, y) and `head_box`
    (x1, y1, x2, y2) in image pixels from 0, the latter for the head's size in PCKh; `scale`, in 200 pixels;
    `person_index`, the place in `annorect`; and `list_row`, see `Rect`.

    boxes="keypoints": the files of the widely used older converters instead. Coordinates are counted from 1,
    keypoints are all visible (1), boxes are the keypoints' extent less one pixel, times 1.2; instances whose
    keypoints have no extent are left out, as are all of the test part; "thorax" is misspelled; file names
    start with "images/".

    Args:
        image_size_of: function: file name -> (width, height) in pixels, or None.
        boxes: one of `MPII_BOXES`.

    Returns:
        {"train": ..., "test": ...}, and "val" if the entries were divided: COCO-format dicts with images,
        annotations and categories.
    """
    if boxes not in MPII_BOXES:
        raise ValueError(f"boxes must be one of {MPII_BOXES}, received {boxes!r}")
    older = boxes == "keypoints"
    names = list(MPII.keypoints)
    limbs = [[a + 1, b + 1] for a, b in MPII.limbs]  # COCO counts them from 1
    if older:
        names[names.index("thorax")] = "throax"
        limbs = [list(limb) for limb in MPII.limbs]
    category = {"supercategory": "person", "id": PERSON_CATEGORY, "name": "person"}
    category |= {"skeleton": limbs, "keypoints": names}
    splits = {
        split: {"images": [], "categories": [category], "annotations": []}
        for split in ("train", "val", "test")
        if split != "val" or any(entry.split == "val" for entry in entries)
    }
    for entry in entries:
        if not entry.instances:
            continue
        images, annotations = (splits[entry.split][key] for key in ("images", "annotations"))
        width, height = image_size_of(entry.file_name) or (0, 0)
        name = f"images/{entry.file_name}" if older else entry.file_name
        images.append({"id": entry.index, "file_name": name, "width": width, "height": height})
        if not older:
            annotations += [_annotation(rect, entry.index) for rect in entry.instances]
        elif entry.split != "test":
            for rect in entry.instances:
                annotation = _older_annotation(rect, entry.index, len(annotations))
                if annotation:
                    annotations.append(annotation)
    return splits


def objpos_box(objpos: Sequence[float] | None, scale: float | None) -> list[float] | None:
    """The box whose network input is the official one for MPII's center and scale.

    The official HRNet loader (lib/dataset/mpii.py) moves the center down by 15 scale, takes 1.25 scale, so
    that limbs stay inside, and then counts from 0. The 1.25 is `box_to_center_scale`'s default padding, so it
    is not in the box. The box must not be cut to the image: center and size would change.

    Args:
        objpos: (x, y) in image pixels counted from 1, or None.
        scale: the instance's height in units of 200 pixels, or None.

    Returns:
        [x, y, w, h], image pixels counted from 0; w = h = 200 scale. None without objpos or a positive scale.
    """
    if objpos is None or scale is None or scale <= 0:
        return None
    center_x, center_y = objpos[0] - 1, objpos[1] + 15 * scale - 1
    return [center_x - 100 * scale, center_y - 100 * scale, 200 * scale, 200 * scale]


def _annotation(rect, image_id):
    """An instance in COCO format, coordinates counted from 0."""
    keypoints = _keypoints(rect.keypoints, 1)
    box = objpos_box(rect.objpos, rect.scale) or [0, 0, 0, 0]
    annotation = _coco(rect.instance_id, image_id, box, keypoints) | {
        "objpos": rect.objpos and [value - 1 for value in rect.objpos],
        "scale": rect.scale,
        "head_box": rect.head_box and [value - 1 for value in rect.head_box],
        "person_index": rect.index,
    }
    return annotation if rect.list_row is None else annotation | {"list_row": rect.list_row}


def _older_annotation(rect, image_id, instance_id):
    """An instance as the older converters have it; None if the keypoints have no extent."""
    if not rect.keypoints:
        return None
    visible = tuple(replace(keypoint, visibility=1) for keypoint in rect.keypoints)
    keypoints = _keypoints(visible, 0)
    if keypoints is None or None in keypoints:
        return _coco(instance_id, image_id, [0, 0, 0, 0], keypoints)
    sides = []
    for axis in (0, 1):
        values = [v for v, mark in zip(keypoints[axis::3], keypoints[2::3], strict=True) if mark]
        length = max(values) - min(values) - 1
        if length <= 0:
            return None
        sides.append(((min(values) + max(values)) / 2 - length / 2 * 1.2, length * 1.2))
    (x, width), (y, height) = sides
    return _coco(instance_id, image_id, [x, y, width, height], keypoints)


def _coco(instance_id, image_id, box, keypoints):
    return {
        "id": instance_id,
        "image_id": image_id,
        "category_id": PERSON_CATEGORY,
        "area": box[2] * box[3],
        "bbox": box,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": sum(v != 0 for v in keypoints[2::3]) if keypoints else 0,
    }


def _keypoints(points, origin):
    """The flat COCO list of keypoints, counted from `origin`; None if a keypoint has no place in it.

    Of a keypoint that comes twice the later stands.
    """
    keypoints = [0] * (3 * MPII.num_keypoints)
    for one in points:
        if one.number is None:
            return None
        point = [None if value is None else value - origin for value in (one.x, one.y)]
        keypoints[3 * one.number : 3 * one.number + 3] = [*point, one.visibility]
    return keypoints
