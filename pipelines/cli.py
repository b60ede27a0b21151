"""Flags of ``pipelines/build_records.py``."""

import logging
import re
import time
from collections.abc import Callable

from absl import flags

from hrpose.command import UsageError, captured_stderr, run
from hrpose.flag_values import input_size_note, parse_input_size
from hrpose.options import Option, define_options, options_of
from hrpose.storage import is_remote
from records.datasets import BOXES, DATASETS, DEFAULT_DATASET, SPLITS, Dataset, dataset_paths
from records.plausibility import placement_rows

log = logging.getLogger(__name__)

NAME = "python pipelines/build_records.py"

#: Flags that say where a dataset's files are, if not where its layout has them.
PLACES = ("dataset_dir", "records_dir", "annotations", "annotations_dir", "images", "detections")

#: All flags that are paths.
PATHS = (*PLACES, "image_ids", "skeleton")

DESCRIPTION = """
Turns a dataset into training records: TFRecord shards of instance crops with all that the trainer and the
evaluator need to know about them.

  python pipelines/build_records.py --dataset coco
  python pipelines/build_records.py --dataset coco --split val --boxes detections
  python pipelines/build_records.py --dataset mpii --validation_list valid.json
  python pipelines/build_records.py --dataset posetrack --workers 8
  python pipelines/build_records.py --dataset custom --annotations mine.json --images photos
  python pipelines/build_records.py --dataset synthetic --workers 2

Without --split and --boxes it builds what there is: train and val from the annotated boxes, and val once
more from the person detector's boxes. Run it again to go on after an interruption; nothing is built twice.
The dataset's folder is expected to look like this (--dataset_dir, --annotations, --images and --detections
say where else things are):

  dataset/COCO/annotations/person_keypoints_{train,val}2017.json
  dataset/COCO/images/{train,val}2017/*.jpg
  dataset/COCO/dets/human_detection.json            a person detector's boxes, COCO results format
  dataset/COCO/records/{train,val,val_detections}   made by this command

  dataset/MPII/mpii_human_pose_v1_u12_1.mat         is converted to annotations/{train,val,test}.json
  dataset/MPII/images/*.jpg

  dataset/PoseTrack/original_annotations/{train,val,test}/*.json   are converted to
                                                    annotations/{train,val,test}2018.json
  dataset/PoseTrack/images/{train,val,test}/*/*.jpg

"custom" takes any keypoint annotations in COCO format: the number and names of the keypoints and the lines
between them come from the file's "categories"; what mirrors what from names with left and right, or from
"flip_pairs" there; OKS sigmas from "sigmas" there. --skeleton names a file that says these things where the
annotations do not, or say them wrong. --split (train by default) says what to call it.
"synthetic" renders its own images first.

The job runs in this process, in --workers=N processes, or on an engine that Apache Beam's own options after
-- name (-- --help lists them; docs/clusters.md has each engine's command), with the same bytes:

  python pipelines/build_records.py --dataset coco -- --runner DaskRunner --dask_client_address
  tcp://host:8786
"""


def define_flags(values):
    """Defines the command's flags in an absl `FlagValues`."""
    add = dict(flag_values=values)
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
        1.5,
        "Large instances, and those with large halves if half bodies may be drawn, are stored at this many "
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
    define_options(values, _own_options())


def _own_options() -> dict[str, tuple[Option, ...]]:
    """The options that each dataset has for itself."""
    return {name: dataset.options for name, dataset in DATASETS.items()}


def main(values, rest):
    """Builds what the flags ask for."""
    with captured_stderr():  # Beam warns of parts that are not installed
        from pipelines.build import build_records
        from pipelines.build_specs import plan_builds, prepare
        from pipelines.runner_options import only_submits
        from pipelines.storage import check_reachable, store_errors, use_options
    dataset = DATASETS[values.dataset]
    input_size = dataset.input_size if values.input_size is None else parse_input_size(values.input_size)
    if values.input_size and (note := input_size_note(input_size)):
        log.info("%s", note)
    beam_args = beam_arguments(values, rest)
    check_flags(values, dataset)
    options = options_of(values, _own_options(), [dataset.name], "dataset")
    dataset = dataset.adapted(dataset, options)
    paths = dataset_paths(dataset, **{name: values[name].value for name in PLACES})
    use_options(beam_args)
    with store_errors():
        check_reachable(*(argument.partition("=")[2] for argument in beam_args if "=gs://" in argument))
        own = (value for value in options.values() if isinstance(value, str))
        check_reachable(paths.dataset_dir, *(values[name].value for name in PATHS), *own)
        filtered = prepare(values, dataset, paths, options)
        if dataset.user_data and values.annotations and not values.split:
            values.split = "train"
        builds = plan_builds(values, dataset, paths, input_size, beam_args, filtered)
        refuse_local_folders(builds, beam_args)
        if len(builds) > 1 and only_submits(beam_args):
            raise UsageError(
                "--template_location and --no_wait_until_finish are for one job, and here would be "
                f"{len(builds)}: say which with --split and --boxes"
            )
        for build in builds:
            start = time.monotonic()
            manifest = build_records(build)
            if manifest:
                print(f"{build.folder}\n{format_table(manifest, time.monotonic() - start)}")


def format_table(manifest, seconds):
    """What a finished build says for itself.

    Args:
        manifest: its `Manifest`.
        seconds: how long it took.
    """
    size = sum(shard.size for shard in manifest.shards)
    rows = [
        ("instances", f"{manifest.records:,}", f"of {manifest.skeleton.num_keypoints} keypoints"),
        ("images", f"{manifest.images:,}", ""),
        ("shards", f"{len(manifest.shards):,}", f"in {seconds:.0f} s"),
        ("MB", f"{size / 1e6:,.1f}", f"{size / 1e3 / max(manifest.records, 1):.1f} KB an instance"),
    ]
    for what, reasons in (("filtered", manifest.filtered), ("rejected", manifest.rejected)):
        rows.append((what, f"{sum(reasons.values()):,}", ""))
        rows += [("", f"{count:,}", reason) for reason, count in reasons.items()]
    for count, text in placement_rows(manifest.placement):
        rows.append(("misplaced", f"{count:,}", text))
    return "\n".join(f"  {name:<9}{number:>12}  {text}".rstrip() for name, number, text in rows)


def refuse_local_folders(builds, beam_args):
    """Refuses folders of this host for Dataflow, whose workers cannot see them.

    Raises:
        UsageError: naming one.
    """
    if "--runner=DataflowRunner" in beam_args:
        for path in (path for build in builds for path in (build.images, build.folder)):
            if not is_remote(path):
                raise UsageError(
                    f"Dataflow's workers cannot see {path}: dataset and records have to be in gs://"
                )


def check_flags(values: flags.FlagValues, dataset: Dataset) -> None:
    """Refuses flags that contradict each other or the dataset, and paths of stores that lack a slash.

    Raises:
        UsageError: naming them.
    """
    for name in PATHS:
        if values[name].value and re.match(r"[a-z][a-z0-9]+:/(?!/)", values[name].value):
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


def beam_arguments(values, rest):
    """The arguments for Beam's `PipelineOptions`, of an engine that is there.

    Raises:
        UsageError: if they are none, or contradict each other or --workers.
        BuildError: if the engine cannot be reached.
    """
    with captured_stderr():
        from pipelines import runner_options
    arguments = runner_options.beam_arguments(rest, values.workers)
    runner_options.check_listening(arguments)
    return arguments


def command(argv=None):
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv)
