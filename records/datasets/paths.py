"""Where the files of one dataset are in fact: its layout below a folder, but for what the user says."""

from dataclasses import dataclass
from pathlib import Path, PurePath

from hrpose.storage import path_of
from records.datasets.dataset import Dataset


@dataclass(frozen=True)
class DatasetPaths:
    """A dataset's places, on this host or in a store (then what stands for a path there).

    Attributes:
        dataset_dir: its folder.
        annotations: {split: COCO-format annotation file}.
        images: {split: image folder}.
        detections: the person detector's boxes.
        records_dir: the folder of the folders of records.
    """

    dataset_dir: Path
    annotations: dict[str, Path]
    images: dict[str, Path]
    detections: Path
    records_dir: Path

    def records(self, split: str, boxes: str) -> Path:
        """The folder of one build."""
        return records_folder(self.records_dir, split, boxes)


def dataset_paths(
    dataset: Dataset,
    *,
    dataset_dir: str | Path | None = None,
    annotations: str | Path | None = None,
    annotations_dir: str | Path | None = None,
    images: str | Path | None = None,
    detections: str | Path | None = None,
    records_dir: str | Path | None = None,
) -> DatasetPaths:
    """Resolves a dataset's places; what is None is where the layout has it.

    Args:
        dataset: whose they are.
        dataset_dir: its folder.
        annotations: the annotation file, of whichever split is asked for.
        annotations_dir: the folder of the annotation files, which keep their names.
        images: the image folder, likewise of any split.
        detections: the person detector's boxes.
        records_dir: the folder of the folders of records.

    Raises:
        CommandError: for a path in a store, if the packages for such are not installed.
    """
    layout = dataset.layout
    folder = path_of(dataset_dir or layout.default_dir())
    files = {split: folder / name for split, name in layout.annotations.items()}
    if annotations_dir:
        files = {split: path_of(annotations_dir) / PurePath(file).name for split, file in files.items()}
    return DatasetPaths(
        dataset_dir=folder,
        annotations={split: path_of(annotations or file) for split, file in files.items()},
        images={split: path_of(images or folder / layout.images.format(split=split)) for split in files},
        detections=path_of(detections or folder / layout.detections),
        records_dir=path_of(records_dir or folder / "records"),
    )


def records_folder(records_dir: str | Path, split: str, boxes: str) -> Path:
    """The folder of one build: ``train``, ``val``, ``val_detections`` …"""
    return path_of(records_dir) / (split if boxes == "ground_truth" else f"{split}_{boxes}")
