"""MPII Human Pose in COCO format, with MPII's own boxes or with those of the older converters.

Reading, dividing and converting are separate steps, of which the last two touch no file:

    entries = read_release("mpii_human_pose_v1_u12_1.mat")
    entries, left_out = divide(entries, read_list("validation.json"), "validation.json")
    splits = coco_files(entries, header_sizes("images"))
"""

from dataclasses import replace
from typing import Any

from apache_beam.io.filesystems import FileSystems

from hrpose.json_checks import PERSON_CATEGORY
from pipelines.annotations.conversion import Conversion, Converted, Measure, Options, Raw
from pipelines.annotations.json_stream import read_json
from pipelines.annotations.mpii_release import read_release
from pipelines.annotations.raw_files import is_there
from pipelines.instances import BuildError, is_number
from pipelines.storage import file_sha256
from records.skeletons import MPII

RELEASE = "mpii_human_pose_v1_u12_1.mat"

#: How a person's box is made; `coco_files` says more.
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
    left_out, listed = {}, options["validation_list"]
    if listed:
        entries, others = divide(entries, read_list(listed), listed)
        left_out["val"] = {"not_in_validation_list": len(others)} if others else {}
    sizes = measure([entry.file_name for entry in entries if entry.people])
    files = coco_files(entries, sizes.get, options["mpii_boxes"])
    for split, file in files.items():
        missing = sum(len(entry.people) for entry in entries if entry.split == split)
        if missing := missing - len(file["annotations"]):
            reason = "test_part" if split == "test" else "no_extent"
            left_out[split] = left_out.get(split, {}) | {reason: missing}
    whole = "all of MPII's training part is in train; --validation_list divides it (--help says how)"
    return Converted(files, left_out, notes=() if listed else (whole,))


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
        "without --validation_list all of MPII's training part is in train, so that the two may have people "
        "in common. Divide the part with --validation_list, move the file away, or remove it with --overwrite"
    ),
)


def read_list(path):
    """Reads the list that chooses the validation people from the training part.

    Args:
        path: a JSON list whose elements are file names (everybody in the picture), pairs [file name, i] with
            i, from 0, the person's place in the picture's `annorect`, or objects with "image", "center" and
            "scale", the person's `objpos` and `scale` as released: the form of valid.json that the official
            HRNet and many other codes read, which lists the 2,958 validation people.

    Returns:
        List of (file name, person): i, (x, y, scale) or None for everybody.

    Raises:
        BuildError: if it is not such a list, is empty, or says something twice.
    """
    listed, content = [], read_json(path)
    for element in content if isinstance(content, list) else ():
        if isinstance(element, dict):
            center, scale = element.get("center"), element.get("scale")
            numbers = [*center, scale] if isinstance(center, list) else [scale]
            name, person = element.get("image"), tuple(numbers)
            good = len(numbers) == 3 and all(map(is_number, numbers))
        else:
            name, person = element if isinstance(element, list) and len(element) == 2 else (element, None)
            good = isinstance(element, str) or type(person) is int
        if not good or not isinstance(name, str):
            raise BuildError(
                f"{path}: expected a file name, [file name, person] or an object with image, center and "
                f"scale, received {str(element)[:200]}"
            )
        listed.append((name, person))
    if not listed:
        raise BuildError(f"{path}: expected a JSON list of file names or people; see build_records.py --help")
    seen = {}
    for name, person in listed:
        people = seen.setdefault(name, set())
        if person in people or None in people or (person is None and people):
            raise BuildError(
                f"{path} names {name!r} twice{'' if person is None else f', with person {person}'}"
            )
        people.add(person)
    return listed


def divide(entries, listed, where):
    """Divides the training part into training and validation, exactly as a list says.

    A picture that is named is no training picture any more: those of its people who are not listed are in
    neither part, because training on them would show the network a validation picture.

    Args:
        entries: list of `Entry`.
        listed: list of (file name, person), as `read_list` returns it.
        where: where the list was read, for messages.

    Returns:
        entries: the same pictures; those of the list have the split "val", and their people `list_row`, if
            the list names people.
        left_out: the `Rect`s that are in neither part.

    Raises:
        BuildError: if the list names a picture or a person that the training part does not have.
    """
    wanted = {}
    for row, (name, person) in enumerate(listed):
        wanted.setdefault(name, []).append((person, row))
    divided, left_out = [], []
    for entry in entries:
        people = wanted.get(entry.file_name) if entry.split == "train" else None
        if people is None:
            divided.append(entry)
            continue
        chosen = entry.people
        if people[0][0] is not None:
            rows = {_place(person, entry, where): row for person, row in people}
            if len(rows) < len(people):
                raise BuildError(f"{where} names a person of {entry.file_name!r} twice")
            left_out += [rect for rect in chosen if rect.index not in rows]
            chosen = tuple(replace(r, list_row=rows[r.index]) for r in chosen if r.index in rows)
        divided.append(replace(entry, split="val", people=chosen))
    unknown = wanted.keys() - {entry.file_name for entry in divided if entry.split == "val"}
    if unknown:
        raise BuildError(
            f"{where}: {len(unknown)} of its pictures are not in the release's training part, for example "
            f"{min(unknown)!r}"
        )
    return divided, left_out


