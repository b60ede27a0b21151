"""COCO-format annotation files and detection results, as people to cut out.

Which people count is the official HRNet code's rule (lib/dataset/coco.py): no crowds, nobody without a
labelled keypoint or without area, boxes cut to the picture.
"""

import json
from collections import Counter

from apache_beam.io.filesystems import FileSystems

from pipelines.people import (
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

#: COCO's id of the category "person".
PERSON_CATEGORY = 1


def read_json(path):
    """Reads a JSON file from any file system Beam knows.

    Raises:
        BuildError: if it is missing or not JSON; the message names the path and the place.
    """
    if not FileSystems.exists(str(path)):
        raise BuildError(f"{path} does not exist; expected an annotation file in COCO format there")
    with FileSystems.open(str(path)) as file:
        text = file.read()
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also bad UTF-8, endless nesting, endless numbers
        raise BuildError(f"{path} is not JSON: {error}") from error


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
    if not isinstance(images, list):
        raise BuildError(f'{path} is not in COCO format: expected an object with a list "images"')
    pictures = {}
    for position, image in enumerate(images):
        entry = image if isinstance(image, dict) else {}
        image_id, name, *size = (entry.get(key) for key in ("id", "file_name", "width", "height"))
        if not (is_id(image_id) and isinstance(name, str) and all(is_number(n) and n >= 1 for n in size)):
            raise BuildError(
                f'{path}: every entry of "images" needs id, file_name, width and height; entry {position} is '
                f"{str(image)[:200]}"
            )
        pictures[image_id] = Picture(image_id, name, *map(int, size))
    return pictures


def read_ground_truth(annotations, path, skeleton):
    """The labelled people of a parsed annotation file.

    Args:
        annotations: the parsed file.
        path: where it was read, for messages.
        skeleton: whose keypoints to expect.

    Returns:
        A `Source`.

    Raises:
        BuildError: if the file as a whole is not in COCO format or is for another skeleton.
    """
    pictures = read_pictures(annotations, path)
    people = annotations.get("annotations")
    if not isinstance(people, list):
        raise BuildError(f'{path} has no list "annotations"; ground-truth boxes need one')
    category = _check_category(annotations, path, skeleton)
    dropped, rejected = Counter(), []
    for entry in people:
        if not isinstance(entry, dict):
            detail = f"expected an object, received {str(entry)[:200]}"
            rejected.append(rejection(None, None, "bad_annotation", detail))
            continue
        if entry.get("category_id", category) != category:
            dropped["not_a_person"] += 1
            continue
        keypoints = entry.get("keypoints")
        if entry.get("iscrowd"):
            dropped["crowd"] += 1
            continue
        if isinstance(keypoints, list) and not any(keypoints[2::3]):
            dropped["no_keypoints"] += 1
            continue
        image_id, person_id = entry.get("image_id"), entry.get("id")
        picture = pictures.get(image_id) if is_id(image_id) else None
        if not is_id(person_id):
            rejected.append(rejection(image_id, person_id, "bad_id", "expected a whole number"))
        elif picture is None:
            rejected.append(rejection(image_id, person_id, "unknown_image", "no such id in images"))
        elif problem := wrong_box(entry.get("bbox")):
            rejected.append(rejection(image_id, person_id, "bad_box", problem))
        elif problem := wrong_keypoints(keypoints, skeleton.num_keypoints):
            rejected.append(rejection(image_id, person_id, "bad_keypoints", problem))
        else:
            area = entry.get("area")
            if is_number(area) and area <= 0:
                dropped["no_area"] += 1
                continue
            box = clean_box(entry["bbox"], (picture.width, picture.height)).tolist()
            if min(box[2:]) < 0 or max(box[2:]) <= 0:
                detail = f"{entry['bbox']} in a picture of {picture.width}x{picture.height} pixels"
                reason = "box_outside" if min(box[2:]) < 0 else "box_too_small"
                rejected.append(rejection(image_id, person_id, reason, detail))
                continue
            area = area if is_number(area) else box[2] * box[3]
            picture.people.append(Person(person_id, box, keypoints, area))
    return Source([p for p in pictures.values() if p.people], dict(dropped), rejected)


def _check_category(annotations, path, skeleton):
    """The id of the category that has keypoints; checks that they are the skeleton's."""
    categories = annotations.get("categories")
    categories = categories if isinstance(categories, list) else []
    with_keypoints = [
        c
        for c in categories
        if isinstance(c, dict) and isinstance(c.get("keypoints"), list) and c["keypoints"]
    ]
    if len(with_keypoints) != 1:
        raise BuildError(
            f'{path} has {len(with_keypoints)} categories with "keypoints", expected exactly one'
        )
    names = tuple(map(str, with_keypoints[0]["keypoints"]))
    if names != skeleton.keypoints:
        raise BuildError(
            f"{path} has the keypoints {', '.join(names)}; --dataset expects those of {skeleton.name}: "
            f"{', '.join(skeleton.keypoints)}"
        )
    category = with_keypoints[0].get("id", PERSON_CATEGORY)
    if category != PERSON_CATEGORY:
        raise BuildError(
            f"{path}: the category with keypoints has the id {category!r}; expected {PERSON_CATEGORY}, the "
            "category of results and detections"
        )
    return category


def read_detections(detections, path, pictures, skeleton, score_threshold=0.0):
    """The boxes of a person detector.

    Args:
        detections: the parsed COCO results file: a list of {image_id, category_id, bbox, score}.
        path: where it was read, for messages.
        pictures: {image id: Picture}, the split's pictures; boxes of other pictures are dropped.
        skeleton: whose number of keypoints the (empty) keypoints shall have.
        score_threshold: boxes with a lower score are dropped (official: IMAGE_THRE).

    Returns:
        A `Source`; a person's id is the position in the file. Boxes are not cut to the picture, as official.

    Raises:
        BuildError: if the file is not a results file, or has no box for any of the pictures.
    """
    if not isinstance(detections, list) or not all(isinstance(entry, dict) for entry in detections):
        raise BuildError(f"{path} is not a COCO results file: expected a list of objects")
    dropped, rejected = Counter(), []
    keypoints = [0] * (3 * skeleton.num_keypoints)
    for position, entry in enumerate(detections):
        image_id, box, score = entry.get("image_id"), entry.get("bbox"), entry.get("score")
        picture = pictures.get(image_id) if is_id(image_id) else None
        if entry.get("category_id") != PERSON_CATEGORY:
            dropped["not_a_person"] += 1
        elif picture is None:
            dropped["image_of_another_split"] += 1
        elif problem := wrong_box(box):
            rejected.append(rejection(image_id, position, "bad_box", problem))
        elif not is_number(score):
            rejected.append(rejection(image_id, position, "bad_score", f"received {score!r}"))
        elif score < score_threshold:
            dropped["low_score"] += 1
        else:
            picture.people.append(Person(position, box, keypoints, box[2] * box[3], score))
    if dropped["image_of_another_split"] == len(detections) - dropped["not_a_person"]:
        raise BuildError(
            f"{path}: none of its {len(detections)} boxes belongs to one of the {len(pictures)} pictures of "
            "this split; expected a detector's results for these pictures"
        )
    return Source([p for p in pictures.values() if p.people], dict(dropped), rejected)
