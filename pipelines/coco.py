"""COCO-format annotation files and detection results, as people to cut out.

Which people count is the official HRNet code's rule (lib/dataset/coco.py): no crowds, nobody without a
labelled keypoint or without area, boxes cut to the picture.
"""

from collections import Counter
from dataclasses import dataclass

from pipelines.json_files import Entries, read_long_json
from pipelines.people import (
    SMALLEST_SIDE,
    BuildError,
    Person,
    Picture,
    Source,
    is_id,
    is_number,
    rejection,
    wrong_box,
    wrong_keypoints,
)
from records.geometry import clean_box
from records.skeletons import Skeleton, skeleton_from_coco_category

#: COCO's id of the category "person".
PERSON_CATEGORY = 1

#: What is read of an entry of "images", and of one of "annotations" or of a results file.
_IMAGE_KEYS = ("id", "file_name", "width", "height")
_PERSON_KEYS = ("id", "image_id", "category_id", "iscrowd", "bbox", "area", "keypoints", "score")

#: How the widely used older converter of MPII spells a keypoint.
_MISSPELLED = {"throax": "thorax"}


@dataclass(frozen=True)
class Category:
    """The category that has keypoints: its id and its `Skeleton`."""

    id: int
    skeleton: Skeleton


def read_annotations(path):
    """Reads an annotation file in COCO format, or a COCO results file, of any length.

    Polygons, addresses and whatever else nobody asks for are not kept.

    Returns:
        What `read_json` does, but `Entries` for "images", for "annotations", and for a list of results.

    Raises:
        BuildError: as `read_json`.
    """
    return read_long_json(path, {"images": _trim_image, "annotations": _trim_person, None: _trim_person})


def _trim_image(entry):
    """What `read_pictures` reads of an entry; the whole, for its message, of one that lacks any of it."""
    if isinstance(entry, dict) and all(key in entry for key in _IMAGE_KEYS):
        return {key: entry[key] for key in _IMAGE_KEYS}
    return entry


def _trim_person(entry):
    """What `read_ground_truth` and `read_detections` read of an entry."""
    if isinstance(entry, dict):
        return {key: entry[key] for key in _PERSON_KEYS if key in entry}
    return entry


def read_pictures(annotations, path):
    """The pictures of a parsed annotation file.

    Args:
        annotations: the parsed file.
        path: where it was read, for messages.

    Returns:
        {image id: Picture without people}.

    Raises:
        BuildError: if the file as a whole is not in COCO format.
    """
    images = annotations.get("images") if isinstance(annotations, dict) else None
    if not isinstance(images, list | Entries):
        raise BuildError(f'{path} is not in COCO format: expected an object with a list "images"')
    pictures = {}
    for position, image in enumerate(images):
        entry = image if isinstance(image, dict) else {}
        image_id, name, *size = (entry.get(key) for key in ("id", "file_name", "width", "height"))
        if not (is_id(image_id) and isinstance(name, str) and all(is_number(n) and n >= 0 for n in size)):
            raise BuildError(
                f'{path}: every entry of "images" needs an id (a whole number), a file_name (text), width '
                f"and height (numbers); entry {position} is {str(image)[:200]}"
            )
        picture = Picture(image_id, name, *map(int, size))
        if pictures.setdefault(image_id, picture) != picture:
            raise BuildError(
                f"{path}: two pictures have the id {image_id}: {pictures[image_id].file_name} and {name}"
            )
    return pictures


def read_category(annotations, path, skeleton=None):
    """The category of a parsed annotation file that has keypoints.

    Args:
        annotations: the parsed file, an object.
        path: where it was read, for messages.
        skeleton: whose keypoints they must be; None takes those that the file describes.

    Returns:
        A `Category`. Without any category in the file (as in COCO's lists of test images) but with a
        `skeleton` it is COCO's person.

    Raises:
        BuildError: if there is not exactly one such category, or if it is of other keypoints.
    """
    categories = annotations.get("categories")
    categories = [c for c in categories if isinstance(c, dict)] if isinstance(categories, list) else []
    described = [c for c in categories if isinstance(c.get("keypoints"), list) and c["keypoints"]]
    if not described and skeleton and "annotations" not in annotations:
        return Category(PERSON_CATEGORY, skeleton)
    if len(described) != 1:
        named = ", ".join(str(c.get("name", c.get("id")))[:50] for c in described) or "none"
        raise BuildError(
            f'{path} has {len(described)} categories with "keypoints" ({named}), expected exactly one: it '
            "names the keypoints, in the order of the annotations"
        )
    category = described[0]
    category_id = category.get("id", PERSON_CATEGORY)
    if not is_id(category_id):
        raise BuildError(f"{path}: the category with keypoints has the id {category_id!r}, expected a number")
    if skeleton is None:
        try:
            return Category(category_id, skeleton_from_coco_category(category))
        except ValueError as error:
            raise BuildError(f"{path}: the category with keypoints: {error}") from error
    names = tuple(_MISSPELLED.get(str(name), str(name)) for name in category["keypoints"])
    if names != skeleton.keypoints:
        raise BuildError(
            f"{path} has the keypoints {', '.join(names)[:500]}; this --dataset expects those of "
            f"{skeleton.name}: {', '.join(skeleton.keypoints)}. --dataset custom takes any"
        )
    return Category(category_id, skeleton)


