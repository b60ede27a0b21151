"""What a dataset is to this project: one `Dataset` each, in a file of its own beside this one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrpose.options import Option
from records.augment import Augmentation
from records.skeletons import Skeleton

SPLITS = ("train", "val", "test")

#: Whose boxes records are built of: the annotations', or a person detector's.
BOXES = ("ground_truth", "detections")


@dataclass(frozen=True)
class Recipe:
    """What a published training run has where the user asks for nothing else.

    Attributes:
        name: whose recipe it is, for messages.
        augmentation: how strongly training images are augmented.
        batch_size: instances per GPU.
    """

    name: str
    augmentation: Augmentation
    batch_size: int = 32


#: experiments/coco/hrnet/w32_256x192_adam_lr1e-3.yaml of the official code. For PoseTrack the HRNet paper
#: (section 4.3) names no other augmentation, and no batch size.
COCO_RECIPE = Recipe("COCO's published recipe", Augmentation())


@dataclass(frozen=True)
class Layout:
    """Where a dataset's files lie, as users have them. Paths are relative to the dataset's folder.

    Attributes:
        folder: the dataset's folder below ``dataset/``.
        annotations: {split: COCO-format annotation file}, for the splits that the dataset has. Unless a split
            is named, those that are there are built, but never "test", which has no keypoints to learn from
            or to measure.
        images: the image folder; ``{split}`` is filled in.
        name_prefix: what file names in the annotations begin with besides the path below `images`.
        raw: what the annotations are converted from, if they are, as messages name it.
        detections: the person detector's boxes, a COCO results file.
    """

    folder: str
    annotations: dict[str, str]
    images: str = "images"
    name_prefix: str = ""
    raw: str | None = None
    detections: str = "dets/human_detection.json"

    def default_dir(self) -> Path:
        """The dataset's folder if the user names none."""
        return Path("dataset") / self.folder


def _as_it_is(dataset: "Dataset", _: Mapping[str, Any]) -> "Dataset":
    return dataset


@dataclass(frozen=True)
class Dataset:
    """One dataset: where its files lie, how records are built of it, how it is trained on and measured.

    Attributes:
        name: the value of ``--dataset``.
        skeleton: its keypoints; None: those that the annotation file's `categories` describe.
        layout: where its files lie.
        metrics: names of the metrics in `evaluate.metrics` that measure it, the headline first.
        evaluation_boxes: which of `BOXES` an evaluation takes unless told, if there are records of both.
        input_size: (width, height) of the network input that the paper uses first for this dataset.
        recipe: what training on it has by default.
        clean_boxes: whether to cut ground-truth boxes to the image, as the official code does for COCO. Not
            where a box stands for a center and a size that must not change.
        lenient: whether annotations are read as labeling tools leave them (`records.annotations.lenient`),
            not by COCO's letter.
        exif_orientation: what a build does with images' EXIF orientation unless told, see
            `pipelines.exif.orient`. Published datasets were annotated on the pixels as they are stored.
        user_data: whether it stands for a user's own files, which may be called anything: where they are is
            said by ``--annotations`` and ``--images``, and results are named after the records too.
        has_coco_server: whether COCO's server evaluates its images that have no public annotations.
        options: flags of its own. The conversion that brings it to COCO format gets their values.
        adapted: function of the dataset and of these values; returns the dataset as they make it.
    """

    name: str
    skeleton: Skeleton | None
    layout: Layout
    metrics: tuple[str, ...]
    evaluation_boxes: str = "detections"
    input_size: tuple[int, int] = (192, 256)
    recipe: Recipe = COCO_RECIPE
    clean_boxes: bool = True
    lenient: bool = False
    exif_orientation: str = "ignore"
    user_data: bool = False
    has_coco_server: bool = False
    options: tuple[Option, ...] = ()
    adapted: Callable[["Dataset", Mapping[str, Any]], "Dataset"] = _as_it_is

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits it has."""
        return tuple(self.layout.annotations)


def each_split(pattern: str) -> dict[str, str]:
    """{split: the pattern with ``{split}`` filled in}."""
    return {split: pattern.format(split=split) for split in SPLITS}
