"""Annotation files as labeling tools and converters leave them, read as if they were in strict COCO form.

A reading looks at the whole file once, decides what all of it means (which category, whether ids have to be
numbered) and then brings one entry after the other to the form that the strict readers take, who reject what
has no sensible reading. Whatever was assumed is counted. The build and the evaluation read through here, so
that both see the same instances with the same ids.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from hrpose.json_checks import is_id, is_list, is_number
from records.annotations.category import Annotated, category_key, choose_category
from records.annotations.forms import (
    BOX_MARGIN,
    SMALLEST_BOX,
    Key,
    as_key,
    box_of_keypoints,
    flat_keypoints,
    lacks_box,
    with_numbers,
)
from records.annotations.ids import ImageIds
from records.annotations.image_ids import whole_number
from records.annotations.instance_checks import wrong_box, wrong_keypoints
from records.errors import RecordsError
from records.skeletons import Skeleton

#: What is said of each kind of assumption about single entries.
_WORDS = {
    "whole": '{} images or annotations have ids such as 1.0 or "1": read as whole numbers',
    "text": '{} images or annotations have text in the place of numbers, such as "640": read as numbers',
    "instance_id": "{} annotations have no id, or one that is no whole number: all are numbered by their "
    "place, from 1",
    "image_id": "{} images have an id that is no whole number: all are numbered by their place, from 1, "
    "here and in results; file names stay",
    "image_name": "{} annotations have the name of an image's file in place of its id",
    "no_keypoints": "{} annotations say that their keypoints are null: nothing is labeled",
    "nested": "{} annotations have a list for each keypoint: read as one list of numbers",
    "pairs": "{} annotations have two numbers for each keypoint: all are labeled, visibility 2",
    "visibility": "{} annotations have keypoints with -1, null, NaN or false, read as not labeled, or with "
    "true, read as visible",
    "box": f"{{}} annotations have no box, or one without extent: it is that of the labeled keypoints, "
    f"{BOX_MARGIN:.0%} larger on every side, and at least {SMALLEST_BOX} x {SMALLEST_BOX} pixels",
    "area": "{} annotations have an area of 0 or less: it is that of their box",
}


class View:
    """A list of parsed JSON that is made anew, an entry at a time, whenever somebody iterates over it."""

    def __init__(self, make: Callable[[], Iterator[Any]], length: int) -> None:
        """Args: function without arguments that gives an iterator; how many entries the file has."""
        self._make, self._length = make, length

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return self._make()


class Lenient:
    """A file read leniently.

    Attributes:
        content: the parsed file in strict form: "images" of those that can be used, "annotations", and
            "categories" with the one that counts, each entry made when it is iterated over. Width and height
            are 0 where the file does not state them.
        used: the ids, as in `content`, of the images that annotations belong to.
    """

    def __init__(
        self,
        annotations: Any,
        path: Path | str,
        category: str | None = None,
        skeleton: Skeleton | None = None,
    ) -> None:
        """Looks at a file once.

        Args:
            annotations: the parsed file; any sequence may stand for its lists. What is no annotation file at
                all stays as it is.
            path: where it was read, for messages.
            category: name or id of the category whose instances count; None to choose, see `choose_category`.
            skeleton: the `Skeleton` that its keypoints have, whatever the file calls them; None: the file's.

        Raises:
            RecordsError: if the file does not say which category is meant, or has not as many keypoints as
                names.
        """
        self.content = annotations
        self.used: frozenset[int] = frozenset()
        self._said: tuple[str, ...] = ()
        self._counts: dict[str, Counter[str]] = {"images": Counter(), "annotations": Counter()}
        if not isinstance(annotations, dict) or not is_list(annotations.get("images")):
            return
        images, instances = annotations["images"], annotations.get("annotations")
        self._ids, self._number_instances = ImageIds(images), False
        annotated = Annotated()
        written: set[Key | None] = set()
        for entry in instances if is_list(instances) else ():
            if isinstance(entry, dict):
                annotated.add(with_numbers(entry))
                written.add(as_key(entry.get("image_id")))
                self._number_instances |= whole_number(entry.get("id")) is None
        try:
            self._ids.find({one for one in written if isinstance(one, str)})
        except ValueError as error:
            raise RecordsError(f"{path}: {error}") from error
        self.used = frozenset(filter(is_id, map(self._ids.number, written)))
        self._chosen = choose_category(annotations.get("categories"), annotated, path, category, skeleton)
        self._said = self._chosen.assumed
        self.content = annotations | {
            "images": View(lambda: self._images(images), len(images)),
            "categories": [self._chosen.category],
        }
        if is_list(instances):
            self.content["annotations"] = View(lambda: self._instances(instances), len(instances))

    def result(self, entry: Any, one_category: bool = False) -> Any:
        """An entry of a detector's results for these images, its ids new where those in `content` are.

        Args:
            entry: anything that JSON can hold.
            one_category: whether categories that count as one here stay apart in the results.
        """
        if not isinstance(entry, dict):
            return entry
        entry = with_numbers(entry)
        changed = {"image_id": self._ids.number(entry.get("image_id"))} if self._ids.by_place else {}
        if not one_category and category_key(entry.get("category_id")) in self._chosen.ids:
            changed["category_id"] = self._chosen.category["id"]
        return entry | changed

    def assumptions(self) -> list[str]:
        """What was assumed: a list of sentences, one for each kind, of all that has been iterated over."""
        counts = self._counts["images"] + self._counts["annotations"]
        said = (sentence.format(f"{counts[kind]:,}") for kind, sentence in _WORDS.items() if counts[kind])
        return [*self._said, *said]

    def _images(self, images: Collection[Any]) -> Iterator[dict[str, Any]]:
        """The images in strict form; what can be none, and nobody uses, is passed over."""
        counts = self._counts["images"] = Counter()
        seen: set[int] = set()
        for entry in images:
            number = self._ids.number(entry.get("id")) if isinstance(entry, dict) else None
            if not is_id(number):
                continue
            if number not in self.used and (number in seen or not isinstance(entry.get("file_name"), str)):
                continue
            seen.add(number)
            if not is_id(entry["id"]):
                counts["image_id" if self._ids.by_place else "whole"] += 1
            read = with_numbers(entry)
            counts["text"] += read is not entry
            size = (read.get("width"), read.get("height"))
            stated = all(is_number(side) and side > 0 for side in size)
            yield read | {"id": number} | ({} if stated else {"width": 0, "height": 0})

    def _instances(self, instances: Collection[Any]) -> Iterator[Any]:
        """The annotations in strict form; an entry that is no object stays as it is."""
        counts = self._counts["annotations"] = Counter()
        for place, entry in enumerate(instances, start=1):
            yield self._instance(entry, place, counts) if isinstance(entry, dict) else entry

    def _instance(self, entry: dict[str, Any], place: int, counts: Counter[str]) -> dict[str, Any]:
        """One annotation in strict form."""
        read = with_numbers(entry)
        counts["text"] += read is not entry
        entry = read
        category = category_key(entry.get("category_id"))
        changed = {"image_id": self._ids.number(entry.get("image_id")), "id": whole_number(entry.get("id"))}
        if self._number_instances:
            counts["instance_id"] += changed["id"] is None
            changed["id"] = place
        named = as_key(entry.get("image_id")) in self._ids.names
        counts["image_name"] += named
        written = [entry.get("category_id")]
        written += [entry.get("id")] * (not self._number_instances)
        written += [entry.get("image_id")] * (not self._ids.by_place and not named)
        counts["whole"] += any(not is_id(one) and whole_number(one) is not None for one in written)
        if category is None or category in self._chosen.ids:
            changed["category_id"] = self._chosen.category["id"]
            changed |= self._keypoints_and_box(entry, counts)
        return entry | changed

    def _keypoints_and_box(self, entry: dict[str, Any], counts: Counter[str]) -> dict[str, Any]:
        """What is different in strict form of an annotation that counts: keypoints, box and area."""
        num_keypoints = len(self._chosen.category["keypoints"])
        changed: dict[str, Any] = {}
        if "keypoints" in entry:
            if entry["keypoints"] is None:
                counts["no_keypoints"] += 1
                changed["keypoints"] = []
            else:
                changed["keypoints"], assumed = flat_keypoints(entry["keypoints"], num_keypoints)
                counts.update(assumed)
        keypoints: Any = changed.get("keypoints")
        without_area = is_number(entry.get("area")) and entry["area"] <= 0
        if (
            lacks_box(entry.get("bbox"))
            and wrong_keypoints(keypoints, num_keypoints) is None
            and any(keypoints[2::3])
        ):
            counts["box"] += 1
            changed["bbox"] = box_of_keypoints(keypoints)
            # Converters make the area of the box that they do not have.
            changed |= {"area": None} if without_area else {}
        elif without_area and wrong_box(entry.get("bbox")) is None:
            counts["area"] += 1
            changed["area"] = None
        return changed
