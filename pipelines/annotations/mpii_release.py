"""The MPII Human Pose release, a MATLAB struct, as typed entries with everything in its place.

The release (Andriluka et al. 2014, `mpii_human_pose_v1_u12_1.mat`) holds one struct, RELEASE. `annolist` has
an entry per image, whose `annorect` has a struct per instance: the head's box `x1 y1 x2 y2`, the keypoints
`annopoints.point` (`x y id is_visible`), and the instance's rough center `objpos` and `scale`. `img_train` is
1 for images of the training part. Coordinates are MATLAB's, counted from 1. Any field may be missing or
empty, and numbers come as text or in any numeric type.
"""

import math
from dataclasses import dataclass

from apache_beam.io.filesystems import FileSystems

from pipelines.errors import BuildError
from records.annotations.mat_files import CELLS, read_mat
from records.skeletons import MPII


@dataclass(frozen=True, slots=True)
class Keypoint:
    """One annotated keypoint.

    Attributes:
        number: index in the skeleton `MPII`; None if the release's is none.
        x, y: image pixels counted from 1, as released; None where they are missing or not numbers.
        visibility: 2 visible, 1 hidden; None if it cannot be understood.
    """

    number: int | None
    x: float | None
    y: float | None
    visibility: int | None


@dataclass(frozen=True, slots=True)
class Rect:
    """One instance, an element of `annorect`. All coordinates are image pixels counted from 1, as released.

    Attributes:
        instance_id: unique in the release: counts its instances, from 0.
        index: place in the image's `annorect`, from 0.
        keypoints: in the release's order; a keypoint may come twice.
        objpos: (x, y) of the instance's rough center, or None.
        scale: the instance's height in units of 200 pixels, or None.
        head_box: (x1, y1, x2, y2), or None.
        list_row: place in the list file that chose this instance for validation, from 0, or None.
    """

    instance_id: int
    index: int
    keypoints: tuple[Keypoint, ...]
    objpos: tuple[float, float] | None
    scale: float | None
    head_box: tuple[float, ...] | None
    list_row: int | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One image: `index` is its place in `annolist` from 0, `split` is train, val or test."""

    index: int
    file_name: str
    split: str
    instances: tuple[Rect, ...]


def read_release(path: str) -> list[Entry]:
    """Reads the release from any file system Beam knows.

    Args:
        path: of `mpii_human_pose_v1_u12_1.mat`.

    Returns:
        List of `Entry`, in the release's order.

    Raises:
        BuildError: if the file is missing or is not the release; the message says what was expected where.
    """
    if not FileSystems.exists(str(path)):
        raise BuildError(f"{path} does not exist; expected mpii_human_pose_v1_u12_1.mat of the MPII release")
    try:
        with FileSystems.open(str(path), compression_type="uncompressed") as file:
            variables = read_mat(file.read(), ["RELEASE"])
    except (OSError, ValueError) as error:
        raise BuildError(
            f"{path} cannot be read as a MATLAB file ({error}); expected "
            "mpii_human_pose_v1_u12_1.mat, which is of MATLAB's version 5"
        ) from error
    if "RELEASE" not in variables:
        raise BuildError(f"{path} has no variable RELEASE; expected mpii_human_pose_v1_u12_1.mat")
    release = _first(variables["RELEASE"])
    annolist, img_train = _elements(_field(release, "annolist")), _field(release, "img_train")
    if not annolist:
        raise BuildError(f"{path}: RELEASE.annolist is missing or empty; expected a struct per image")
    is_train = [_number(value) for value in _flat(img_train)]
    if len(is_train) != len(annolist) or not set(is_train) <= {0, 1}:
        raise BuildError(
            f"{path}: RELEASE.img_train needs a 0 or 1 for each of the {len(annolist)} images in "
            f"RELEASE.annolist, it has {len(is_train)} values, {sorted(map(str, set(is_train)))[:5]}"
        )
    entries, instances = [], 0
    for index, (entry, train) in enumerate(zip(annolist, is_train, strict=True)):
        name = _text(_field(_first(_field(entry, "image")), "name"))
        if not name:
            raise BuildError(f"{path}: RELEASE.annolist({index + 1}) has no image.name")
        rects = [_rect(r, instances + i, i) for i, r in enumerate(_elements(_field(entry, "annorect")))]
        instances += len(rects)
        entries.append(Entry(index, name, "train" if train else "test", tuple(rects)))
    return entries


def _rect(rect, instance_id, index):
    points = _elements(_field(_first(_field(rect, "annopoints")), "point"))
    return Rect(
        instance_id=instance_id,
        index=index,
        keypoints=tuple(map(_keypoint, points)),
        objpos=_numbers(_first(_field(rect, "objpos")), "x", "y"),
        scale=_finite(_number(_field(rect, "scale"))),
        head_box=_numbers(rect, "x1", "y1", "x2", "y2"),
    )


def _keypoint(point):
    number, visible = _number(_field(point, "id")), _number(_field(point, "is_visible"))
    return Keypoint(
        number=int(number) if number in range(MPII.num_keypoints) else None,
        x=_finite(_number(_field(point, "x"))),
        y=_finite(_number(_field(point, "y"))),
        visibility={None: 2, 0: 1, 1: 2}.get(visible),
    )


def _numbers(struct, *names):
    """The finite numbers in a struct's fields as a tuple, or None if one is missing."""
    values = tuple(_finite(_number(_field(struct, name))) for name in names)
    return None if None in values else values


def _finite(number):
    """None for a number that is missing or not a position in any image."""
    return number if number is not None and abs(number) < 1e9 else None


def _number(value):
    """The number in a MATLAB value: None if it is missing or empty, NaN if there is something else."""
    if isinstance(value, list):
        while isinstance(value, list) and len(value) == 1:
            (value,) = value
        if value == []:
            return None
    text = _text(value)
    if value is None or text == "" or value == {CELLS: []}:
        return None
    try:
        return float(value if text is None else text)
    except (TypeError, ValueError):
        return math.nan


def _flat(value):
    """The numbers in a MATLAB array, in the order of its rows."""
    if not isinstance(value, list):
        return []
    return [number for part in value for number in (_flat(part) if isinstance(part, list) else [part])]


def _text(value):
    """The text in a MATLAB char array, None if it is something else."""
    return value.strip() if isinstance(value, str) else None


def _field(struct, name):
    return struct.get(name) if isinstance(struct, dict) else None


def _elements(value):
    """The elements of a struct array; none for the empty matrix that stands for an empty one."""
    return value.get(CELLS, []) if isinstance(value, dict) else []


def _first(value):
    return next(iter(_elements(value)), None)
