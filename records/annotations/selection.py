"""Whose annotation counts: one rule for the build and for the evaluation.

It is the official HRNet code's (lib/dataset/coco.py): no crowds, nobody without a labelled keypoint or
without area, boxes cut to the picture. Of several people with one id the first who counts is meant.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from hrpose.json_checks import SMALLEST_SIDE, is_crowd, is_id, is_number, wrong_box, wrong_keypoints
from records.geometry import clean_box


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an annotation: exactly one of `left_out`, `rejected` and `box` says so.

    Attributes:
        left_out: why it is left out on purpose, a word.
        rejected: (reason, detail), what is wrong with it.
        box: x, y, w, h in image pixels of somebody who counts, cut to the picture where boxes are.
        keypoints: flat list of 3 K numbers of somebody who counts.
        area: square image pixels of somebody who counts.
    """

    left_out: str | None = None
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
        unlabelled: bool = False,
        image_ids: Collection[int] | None = None,
    ) -> None:
        """Begins a file.

        Args:
            category: the id of the category that counts.
            num_keypoints: K.
            size_of: function of an image id, a whole number, that gives the picture's (width, height) in
                pixels, 0 where nobody knows it, or None if there is no such picture.
            clean_boxes: whether to cut boxes to their picture.
            unlabelled: whether people without a labelled keypoint count too.
            image_ids: the pictures to look at; None for all.
        """
        self._category, self._num_keypoints, self._size_of = category, num_keypoints, size_of
        self._clean_boxes, self._unlabelled, self._image_ids = clean_boxes, unlabelled, image_ids
        self._seen: set[int] = set()

    def judge(self, entry: Mapping[str, Any]) -> Verdict:
        """The `Verdict` on an annotation, a parsed JSON object."""
        image_id = entry.get("image_id")
        person_id: Any = entry.get("id")
        keypoints: Any = entry.get("keypoints")
        if self._unlabelled and not keypoints:
            keypoints = [0] * (3 * self._num_keypoints)
        bad_keypoints = wrong_keypoints(keypoints, self._num_keypoints)
        nothing_labelled = not bad_keypoints and not any(keypoints[2::3])
        if reason := self._reason_to_leave_out(entry):
            return Verdict(left_out=reason)
        if not self._unlabelled and ("keypoints" not in entry or keypoints == [] or nothing_labelled):
            return Verdict(left_out="no_keypoints")
        size = self._size_of(image_id) if is_id(image_id) else None
        problem: tuple[str, str] | None
        if not is_id(person_id):
            problem = "bad_id", f"expected a whole number of 64 bits, received {str(person_id)[:100]}"
        elif person_id in self._seen:
            problem = "duplicate_id", f"an earlier annotation has the id {person_id} too"
        elif size is None:
            problem = "unknown_image", "no such id in images"
        elif detail := wrong_box(entry.get("bbox")):
            problem = "bad_box", detail
        elif bad_keypoints:
            problem = "bad_keypoints", bad_keypoints
        elif is_number(entry.get("area")) and entry["area"] <= 0:
            return Verdict(left_out="no_area")
        else:
            # A picture that a converter did not find has no size; whoever looks for it will say so.
            cut = self._clean_boxes and all(size)
            box, problem = _cut(entry["bbox"], size) if cut else (entry["bbox"], None)
        if problem:
            return Verdict(rejected=problem)
        self._seen.add(person_id)
        area = entry["area"] if is_number(entry.get("area")) else box[2] * box[3]
        return Verdict(box=box, keypoints=keypoints, area=area)

    def _reason_to_leave_out(self, entry: Mapping[str, Any]) -> str | None:
        """Why an annotation is left out on purpose whatever its keypoints are, or None."""
        if entry.get("category_id", self._category) != self._category:
            return "not_a_person"
        if self._image_ids is not None and not (
            is_id(entry.get("image_id")) and entry["image_id"] in self._image_ids
        ):
            return "image_not_listed"
        if is_crowd(entry.get("iscrowd")):
            return "crowd"
        return None


def _cut(box: list[float], size: tuple[int, int]) -> tuple[list[float], tuple[str, str] | None]:
    """A box cut to a picture of (width, height), and (reason, detail) if nothing is left of it."""
    cut = clean_box(box, size).tolist()
    detail = f"{box} in a picture of {size[0]}x{size[1]} pixels"
    if max(box) <= 1:
        detail += "; expected pixels, and these look like fractions"
    if min(cut[2:]) < 0:
        return cut, ("box_outside", detail)
    return cut, ("box_too_small", detail) if max(cut[2:]) < SMALLEST_SIDE else None
