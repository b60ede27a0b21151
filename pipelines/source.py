"""The people of a build: from the annotation file, or from a detector's results for its pictures."""

import warnings
from dataclasses import replace

from pipelines import coco, detections
from pipelines.skeleton_file import read_skeleton, with_skeleton
from records.image_ids import read_image_ids


def read_source(build):
    """The people of a build, from ground truth or from a detector, as a `Source`."""
    annotations = coco.read_annotations(build.annotations)
    if build.skeleton_file:
        annotations = with_skeleton(annotations, read_skeleton(build.skeleton_file))
    image_ids = read_image_ids(build.image_ids) if build.image_ids else None
    if image_ids:
        unknown = image_ids - coco.read_pictures(annotations, build.annotations).keys()
        if unknown:
            warnings.warn(
                f"{len(unknown):,} of the {len(image_ids):,} ids in {build.image_ids} are no pictures of "
                f"this split, for example {min(unknown)}",
                stacklevel=2,
            )
    if build.boxes == "ground_truth":
        source = coco.read_ground_truth(
            annotations,
            build.annotations,
            build.skeleton,
            clean_boxes=build.clean_boxes,
            unlabelled=build.split == "test",
            image_ids=image_ids,
        )
        return replace(source, dropped=build.left_out | source.dropped)
    pictures = coco.read_pictures(annotations, build.annotations)
    category = coco.read_category(annotations, build.annotations, build.skeleton)
    if build.detection_category is not None:
        category = replace(category, id=build.detection_category)
    return detections.read_detections(
        coco.read_annotations(build.detections),
        build.detections,
        pictures,
        category,
        score_threshold=build.score_threshold,
        image_ids=image_ids,
    )
