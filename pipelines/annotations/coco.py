"""COCO-format annotation files, as instances to cut out; `Selection` says who counts."""

import warnings
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from hrpose.json_checks import is_id, is_list, is_number
from pipelines.annotations.json_stream import read_long_json
from pipelines.errors import BuildError
from pipelines.instances import AnnotatedImage, Instance, Source, rejection
from records.annotations.instance_checks import PERSON_CATEGORY
from records.annotations.selection import Selection
from records.coco_category import skeleton_from_coco_category
from records.skeletons import Skeleton

#: What is read of an entry of "images", and of one of "annotations" or of a results file.
_IMAGE_KEYS = ("id", "file_name", "width", "height")
_INSTANCE_KEYS = ("id", "image_id", "category_id", "iscrowd", "bbox", "area", "keypoints", "score")

#: How the widely used older converter of MPII spells a keypoint.
_MISSPELLED = {"throax": "thorax"}


@dataclass(frozen=True)
class Category:
    """The category that has keypoints: its id and its `Skeleton`."""

    id: int
    skeleton: Skeleton


def read_annotations(path: str) -> Any:
    """Reads an annotation file in COCO format, or a COCO results file, of any length.

    Polygons, addresses and whatever else nobody asks for are not kept.

    Returns:
        What `read_json` does, but `Entries` for "images", for "annotations", and for a list of results.

    Raises:
        BuildError: as `read_json`.
    """
    return read_long_json(path, {"images": _trim_image, "annotations": _trim_instance, None: _trim_instance})


def _trim_image(entry):
    """What `read_images` reads of an entry; the whole, for its message, of one that lacks any of it."""
    if isinstance(entry, dict) and all(key in entry for key in _IMAGE_KEYS):
        return {key: entry[key] for key in _IMAGE_KEYS}
    return entry


def _trim_instance(entry):
    """What `read_ground_truth` and `read_detections` read of an entry."""
    if isinstance(entry, dict):
        return {key: entry[key] for key in _INSTANCE_KEYS if key in entry}
    return entry


def read_images(annotations: Any, path: str) -> dict[int, AnnotatedImage]:
    """The images of a parsed annotation file.

    Args:
        annotations: the parsed file.
        path: where it was read, for messages.

    Returns:
        {image id: Image without instances}.

    Raises:
        BuildError: if the file as a whole is not in COCO format.
    """
    listed = annotations.get("images") if isinstance(annotations, dict) else None
    if not is_list(listed):
        raise BuildError(f'{path} is not in COCO format: expected an object with a list "images"')
    images: dict[int, AnnotatedImage] = {}
    for position, item in enumerate(listed):
        entry = item if isinstance(item, dict) else {}
        values: list[Any] = [entry.get(key) for key in ("id", "file_name", "width", "height")]
        image_id, name, *size = values
        if not (is_id(image_id) and isinstance(name, str) and all(is_number(n) and n >= 0 for n in size)):
            raise BuildError(
                f'{path}: every entry of "images" needs an id (a whole number), a file_name (text), width '
                f"and height (numbers); entry {position} is {str(item)[:200]}"
            )
        image = AnnotatedImage(image_id, name, int(size[0]), int(size[1]))
        if images.setdefault(image_id, image) != image:
            raise BuildError(
                f"{path}: two images have the id {image_id}: {images[image_id].file_name} and {name}"
            )
    return images


def read_category(annotations: Any, path: str, skeleton: Skeleton | None = None) -> Category:
    """The category of a parsed annotation file that has keypoints.

    Args:
        annotations: the parsed file, an object.
        path: where it was read, for messages.
        skeleton: whose keypoints they must begin with; None takes those that the file describes.

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
    if names[: skeleton.num_keypoints] != skeleton.keypoints:
        raise BuildError(
            f"{path} has the keypoints {', '.join(names)[:500]}; this --dataset expects those of "
            f"{skeleton.name}: {', '.join(skeleton.keypoints)}. --dataset custom takes any"
        )
    if len(names) > skeleton.num_keypoints:  # Human-Art's, whose annotations have numbers for these only
        warnings.warn(
            f"the category names {len(names)} keypoints; the first {skeleton.num_keypoints} are those of "
            f"{skeleton.name} and taken",
            stacklevel=2,
        )
    return Category(category_id, skeleton)


def read_ground_truth(
    annotations: Any,
    path: str,
    skeleton: Skeleton | None = None,
    *,
    clean_boxes: bool = True,
    unlabeled: bool = False,
    image_ids: Collection[int] | None = None,
    complete: Callable[[dict[int, AnnotatedImage]], dict[int, AnnotatedImage]] | None = None,
) -> Source:
    """The labeled instances of a parsed annotation file.

    Args:
        annotations: the parsed file.
        path: where it was read, for messages.
        skeleton: whose keypoints to expect; None takes those that the file describes.
        clean_boxes: whether to cut boxes to their image.
        unlabeled: whether instances without a labeled keypoint count too: those to predict, not to learn
            from.
        image_ids: the images to look at; None for all.
        complete: function of {image id: `AnnotatedImage`} that gives the same with what the file does not say
            of them; None if there is nothing to complete.

    Returns:
        A `Source`. Everybody in the file is in its images, dropped or rejected.

    Raises:
        BuildError: if the file as a whole is not in COCO format or is for another skeleton.
    """
    images = read_images(annotations, path)
    images = complete(images) if complete else images
    instances = annotations.get("annotations")
    if not is_list(instances):
        raise BuildError(
            f'{path} has no list "annotations"; ground-truth boxes need one, --boxes=detections does not'
        )
    category = read_category(annotations, path, skeleton)

    def size_of(image_id):
        image = images.get(image_id)
        return image and (image.width, image.height)

    selection = Selection(
        category.id,
        category.skeleton.num_keypoints,
        size_of,
        clean_boxes=clean_boxes,
        unlabeled=unlabeled,
        image_ids=image_ids,
    )
    filtered: Counter[str] = Counter()
    rejected: list[dict[str, Any]] = []
    for position, entry in enumerate(instances):
        if not isinstance(entry, dict):
            detail = f"entry {position} of annotations: expected an object, received {str(entry)[:200]}"
            rejected.append(rejection(None, None, "bad_annotation", detail))
            continue
        verdict: Any = selection.judge(entry)
        image_id: Any = entry.get("image_id")
        instance_id: Any = entry.get("id")
        if verdict.filtered:
            filtered[verdict.filtered] += 1
        elif verdict.rejected:
            rejected.append(rejection(image_id, instance_id, *verdict.rejected))
        else:
            instance = Instance(instance_id, verdict.box, verdict.keypoints, verdict.area)
            images[image_id].instances.append(instance)
    return Source(category.skeleton, [p for p in images.values() if p.instances], dict(filtered), rejected)


def refuse_other_categories(annotations: Any, path: str, skeleton: Skeleton | None = None) -> None:
    """Refuses a file whose annotations are all of other categories than the one with keypoints.

    Args:
        annotations: the parsed file, in COCO format.
        path, skeleton: as for `read_ground_truth`.

    Raises:
        BuildError: naming the ids.
    """
    instances = (entry for entry in annotations["annotations"] if isinstance(entry, dict))
    received = Counter(str(entry.get("category_id"))[:20] for entry in instances)
    listed = ", ".join(f"{number:,} of category_id {one}" for one, number in received.most_common(5))
    raise BuildError(
        f"{path}: nobody to build records of: the category with keypoints has the id "
        f"{read_category(annotations, path, skeleton).id}, and no annotation has it: {listed}. Both "
        "have to be the same number"
    )
