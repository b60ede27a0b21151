"""From flags to builds: what has to be made first, and which folders of records there are to build."""

from pathlib import PurePath

from tqdm import tqdm

from hrpose.storage import is_remote, path_of
from pipelines.annotations.convert import CONVERTERS, ConvertOptions, ensure_converted
from pipelines.build import Build
from pipelines.crops import CropOptions
from pipelines.instances import BuildError
from pipelines.storage import check_reachable, exists
from pipelines.synthetic import SyntheticOptions, generate
from records.datasets import BOXES, records_folder
from records.manifest import MANIFEST


def plan_builds(values, layout, input_size, beam_args, filtered):
    """The builds the flags ask for: a list of `Build`.

    Args:
        values: the flags.
        layout: the dataset's `Layout`.
        input_size: (width, height) of the network input.
        beam_args: arguments for Beam's `PipelineOptions`.
        filtered: {split: {reason: count}} of instances that a conversion left out.

    Raises:
        BuildError: if nothing that could be built is there.
    """
    dataset_dir = path_of(values.dataset_dir or layout.default_dir())
    detections = path_of(values.detections or dataset_dir / layout.detections)
    builds = []
    for split in [values.split] if values.split else ("train", "val"):
        converted = path_of(values.annotations_dir or dataset_dir / "annotations")
        annotations = path_of(values.annotations or converted / PurePath(layout.annotations[split]).name)
        images = path_of(values.images or dataset_dir / layout.images.format(split=split))
        if not values.split and not exists(annotations):
            left_over = records_folder(values.records_dir or dataset_dir / "records", split, "ground_truth")
            if exists(left_over / MANIFEST):
                print(
                    f"warning: {left_over} holds records whose annotations are gone; what is built now may "
                    "have the same instances. Remove that folder unless you know better"
                )
            continue
        for boxes in [values.boxes] if values.boxes else _boxes_by_default(split, detections):
            if boxes == "detections" and not values.boxes and not exists(detections):
                continue
            if boxes == "detections" and split == "train" and not (values.split and values.boxes):
                continue  # a detector's file is usually for the images that are evaluated only
            for path, what in ((annotations, "annotation file"), (images, "image folder")):
                if not exists(path):
                    hint = (
                        f"; it is converted from {layout.raw}" if path == annotations and layout.raw else ""
                    )
                    raise BuildError(f"the {what} {path} does not exist{hint}")
            if boxes == "detections" and not exists(detections):
                raise BuildError(
                    f"{detections} does not exist; expected a person detector's boxes there as a COCO "
                    "results file. --detections says where else to look"
                )
            builds.append(
                Build(
                    dataset=layout.name,
                    split=split,
                    boxes=boxes,
                    skeleton=layout.skeleton,
                    annotations=str(annotations),
                    images=str(images),
                    detections=str(detections),
                    folder=str(records_folder(values.records_dir or dataset_dir / "records", split, boxes)),
                    options=CropOptions(
                        input_size=input_size,
                        scale_factor=values.scale_factor if boxes == "ground_truth" else None,
                        encoding=values.crop_encoding,
                        max_crop_scale=values.max_crop_scale,
                        quality=values.crop_quality,
                        sharp_halves=layout.recipe.augmentation.half_body_probability > 0,
                    ),
                    name_prefix=layout.name_prefix,
                    follow_links=values.follow_links,
                    exif_orientation=values.exif_orientation or layout.exif_orientation,
                    clean_boxes=layout.clean_boxes,
                    skeleton_file=values.skeleton,
                    lenient=layout.lenient,
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
        expected = [layout.raw] if layout.raw else [layout.annotations[split] for split in ("train", "val")]
        raise BuildError(f"{dataset_dir} holds no annotations; expected {' or '.join(expected)} there")
    return builds


def _boxes_by_default(split, detections):
    """Whose boxes to build: of test images, which have nobody to learn from, a detector's if there are."""
    return ("detections",) if split == "test" and exists(detections) else BOXES


def prepare(values, layout):
    """Brings a dataset to COCO format: draws the synthetic one, converts MPII and PoseTrack.

    Returns:
        {split: {reason: count}} of instances that a conversion left out.

    Raises:
        BuildError: if the dataset's folder is missing, or cannot be brought to COCO format.
    """
    dataset_dir = path_of(values.dataset_dir or layout.default_dir())
    named = (
        *("records_dir", "annotations", "annotations_dir", "images", "detections"),
        *("image_ids", "validation_list", "skeleton"),
    )
    check_reachable(dataset_dir, *(values[name].value for name in named))
    if layout.name == "synthetic":
        generate_synthetic(values, dataset_dir)
    if values.annotations and values.images:
        return {}
    if not (exists(dataset_dir) if is_remote(dataset_dir) else dataset_dir.is_dir()):
        raise BuildError(
            f"the dataset folder {dataset_dir} does not exist; expected {layout.folder} there with "
            f"{layout.raw or layout.annotations['train']}. --dataset_dir says where else to look"
        )
    if layout.name not in CONVERTERS or values.annotations:
        return {}
    options = ConvertOptions(
        values.mpii_boxes, values.validation_list, values.overwrite, values.annotations_dir
    )
    images = values.images or dataset_dir / layout.images
    return ensure_converted(layout, dataset_dir, images, options)


def generate_synthetic(values, folder):
    """Draws the synthetic dataset unless it is there.

    Raises:
        BuildError: if the folder holds one of other options, or something else, or is not on this host.
    """
    if is_remote(folder):
        raise BuildError(
            f"--dataset_dir={folder}: the synthetic dataset is drawn on this host; expected a path of it. "
            "--records_dir may be elsewhere"
        )
    options = SyntheticOptions(
        train_images=values.train_images, val_images=values.val_images, seed=values.seed
    )
    total = options.train_images + options.val_images
    with tqdm(total=total, desc="draw", unit=" images", dynamic_ncols=True, delay=1) as bar:

        def show(done, _):
            bar.update(done - bar.n)

        try:
            generated = generate(folder, options, values.workers, values.overwrite, show)
        except FileExistsError as error:
            raise BuildError(f"{error}; --overwrite and --dataset_dir do that") from error
        bar.leave = generated
    say = "drawn" if generated else "already generated"
    print(f"{folder}: {options.train_images:,} train and {options.val_images:,} val images {say}")
