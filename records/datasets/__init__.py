"""The datasets, each a `Dataset` in a file of its own. To add one: write such a file, and name it here."""

from records.datasets import coco, custom, mpii, posetrack, synthetic
from records.datasets.dataset import BOXES, SPLITS, Dataset, Layout, Recipe
from records.datasets.paths import DatasetPaths, dataset_paths, records_folder

__all__ = [
    "BOXES",
    "DATASETS",
    "DEFAULT_DATASET",
    "SPLITS",
    "Dataset",
    "DatasetPaths",
    "Layout",
    "Recipe",
    "dataset_paths",
    "records_folder",
]

#: By name.
DATASETS: dict[str, Dataset] = {
    module.DATASET.name: module.DATASET for module in (coco, mpii, posetrack, synthetic, custom)
}

#: What commands take unless told.
DEFAULT_DATASET = coco.DATASET.name
