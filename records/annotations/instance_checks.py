"""Which boxes and keypoints of a file can be used: one rule for the build and for the evaluation."""

from typing import Any

from hrpose.json_checks import is_number

#: COCO's id of the category "person".
PERSON_CATEGORY = 1

#: Pixels. Smaller boxes have no extent: float32 could not hold how much the network's input enlarges them.
SMALLEST_SIDE = 1e-6

#: What tools write for 0 in text.
_NO = ("", "0", "0.0", "false", "no", "none", "null")


def wrong_box(box: Any) -> str | None:
    """Why a box cannot be used, or None.

    Args:
        box: should be x, y, w, h: four finite numbers, w and h at least `SMALLEST_SIDE`.
    """
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return f"expected 4 finite numbers x, y, w, h below 1e18, received {box!r}"
    if min(box[2:]) < SMALLEST_SIDE:
        return f"width and height must be above {SMALLEST_SIDE}, received {box!r}"
    return None


def wrong_keypoints(keypoints: Any, num_keypoints: int) -> str | None:
    """Why a flat keypoint list cannot be used, or None.

    Args:
        keypoints: should be 3 K finite numbers, every third of them 0, 1 or 2.
        num_keypoints: K.
    """
    if not isinstance(keypoints, list) or len(keypoints) != 3 * num_keypoints:
        size = len(keypoints) if isinstance(keypoints, list) else repr(keypoints)
        return f"expected {3 * num_keypoints} numbers, received {size}"
    if not all(map(is_number, keypoints)):
        return "a keypoint has something else than finite numbers below 1e18"
    if not set(keypoints[2::3]) <= {0, 1, 2}:
        return f"visibility must be 0, 1 or 2, received {sorted(set(keypoints[2::3]))}"
    return None


def is_crowd(value: Any) -> bool:
    """Whether an annotation's "iscrowd" says that it is one; text is read as what it spells.

    Args:
        value: a parsed JSON value; should be 0 or 1.
    """
    if isinstance(value, str):
        return value.strip().lower() not in _NO
    return bool(value)
