"""Numbers that the authors of HRNet have published, to stand beside one's own.

Source of both tables: the README of the official code (leoxiaobin/deep-high-resolution-net.pytorch, "Main
Results"), with flip test and its own codec. Its COCO rows are those of Table 1 of "Deep High-Resolution
Representation Learning for Human Pose Estimation" (Sun, Xiao, Liu, Wang; CVPR 2019) with more columns.

For PoseTrack there are none: the paper has the test set of PoseTrack 2017 only.
"""

from dataclasses import dataclass

from evaluate.metrics.coco import NUMBERS

_PAPER = (
    "Sun, Xiao, Liu, Wang: Deep High-Resolution Representation Learning for Human Pose Estimation, CVPR 2019"
)
_CODE = "README of leoxiaobin/deep-high-resolution-net.pytorch"


@dataclass(frozen=True)
class Published:
    """The numbers of one recipe.

    Attributes:
        values: {name as the metric has it: value in its unit}.
        source: who says so.
        setting: under which conditions.
        boxes: whose boxes were used, as records' manifests call it.
        codec: as a run's configuration calls it.
    """

    values: dict[str, float]
    source: str
    setting: str
    boxes: str
    codec: str = "msra"


def _coco(*values: float) -> Published:
    names = (name for name, *_ in NUMBERS)
    return Published(
        values=dict(zip(names, values, strict=True)),
        source=f"{_PAPER}, Table 1; {_CODE}",
        setting="COCO val2017, boxes of a detector with person AP 56.4, flip test",
        boxes="detections",
    )


_MPII_COLUMNS = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Mean", "Mean@0.1")
_MPII_W32 = Published(
    values=dict(zip(_MPII_COLUMNS, (97.1, 95.9, 90.3, 86.4, 89.1, 87.1, 83.3, 90.3, 37.7), strict=True)),
    source=_CODE,
    setting="MPII validation, flip test; its Mean@0.1 takes 0.11 for the threshold (--official_tenth)",
    boxes="ground_truth",
)

#: (metric, dataset, split, network, input size (width, height)) -> `Published`.
TABLE: dict[tuple[str, str, str, str, tuple[int, int]], Published] = {
    ("coco", "coco", "val", "w32", (192, 256)): _coco(
        *(0.744, 0.905, 0.819, 0.708, 0.810, 0.798, 0.942, 0.865, 0.757, 0.858)
    ),
    ("coco", "coco", "val", "w32", (288, 384)): _coco(
        *(0.758, 0.906, 0.825, 0.720, 0.827, 0.809, 0.943, 0.869, 0.767, 0.871)
    ),
    ("coco", "coco", "val", "w48", (192, 256)): _coco(
        *(0.751, 0.906, 0.822, 0.715, 0.818, 0.804, 0.943, 0.867, 0.762, 0.864)
    ),
    ("coco", "coco", "val", "w48", (288, 384)): _coco(
        *(0.763, 0.908, 0.829, 0.723, 0.834, 0.812, 0.942, 0.871, 0.767, 0.876)
    ),
    ("pckh", "mpii", "val", "w32", (256, 256)): _MPII_W32,
}


def published_for(
    metric: str, dataset: str, split: str, model: str, input_size: tuple[int, int]
) -> Published | None:
    """A metric's published numbers of a recipe, or None."""
    width, height = input_size
    return TABLE.get((metric, dataset, split, model, (width, height)))
