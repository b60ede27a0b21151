"""What predictions are measured against: the annotation file that the records were built with."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluate.rescoring import PERSON_CATEGORY
from records.image_ids import read_image_ids
from records.layout import LAYOUTS
from records.shards import RecordsError


@dataclass(frozen=True)
class Truth:
    """One split's annotations, ready for a metric.

    Attributes:
        path: of the annotation file.
        content: the parsed file, with the people of the category that has keypoints only; people without an
            "area" have their box's. Without people if the file is a mere list of pictures.
        category: that category's id.
        image_ids: the pictures the records were built from; None for all.
        unusable: number of annotations left out because box or keypoints are none.
        labelled: whether the file has people at all.
        has_areas: whether all of these have an area.
    """

    path: Path
    content: dict
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
        RecordsError: if the file is missing, or has changed since the records were built.
    """
    path = _find(options, manifest)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.options["annotations_sha256"]:
        raise RecordsError(
            f"{path} is not the annotation file the records were built with; build them again with "
            "--overwrite, or name the right file with --annotations"
        )
    return read_truth(path, json.loads(content), manifest.skeleton, _image_ids(manifest))


def read_truth(path, annotations, skeleton, image_ids=None):
    """Brings a parsed annotation file into the form that metrics take.

    Args:
        path: where it was read.
        annotations: the parsed file, from which records were built: its pictures and categories are in order.
        skeleton: whose keypoints it has.
        image_ids: the pictures to look at; None for all.

    Returns:
        A `Truth`.
    """
    described = [c for c in annotations.get("categories") or [] if isinstance(c, dict) and c.get("keypoints")]
    category = described[0] if described else {"name": "person"}
    category = {"id": PERSON_CATEGORY} | category
    people = annotations.get("annotations")
    usable, unusable, has_areas = [], 0, True
    for person in people or []:
        if not isinstance(person, dict):
            unusable += 1
        elif person.get("category_id", category["id"]) == category["id"]:
            completed = _completed(person, skeleton.num_keypoints)
            unusable += completed is None
            has_areas &= _is_number(person.get("area"))
            usable += [] if completed is None else [completed | {"category_id": category["id"]}]
    content = {"images": annotations["images"], "annotations": usable, "categories": [category]}
    return Truth(path, content, category["id"], image_ids, unusable, people is not None, has_areas)


def _completed(person, num_keypoints):
    """An annotation with an area; None if box, keypoints or picture are none."""
    keypoints, box, area = (person.get(key) for key in ("keypoints", "bbox", "area"))
    for numbers, count in ((keypoints, 3 * num_keypoints), (box, 4)):
        if not isinstance(numbers, list) or len(numbers) != count or not all(map(_is_number, numbers)):
            return None
    if not isinstance(person.get("image_id"), int):
        return None
    return person | {"area": area if _is_number(area) else box[2] * box[3]}


def _is_number(value):
    return isinstance(value, int | float) and bool(np.isfinite(value))


def _find(options, manifest):
    """The path of the annotation file: as the user says, in the dataset's layout, or as the build had it."""
    if options.annotations:
        places = [Path(options.annotations)]
    else:
        layout = LAYOUTS[manifest.dataset]
        dataset_dir = Path(options.dataset_dir or layout.default_dir())
        places = [dataset_dir / layout.annotations[manifest.split]]
        places += [Path(manifest.source["annotations"])] if "annotations" in manifest.source else []
        # A file of the same name may be another: a user's own data has no fixed names.
        places.sort(key=lambda place: not _is_of(place, manifest))
    if not places[0].is_file():
        raise RecordsError(
            f"the annotation file {places[0]} does not exist; --annotations or --dataset_dir says where it is"
        )
    return places[0]


def _is_of(path, manifest):
    return path.is_file() and (
        hashlib.sha256(path.read_bytes()).hexdigest() == manifest.options["annotations_sha256"]
    )


def _image_ids(manifest):
    """The list of pictures the records were built from, if they were built from a list."""
    expected = manifest.options.get("image_ids_sha256")
    if expected is None:
        return None
    path = Path(manifest.source.get("image_ids") or "image_ids")
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise RecordsError(
            f"the records were built with --image_ids={path}, which is missing or has changed since; put it "
            "back, or build the records again with --overwrite"
        )
    return read_image_ids(path)
