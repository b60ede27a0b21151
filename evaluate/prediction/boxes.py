"""Instances' boxes in a user's own images: a file in the form of COCO results, matched with the images."""

import reprlib
import stat
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
import numpy.typing as npt

from evaluate.prediction.files import shown_name
from hrpose.command import CommandError
from hrpose.json_text import parse_json
from records.annotations.image_ids import described, whole_number

#: Pixels; what lies farther out is no box of an image that OpenCV could read (2^30 pixels at most).
_FAR = 2.0**30


#: The boxes, and their scores, of each image that has any.
ImageBoxes = dict[Path, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]


def read_boxes(
    path: str | Path, images: Sequence[Path], category: int | None = None
) -> tuple[ImageBoxes, list[str]]:
    """Reads instances' boxes.

    Images are named by "image" or "image_id": by file name, with or without ending or folders, or by the
    number that the name is. Entries without a "category_id" count whatever the category.

    Args:
        path: of a JSON file or of a pipe: a list of {"image" or "image_id", "bbox": [x, y, w, h], "score",
            "category_id"}, the last two optional; see the command's help.
        images: the user's.
        category: the category id whose boxes count; None for the only one that the file has.

    Returns:
        found: {image: (boxes (N, 4) x y w h in image pixels, scores (N,))}, N >= 1;
            images without boxes are not in it.
        notes: lines for the user: what was assumed, and what is rejected.

    Raises:
        CommandError: if the file cannot be read or is of another form, several categories or images could
            be meant, the boxes are no pixels, or none of them is for one of the images.
    """
    name = f"--detections={path}"
    entries = _read(path)
    if not isinstance(entries, list):
        raise CommandError(f'{name}: expected a list of {{"image", "bbox", "score"}}')
    notes: list[str] = []
    there = _Images(images)
    counted = _of_category(name, entries, category, notes)
    found, problems, elsewhere, by_text = defaultdict(list), [], [], []
    for number, entry in counted:
        place = f"{name}: entry {number}"
        if not isinstance(entry, dict) or not ({"image", "image_id"} & entry.keys()):
            problems.append(f'{place} names no image ("image" or "image_id")')
            continue
        key = "image" if "image" in entry else "image_id"
        candidates, exactly = there.called(entry[key])
        if len(candidates) > 1:
            raise CommandError(
                f"{place} is for {key} {entry[key]}, which {' and '.join(p.name for p in candidates)} could "
                'be; name the image with "image"'
            )
        if not candidates:
            elsewhere.append(described(entry[key]))
            continue
        box, problem = _box(entry)
        if problem:
            problems.append(f"{place}: {problem}")
            continue
        found[candidates[0]].append(box)
        by_text += [] if exactly else [f"{described(entry[key])}, taken for {shown_name(candidates[0])}"]
    if not found:
        raise CommandError(
            (problems and problems[0])
            or f"{name}: none of its {len(entries):,} entries is an instance's box in one of {len(images):,} "
            f"images, for example {images[0].name}"
            + (f"; they are of images such as {elsewhere[0]}" if elsewhere else "")
        )
    _refuse_fractions(name, found)
    if by_text:
        notes.append(f"{len(by_text):,} boxes name their image in other words: {by_text[0]}")
    if elsewhere:
        notes.append(f"{len(elsewhere):,} boxes are of images that are not there, for example {elsewhere[0]}")
    if problems:
        notes.append(f"{len(problems):,} boxes are rejected, the first because of {problems[0]}")
    return {
        image: (np.array([box for box, _ in boxes]), np.array([score for _, score in boxes]))
        for image, boxes in found.items()
    }, notes


def _read(path):
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):  # may be read for ever
            raise CommandError(f"--detections={path} is a device; expected a JSON file, or a pipe")
        return parse_json(path, Path(path).read_bytes())
    except (OSError, ValueError) as error:
        raise CommandError(f"--detections={path} cannot be read: {error}") from error


def _of_category(name, entries, category, notes):
    """[(place in the file, entry)] of the category that counts."""
    ids = [entry.get("category_id") if isinstance(entry, dict) else None for entry in entries]
    there = Counter(reprlib.repr(one) for one in ids if one is not None)
    if category is None and len(there) > 1:
        raise CommandError(
            f"{name} has boxes of the categories {_counted(there)}; --detection_category says which of them "
            "to take"
        )
    if category is None:
        notes += [f"the boxes are of category {one}, the only one there" for one in there]
        return list(enumerate(entries))
    counted = [
        (number, entry)
        for number, (one, entry) in enumerate(zip(ids, entries, strict=True))
        if one is None or whole_number(one) == category
    ]
    if entries and not counted:
        raise CommandError(
            f"{name}: none of its {len(entries):,} entries is of category {category}; they are of "
            f"{_counted(there)}. --detection_category says which to take"
        )
    if len(counted) < len(entries):
        notes.append(
            f"{len(entries) - len(counted):,} boxes are of other categories than {category}, which is taken"
        )
    return counted


def _counted(categories):
    return ", ".join(f"{one} ({count:,})" for one, count in categories.most_common(5))


class _Images:
    """The images, by everything that detectors' files call them."""

    def __init__(self, images):
        self._names, self._stems, self._numbers = defaultdict(list), defaultdict(list), defaultdict(list)
        for image in images:
            self._names[image.name].append(image)
            self._stems[image.stem].append(image)
            if image.stem.isascii() and image.stem.isdecimal():
                self._numbers[int(image.stem)].append(image)

    def called(self, name):
        """(list of the images that may be meant, whether that is what they are called)."""
        if isinstance(name, str) and name in self._names:
            return self._names[name], True
        number = whole_number(name)
        if isinstance(name, str):
            bare = PureWindowsPath(name).name  # of paths with / or \
            found = self._names.get(bare) or self._stems.get(name) or self._stems.get(bare)
            return found or self._numbers.get(number, []), False
        return self._numbers.get(number, []), isinstance(name, int)


def _box(entry):
    """(([x, y, w, h], score), None) of an entry, or (None, what is wrong with it)."""
    box, score = entry.get("bbox"), entry.get("score", 1.0)
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)) or min(box[2:]) <= 0:
        return None, f"bbox is {reprlib.repr(box)}; expected [x, y, width, height] in pixels"
    if not _is_number(score):
        return None, f"score is {reprlib.repr(score)}; expected a number"
    return (np.array(box, np.float64), float(score)), None


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _FAR


def _refuse_fractions(name, found):
    """Raises CommandError if no box is larger than a pixel."""
    boxes = [box for one in found.values() for box, _ in one]
    if all(box.min() >= 0 and box.max() <= 1 for box in boxes):
        raise CommandError(
            f"{name}: its boxes are fractions of the image, such as {boxes[0].round(3).tolist()}; expected "
            "[x, y, width, height] in pixels: multiply by the image's width and height"
        )
