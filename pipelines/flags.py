"""Flags of ``pipelines/build_records.py``, and which of them contradict each other."""

import re
from collections.abc import Callable
from typing import Any

from absl import flags

from hrpose.command import UsageError
from hrpose.options import Option, define_options
from records.datasets import DATASETS, DEFAULT_DATASET
from records.datasets.dataset import BOXES, SPLITS, Dataset
from records.geometry import MAX_CROP_SCALE

#: Flags that say where a dataset's files are, if not where its layout has them.
PLACES = ("dataset_dir", "records_dir", "annotations", "annotations_dir", "images", "detections")

#: All flags that are paths.
PATHS = (*PLACES, "image_ids", "skeleton")


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags in an absl `FlagValues`."""
    add: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_enum("dataset", DEFAULT_DATASET, sorted(DATASETS), "Which dataset to build.", **add)
    flags.DEFINE_enum(
        "split", None, SPLITS, "Which split; by default train and val, if they are there.", **add
    )
    flags.DEFINE_enum(
        "boxes",
        None,
        BOXES,
        "Whose boxes: the annotations' (ground_truth) or a person detector's (detections).",
        **add,
    )
    flags.DEFINE_string(
        "dataset_dir", None, "The dataset's folder, here or gs://…; by default dataset/COCO and so on.", **add
    )
    flags.DEFINE_string(
        "records_dir", None, "Where the records go; by default the dataset folder's records/.", **add
    )
    flags.DEFINE_string("annotations", None, "Annotation file, if it is elsewhere (one --split only).", **add)
    flags.DEFINE_string(
        "annotations_dir",
        None,
        "MPII and PoseTrack: where the converted annotations go, if the dataset's annotations/ cannot be "
        "written.",
        **add,
    )
    flags.DEFINE_string("images", None, "Image folder, if it is elsewhere (one --split only).", **add)
    flags.DEFINE_bool(
        "follow_links",
        False,
        "Take images that are links out of the image folder, as those of DVC, git-annex and the caches "
        "of Hugging Face are.",
        **add,
    )
    flags.DEFINE_enum(
        "exif_orientation",
        None,
        ["auto", "ignore", "apply"],
        "Whether images are turned upright as their EXIF data say: auto turns those whose annotated size "
        "is the upright one's. By default auto for custom, ignore for the others, which were annotated on "
        "the pixels as they are stored.",
        **add,
    )
    flags.DEFINE_string("detections", None, "Detector results, if they are elsewhere.", **add)
    flags.DEFINE_string(
        "input_size",
        None,
        "Width x height of the network input the records are for, by default 192x256, for MPII 256x256. It "
        "decides the crops' shape and largest stored size.",
        **add,
    )
    flags.DEFINE_float(
        "scale_factor",
        0.35,
        "Ground-truth crops leave room for this much scale augmentation, at any rotation.",
        lower_bound=0,
        upper_bound=0.99,
        **add,
    )
    flags.DEFINE_enum(
        "crop_encoding",
        "jpeg",
        ["jpeg", "exact"],
        "exact keeps the image's own pixels, as PNG and never made smaller: about eight times the bytes.",
        **add,
    )
    flags.DEFINE_integer(
        "crop_quality",
        80,
        "JPEG quality of instances stored at the network input's resolution or above; smaller ones get a "
        "higher one.",
        lower_bound=1,
        upper_bound=100,
        **add,
    )
    flags.DEFINE_float(
        "max_crop_scale",
        MAX_CROP_SCALE,
        "Large instances, and those with large halves if half bodies may be sampled, are stored at this many "
        "times the network input's resolution at most.",
        lower_bound=0.1,
        **add,
    )
    flags.DEFINE_integer(
        "instances_per_shard", 1024, "About how many records a shard gets.", lower_bound=1, **add
    )
    flags.DEFINE_float("score_threshold", 0.0, "Leave out detections with a lower score.", **add)
    flags.DEFINE_integer(
        "detection_category",
        None,
        "Which category_id of the detections to take; by default that of the annotations' instances (COCO: "
        "1).",
        **add,
    )
    flags.DEFINE_string(
        "category",
        None,
        "custom: name or id of the category to build from a file where several with different keypoints are "
        "annotated; by default the one that is, and categories with the same keypoints are one.",
        **add,
    )
    flags.DEFINE_string(
        "image_ids",
        None,
        "File with the ids of the images to build from, a JSON list or one a line; by default all.",
        **add,
    )
    flags.DEFINE_string(
        "skeleton",
        None,
        'custom: JSON file with an object in the form of a COCO category: "keypoints" (names), "flip_pairs", '
        '"sigmas", "upper_body", "skeleton" (lines). What it has replaces what the annotation file says, or '
        "does not say. A COCO file with one such category will do.",
        **add,
    )
    flags.DEFINE_float(
        "max_bad_fraction",
        0.01,
        "The build fails if a larger share of the instances had to be rejected (rejected.jsonl says why).",
        lower_bound=0,
        upper_bound=1,
        **add,
    )
    flags.DEFINE_bool(
        "overwrite",
        False,
        "Replace records that were built with other options, such as another --input_size.",
        **add,
    )
    flags.DEFINE_integer(
        "workers",
        1,
        "Processes on this host; engines elsewhere have options of their own.",
        lower_bound=1,
        **add,
    )
    define_options(values, own_options())


def own_options() -> dict[str, tuple[Option, ...]]:
    """The options that each dataset has for itself."""
    return {name: dataset.options for name, dataset in DATASETS.items()}


def check_flags(values: flags.FlagValues, dataset: Dataset) -> None:
    """Refuses flags that contradict each other or the dataset, and paths of stores that lack a slash.

    Raises:
        UsageError: naming them.
    """
    for name in PATHS:
        if re.match(r"[a-z][a-z0-9]+:/(?!/)", values[name].value or ""):
            raise UsageError(f"--{name}={values[name].value}: a store's path begins with gs://, two slashes")
    if values.split and values.split not in dataset.splits:
        raise UsageError(f"--split={values.split}: {dataset.name} has {', '.join(dataset.splits)}")
    own = [values.annotations, values.images]
    if any(own) and not values.split and not dataset.user_data:
        raise UsageError("--annotations and --images belong to one split: say which with --split")
    if any(own) and not all(own) and not values.dataset_dir and dataset.user_data:
        missing = "--images" if values.annotations else "--annotations"
        raise UsageError(
            f"{missing} is missing: --dataset {dataset.name} needs --annotations and --images, or else "
            f"a --dataset_dir with {dataset.layout.annotations['train']} and {dataset.layout.images}/"
        )
    if values.skeleton and dataset.skeleton is not None:
        described = _datasets(lambda other: other.skeleton is None)
        raise UsageError(f"--skeleton is for {described}; the keypoints of {dataset.name} are known")
    if values.category is not None and not dataset.lenient:
        lenient = _datasets(lambda other: other.lenient)
        raise UsageError(f"--category is for {lenient}; the other datasets have one category of instances")
    if values.annotations_dir and not dataset.layout.raw:
        converted = _datasets(lambda other: other.layout.raw)
        raise UsageError(f"--annotations_dir is for datasets that are converted: {converted}")


def _datasets(chosen: Callable[[Dataset], object]) -> str:
    """The flag that asks for one of the datasets that are chosen, for messages."""
    return f"--dataset={' or '.join(name for name, dataset in DATASETS.items() if chosen(dataset))}"
