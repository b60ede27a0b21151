"""Whether instances' keypoints, boxes and areas fit together, and if not, what is probably wrong with them.

A converter that writes fractions in place of pixels, or boxes by their corners, makes a file in perfect form.
Everything is counted, so that parts of a dataset can be looked at one after the other and added up.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from records.geometry import box_to_center_scale

#: Shares from which on something is said: of keypoints outside of their box for no known reason (boxes are
#: cut at the image's edge, guesses of hidden keypoints are not), and of such at 0, 0.
_ELSEWHERE, _AT_ORIGIN = 0.25, 0.01

#: A reading explains the numbers if this share of the keypoints is in no box, and if it brings that share of
#: these into their boxes.
_MISPLACED, _EXPLAINED = 0.1, 0.9

#: Of boxes that may be corners the share of keypoints that must be between these.
_IN_CORNERS = 0.98

#: Keypoints that are enough to tell something small by them.
_ENOUGH = 16

#: Areas as shares of their boxes' that no outline of an instance has. COCO's are 0.2 to 0.8 of it.
_SMALL_AREA, _LARGE_AREA = 0.05, 4.0

#: Instances of whom more is counted than where their keypoints are, in each call: enough to tell the cause.
_LOOKED_AT = 256

#: Pixels: a box as small as this is none.
_NO_BOX = 2.0


def _corners(
    boxes: npt.NDArray[np.float64], points: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1), points


#: {what may be wrong: function of (N, 4) boxes, (N, K, 2) points and (N, 2) sizes that gives boxes and points
#: in pixels, if it is}.
_READINGS: dict[
    str,
    Callable[
        [npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]],
        tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]],
    ],
] = {
    "the keypoints look like fractions of the image's width and height": (
        lambda boxes, points, sizes: (boxes, points * sizes[:, None])
    ),
    "the keypoints look like percentages of the image's width and height": (
        lambda boxes, points, sizes: (boxes, points * sizes[:, None] / 100)
    ),
    "the keypoints look like fractions of their box": (
        lambda boxes, points, sizes: (boxes, boxes[:, None, :2] + points * boxes[:, None, 2:])
    ),
    "the keypoints look as if they were counted from their box's corner": (
        lambda boxes, points, sizes: (boxes, boxes[:, None, :2] + points)
    ),
    "the keypoints look like y, x": lambda boxes, points, sizes: (boxes, points[..., ::-1]),
    "the boxes look like x1, y1, x2, y2": _corners,
    "the boxes look like the center's x, y, then width and height": (
        lambda boxes, points, sizes: (boxes - np.pad(boxes[:, 2:] / 2, ((0, 0), (0, 2))), points)
    ),
    "the boxes look like fractions of the image's width and height": (
        lambda boxes, points, sizes: (boxes * np.tile(sizes, 2), points)
    ),
    "boxes and keypoints look like fractions of the image's width and height": (
        lambda boxes, points, sizes: (boxes * np.tile(sizes, 2), points * sizes[:, None])
    ),
}
_CORNERS = "the boxes look like x1, y1, x2, y2"


def count_areas(boxes: npt.ArrayLike, areas: npt.ArrayLike) -> Counter[str]:
    """How many areas are no areas of what is in the boxes.

    Args:
        boxes: (N, 4) x, y, w, h in image pixels.
        areas: (N,) square image pixels.

    Returns:
        Numbers, for `sum_counts`: "instances", "small_areas", "large_areas".
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    of_boxes = boxes[:, 2] * boxes[:, 3]
    areas = np.asarray(areas, np.float64)
    return Counter(
        instances=len(boxes),
        small_areas=int((areas < _SMALL_AREA * of_boxes).sum()),
        large_areas=int((areas > _LARGE_AREA * of_boxes).sum()),
    )


def area_warning(counts: Counter[str]) -> str | None:
    """What to say of the areas, or None.

    Args:
        counts: of `count_areas`.
    """
    for name, what in (
        ("small_areas", f"below {_SMALL_AREA:.0%} of"),
        ("large_areas", f"above {_LARGE_AREA:g} times"),
    ):
        if counts[name] > counts["instances"] / 2:
            return (
                f'"area" of {counts[name]:,} of {counts["instances"]:,} instances is {what} their box\'s; '
                "expected "
                "square pixels. OKS measures distances by it, so that AP means nothing with these: correct "
                'them, or leave "area" out, and the boxes\' count'
            )
    return None


