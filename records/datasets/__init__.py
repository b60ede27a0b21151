"""Where each dataset's files lie below its folder, as users have them, and how it is trained on."""

from dataclasses import dataclass
from pathlib import Path

from hrpose.storage import path_of
from records.augment import Augmentation
from records.skeletons import COCO, MPII, POSETRACK, Skeleton


@dataclass(frozen=True)
class Recipe:
    """What a published training run has where the user asks for nothing else.

    Attributes:
        name: whose recipe it is, for messages.
        augmentation: an `Augmentation`.
        batch_size: instances per GPU.
    """

    name: str
    augmentation: Augmentation
    batch_size: int = 32


#: experiments/coco/hrnet/w32_256x192_adam_lr1e-3.yaml of the official code. For PoseTrack the HRNet paper
#: (section 4.3) names no other augmentation, and no batch size.
COCO_RECIPE = Recipe("COCO's published recipe", Augmentation())
#: experiments/mpii/hrnet/w32_256x256_adam_lr1e-3.yaml there; its PROB_HALF_BODY is -1, which is never.
MPII_RECIPE = Recipe(
    "MPII's published recipe",
    Augmentation(scale_factor=0.25, rotation_factor=30.0, half_body_probability=0.0),
)


@dataclass(frozen=True)
class Layout:
    """One dataset's places. Paths are relative to the dataset's folder; ``{split}`` is filled in.

    Attributes:
        name: the value of ``--dataset``.
        folder: the dataset's folder below ``dataset/``.
        skeleton: its keypoints; None: those that the annotation file's `categories` describe.
        annotations: {split: COCO-format annotation file}. Unless a split is named, those that are there are
            built, but never "test", which has no keypoints to learn from or to measure.
        images: the image folder.
        name_prefix: what file names in the annotations begin with besides the path below `images`.
        clean_boxes: whether to cut ground-truth boxes to the image, as the official code does for COCO. Not
            for MPII, where a box stands for a center and a size that must not change.
        raw: what the annotations are converted from, if they are, as messages name it.
        detections: the person detector's boxes, a COCO results file.
        input_size: (width, height) of the network input that the paper uses first for this dataset.
        lenient: whether annotations are read as labeling tools leave them (`records.annotations.lenient`),
            not by COCO's letter.
        exif_orientation: what a build does with images' EXIF orientation unless told, see
            `pipelines.exif.orient`. The datasets with a name were annotated on the pixels as they are stored.
        recipe: what training on it has by default.
    """

    name: str
    folder: str
    skeleton: Skeleton | None
    annotations: dict[str, str]
    images: str
    name_prefix: str = ""
    clean_boxes: bool = True
    raw: str | None = None
    detections: str = "dets/human_detection.json"
    input_size: tuple[int, int] = (192, 256)
    lenient: bool = False
    exif_orientation: str = "ignore"
    recipe: Recipe = COCO_RECIPE

    def default_dir(self) -> Path:
        """The dataset's folder if the user names none."""
        return Path("dataset") / self.folder


SPLITS = ("train", "val", "test")


def _each_split(pattern: str) -> dict[str, str]:
    return {split: pattern.format(split=split) for split in SPLITS}


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            name="coco",
            folder="COCO",
            skeleton=COCO,
            annotations=_each_split("annotations/person_keypoints_{split}2017.json")
            | {"test": "annotations/image_info_test-dev2017.json"},
            images="images/{split}2017",
        ),
        Layout(
            name="mpii",
            folder="MPII",
            skeleton=MPII,
            annotations=_each_split("annotations/{split}.json"),
            images="images",
            clean_boxes=False,
            raw="mpii_human_pose_v1_u12_1.mat",
            input_size=(256, 256),
            recipe=MPII_RECIPE,
        ),
        Layout(
            name="posetrack",
            folder="PoseTrack",
            skeleton=POSETRACK,
            annotations=_each_split("annotations/{split}2018.json"),
            images="images",
            name_prefix="images/",
            raw="original_annotations/{train,val,test}/*.json",
        ),
        Layout(
            name="synthetic",
            folder="Synthetic",
            skeleton=COCO,
            annotations=_each_split("annotations/person_keypoints_{split}.json"),
            images="images/{split}",
        ),
        Layout(
            name="custom",
            folder="Custom",
            skeleton=None,
            annotations=_each_split("annotations/{split}.json"),
            images="images",
            lenient=True,
            exif_orientation="auto",
        ),
    )
}

BOXES = ("ground_truth", "detections")


def records_folder(records_dir: Path | str, split: str, boxes: str) -> Path:
    """The folder of one build: ``train``, ``val``, ``val_detections`` …"""
    return path_of(records_dir) / (split if boxes == "ground_truth" else f"{split}_{boxes}")