def read_ground_truth(
    annotations, path, skeleton=None, *, clean_boxes=True, unlabelled=False, image_ids=None
):
    """The labelled people of a parsed annotation file.

    Args:
        annotations: the parsed file.
        path: where it was read, for messages.
        skeleton: whose keypoints to expect; None takes those that the file describes.
        clean_boxes: whether to cut boxes to their picture.
        unlabelled: whether people without a labelled keypoint count too: those to predict, not to learn from.
        image_ids: the pictures to look at; None for all.

    Returns:
        A `Source`. Everybody in the file is in its pictures, dropped or rejected.

    Raises:
        BuildError: if the file as a whole is not in COCO format or is for another skeleton.
    """
    pictures = read_pictures(annotations, path)
    people = annotations.get("annotations")
    if not isinstance(people, list | Entries):
        raise BuildError(
            f'{path} has no list "annotations"; ground-truth boxes need one, --boxes=detections does not'
        )
    category = read_category(annotations, path, skeleton)
    num_keypoints = category.skeleton.num_keypoints
    dropped, rejected, seen = Counter(), [], set()
    for position, entry in enumerate(people):
        if not isinstance(entry, dict):
            detail = f"entry {position} of annotations: expected an object, received {str(entry)[:200]}"
            rejected.append(rejection(None, None, "bad_annotation", detail))
            continue
        image_id, person_id, keypoints = (entry.get(key) for key in ("image_id", "id", "keypoints"))
        if unlabelled and not keypoints:
            keypoints = [0] * (3 * num_keypoints)
        bad_keypoints = wrong_keypoints(keypoints, num_keypoints)
        nothing_labelled = not bad_keypoints and not any(keypoints[2::3])
        if reason := _reason_to_drop(entry, category.id, image_ids):
            dropped[reason] += 1
            continue
        if not unlabelled and ("keypoints" not in entry or keypoints == [] or nothing_labelled):
            dropped["no_keypoints"] += 1
            continue
        picture = pictures.get(image_id) if is_id(image_id) else None
        if not is_id(person_id):
            problem = "bad_id", f"expected a whole number of 64 bits, received {str(person_id)[:100]}"
        elif person_id in seen:
            problem = "duplicate_id", f"an earlier annotation has the id {person_id} too"
        elif picture is None:
            problem = "unknown_image", "no such id in images"
        elif detail := wrong_box(entry.get("bbox")):
            problem = "bad_box", detail
        elif bad_keypoints:
            problem = "bad_keypoints", bad_keypoints
        elif is_number(entry.get("area")) and entry["area"] <= 0:
            dropped["no_area"] += 1
            continue
        else:
            # A picture that a converter did not find has no size; whoever looks for it will say so.
            cut = clean_boxes and picture.width and picture.height
            box, problem = _cut(entry["bbox"], picture) if cut else (entry["bbox"], None)
        if problem:
            rejected.append(rejection(image_id, person_id, *problem))
            continue
        seen.add(person_id)
        area = entry["area"] if is_number(entry.get("area")) else box[2] * box[3]
        picture.people.append(Person(person_id, box, keypoints, area))
    return Source(category.skeleton, [p for p in pictures.values() if p.people], dict(dropped), rejected)


def _reason_to_drop(entry, category, image_ids):
    """Why an annotation is left out on purpose whatever its keypoints are, or None."""
    if entry.get("category_id", category) != category:
        return "not_a_person"
    if image_ids is not None and not (is_id(entry.get("image_id")) and entry["image_id"] in image_ids):
        return "image_not_listed"
    if entry.get("iscrowd"):
        return "crowd"
    return None


def _cut(box, picture):
    """A box cut to its picture, and (reason, detail) if nothing is left of it."""
    cut = clean_box(box, (picture.width, picture.height)).tolist()
    detail = f"{box} in a picture of {picture.width}x{picture.height} pixels"
    if min(cut[2:]) < 0:
        return cut, ("box_outside", detail)
    return cut, ("box_too_small", detail) if max(cut[2:]) < SMALLEST_SIDE else None
