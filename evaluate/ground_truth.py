"""What predictions are measured against: the annotation file that the records were built with."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrpose.json_checks import is_id, is_list, is_number
from hrpose.json_text import parse_json
from hrpose.storage import path_of, remote_errors
from records.annotations.image_ids import read_image_ids
from records.annotations.instance_checks import PERSON_CATEGORY, is_crowd, wrong_box, wrong_keypoints
from records.annotations.lenient import Lenient
from records.annotations.selection import Selection
from records.datasets import DATASETS
from records.errors import RecordsError
from records.manifest import Manifest
from records.plausibility import area_warning, count_areas
from records.skeletons import Skeleton


@dataclass(frozen=True)
class GroundTruth:
    """One split's annotations, ready for a metric.

    Attributes:
        path: of the annotation file.
        content: the parsed file, with the instances of the category that has keypoints only, and of these the
            usable ones. "iscrowd" is 0 or 1, "num_keypoints" is counted, and instances without an "area" have
            their box's. Without instances if the file is a mere list of images.
        instances: {id: annotation} of those in `content` that the build makes records of: with a labeled
            keypoint, no crowd, of an image in `image_ids`.
        listed: ids of everybody annotated, usable or not, each once: in the order of the list that chose them
            ("list_row", see `pipelines.annotations.mpii`), those without one after it, by id.
        category: that category's id.
        image_ids: the images the records were built from; None for all.
        unusable: number of annotations left out because box, keypoints, image or id are none.
        labeled: whether the file has instances at all.
        has_areas: whether all instances in `content` came with an area.
        area_warning: what makes these areas unlikely, or None.
    """

    path: Path
    content: dict[str, list[dict[str, Any]]]
    instances: dict[int, dict[str, Any]]
    listed: tuple[int, ...]
    category: int
    image_ids: Collection[int] | None
    unusable: int
    labeled: bool
    has_areas: bool
    area_warning: str | None


def find_ground_truth(manifest: Manifest, file: Path, *, given: bool = False) -> GroundTruth:
    """Finds and reads the annotation file of some records.

    Args:
        manifest: of the records.
        file: where to look first.
        given: whether the user says that it is this file; otherwise it may be the one of the build.

    Raises:
        RecordsError: if the file is missing, or has changed since the records were built, or is no JSON.
    """
    path = _find(manifest, file, given)
    with remote_errors(path):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest.options["annotations_sha256"]:
        raise RecordsError(
            f"{path} is not the annotation file the records were built with, or has changed since; build "
            "them again with --overwrite, or name the right file with --annotations"
        )
    try:
        annotations = parse_json(path, content)
    except ValueError as error:
        raise RecordsError(str(error)) from error
    dataset = DATASETS[manifest.dataset]
    if dataset.lenient:
        lenient = Lenient(annotations, path, manifest.options.get("category"), manifest.skeleton)
        annotations = lenient.content
    clean_boxes = manifest.options.get("clean_boxes", dataset.clean_boxes)
    return read_ground_truth(
        path, annotations, manifest.skeleton, _image_ids(manifest), clean_boxes=clean_boxes
    )


def read_ground_truth(
    path: Path,
    annotations: Mapping[str, Any],
    skeleton: Skeleton,
    image_ids: Collection[int] | None = None,
    *,
    clean_boxes: bool = True,
) -> GroundTruth:
    """Brings a parsed annotation file, in strict COCO form, into the form that metrics take.

    Who is usable is the build's rule, `records.annotations.selection`: whom it rejects, nobody could have
    predicted, and of several instances with one id it is the same who counts.

    Args:
        path: where it was read.
        annotations: the parsed file, from which records were built: its images and categories are in order,
            of its instances any number may be unusable.
        skeleton: whose keypoints it has.
        image_ids: the images to look at; None for all. Ids that the file does not have are passed over, as
            by the build, which warns of them.
        clean_boxes: whether the build cuts boxes to their image; here they stay as annotated.

    Returns:
        A `GroundTruth`.
    """
    category = _category(annotations)
    entries: Any = annotations.get("annotations")
    labeled = is_list(entries)
    images = list(annotations["images"])
    # The test split's lists of PoseTrack and others need not state sizes; boxes are not cut to these then.
    image_sizes = {
        image["id"]: (int(image.get("width") or 0), int(image.get("height") or 0)) for image in images
    }
    image_ids = None if image_ids is None else image_ids & image_sizes.keys()
    selection = Selection(
        category["id"], skeleton.num_keypoints, image_sizes.get, clean_boxes=clean_boxes, image_ids=image_ids
    )
    rows: dict[int, Any] = {}
    instances: dict[int, dict[str, Any]] = {}
    usable, unusable, has_areas = [], 0, True
    for entry in entries if labeled else ():
        if not isinstance(entry, dict):
            unusable += 1
            continue
        verdict = selection.judge(entry)
        if verdict.filtered == "other_category":
            continue
        instance_id = entry.get("id")
        if is_id(instance_id):
            rows.setdefault(instance_id, entry.get("list_row"))
        instance = _completed(entry, category["id"], skeleton.num_keypoints, image_sizes)
        if instance is None or verdict.rejected:
            unusable += 1
            continue
        if not verdict.filtered:
            instances[entry["id"]] = instance
        usable.append(instance)
        has_areas &= is_number(entry.get("area"))
    return GroundTruth(
        path=path,
        content={"images": images, "annotations": usable, "categories": [category]},
        instances=instances,
        listed=tuple(sorted(rows, key=lambda one: _place_in_list(rows[one], one))),
        category=category["id"],
        image_ids=image_ids,
        unusable=unusable,
        labeled=labeled,
        has_areas=has_areas,
        area_warning=area_warning(
            count_areas([p["bbox"] for p in instances.values()], [p["area"] for p in instances.values()])
        ),
    )


def _category(annotations):
    """The category that has keypoints; COCO's person where a list of images describes none."""
    categories = annotations.get("categories")
    for category in categories if isinstance(categories, list) else ():
        if (
            isinstance(category, dict)
            and isinstance(category.get("keypoints"), list)
            and category["keypoints"]
        ):
            return {"id": PERSON_CATEGORY} | category
    return {"id": PERSON_CATEGORY, "name": "person"}


