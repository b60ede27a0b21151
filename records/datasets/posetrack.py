"""PoseTrack 2018 and 2021: https://posetrack.net."""

from records.datasets.dataset import Dataset, Layout, each_split
from records.skeletons import POSETRACK

DATASET = Dataset(
    name="posetrack",
    skeleton=POSETRACK,
    layout=Layout(
        folder="PoseTrack",
        annotations=each_split("annotations/{split}2018.json"),
        name_prefix="images/",
        raw="original_annotations/{train,val,test}/*.json",
    ),
    metrics=("posetrack",),
)
