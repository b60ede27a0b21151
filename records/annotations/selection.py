"""Whose annotation counts: one rule for the build and for the evaluation.

It is the official HRNet code's (lib/dataset/coco.py): no crowds, nobody without a labeled keypoint or
without area, boxes cut to the image. Of several instances with one id the first who counts is meant.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hrpose.json_checks import is_id, is_number
from records.annotations.instance_checks import SMALLEST_SIDE, is_crowd, wrong_box, wrong_keypoints
from records.geometry import clean_box


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an annotation: exactly one of `filtered`, `rejected` and `box` says so.

    Attributes:
        filtered: why it is left out on purpose, a word.
        rejected: (reason, detail), what is wrong with it.
        box: x, y, w, h in image pixels of somebody who counts, cut to the image where boxes are.
        keypoints: flat list of 3 K numbers of somebody who counts.
        area: square image pixels of somebody who counts.
    """

    filtered: str | None = None
    rejected: tuple[str, str] | None = None
    box: list[float] | None = None
    keypoints: list[float] | None = None
    area: float | None = None


class Selection:
    """Judges the annotations of a file, one after the other in the file's order."""

    def __init__(
        self,
        category: int,
        num_keypoints: int,
        size_of: Callable[[int], tuple[int, int] | None],
        *,
        clean_boxes: bool = True,
        unlabeled: bool = False,
        image_ids: Collection[int] | None = None,
    ) -> None:
        """Begins a file.

        Args:
            category: the id of the category that counts.
            num_keypoints: K.
            size_of: function of an image id, a whole number, that gives the image's (width, height) in
                pixels, 0 where nobody knows it, or None if there is no such image.
            clean_boxes: whether to cut boxes to their image.
            unlabeled: whether instances without a labeled keypoint count too.
            image_ids: the images to look at; None for all.
        """
        self._category, self._num_keypoints, self._size_of = category, num_keypoints, size_of
        self._clean_boxes, self._unlabeled, self._image_ids = clean_boxes, unlabeled, image_ids
        self._seen: set[int] = set()

    def judge(self, entry: Mapping[str, Any]) -> Verdict:
        """The `Verdict` on an annotation, a parsed JSON object."""
        image_id = entry.get("image_id")
        instance_id: Any = entry.get("id")
        keypoints: Any = entry.get("keypoints")
        if self._unlabeled and not keypoints:
            keypoints = [0] * (3 * self._num_keypoints)
        bad_keypoints = wrong_keypoints(keypoints, self._num_keypoints)
        nothing_labeled = not bad_keypoints and not any(keypoints[2::3])
        if reason := self._reason_to_filter(entry):
            return Verdict(filtered=reason)
        if not self._unlabeled and ("keypoints" not in entry or keypoints == [] or nothing_labeled):
            return Verdict(filtered="no_keypoints")
        size = self._size_of(image_id) if is_id(image_id) else None
        problem: tuple[str, str] | None
        if not is_id(instance_id):
            problem = "bad_id", f"expected a whole number of 64 bits, received {str(instance_id)[:100]}"
        elif instance_id in self._seen:
            problem = "duplicate_id", f"an earlier annotation has the id {instance_id} too"
        elif size is None:
            problem = "unknown_image", "no such id in images"
        elif detail := wrong_box(entry.get("bbox")):
            problem = "bad_box", detail
        elif bad_keypoints:
            problem = "bad_keypoints", bad_keypoints
        elif is_number(entry.get("area")) and entry["area"] <= 0:
            return Verdict(filtered="no_area")
        else:
            # An image that a converter did not find has no size; whoever looks for it will say so.
            cut = self._clean_boxes and all(size)
            box, problem = _cut(entry["bbox"], size) if cut else (entry["bbox"], None)
        if problem:
            return Verdict(rejected=problem)
        self._seen.add(instance_id)
        area = entry["area"] if is_number(entry.get("area")) else box[2] * box[3]
        return Verdict(box=box, keypoints=keypoints, area=area)

    def _reason_to_filter(self, entry: Mapping[str, Any]) -> str | None:
        """Why an annotation is left out on purpose whatever its keypoints are, or None."""
        if entry.get("category_id", self._category) != self._category:
            return "other_category"
        if self._image_ids is not None and not (
            is_id(entry.get("image_id")) and entry["image_id"] in self._image_ids
        ):
            return "image_not_listed"
        if is_crowd(entry.get("iscrowd")):
            return "crowd"
        return None


def _cut(box: list[float], size: tuple[int, int]) -> tuple[list[float], tuple[str, str] | None]:
    """A box cut to an image of (width, height), and (reason, detail) if nothing is left of it."""
    cut = clean_box(box, size).tolist()
    detail = f"{box} in an image of {size[0]}x{size[1]} pixels"
    if max(box) <= 1:
        detail += "; expected pixels, and these look like fractions"
    if min(cut[2:]) < 0:
        return cut, ("box_outside", detail)
    return cut, ("box_too_small", detail) if max(cut[2:]) < SMALLEST_SIDE else None
