"""Where each dataset's files lie below its folder: the layout users have on disk."""

from dataclasses import dataclass
from pathlib import Path

from records.skeletons import COCO, Skeleton


@dataclass(frozen=True)
class Layout:
    """One dataset's places. Paths are relative to the dataset's folder; ``{split}`` is filled in.

    Attributes:
        name: the value of ``--dataset``.
        folder: the dataset's folder below ``dataset/``.
        skeleton: its keypoints.
        splits: the splits there are.
        annotations: the COCO-format annotation file.
        images: the picture folder.
        detections: the person detector's boxes, a COCO results file.
    """

    name: str
    folder: str
    skeleton: Skeleton
    splits: tuple[str, ...]
    annotations: str
    images: str
    detections: str = "dets/human_detection.json"

    def default_dir(self):
        """The dataset's folder if the user names none."""
        return Path("dataset") / self.folder


LAYOUTS = {
    layout.name: layout
    for layout in (
        Layout(
            name="coco",
            folder="COCO",
            skeleton=COCO,
            splits=("train", "val"),
            annotations="annotations/person_keypoints_{split}2017.json",
            images="images/{split}2017",
        ),
        Layout(
            name="synthetic",
            folder="Synthetic",
            skeleton=COCO,
            splits=("train", "val"),
            annotations="annotations/person_keypoints_{split}.json",
            images="images/{split}",
        ),
    )
}

BOXES = ("ground_truth", "detections")


def records_folder(records_dir, split, boxes):
    """The folder of one build: ``train``, ``val``, ``val_detections`` …"""
    return Path(records_dir) / (split if boxes == "ground_truth" else f"{split}_{boxes}")
