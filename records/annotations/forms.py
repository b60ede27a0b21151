"""What tools write for ids, keypoints and boxes, value by value, brought to the form that COCO has."""

import math
import re
from typing import Any

from hrpose.json_checks import is_number
from records.annotations.instance_checks import SMALLEST_SIDE, wrong_keypoints

#: How far a box made of keypoints reaches beyond them on every side, as a share of their extent: instances
#: are larger than the hull of their keypoints. The widely used converters of MPII grow the extent by a fifth
#: too.
BOX_MARGIN = 0.1

#: Pixels. No side of such a box is shorter: COCO calls objects below 32 x 32 pixels small. A single keypoint
#: has no extent at all.
SMALLEST_BOX = 32


#: Fields of images, annotations and boxes that are numbers or lists of them.
_NUMBERS = ("width", "height", "bbox", "area", "keypoints", "score")

#: What ids can be looked up by.
Key = int | float | str

#: Numbers per keypoint, or 0 if each has a list; how many keypoints. See `shape_of`.
Shape = tuple[int, int]

#: A number as text.
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?\s*", re.ASCII)


def with_numbers(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry whose numbers may be text, as what comes from CSV files has them, with numbers in their place.

    Args:
        entry: a parsed JSON object.

    Returns:
        `entry` itself if none of its numbers is text, else a changed copy.
    """
    read = {name: _read_numbers(entry[name]) for name in _NUMBERS if name in entry}
    changed = {name: value for name, value in read.items() if value is not entry[name]}
    return entry | changed if changed else entry


def _read_numbers(value: Any) -> Any:
    """A value with numbers in the place of text that is one, also in lists; `value` itself without such."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else value
    if not isinstance(value, list) or {str, list}.isdisjoint(map(type, value)):
        return value
    read = list(map(_read_numbers, value))
    return value if all(new is old for new, old in zip(read, value, strict=True)) else read


def as_key(value: Any) -> Key | None:
    """An id of any kind as something to look up: a number or a text; None for what can be no id."""
    usable = isinstance(value, int | float | str) and not isinstance(value, bool)
    return value if usable and value == value else None


def is_blank(value: object) -> bool:
    """Whether a parsed JSON value stands for nothing: null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def read_visibility(value: Any) -> Any:
    """COCO's visibility of what tools write for it; `value` itself if it is none of that.

    Args:
        value: a parsed JSON value. 0, -1, null, NaN and false say that a keypoint is not labeled; true says
            that it can be seen, 2.
    """
    if is_blank(value) or value is False or value == -1:
        return 0
    return 2 if value is True else value


def shape_of(keypoints: Any) -> Shape | None:
    """How many keypoints of which form an annotation's list seems to hold.

    Args:
        keypoints: a parsed JSON value.

    Returns:
        (3 or 2, numbers per keypoint, or 0 if it is a list of lists; K), or None without a labeled keypoint
        or if it is no list of keypoints. A flat list is one of triples if every third value can be a
        visibility, or is what other tools have there, such as a score, and the rest are pixels.
    """
    if not isinstance(keypoints, list) or not keypoints:
        return None
    if _is_nested(keypoints):
        return (0, len(keypoints)) if any(map(_is_labeled, keypoints)) else None
    if not all(value is None or isinstance(value, int | float) for value in keypoints):
        return None
    visibilities = list(map(read_visibility, keypoints[2::3]))
    if len(keypoints) % 3 == 0 and all(type(v) in (int, float) and v in (0, 1, 2) for v in visibilities):
        return (3, len(keypoints) // 3) if any(visibilities) else None
    if len(keypoints) % 3 == 0 and _may_be_scores(keypoints):
        return 3, len(keypoints) // 3
    return (2, len(keypoints) // 2) if len(keypoints) % 2 == 0 else None


def fits(shape: Shape, num_keypoints: int) -> bool:
    """Whether a list of that `shape_of` can be one of K keypoints, in any of the forms."""
    numbers, count = shape
    return count == num_keypoints or (numbers == 3 and 3 * count == 2 * num_keypoints)


def flat_keypoints(keypoints: Any, num_keypoints: int) -> tuple[Any, set[str]]:
    """An annotation's keypoints in COCO's form.

    Args:
        keypoints: a parsed JSON value: 3 K numbers; 2 K, which are all labeled but for nulls and NaN; or a
            list of K such triples or pairs, null for a keypoint that is not labeled.
        num_keypoints: K.

    Returns:
        (flat list of 3 K numbers, set of words for what was assumed). The list is `keypoints` itself where it
        has COCO's form already, or has no sensible reading.
    """
    if wrong_keypoints(keypoints, num_keypoints) is None:
        return keypoints, set()
    assumed: set[str] = set()
    if not isinstance(keypoints, list) or not keypoints:
        return keypoints, assumed
    if _is_nested(keypoints):
        rows = [row or [0, 0, 0] for row in keypoints]
        assumed.add("nested")
    else:
        numbers = next((n for n in (3, 2) if len(keypoints) == n * num_keypoints), None)
        if numbers is None:
            return keypoints, set()
        rows = [keypoints[place : place + numbers] for place in range(0, len(keypoints), numbers)]
    if len(rows) != num_keypoints or not all(len(row) in (2, 3) for row in rows):
        return keypoints, set()
    flat: list[Any] = []
    for x, y, *visibility in rows:
        if visibility:
            read = read_visibility(visibility[0])
            if read is not visibility[0] or (read == 0 and (is_blank(x) or is_blank(y))):
                assumed.add("visibility")
        else:
            read = 0 if is_blank(x) and is_blank(y) else 2
            assumed.add("pairs")
        # Nobody looks at a keypoint that is not labeled, and what stands there may be no number.
        flat += [x, y, read] if read != 0 else [0, 0, 0]
    return flat, assumed


def lacks_box(box: Any) -> bool:
    """Whether a "bbox" is missing, or states none, or one without extent."""
    if box is None or box == []:
        return True
    if not isinstance(box, list) or len(box) != 4:
        return False
    return all(map(is_blank, box)) or (all(map(is_number, box)) and min(box[2:]) < SMALLEST_SIDE)


def box_of_keypoints(keypoints: list[float]) -> list[float]:
    """The box that stands for one that is missing: the labeled keypoints' extent, grown.

    Args:
        keypoints: flat list of 3 K finite numbers, x, y in image pixels and visibility; some are labeled.

    Returns:
        [x, y, w, h] in image pixels: `BOX_MARGIN` beyond the keypoints on every side, and each side at least
        `SMALLEST_BOX`, around the same center.
    """
    sides = []
    for axis in (0, 1):
        labeled = [c for c, v in zip(keypoints[axis::3], keypoints[2::3], strict=True) if v > 0]
        low, high = min(labeled), max(labeled)
        size = max((high - low) * (1 + 2 * BOX_MARGIN), SMALLEST_BOX)
        sides.append(((low + high - size) / 2, size))
    (x, width), (y, height) = sides
    return [x, y, width, height]


def _is_nested(keypoints: list[Any]) -> bool:
    """Whether a list holds lists, of which some may be null."""
    return any(isinstance(row, list) for row in keypoints) and all(
        row is None or isinstance(row, list) for row in keypoints
    )


def _may_be_scores(keypoints: list[Any]) -> bool:
    """Whether every third value of a flat list is from 0 to 3, and not all of the others, as of fractions."""
    small = [isinstance(value, bool) or (is_number(value) and 0 <= value <= 3) for value in keypoints]
    return all(small[2::3]) and not all(small)


def _is_labeled(row: list[Any] | None) -> bool:
    """Whether a keypoint's list says that it is labeled."""
    return bool(row and (read_visibility(row[2]) != 0 if len(row) == 3 else not all(map(is_blank, row))))