def count_placement(
    boxes: npt.ArrayLike,
    keypoints: npt.ArrayLike,
    sizes: npt.ArrayLike,
    areas: npt.ArrayLike,
    input_size: tuple[float, float],
) -> Counter[str]:
    """Where keypoints and boxes are.

    Args:
        boxes: (N, 4) x, y, w, h in image pixels.
        keypoints: (N, K, 3) x, y in image pixels, and visibility; 0 is not labeled.
        sizes: (N, 2) width and height of their images in pixels; instances with 0 are not looked at.
        areas: (N,) square image pixels.
        input_size: (width, height) of the network input, for `box_to_center_scale`.

    Returns:
        Numbers, for `sum_counts`: what `count_areas` counts, "labeled" keypoints and of these those
        "outside_box" (the padded one) and "outside_image" by more than a pixel; the rest is for
        `placement_warnings`.
    """
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    known = (sizes > 0).all(axis=1)
    sizes = sizes[known]
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)[known]
    keypoints = np.asarray(keypoints, np.float64)[known]
    points, labeled = keypoints[..., :2], keypoints[..., 2] > 0
    in_box = _inside(boxes, points, input_size)
    in_image = ((points >= -1) & (points <= sizes[:, None])).all(axis=-1)
    at_origin = (points == 0).all(axis=-1) | (points == -1).all(axis=-1)
    counts = count_areas(boxes, np.asarray(areas)[known])
    counts["labeled"] = int(labeled.sum())
    counts["outside_box"] = int((labeled & ~in_box).sum())
    counts["outside_image"] = int((labeled & ~in_image).sum())
    counts["at_origin"] = int((labeled & at_origin & ~(in_box & in_image)).sum())
    some = boxes[:_LOOKED_AT], points[:_LOOKED_AT], labeled[:_LOOKED_AT], sizes[:_LOOKED_AT]
    counts.update(_count_readings(*some, input_size))
    counts.update(_count_corners(*some))
    return counts


def _count_readings(
    boxes: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    labeled: npt.NDArray[np.bool_],
    sizes: npt.NDArray[np.float64],
    input_size: tuple[float, float],
) -> Counter[str]:
    """How many keypoints are in no box, and how many of these are in their box by each of `_READINGS`.

    Of instances without a keypoint only the box can be in its place or not: one mark.
    """
    bare = ~np.any(labeled, axis=1)

    def fits(
        read_boxes: npt.NDArray[np.float64], read_points: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.bool_]:
        sound = _sound(read_boxes, sizes)
        inside = sound[:, None] & labeled & _inside(read_boxes, read_points, input_size)
        return np.concatenate([inside, (sound & bare)[:, None]], axis=1)

    marks = np.concatenate([labeled, bare[:, None]], axis=1)
    misplaced = marks & ~fits(boxes, points)
    counts = Counter(marks=int(marks.sum()), misplaced=int(misplaced.sum()))
    for name, read in _READINGS.items():
        counts[name] = int((misplaced & fits(*read(boxes, points, sizes))).sum())
    return counts


def _inside(
    boxes: npt.NDArray[np.float64], points: npt.NDArray[np.float64], input_size: tuple[float, float]
) -> npt.NDArray[np.bool_]:
    """(N, K) whether points are in their padded box, if it has an extent."""
    center, scale = box_to_center_scale(np.maximum(boxes, [-np.inf, -np.inf, 0, 0]), input_size)
    return np.all(np.abs(points - center[:, None]) <= scale[:, None] / 2, axis=-1)


