"""Flags of ``pipelines/build_records.py``."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from hrpose.command import UsageError, captured_stderr, run
from hrpose.flag_values import input_size_note, parse_input_size
from hrpose.options import options_of
from hrpose.storage import is_remote
from pipelines.flags import PATHS, PLACES, check_flags, define_flags, own_options
from records.datasets import DATASETS
from records.datasets.paths import dataset_paths
from records.manifest import Manifest
from records.plausibility import placement_rows

log = logging.getLogger(__name__)

if TYPE_CHECKING:  # its module imports Beam
    from pipelines.build_specs import Build

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
"synthetic" renders its own images first.

The job runs in this process, in --workers=N processes, or on an engine that Apache Beam's own options after
-- name (-- --help lists them; docs/clusters.md has each engine's command), with the same bytes:

  python pipelines/build_records.py --dataset coco -- --runner DaskRunner \\
      --dask_client_address tcp://host:8786
"""


def main(values: flags.FlagValues, rest: Sequence[str]) -> None:
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
    options = options_of(values, own_options(), [dataset.name], "dataset")
    dataset = dataset.adapted(dataset, options)
    paths = dataset_paths(dataset, **{name: values[name].value for name in PLACES})
    use_options(beam_args)
    with store_errors():
        check_reachable(*(argument.partition("=")[2] for argument in beam_args if "=gs://" in argument))
        own = (value for value in options.values() if isinstance(value, str))
        check_reachable(paths.dataset_dir, *(values[name].value for name in PATHS), *own)
        filtered = prepare(values, dataset, paths, options)
        if dataset.user_data and values.annotations and not values.split:
            values["split"].value = "train"
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


def format_table(manifest: Manifest, seconds: float) -> str:
    """What a finished build says for itself.

    Args:
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


def refuse_local_folders(builds: Sequence["Build"], beam_args: Sequence[str]) -> None:
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


def beam_arguments(values: flags.FlagValues, rest: Sequence[str]) -> tuple[str, ...]:
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


def command(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv, after_dashes=True)
