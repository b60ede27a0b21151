"""What predictions are measured against: the annotation file that the records were built with."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from evaluate.files import parse_json
from evaluate.rescoring import PERSON_CATEGORY
from records.files import path_of, remote_errors
from records.image_ids import read_image_ids
from records.layout import LAYOUTS
from records.people_checks import is_id, is_number, wrong_box, wrong_keypoints
from records.shards import RecordsError


@dataclass(frozen=True)
class Truth:
    """One split's annotations, ready for a metric.

    Attributes:
        path: of the annotation file.
        content: the parsed file, with the people of the category that has keypoints only, and of these the
            usable ones. "iscrowd" is 0 or 1, "num_keypoints" is counted, and people without an "area" have
            their box's. Without people if the file is a mere list of pictures.
        people: {id: annotation} of those in `content` that the build makes records of: with a labelled
            keypoint, no crowd, of a picture in `image_ids`.
        listed: ids of everybody annotated, usable or not, each once: in the order of the list that chose them
            ("list_row", see `pipelines.mpii`), those without one after it, by id.
        category: that category's id.
        image_ids: the pictures the records were built from; None for all.
        unusable: number of annotations left out because box, keypoints, picture or id are none.
        labelled: whether the file has people at all.
        has_areas: whether all people in `content` came with an area.
    """

    path: Path
    content: dict
    people: dict
    listed: tuple
    category: int
    image_ids: frozenset | None
    unusable: int
    labelled: bool
    has_areas: bool


def find_truth(options, manifest):
    """Finds and reads the annotation file of some records.

    Args:
        options: an `EvaluateOptions`: its annotations and dataset_dir say where to look first.
        manifest: of the records.

    Returns:
        A `Truth`.

    Raises:
        RecordsError: if the file is missing, or has changed since the records were built, or is no JSON.
    """
    path = _find(options, manifest)
    with remote_errors(path):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.options["annotations_sha256"]:
        raise RecordsError(
            f"{path} is not the annotation file the records were built with; build them again with "
            "--overwrite, or name the right file with --annotations"
        )
    try:
        annotations = parse_json(path, content)
    except ValueError as error:
        raise RecordsError(str(error)) from error
    return read_truth(path, annotations, manifest.skeleton, _image_ids(manifest))


def read_truth(path, annotations, skeleton, image_ids=None):
    """Brings a parsed annotation file into the form that metrics take.

    Who is usable is the build's rule (`records.people_checks`): whom it rejects, nobody could have predicted.
    Of several people with one id the first counts, as there.

    Args:
        path: where it was read.
        annotations: the parsed file, from which records were built: its pictures and categories are in order,
            of its people any number may be unusable.
        skeleton: whose keypoints it has.
        image_ids: the pictures to look at; None for all. Ids that the file does not have are passed over, as
            by the build, which warns of them.

    Returns:
        A `Truth`.
    """
    category = _category(annotations)
    entries = annotations.get("annotations")
    labelled = isinstance(entries, list)
    pictures = {image["id"] for image in annotations["images"]}
    image_ids = None if image_ids is None else image_ids & pictures
    rows, people, usable, unusable, has_areas = {}, {}, [], 0, True
    for entry in entries if labelled else ():
        if not isinstance(entry, dict):
            unusable += 1
            continue
        if entry.get("category_id", category["id"]) != category["id"]:
            continue
        person_id = entry.get("id")
        if is_id(person_id):
            rows.setdefault(person_id, entry.get("list_row"))
        person = _completed(entry, category["id"], skeleton.num_keypoints, pictures)
        recorded = person is not None and _has_record(person, image_ids)
        if person is None or (recorded and (not is_id(person_id) or person_id in people)):
            unusable += 1
            continue
        if recorded:
            people[person_id] = person
        usable.append(person)
        has_areas &= is_number(entry.get("area"))
    return Truth(
        path=path,
        content={"images": annotations["images"], "annotations": usable, "categories": [category]},
        people=people,
        listed=tuple(sorted(rows, key=lambda one: _place_in_list(rows[one], one))),
        category=category["id"],
        image_ids=image_ids,
        unusable=unusable,
        labelled=labelled,
        has_areas=has_areas,
    )


def _category(annotations):
    """The category that has keypoints; COCO's person where a list of pictures describes none."""
    categories = annotations.get("categories")
    for category in categories if isinstance(categories, list) else ():
        if (
            isinstance(category, dict)
            and isinstance(category.get("keypoints"), list)
            and category["keypoints"]
        ):
            return {"id": PERSON_CATEGORY} | category
    return {"id": PERSON_CATEGORY, "name": "person"}


def _completed(entry, category, num_keypoints, pictures):
    """An annotation in the form of COCO's metric; None if box, keypoints or picture are none."""
    keypoints, box, area, image_id = (entry.get(key) for key in ("keypoints", "bbox", "area", "image_id"))
    if wrong_box(box) or wrong_keypoints(keypoints, num_keypoints):
        return None
    if not is_id(image_id) or image_id not in pictures:
        return None
    return entry | {
        "category_id": category,
        "area": area if is_number(area) else box[2] * box[3],
        "iscrowd": int(bool(entry.get("iscrowd"))),
        "num_keypoints": sum(visibility > 0 for visibility in keypoints[2::3]),
    }


def _has_record(person, image_ids):
    """Whether the build makes a record of a completed annotation instead of leaving it out on purpose."""
    return (
        not person["iscrowd"]
        and person["num_keypoints"] > 0
        and person["area"] > 0
        and (image_ids is None or person["image_id"] in image_ids)
    )


def _place_in_list(row, person_id):
    return (0, row, person_id) if is_id(row) else (1, 0, person_id)


def _find(options, manifest):
    """The path of the annotation file: as the user says, in the dataset's layout, or as the build had it."""
    if options.annotations:
        place = path_of(options.annotations)
    else:
        layout = LAYOUTS[manifest.dataset]
        dataset_dir = path_of(options.dataset_dir or layout.default_dir())
        place = dataset_dir / layout.annotations[manifest.split]
        built_from = manifest.source.get("annotations")
        # A file of the same name may be another: a user's own data has no fixed names.
        if built_from and not _is_of(place, manifest):
            built_from = path_of(built_from)
            # One that has changed since is still the one that the message has to be about.
            if _is_of(built_from, manifest) or (built_from.is_file() and not place.is_file()):
                place = built_from
    if not place.is_file():
        raise RecordsError(
            f"the annotation file {place} does not exist; --annotations or --dataset_dir says where it is"
        )
    return place


def _is_of(path, manifest):
    return path.is_file() and (
        hashlib.sha256(path.read_bytes()).hexdigest() == manifest.options["annotations_sha256"]
    )


def _image_ids(manifest):
    """The list of pictures the records were built from, if they were built from a list."""
    expected = manifest.options.get("image_ids_sha256")
    if expected is None:
        return None
    path = path_of(manifest.source.get("image_ids") or "image_ids")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise RecordsError(
            f"the records were built with --image_ids={path}, which is missing or has changed since; put it "
            "back, or build the records again with --overwrite"
        )
    return read_image_ids(path)