def _sound(boxes: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(N,) whether boxes are some, and of something in the image."""
    low, high, slack = boxes[:, :2], boxes[:, :2] + boxes[:, 2:], 1 + 0.1 * boxes[:, 2:]
    in_image = ((low >= -slack) & (high <= sizes + slack)).all(axis=1)
    return in_image & (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, 2:].max(axis=1) >= _NO_BOX)


def _count_corners(
    boxes: npt.NDArray[np.float64],
    points: npt.NDArray[np.float64],
    labeled: npt.NDArray[np.bool_],
    sizes: npt.NDArray[np.float64],
) -> Counter[str]:
    """What tells boxes that are corners: x1, y1, x2, y2 taken for x, y, w, h are too large, not elsewhere.

    An axis of a box tells something where corners are clearly another box, and where the box was not cut at
    the image's right or lower edge. Detections' boxes are not cut: it tells how many of them stick out.
    """
    low, size = boxes[:, :2], boxes[:, 2:]
    high = low + size
    sound = (size > low) & (size <= sizes + 1)
    sticks_out = high > sizes + 1 + 0.02 * size
    telling = (sticks_out | (high < sizes - 2)) & (low >= 0.1 * size)
    slack = 1 + 0.02 * size
    between = (points >= (low - slack)[:, None]) & (points <= (size + slack)[:, None]) & sound[:, None]
    shown = labeled.any(axis=1)
    first = np.where(labeled[..., None], points, np.inf).min(axis=1, initial=1e18)
    last = np.where(labeled[..., None], points, -np.inf).max(axis=1, initial=-1e18)
    middle = (first + last) / 2
    counts = Counter(
        bare=int((~shown).sum()),
        bare_corners=int((~shown & sound.all(axis=1)).sum()),
        bare_sticks_out=int((~shown & sticks_out.any(axis=1)).sum()),
    )
    for axis in (0, 1):
        tells = shown & telling[:, axis]
        marks = labeled & tells[:, None]
        counts[f"{axis} marks"] = int(marks.sum())
        counts[f"{axis} between"] = int((marks & between[..., axis]).sum())
        counts[f"{axis} instances"] = int(tells.sum())
        # Of right boxes about half of the instances have the middle of their keypoints left of the box's.
        counts[f"{axis} before"] = int((tells & (middle < (low + high) / 2)[:, axis]).sum())
        counts[f"{axis} before_corners"] = int((tells & (middle < (low + size) / 2)[:, axis]).sum())
    return counts


def placement_warnings(counts: Counter[str]) -> list[str]:
    """What to say of some instances' keypoints and boxes.

    Args:
        counts: the sum of what `count_placement` gave.

    Returns:
        Texts; none if all is plausible.
    """
    labeled = counts["labeled"]
    where = (
        f"{counts['outside_box']:,} of {labeled:,} labeled keypoints are outside of their padded boxes, "
        f"{counts['outside_image']:,} outside of the image: "
        if labeled
        else ""
    )
    cause, at_origin = _cause(counts), counts["at_origin"]
    warnings = []
    if labeled and at_origin >= max(_AT_ORIGIN * labeled, counts["outside_box"] / 2):
        warnings.append(
            f"{where}{at_origin:,} of them are at 0, 0 or -1, -1, like missing keypoints that are said to be "
            "there; expected visibility 0 for these"
        )
    elif cause:
        warnings.append(f"{where}{cause}; expected pixels, and boxes as x, y, width, height")
    elif labeled and counts["outside_box"] >= _ELSEWHERE * labeled:
        warnings.append(
            f"{where}expected nearly all of them inside. Are they in pixels of these very images, and is "
            "each box that of the same instance?"
        )
    return [*warnings, *filter(None, [area_warning(counts)])]


def _cause(counts: Counter[str]) -> str | None:
    """What explains most, or None if the numbers are well as they are or nothing explains them."""
    telling = [axis for axis in (0, 1) if counts[f"{axis} marks"] >= _ENOUGH]
    if telling and all(_like_corners(counts, axis) for axis in telling):
        return _CORNERS
    if (
        not counts["labeled"]
        and counts["bare"]
        and (
            counts["bare_corners"] >= _IN_CORNERS * counts["bare"]
            and counts["bare_sticks_out"] >= 0.2 * counts["bare"]
        )
    ):
        return _CORNERS
    misplaced, marks = counts["misplaced"], counts["marks"]
    best = max(_READINGS, key=counts.__getitem__)
    many = misplaced >= _MISPLACED * marks if misplaced >= _ENOUGH else misplaced > marks / 2
    return best if many and counts[best] >= _EXPLAINED * misplaced else None


def _like_corners(counts: Counter[str], axis: int) -> bool:
    """Whether along this axis keypoints are between the corners, and their middle where it should be."""
    instances, before, before_corners = (
        counts[f"{axis} {name}"] for name in ("instances", "before", "before_corners")
    )
    return (
        counts[f"{axis} between"] >= _IN_CORNERS * counts[f"{axis} marks"]
        and before >= 0.65 * instances
        and abs(before_corners - instances / 2) < before - instances / 2
    )


def sum_counts(parts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """The sum of several counts, as one `Counter`."""
    total = Counter[str]()
    for part in parts:
        total.update(part)
    return total


def placement_summary(counts: Mapping[str, int]) -> dict[str, int]:
    """Those of the counts that are shown and kept: {"labeled", "outside_box", "outside_image": number}."""
    return {name: counts[name] for name in ("labeled", "outside_box", "outside_image")}


def placement_rows(summary: Mapping[str, int]) -> list[tuple[int, str]]:
    """Rows of a table: (number, text) of the labeled keypoints that are elsewhere; none if all are inside.

    Args:
        summary: of `placement_summary`, or empty.
    """
    return [
        (summary[name], f"labeled keypoints outside of {where} ({summary[name] / summary['labeled']:.1%})")
        for name, where in (("outside_box", "their padded box"), ("outside_image", "the image"))
        if summary.get(name) and summary.get("labeled")
    ]
