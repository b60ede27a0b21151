"""MPII Human Pose in COCO format, with MPII's own boxes or with those of the older converters.

Reading, dividing and converting are separate steps, of which the last two touch no file:

    entries = read_release("mpii_human_pose_v1_u12_1.mat")
    entries, filtered = divide(entries, read_list("validation.json"), "validation.json")
    splits = coco_files(entries, header_sizes("images"))
"""

from dataclasses import replace
from typing import Any

from apache_beam.io.filesystems import FileSystems

from hrpose.json_checks import is_number
from pipelines.annotations.conversion import Conversion, Converted, Measure, Options, Raw
from pipelines.annotations.json_stream import read_json
from pipelines.annotations.mpii_release import read_release
from pipelines.annotations.raw_files import is_there
from pipelines.errors import BuildError
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


def read_list(path):
    """Reads the list that chooses the validation instances from the training part.

    Args:
        path: a JSON list whose elements are file names (everybody in the image), pairs [file name, i] with
            i, from 0, the instance's place in the image's `annorect`, or objects with "image", "center" and
            "scale", the instance's `objpos` and `scale` as released: the form of valid.json that the official
            HRNet and many other codes read, which lists the 2,958 validation instances.

    Returns:
        List of (file name, instance): i, (x, y, scale) or None for everybody.

    Raises:
        BuildError: if it is not such a list, is empty, or says something twice.
    """
    listed, content = [], read_json(path)
    for element in content if isinstance(content, list) else ():
        if isinstance(element, dict):
            center, scale = element.get("center"), element.get("scale")
            numbers = [*center, scale] if isinstance(center, list) else [scale]
            name, instance = element.get("image"), tuple(numbers)
            good = len(numbers) == 3 and all(map(is_number, numbers))
        else:
            name, instance = element if isinstance(element, list) and len(element) == 2 else (element, None)
            good = isinstance(element, str) or type(instance) is int
        if not good or not isinstance(name, str):
            raise BuildError(
                f"{path}: expected a file name, [file name, instance] or an object with image, center and "
                f"scale, received {str(element)[:200]}"
            )
        listed.append((name, instance))
    if not listed:
        raise BuildError(
            f"{path}: expected a JSON list of file names or instances; see build_records.py --help"
        )
    seen = {}
    for name, instance in listed:
        instances = seen.setdefault(name, set())
        if instance in instances or None in instances or (instance is None and instances):
            raise BuildError(
                f"{path} names {name!r} twice{'' if instance is None else f', with instance {instance}'}"
            )
        instances.add(instance)
    return listed


def divide(entries, listed, where):
    """Divides the training part into training and validation, exactly as a list says.

    An image that is named is no training image any more: those of its instances that are not listed are in
    neither part, because training on them would show the network a validation image.

    Args:
        entries: list of `Entry`.
        listed: list of (file name, instance), as `read_list` returns it.
        where: where the list was read, for messages.

    Returns:
        entries: the same images; those of the list have the split "val", and their instances `list_row`, if
            the list names instances.
        filtered: the `Rect`s that are in neither part.

    Raises:
        BuildError: if the list names an image or an instance that the training part does not have.
    """
    wanted = {}
    for row, (name, instance) in enumerate(listed):
        wanted.setdefault(name, []).append((instance, row))
    divided, filtered = [], []
    for entry in entries:
        instances = wanted.get(entry.file_name) if entry.split == "train" else None
        if instances is None:
            divided.append(entry)
            continue
        chosen = entry.instances
        if instances[0][0] is not None:
            rows = {_place(instance, entry, where): row for instance, row in instances}
            if len(rows) < len(instances):
                raise BuildError(f"{where} names an instance of {entry.file_name!r} twice")
            filtered += [rect for rect in chosen if rect.index not in rows]
            chosen = tuple(replace(r, list_row=rows[r.index]) for r in chosen if r.index in rows)
        divided.append(replace(entry, split="val", instances=chosen))
    unknown = wanted.keys() - {entry.file_name for entry in divided if entry.split == "val"}
    if unknown:
        raise BuildError(
            f"{where}: {len(unknown)} of its images are not in the release's training part, for example "
            f"{min(unknown)!r}"
        )
    return divided, filtered


def _place(instance, entry, where):
    """The place in an image's `annorect` of an instance as `read_list` names them."""
    if isinstance(instance, int):
        found = [rect.index for rect in entry.instances if rect.index == instance]
        named = f"instance {instance} (counted from 0)"
    else:
        # Lists in circulation have the release's numbers, some of them rounded, and -1 where it has none.
        found = []
        for rect in entry.instances:
            released = (*(rect.objpos or (-1, -1)), -1 if rect.scale is None else rect.scale)
            if max(abs(a - b) for a, b in zip(released, instance, strict=True)) < 0.01:
                found.append(rect.index)
        named = f"the instance at {instance[0]:g}, {instance[1]:g} of scale {instance[2]:g}"
    if len(found) != 1:
        raise BuildError(
            f"{where} names {named} of {entry.file_name!r}, which has {len(entry.instances)} instances, "
            f"{len(found) or 'none'} of them like that"
        )
    return found[0]


def coco_files(entries, image_size_of, boxes="objpos"):
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
        entries: list of `Entry`.
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


def objpos_box(objpos, scale):
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
