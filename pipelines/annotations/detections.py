"""A person detector's boxes, as instances to cut out: COCO results files."""

import warnings
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from hrpose.json_checks import is_id, is_number
from pipelines.annotations.coco import Category
from pipelines.annotations.json_stream import Entries
from pipelines.errors import BuildError
from pipelines.instances import AnnotatedImage, Instance, Source, rejection
from records.annotations.image_ids import described, find_texts, whole_number
from records.annotations.instance_checks import wrong_box


def read_detections(
    detections: Any,
    path: str,
    images: Mapping[int, AnnotatedImage],
    category: Category,
    *,
    score_threshold: float = 0.0,
    image_ids: Collection[int] | None = None,
) -> Source:
    """The boxes of a person detector.

    Image ids that are text count as `records.annotations.image_ids.find_texts` understands them, 1.0 counts
    as 1, and a box without a category as one of `category`.

    Args:
        detections: the parsed COCO results file: a list of {image_id, category_id, bbox, score}.
        path: where it was read, for messages.
        images: {image id: Image}, the split's images; boxes of other images are dropped.
        category: the `Category` whose boxes count; its skeleton says how many (empty) keypoints instances
            have.
        score_threshold: boxes with a lower score are dropped (official: IMAGE_THRE).
        image_ids: the images to look at; None for all.

    Returns:
        A `Source`; an instance's id is the position in the file. Boxes are not cut to the image, as official.

    Warns:
        UserWarning: of image ids that are no whole numbers: how many were understood, and how many not.

    Raises:
        BuildError: if the file is not a results file, or has no box for any of the images.
    """
    no_results = f"{path} is not a COCO results file: expected a list of objects"
    if not isinstance(detections, list | Entries):
        raise BuildError(no_results)
    finder = _Finder(detections, path, images)
    filtered: Counter[str] = Counter()
    others: Counter[str] = Counter()
    rejected: list[dict[str, Any]] = []
    keypoints: list[float] = [0] * (3 * category.skeleton.num_keypoints)
    for position, entry in enumerate(detections):
        if not isinstance(entry, dict):
            raise BuildError(no_results)
        box: Any = entry.get("bbox")
        score: Any = entry.get("score")
        if category.id not in (given := entry.get("category_id", category.id), whole_number(given)):
            filtered["other_category"] += 1
            others[described(given)] += 1
        elif (image := finder(entry.get("image_id"))) is None:
            filtered["image_of_another_split"] += 1
        elif image_ids is not None and image.image_id not in image_ids:
            filtered["image_not_listed"] += 1
        elif problem := wrong_box(box):
            rejected.append(rejection(image.image_id, position, "bad_box", problem))
        elif not is_number(score):
            rejected.append(rejection(image.image_id, position, "bad_score", f"received {score!r}"))
        elif score < score_threshold:
            filtered["low_score"] += 1
        else:
            image.instances.append(Instance(position, box, keypoints, box[2] * box[3], score))
    if not detections:
        raise BuildError(f"{path} is an empty list; expected a detector's boxes")
    if filtered["other_category"] == len(detections):
        theirs = ", ".join(f"{count:,} of {name}" for name, count in others.most_common(5))
        raise BuildError(
            f"{path}: none of its {len(detections)} boxes is of the category {category.id}; "
            f"--detection_category says which to take: it has {theirs}"
        )
    if filtered["image_of_another_split"] == len(detections) - filtered["other_category"]:
        raise BuildError(
            f"{path}: none of its {len(detections)} boxes belongs to one of the {len(images)} images of "
            f"this split; expected a detector's results for these images. {finder.compared()}"
        )
    for message in finder.messages():
        warnings.warn(message, stacklevel=2)
    return Source(category.skeleton, [p for p in images.values() if p.instances], dict(filtered), rejected)


class _Finder:
    """Finds the images of detections, and counts what had to be understood."""

    def __init__(self, detections, path, images):
        self._detections, self._path, self._images = detections, path, images
        self._found = None
        self._counts, self._examples = Counter(), {}

    def __call__(self, image_id):
        """The image that is meant, or None."""
        if is_id(image_id):
            self._example("other", image_id)
            return self._images.get(image_id)
        if isinstance(image_id, str):
            if self._found is None:
                self._found = self._texts()
            kind, found = next(
                ((kind, ids[image_id]) for kind, ids in self._found.items() if image_id in ids), (None, None)
            )
        else:
            kind, found = "decimals", whole_number(image_id)
        if found not in self._images:
            kind = "unknown"
        self._counts[kind] += 1
        self._example(kind, image_id)
        return self._images.get(found)

    def _example(self, kind, image_id):
        if kind not in self._examples:
            self._examples[kind] = described(image_id)

    def _texts(self):
        """{kind: {text: image id}}; the one more pass is for files with texts only."""
        texts = {
            entry.get("image_id")
            for entry in self._detections
            if isinstance(entry, dict) and isinstance(entry.get("image_id"), str)
        }
        try:
            named, numbered = find_texts(texts, {key: p.file_name for key, p in self._images.items()})
        except ValueError as error:
            raise BuildError(f"{self._path}: {error}") from error
        return {"names": named, "numbers": numbered}

    def compared(self):
        """Ids of boxes and of images side by side."""
        theirs = next((self._examples[kind] for kind in ("unknown", "other") if kind in self._examples), None)
        ours = next(iter(self._images.values()), None)
        if theirs is None or ours is None:
            return ""
        return (
            f"Boxes have image ids such as {theirs}, images such as {described(ours.image_id)} with the "
            f"file {ours.file_name}"
        )

    def messages(self):
        """What to say of ids that are no whole numbers, a text for each kind."""
        for kind, what in (
            ("names", "were found by the image's file name"),
            ("numbers", "were taken for the number"),
            ("decimals", "were taken for whole numbers"),
        ):
            if count := self._counts[kind]:
                yield f"image ids of {count:,} boxes in {self._path}, such as {self._examples[kind]}, {what}"
        if count := self._counts["unknown"]:
            yield (
                f"{count:,} boxes in {self._path} are left out because of their image ids. {self.compared()}"
            )