def _completed(entry, category, num_keypoints, images):
    """An annotation in the form of COCO's metric; None if box, keypoints or image are none."""
    keypoints, box, area, image_id = (entry.get(key) for key in ("keypoints", "bbox", "area", "image_id"))
    if wrong_box(box) or wrong_keypoints(keypoints, num_keypoints):
        return None
    if not is_id(image_id) or image_id not in images:
        return None
    return entry | {
        "category_id": category,
        "area": area if is_number(area) else box[2] * box[3],
        "iscrowd": int(is_crowd(entry.get("iscrowd"))),
        "num_keypoints": sum(visibility > 0 for visibility in keypoints[2::3]),
    }


def _place_in_list(row, instance_id):
    return (0, row, instance_id) if is_id(row) else (1, 0, instance_id)


def _find(manifest: Manifest, place: Path, given: bool) -> Path:
    """The path of the annotation file: as the user says, in the dataset's layout, or as the build had it."""
    built_from = manifest.source.get("annotations")
    # A file of the same name may be another: a user's own data has no fixed names. One that has changed since
    # is named by its own.
    if built_from and not given and not _is_of(place, manifest):
        other = path_of(built_from)
        place = other if _is_of(other, manifest) or (other.is_file() and not place.is_file()) else place
    if not place.is_file():
        problem = "is no regular file" if place.exists() else "does not exist"
        built = f" (the records were built with {built_from})" if built_from else ""
        raise RecordsError(
            f"the annotation file {place} {problem}{built}; --annotations or --dataset_dir says where it is"
        )
    return place


def _is_of(path, manifest):
    return path.is_file() and (
        hashlib.sha256(path.read_bytes()).hexdigest() == manifest.options["annotations_sha256"]
    )


def _image_ids(manifest):
    """The list of images the records were built from, if they were built from a list."""
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
