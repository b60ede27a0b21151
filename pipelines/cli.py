"""Flags of ``pipelines/build_records.py``."""

import time
from pathlib import Path

from absl import flags
from tqdm import tqdm

from pipelines.people import BuildError
from pipelines.synthetic import SyntheticOptions, generate
from records.command import UsageError, captured_stderr, parse_input_size, run
from records.layout import BOXES, LAYOUTS, records_folder

NAME = "python pipelines/build_records.py"

DESCRIPTION = """
Turns a dataset into training records: TFRecord shards of person crops with all that the trainer and the
evaluator need to know about them.

  python pipelines/build_records.py --dataset coco
  python pipelines/build_records.py --dataset coco --split val --boxes detections
  python pipelines/build_records.py --dataset synthetic --workers 2

Without --split and --boxes it builds what there is: train and val from the annotated boxes, and val once
more from the person detector's boxes. Run it again to go on after an interruption; nothing is built twice.
The dataset's folder is expected to look like this (--dataset_dir, --annotations, --images and --detections
say where else things are):

  dataset/COCO/annotations/person_keypoints_{train,val}2017.json
  dataset/COCO/images/{train,val}2017/*.jpg
  dataset/COCO/dets/human_detection.json            a person detector's boxes, COCO results format
  dataset/COCO/records/{train,val,val_detections}   made by this command

"synthetic" draws its own pictures first. Arguments after -- go to Apache Beam's PipelineOptions.
"""


def define_flags(values):
    """Defines the command's flags in an absl `FlagValues`."""
    add = dict(flag_values=values)
    flags.DEFINE_enum("dataset", "coco", sorted(LAYOUTS), "Which dataset to build.", **add)
    flags.DEFINE_enum("split", None, ["train", "val"], "Which split; by default every one there is.", **add)
    flags.DEFINE_enum(
        "boxes",
        None,
        BOXES,
        "Whose boxes: the annotations' (ground_truth) or a person detector's (detections).",
        **add,
    )
    flags.DEFINE_string(
        "dataset_dir", None, "The dataset's folder; by default dataset/COCO and so on.", **add
    )
    flags.DEFINE_string(
        "records_dir", None, "Where the records go; by default the dataset folder's records/.", **add
    )
    flags.DEFINE_string("annotations", None, "Annotation file, if it is elsewhere (one --split only).", **add)
    flags.DEFINE_string("images", None, "Picture folder, if it is elsewhere (one --split only).", **add)
    flags.DEFINE_string("detections", None, "Detector results, if they are elsewhere.", **add)
    flags.DEFINE_string(
        "input_size",
        "192x256",
        "Width x height of the network input the records are for. It decides the crops' shape and largest "
        "stored size.",
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
    flags.DEFINE_integer("crop_quality", 90, "JPEG quality.", lower_bound=1, upper_bound=100, **add)
    flags.DEFINE_float(
        "max_crop_scale",
        2.0,
        "Large people are stored at this many times the network input's resolution at most.",
        lower_bound=0.1,
        **add,
    )
    flags.DEFINE_integer(
        "people_per_shard", 1024, "About how many records a shard gets.", lower_bound=1, **add
    )
    flags.DEFINE_float("score_threshold", 0.0, "Leave out detections with a lower score.", **add)
    flags.DEFINE_float(
        "max_bad_fraction",
        0.01,
        "The build fails if a larger share of the people had to be rejected (rejected.jsonl says why).",
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
    flags.DEFINE_integer("workers", 1, "Processes on this machine.", lower_bound=1, **add)
    flags.DEFINE_integer(
        "train_images",
        1500,
        "synthetic: pictures to draw for train.",
        lower_bound=1,
        upper_bound=999_999,
        **add,
    )
    flags.DEFINE_integer(
        "val_images", 150, "synthetic: pictures to draw for val.", lower_bound=1, upper_bound=999_999, **add
    )
    flags.DEFINE_integer("seed", 0, "synthetic: seed of the drawn pictures.", lower_bound=0, **add)


def plan_builds(values, layout, input_size, beam_args):
    """The builds the flags ask for: a list of `Build`.

    Raises:
        UsageError: if the flags contradict each other.
        BuildError: if nothing that could be built is there.
    """
    from pipelines.crops import CropOptions
    from pipelines.job import Build

    dataset_dir = Path(values.dataset_dir or layout.default_dir())
    if not dataset_dir.is_dir():
        raise BuildError(
            f"the dataset folder {dataset_dir} does not exist; expected {layout.folder} there with "
            f"{layout.annotations.format(split='train')}. --dataset_dir says where else to look"
        )
    if (values.annotations or values.images) and not values.split:
        raise UsageError("--annotations and --images belong to one split: say which with --split")
    detections = Path(values.detections or dataset_dir / layout.detections)
    builds = []
    for split in [values.split] if values.split else layout.splits:
        annotations = Path(values.annotations or dataset_dir / layout.annotations.format(split=split))
        images = Path(values.images or dataset_dir / layout.images.format(split=split))
        if not values.split and not annotations.exists():
            continue
        for boxes in [values.boxes] if values.boxes else BOXES:
            if boxes == "detections" and not values.boxes and not detections.exists():
                continue
            if boxes == "detections" and split == "train" and not (values.split and values.boxes):
                continue  # a detector's file is usually for the pictures that are evaluated only
            for path, what in ((annotations, "annotation file"), (images, "picture folder")):
                if not path.exists():
                    raise BuildError(f"the {what} {path} does not exist")
            if boxes == "detections" and not detections.exists():
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
                        max_crop_scale=values.max_crop_scale,
                        quality=values.crop_quality,
                    ),
                    people_per_shard=values.people_per_shard,
                    score_threshold=values.score_threshold,
                    max_bad_fraction=values.max_bad_fraction,
                    overwrite=values.overwrite,
                    beam_args=beam_args,
                )
            )
    if not builds:
        raise BuildError(
            f"{dataset_dir} holds no annotations; expected one of "
            + ", ".join(layout.annotations.format(split=split) for split in layout.splits)
        )
    return builds


