"""COCO 2017, instance keypoints: https://cocodataset.org."""

from records.datasets.dataset import Dataset, Layout, each_split
from records.skeletons import COCO

DATASET = Dataset(
    name="coco",
    skeleton=COCO,
    layout=Layout(
        folder="COCO",
        annotations=each_split("annotations/person_keypoints_{split}2017.json")
        | {"test": "annotations/image_info_test-dev2017.json"},
        images="images/{split}2017",
    ),
    metrics=("coco",),
    has_coco_server=True,
)