def _place(person, entry, where):
    """The place in a picture's `annorect` of a person as `read_list` names them."""
    if isinstance(person, int):
        found = [rect.index for rect in entry.people if rect.index == person]
        named = f"person {person} (counted from 0)"
    else:
        # Lists in circulation have the release's numbers, some of them rounded, and -1 where it has none.
        found = []
        for rect in entry.people:
            released = (*(rect.objpos or (-1, -1)), -1 if rect.scale is None else rect.scale)
            if max(abs(a - b) for a, b in zip(released, person, strict=True)) < 0.01:
                found.append(rect.index)
        named = f"the person at {person[0]:g}, {person[1]:g} of scale {person[2]:g}"
    if len(found) != 1:
        raise BuildError(
            f"{where} names {named} of {entry.file_name!r}, which has {len(entry.people)} people, "
            f"{len(found) or 'none'} of them like that"
        )
    return found[0]


def coco_files(entries, image_size_of, boxes="objpos"):
    """The release in COCO format.

    A picture is listed if it has people. One without a size (missing, unreadable) gets width and height 0:
    its people are in the file, for the build to reject them with the reason it meets.

    boxes="objpos": every element of `annorect` becomes an annotation, whether or not it has joints; all
    coordinates are counted from 0. `bbox` is what `objpos_box` makes of MPII's own centre and scale, and
    `area` is the box's; all of them are 0 for people without centre or scale. Visibility is 1 for hidden
    joints, 2 for visible ones: a joint counts as hidden only where the release says so, and it says nothing
    of most necks and heads. What cannot be understood is null (a coordinate, a visibility; all keypoints, if
    a joint has no place in the skeleton). Further fields, or null: `objpos` (x, y) and `head_box`
    (x1, y1, x2, y2) in image pixels from 0, the latter for the head's size in PCKh; `scale`, in 200 pixels;
    `person_index`, the place in `annorect`; and `list_row`, see `Rect`.

    boxes="keypoints": the files of the widely used older converters instead. Coordinates are counted from 1,
    joints are all visible (1), boxes are the joints' extent less one pixel, times 1.2; people whose joints
    have no extent are left out, as are all of the test part; "thorax" is misspelled; file names start with
    "images/".

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
        if not entry.people:
            continue
        images, annotations = (splits[entry.split][key] for key in ("images", "annotations"))
        width, height = image_size_of(entry.file_name) or (0, 0)
        name = f"images/{entry.file_name}" if older else entry.file_name
        images.append({"id": entry.index, "file_name": name, "width": width, "height": height})
        if not older:
            annotations += [_annotation(rect, entry.index) for rect in entry.people]
        elif entry.split != "test":
            for rect in entry.people:
                annotation = _older_annotation(rect, entry.index, len(annotations))
                if annotation:
                    annotations.append(annotation)
    return splits


def objpos_box(objpos, scale):
    """The box whose network input is the official one for MPII's centre and scale.

    The official HRNet loader (lib/dataset/mpii.py) moves the centre down by 15 scale, takes 1.25 scale, so
    that limbs stay inside, and then counts from 0. The 1.25 is `box_to_center_scale`'s default padding, so it
    is not in the box. The box must not be cut to the picture: centre and size would change.

    Args:
        objpos: (x, y) in image pixels counted from 1, or None.
        scale: the person's height in units of 200 pixels, or None.

    Returns:
        [x, y, w, h], image pixels counted from 0; w = h = 200 scale. None without objpos or a positive scale.
    """
    if objpos is None or scale is None or scale <= 0:
        return None
    center_x, center_y = objpos[0] - 1, objpos[1] + 15 * scale - 1
    return [center_x - 100 * scale, center_y - 100 * scale, 200 * scale, 200 * scale]


def _annotation(rect, image_id):
    """A person in COCO format, coordinates counted from 0."""
    keypoints = _keypoints(rect.joints, 1)
    box = objpos_box(rect.objpos, rect.scale) or [0, 0, 0, 0]
    annotation = _coco(rect.person_id, image_id, box, keypoints) | {
        "objpos": rect.objpos and [value - 1 for value in rect.objpos],
        "scale": rect.scale,
        "head_box": rect.head_box and [value - 1 for value in rect.head_box],
        "person_index": rect.index,
    }
    return annotation if rect.list_row is None else annotation | {"list_row": rect.list_row}


def _older_annotation(rect, image_id, person_id):
    """A person as the older converters have it; None if the joints have no extent."""
    if not rect.joints:
        return None
    visible = tuple(replace(joint, visibility=1) for joint in rect.joints)
    keypoints = _keypoints(visible, 0)
    if keypoints is None or None in keypoints:
        return _coco(person_id, image_id, [0, 0, 0, 0], keypoints)
    sides = []
    for axis in (0, 1):
        values = [v for v, mark in zip(keypoints[axis::3], keypoints[2::3], strict=True) if mark]
        length = max(values) - min(values) - 1
        if length <= 0:
            return None
        sides.append(((min(values) + max(values)) / 2 - length / 2 * 1.2, length * 1.2))
    (x, width), (y, height) = sides
    return _coco(person_id, image_id, [x, y, width, height], keypoints)


def _coco(person_id, image_id, box, keypoints):
    return {
        "id": person_id,
        "image_id": image_id,
        "category_id": PERSON_CATEGORY,
        "area": box[2] * box[3],
        "bbox": box,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": sum(v != 0 for v in keypoints[2::3]) if keypoints else 0,
    }


def _keypoints(joints, origin):
    """The flat COCO list of joints, counted from `origin`; None if a joint has no place in it.

    Of a joint that comes twice the later stands.
    """
    keypoints = [0] * (3 * MPII.num_keypoints)
    for joint in joints:
        if joint.number is None:
            return None
        point = [None if value is None else value - origin for value in (joint.x, joint.y)]
        keypoints[3 * joint.number : 3 * joint.number + 3] = [*point, joint.visibility]
    return keypoints
