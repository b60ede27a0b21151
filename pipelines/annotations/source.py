"""The instances of a build: from the annotation file, or from a detector's results for its images."""

import warnings
from dataclasses import replace
from typing import Any

from hrpose.json_checks import is_list
from pipelines.annotations import coco
from pipelines.annotations.detections import read_detections
from pipelines.annotations.json_stream import Entries
from pipelines.annotations.skeleton_file import named_skeleton, read_skeleton, with_skeleton
from pipelines.image_names import match_names
from pipelines.image_sizes import with_sizes
from pipelines.instances import Source
from records.annotations.image_ids import read_image_ids
from records.annotations.lenient import Lenient


def read_source(build: Any) -> Source:
    """The instances of a build, from ground truth or from a detector, as a `Source`."""
    annotations = coco.read_annotations(build.annotations)
    lenient = None
    if build.lenient:
        own = read_skeleton(build.skeleton_file) if build.skeleton_file else {}
        skeleton = build.skeleton or named_skeleton(own)
        lenient = Lenient(annotations, build.annotations, build.category, skeleton)
        annotations = with_skeleton(lenient.content, own, build.skeleton_file)
    image_ids = read_image_ids(build.image_ids) if build.image_ids else None
    if image_ids:
        unknown = image_ids - coco.read_images(annotations, build.annotations).keys()
        if unknown:
            warnings.warn(
                f"{len(unknown):,} of the {len(image_ids):,} ids in {build.image_ids} are no images of "
                f"this split, for example {min(unknown)}",
                stacklevel=2,
            )
    if build.boxes == "ground_truth":
        source = _annotated(build, annotations, image_ids, lenient)
    else:
        source = _detected(build, annotations, image_ids, lenient)
    for assumption in lenient.assumptions() if lenient else ():
        warnings.warn(assumption, stacklevel=2)
    return source


def _annotated(build, annotations, image_ids, lenient):
    """The instances of the annotation file."""

    def complete(images):
        used = [image for image in images.values() if image.image_id in lenient.used]
        return images | {image.image_id: image for image in _found(used, build)}

    source = coco.read_ground_truth(
        annotations,
        build.annotations,
        build.skeleton,
        clean_boxes=build.clean_boxes,
        unlabeled=build.split == "test",
        image_ids=image_ids,
        complete=complete if lenient else None,
    )
    if source.filtered.keys() == {"other_category"} and not source.images and not source.rejected:
        coco.refuse_other_categories(annotations, build.annotations, build.skeleton)
    return replace(source, filtered=build.filtered | source.filtered)


def _found(images, build):
    """Images by the names of their files, with the sizes of these where the annotations state none."""
    images = match_names(images, build.images)
    upright = build.exif_orientation == "apply"
    images, unstated = with_sizes(images, build.images, build.name_prefix, upright)
    if unstated:
        warnings.warn(
            f"{unstated:,} images have no width and height in the file: these are read from the headers of "
            "the image files",
            stacklevel=2,
        )
    return images


def _detected(build, annotations, image_ids, lenient):
    """The instances a detector has found."""
    images = coco.read_images(annotations, build.annotations)
    category = coco.read_category(annotations, build.annotations, build.skeleton)
    detections = coco.read_annotations(build.detections)
    if lenient and is_list(detections):
        one_category = build.detection_category is not None
        detections = Entries(lenient.result(entry, one_category) for entry in detections)
    if build.detection_category is not None:
        category = replace(category, id=build.detection_category)
    source = read_detections(
        detections,
        build.detections,
        images,
        category,
        score_threshold=build.score_threshold,
        image_ids=image_ids,
    )
    return replace(source, images=_found(source.images, build)) if lenient else source
