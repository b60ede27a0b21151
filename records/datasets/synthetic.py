"""The built-in synthetic dataset: rendered instances in COCO's layout, see `pipelines.synthetic`."""

from hrpose.options import Option
from records.datasets.dataset import Dataset, Layout, each_split
from records.skeletons import COCO

DATASET = Dataset(
    name="synthetic",
    skeleton=COCO,
    layout=Layout(
        folder="Synthetic",
        annotations=each_split("annotations/person_keypoints_{split}.json"),
        images="images/{split}",
    ),
    metrics=("coco",),
    options=(
        Option("train_images", 1500, "images to render for train.", least=1, most=999_999),
        Option("val_images", 150, "images to render for val.", least=1, most=999_999),
        Option("seed", 0, "seed of the rendered images.", least=0),
    ),
)