def main(values, rest):
    """Builds what the flags ask for."""
    with captured_stderr():  # Beam warns of parts that are not installed
        from pipelines.job import build_records
    layout = LAYOUTS[values.dataset]
    input_size = parse_input_size(values.input_size)
    beam_args = tuple(rest)
    if rest and not rest[0].startswith("-"):
        raise UsageError(f"unexpected argument {rest[0]!r} after --: Apache Beam's options are --flags")
    if values.workers > 1:
        if any(argument.startswith("--runner") for argument in rest):
            raise UsageError("--workers is for this machine; a --runner has its own options for that")
        beam_args += (
            "--direct_running_mode=multi_processing",
            f"--direct_num_workers={values.workers}",
        )
    if layout.name == "synthetic":
        draw_synthetic(values, Path(values.dataset_dir or layout.default_dir()))
    for build in plan_builds(values, layout, input_size, beam_args):
        start = time.monotonic()
        manifest = build_records(build)
        print(summary(manifest, build.folder, time.monotonic() - start))


def summary(manifest, folder, seconds):
    """What a finished build says for itself."""

    def counts(reasons):
        return ", ".join(f"{count:,} {reason}" for reason, count in reasons.items()) or "nobody"

    size = sum(shard.size for shard in manifest.shards)
    return (
        f"  {manifest.records:,} records in {len(manifest.shards)} shards, {size / 1e6:.1f} MB "
        f"({size / 1e3 / max(manifest.records, 1):.1f} KB a person), {seconds:.0f} s in {folder}\n"
        f"  left out: {counts(manifest.dropped)}; rejected: {counts(manifest.rejected)}"
    )


def draw_synthetic(values, folder):
    """Draws the synthetic dataset unless it is there.

    Raises:
        BuildError: if the folder holds one of other options, or something else.
    """
    options = SyntheticOptions(
        train_images=values.train_images, val_images=values.val_images, seed=values.seed
    )
    total = options.train_images + options.val_images
    with tqdm(total=total, desc="draw", unit=" pictures", dynamic_ncols=True, delay=1) as bar:

        def show(done, _):
            bar.update(done - bar.n)

        try:
            drawn = generate(folder, options, values.workers, values.overwrite, show)
        except FileExistsError as error:
            raise BuildError(f"{error}; --overwrite and --dataset_dir do that") from error
        bar.leave = drawn
    say = "drawn" if drawn else "already drawn"
    print(f"{folder}: {options.train_images:,} train and {options.val_images:,} val pictures {say}")


def command(argv=None):
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv)
