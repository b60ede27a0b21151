"""What a build is, and which builds the flags ask for, once the dataset has been brought to COCO format."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from absl import flags

from hrpose.storage import is_remote
from pipelines.annotations import CONVERSIONS
from pipelines.annotations.conversion import ConversionTask, Filtered
from pipelines.crops import BUILD_VERSION, CropOptions
from pipelines.errors import BuildError
from pipelines.storage import exists, file_sha256
from records.datasets import BOXES, Dataset, DatasetPaths
from records.manifest import MANIFEST
from records.schema import SCHEMA_VERSION
from records.skeletons import Skeleton

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Build:
    """One folder of records to be made.

    Attributes:
        dataset, split, boxes: what to build; boxes is "ground_truth" or "detections".
        skeleton: whose keypoints the annotations have; None: those that the annotation file describes.
        annotations: the COCO-format annotation file.
        images: the image folder.
        name_prefix: what file names begin with that is not part of the path below it.
        follow_links: whether links may lead out of the image folder.
        exif_orientation: "ignore", "apply" or "auto", see `pipelines.exif.orient`.
        detections: the detector's results, read if boxes is "detections".
        folder: where the records go.
        clean_boxes: whether to cut ground-truth boxes to their image.
        skeleton_file: a file in the form of a category, whose fields replace those of the annotation file's;
            read if `skeleton` is None; None for nothing to replace.
        lenient: whether annotations are read as labeling tools leave them, see
            `records.annotations.lenient`.
        category: with `lenient` the name or id of the category to take; None to choose.
        image_ids: a file that lists the images to look at; None for all.
        detection_category: id of the detections that count; None: that of the category with keypoints.
        filtered: {reason: count} of instances that the conversion to COCO format left out on purpose.
        instances_per_shard: about how many records a shard gets.
        score_threshold: detections with a lower score are left out.
        max_bad_fraction: the largest share of rejected instances with which the build still succeeds.
        overwrite: whether to replace records that stand there; they stay until those that replace them are
            whole.
        beam_args: arguments for Beam's `PipelineOptions`.
    """

    dataset: str
    split: str
    boxes: str
    skeleton: Skeleton | None
    annotations: str
    images: str
    detections: str
    folder: str
    options: CropOptions
    name_prefix: str = ""
    follow_links: bool = False
    exif_orientation: str = "ignore"
    clean_boxes: bool = True
    skeleton_file: str | None = None
    lenient: bool = False
    category: str | None = None
    image_ids: str | None = None
    detection_category: int | None = None
    filtered: Mapping[str, int] = field(default_factory=dict)
    instances_per_shard: int = 1024
    score_threshold: float = 0.0
    max_bad_fraction: float = 0.01
    overwrite: bool = False
    beam_args: tuple[str, ...] = ()


def build_options(build: Build) -> dict[str, Any]:
    """Everything that decides the shards' bytes but the images themselves, as the manifest keeps it."""
    options = dataclasses.asdict(build.options)
    options["input_size"] = list(build.options.input_size)
    options["schema_version"], options["build_version"] = SCHEMA_VERSION, BUILD_VERSION
    options["instances_per_shard"] = build.instances_per_shard
    options["annotations_sha256"] = file_sha256(build.annotations)
    if build.skeleton_file:
        options["skeleton"] = file_sha256(build.skeleton_file)
    if build.category is not None:
        options["category"] = build.category
    if build.image_ids:
        options["image_ids_sha256"] = file_sha256(build.image_ids)
    if build.exif_orientation != "ignore":
        options["exif_orientation"] = build.exif_orientation
    if build.follow_links:
        options["follow_links"] = True
    if build.boxes == "detections":
        options["score_threshold"] = build.score_threshold
        options["detection_category"] = build.detection_category
        options["detections_sha256"] = file_sha256(build.detections)
    else:
        options["clean_boxes"] = build.clean_boxes
    return options


def prepare(
    values: flags.FlagValues, dataset: Dataset, paths: DatasetPaths, options: Mapping[str, Any]
) -> Filtered:
    """Brings a dataset to COCO format, if it is not: converts it, or generates it.

    Args:
        values: the flags.
        dataset: what to prepare.
        paths: where its files are.
        options: the values of its own options.

    Returns:
        Of the instances whom a conversion left out.

    Raises:
        BuildError: if the dataset's folder is missing, or cannot be brought to COCO format.
    """
    filtered: Filtered = {}
    if conversion := CONVERSIONS.get(dataset.name):
        given = bool(values.annotations)
        filtered = conversion(
            ConversionTask(dataset, paths, options, given, values.overwrite, values.workers)
        )
    folder, layout = paths.dataset_dir, dataset.layout
    if values.annotations and values.images:
        return filtered
    if not (exists(folder) if is_remote(folder) else folder.is_dir()):
        raise BuildError(
            f"the dataset folder {folder} does not exist; expected {layout.folder} there with "
            f"{layout.raw or layout.annotations[dataset.splits[0]]}. --dataset_dir says where else to look"
        )
    return filtered


