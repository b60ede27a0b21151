"""A user's own keypoint annotations in COCO format, of instances, hands, animals or anything else."""

from records.datasets.dataset import Dataset, Layout, each_split

DATASET = Dataset(
    name="custom",
    skeleton=None,
    layout=Layout(folder="Custom", annotations=each_split("annotations/{split}.json")),
    metrics=("coco",),
    lenient=True,
    exif_orientation="auto",
    user_data=True,
)
