"""Flags of ``pipelines/build_records.py``."""

import re
import time
from dataclasses import replace

from absl import flags

from hrpose.command import UsageError, captured_stderr, run
from hrpose.flag_values import input_size_note, parse_input_size
from hrpose.storage import is_remote
from records.datasets import BOXES, LAYOUTS, SPLITS
from records.plausibility import placement_rows

NAME = "python pipelines/build_records.py"

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
"synthetic" draws its own images first.

The job runs in this process, in --workers=N processes, or on an engine that Apache Beam's own options after
-- name (-- --help lists them; BUILD.md has each engine's command), with the same bytes:

  python pipelines/build_records.py --dataset coco -- --runner DaskRunner --dask_client_address
  tcp://host:8786
"""


def define_flags(values):
    """Defines the command's flags in an absl `FlagValues`."""
    add = dict(flag_values=values)
    flags.DEFINE_enum("dataset", "coco", sorted(LAYOUTS), "Which dataset to build.", **add)
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
    flags.DEFINE_enum(
        "mpii_boxes",
        "objpos",
        ["objpos", "keypoints"],
        "MPII: boxes from the release's own center and scale, as the official HRNet has them, or from the "
        "keypoints, exactly as the older converter made them (1-based coordinates, everything visible).",
        **add,
    )
    flags.DEFINE_string(
        "validation_list",
        None,
        "MPII: JSON list of those of the training part who are for validation: objects with image, center "
        "and scale (the valid.json that pose codes share, 2,958 instances), pairs [file name, place in "
        "annorect], or file names. Without it everybody is in train; the division is never guessed.",
        **add,
    )
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
    flags.DEFINE_integer(
        "train_images",
        1500,
        "synthetic: images to generate for train.",
        lower_bound=1,
        upper_bound=999_999,
        **add,
    )
    flags.DEFINE_integer(
        "val_images", 150, "synthetic: images to generate for val.", lower_bound=1, upper_bound=999_999, **add
    )
    flags.DEFINE_integer("seed", 0, "synthetic: seed of the synthetic images.", lower_bound=0, **add)


def main(values, rest):
    """Builds what the flags ask for."""
    with captured_stderr():  # Beam warns of parts that are not installed
        from pipelines.build import build_records
        from pipelines.build_specs import plan_builds, prepare
        from pipelines.storage import check_reachable, store_errors, use_options
        from pipelines.submission import only_submits
    layout = LAYOUTS[values.dataset]
    input_size = layout.input_size if values.input_size is None else parse_input_size(values.input_size)
    if values.input_size and (note := input_size_note(input_size)):
        print(note)
    beam_args = beam_arguments(values, rest)
    check_flags(values, layout)
    if values.mpii_boxes == "keypoints":
        # The older files name images from the dataset's folder, and their boxes are ordinary ones.
        layout = replace(layout, name_prefix="images/", clean_boxes=True)
    use_options(beam_args)
    with store_errors():
        check_reachable(*(argument.partition("=")[2] for argument in beam_args if "=gs://" in argument))
        filtered = prepare(values, layout)
        if layout.skeleton is None and values.annotations and not values.split:
            values.split = "train"
        builds = plan_builds(values, layout, input_size, beam_args, filtered)
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
                print(format_table(manifest, time.monotonic() - start))


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


def check_flags(values, layout):
    """Refuses flags that contradict each other, and paths of stores that lack a slash.

    Raises:
        UsageError: naming them.
    """
    paths = ("dataset_dir", "records_dir", "annotations", "annotations_dir", "images", "detections")
    for name in (*paths, "image_ids", "skeleton"):
        if values[name].value and re.match(r"[a-z][a-z0-9]+:/(?!/)", values[name].value):
            raise UsageError(f"--{name}={values[name].value}: a store's path begins with gs://, two slashes")
    if (values.annotations or values.images) and not values.split and values.dataset != "custom":
        raise UsageError("--annotations and --images belong to one split: say which with --split")
    own = [values.annotations, values.images]
    if values.dataset == "custom" and any(own) and not all(own) and not values.dataset_dir:
        missing = "--images" if values.annotations else "--annotations"
        raise UsageError(
            f"{missing} is missing: --dataset custom needs --annotations and --images, or else "
            "a --dataset_dir with annotations/train.json and images/"
        )
    if values.skeleton and layout.skeleton is not None:
        raise UsageError(f"--skeleton is for --dataset=custom; the keypoints of {values.dataset} are known")
    if values.category is not None and not layout.lenient:
        raise UsageError(
            "--category is for --dataset=custom; the other datasets have one category of instances"
        )
    if values.annotations_dir and not layout.raw:
        raise UsageError("--annotations_dir is for datasets that are converted: --dataset=mpii or posetrack")
    if values.dataset != "mpii" and (values.mpii_boxes != "objpos" or values.validation_list):
        raise UsageError("--mpii_boxes and --validation_list are for --dataset=mpii")


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