def plan_builds(
    values: flags.FlagValues,
    dataset: Dataset,
    paths: DatasetPaths,
    input_size: tuple[int, int],
    beam_args: tuple[str, ...],
    filtered: Filtered,
) -> list[Build]:
    """The builds the flags ask for.

    Args:
        values: the flags.
        dataset: what to build.
        paths: where its files are.
        input_size: (width, height) of the network input.
        beam_args: arguments for Beam's `PipelineOptions`.
        filtered: of the instances whom a conversion left out.

    Raises:
        BuildError: if nothing that could be built is there.
    """
    layout, builds = dataset.layout, []
    learnable = [split for split in dataset.splits if split != "test"]
    for split in [values.split] if values.split else learnable:
        annotations, images = paths.annotations[split], paths.images[split]
        if not values.split and not exists(annotations):
            _warn_of_left_over(paths.records(split, "ground_truth"))
            continue
        for boxes in _boxes(values, split, paths.detections):
            _check_inputs(annotations, images, layout.raw)
            if boxes == "detections" and not exists(paths.detections):
                raise BuildError(
                    f"{paths.detections} does not exist; expected a person detector's boxes there as a COCO "
                    "results file. --detections says where else to look"
                )
            builds.append(
                Build(
                    dataset=dataset.name,
                    split=split,
                    boxes=boxes,
                    skeleton=dataset.skeleton,
                    annotations=str(annotations),
                    images=str(images),
                    detections=str(paths.detections),
                    folder=str(paths.records(split, boxes)),
                    options=CropOptions(
                        input_size=input_size,
                        scale_factor=values.scale_factor if boxes == "ground_truth" else None,
                        encoding=values.crop_encoding,
                        max_crop_scale=values.max_crop_scale,
                        quality=values.crop_quality,
                        sharp_halves=dataset.recipe.augmentation.half_body_probability > 0,
                    ),
                    name_prefix=layout.name_prefix,
                    follow_links=values.follow_links,
                    exif_orientation=values.exif_orientation or dataset.exif_orientation,
                    clean_boxes=dataset.clean_boxes,
                    skeleton_file=values.skeleton,
                    lenient=dataset.lenient,
                    category=values.category,
                    image_ids=values.image_ids,
                    detection_category=values.detection_category,
                    filtered=filtered.get(split, {}),
                    instances_per_shard=values.instances_per_shard,
                    score_threshold=values.score_threshold,
                    max_bad_fraction=values.max_bad_fraction,
                    overwrite=values.overwrite,
                    beam_args=beam_args,
                )
            )
    if not builds:
        expected = [layout.raw] if layout.raw else [layout.annotations[split] for split in learnable]
        raise BuildError(f"{paths.dataset_dir} holds no annotations; expected {' or '.join(expected)} there")
    return builds


def _boxes(values: flags.FlagValues, split: str, detections: Path) -> Sequence[str]:
    """Whose boxes to build of a split's images."""
    if values.boxes:
        # A detector's file is usually for the images that are evaluated only.
        asked = values.split or values.boxes == "ground_truth" or split != "train"
        return [values.boxes] if asked else []
    if not exists(detections):
        return ["ground_truth"]
    # Of test images, which have nobody to learn from, a detector's.
    return {"train": ["ground_truth"], "test": ["detections"]}.get(split, BOXES)


def _check_inputs(annotations: Path, images: Path, raw: str | None) -> None:
    """Raises BuildError if a build's annotation file or image folder is not there."""
    for path, what in ((annotations, "annotation file"), (images, "image folder")):
        if not exists(path):
            hint = f"; it is converted from {raw}" if path == annotations and raw else ""
            raise BuildError(f"the {what} {path} does not exist{hint}")


def _warn_of_left_over(records: Path) -> None:
    """Warns of records without annotations beside those that are built."""
    if exists(records / MANIFEST):
        log.warning(
            "%s holds records whose annotations are gone; what is built now may have the same instances. "
            "Remove that folder unless you know better",
            records,
        )
