"""MPII Human Pose: http://human-pose.mpi-inf.mpg.de."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hrpose.options import Option
from records.augment import Augmentation
from records.datasets.dataset import Dataset, Layout, Recipe, each_split
from records.skeletons import MPII


def _adapted(dataset: Dataset, options: Mapping[str, Any]) -> Dataset:
    """The older files name images from the dataset's folder, and their boxes are ordinary ones."""
    if options["mpii_boxes"] != "keypoints":
        return dataset
    return replace(dataset, layout=replace(dataset.layout, name_prefix="images/"), clean_boxes=True)


DATASET = Dataset(
    name="mpii",
    skeleton=MPII,
    layout=Layout(
        folder="MPII",
        annotations=each_split("annotations/{split}.json"),
        raw="mpii_human_pose_v1_u12_1.mat",
    ),
    metrics=("pckh",),
    # PCKh compares each annotated instance with one prediction, whose box is therefore the instance's.
    evaluation_boxes="ground_truth",
    input_size=(256, 256),
    #: experiments/mpii/hrnet/w32_256x256_adam_lr1e-3.yaml of the official code; its PROB_HALF_BODY is -1,
    #: which is never.
    recipe=Recipe(
        "MPII's published recipe",
        Augmentation(scale_factor=0.25, rotation_factor=30.0, half_body_probability=0.0),
    ),
    # A box stands for the release's center and scale.
    clean_boxes=False,
    options=(
        Option(
            "mpii_boxes",
            "objpos",
            "boxes from the release's own center and scale, as the official HRNet has them, or from the "
            "keypoints, exactly as the older converter made them (1-based coordinates, everything visible).",
            choices=("objpos", "keypoints"),
        ),
        Option(
            "validation_list",
            None,
            "JSON list of those of the training part who are for validation: objects with image, center and "
            "scale (the valid.json that pose codes share, 2,958 instances), pairs [file name, place in "
            "annorect], or file names. Without it everybody is in train; the division is never guessed.",
        ),
    ),
    adapted=_adapted,
)
