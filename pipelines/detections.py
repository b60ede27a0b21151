"""A person detector's boxes, as people to cut out: COCO results files."""

from collections import Counter

from pipelines.json_files import Entries
from pipelines.people import BuildError, Person, Source, is_id, is_number, rejection, wrong_box


def read_detections(detections, path, pictures, category, *, score_threshold=0.0, image_ids=None):
    """The boxes of a person detector.

    Args:
        detections: the parsed COCO results file: a list of {image_id, category_id, bbox, score}.
        path: where it was read, for messages.
        pictures: {image id: Picture}, the split's pictures; boxes of other pictures are dropped.
        category: the `Category` whose boxes count; its skeleton says how many (empty) keypoints people have.
        score_threshold: boxes with a lower score are dropped (official: IMAGE_THRE).
        image_ids: the pictures to look at; None for all.

    Returns:
        A `Source`; a person's id is the position in the file. Boxes are not cut to the picture, as official.

    Raises:
        BuildError: if the file is not a results file, or has no box for any of the pictures.
    """
    no_results = f"{path} is not a COCO results file: expected a list of objects"
    if not isinstance(detections, list | Entries):
        raise BuildError(no_results)
    dropped, rejected = Counter(), []
    keypoints = [0] * (3 * category.skeleton.num_keypoints)
    for position, entry in enumerate(detections):
        if not isinstance(entry, dict):
            raise BuildError(no_results)
        image_id, box, score = entry.get("image_id"), entry.get("bbox"), entry.get("score")
        picture = pictures.get(image_id) if is_id(image_id) else None
        if entry.get("category_id") != category.id:
            dropped["not_a_person"] += 1
        elif picture is None:
            dropped["image_of_another_split"] += 1
        elif image_ids is not None and image_id not in image_ids:
            dropped["image_not_listed"] += 1
        elif problem := wrong_box(box):
            rejected.append(rejection(image_id, position, "bad_box", problem))
        elif not is_number(score):
            rejected.append(rejection(image_id, position, "bad_score", f"received {score!r}"))
        elif score < score_threshold:
            dropped["low_score"] += 1
        else:
            picture.people.append(Person(position, box, keypoints, box[2] * box[3], score))
    if not detections:
        raise BuildError(f"{path} is an empty list; expected a detector's boxes")
    if dropped["not_a_person"] == len(detections):
        raise BuildError(
            f"{path}: none of its {len(detections)} boxes is of the category {category.id}; "
            "--detection_category says which to take"
        )
    if dropped["image_of_another_split"] == len(detections) - dropped["not_a_person"]:
        raise BuildError(
            f"{path}: none of its {len(detections)} boxes belongs to one of the {len(pictures)} pictures of "
            "this split; expected a detector's results for these pictures"
        )
    return Source(category.skeleton, [p for p in pictures.values() if p.people], dict(dropped), rejected)
