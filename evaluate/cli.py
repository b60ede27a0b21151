"""Flags of ``evaluate/main.py``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import flags

from evaluate.metrics import METRICS, choose_metrics
from evaluate.options import LARGEST_BATCH, MIN_VISIBILITY, OKS_NMS_THRESHOLD, EvaluateOptions
from evaluate.run_inputs import evaluation_paths, run_dataset
from hrpose.command import UsageError, import_tensorflow, run
from hrpose.options import Option, define_options, options_of
from hrpose.storage import local_only
from model.run_config import read_config
from model.run_folder import checkpoints_folder
from model.weight_choice import define_weight_flags
from records.datasets import BOXES, SPLITS

NAME = "python evaluate/main.py"

DESCRIPTION = """
Measures a training run: predicts the keypoints of every person box, removes doubles, and reports the
dataset's metrics. Dataset, network and input size are those of the run.

  python evaluate/main.py --epoch=210
  python evaluate/main.py --epoch=best
  python evaluate/main.py --epoch=210 --boxes=ground_truth
  python evaluate/main.py --epoch=210 --gpus=4
  python evaluate/main.py --run_dir output/tiny --noflip_test

The metric is COCO's AP; for MPII, on annotated boxes, PCKh; for PoseTrack its AP, with --tracking also MOTA.
--metric chooses others, where the annotations have what they need.

Written to output/result/, by a NAME of annotations, split where these do not say it, network, epoch,
"averaged" if it is, boxes, and "noflip" without flip test (and of digits that say which records, where
they are of custom data, of a list of images, or in a --records_dir not called "records"):
  NAME_results.json    the poses in COCO results form
  NAME_metrics.json    the metric; others, of --metric=A,B, under other_metrics
  NAME.html            the report: curves, kinds of instances and of errors; the latest is report.html too
  NAME.png             some instances with the predicted skeletons
  *.zip, NAME.mat, NAME/  what the dataset's server wants: a zip for COCO's test-dev, MPII's .mat, a JSON per
                       video for PoseTrack
  parts/NAME/          the predictions, in parts of about a thousand instances

A part is written as soon as it is predicted. The same command with --continue goes on after an interruption,
and with another --oks_threshold, --min_visibility or --soft_nms it predicts nothing anew. Without --continue
an evaluation begins by removing the parts of its NAME. Apart from that they stay, and may be deleted. Only
one evaluation of a NAME can run at a time.
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags in an absl `FlagValues`."""
    add: dict[str, Any] = dict(flag_values=values)
    define_weight_flags(values)
    flags.DEFINE_string("run_dir", "output", "The run's folder.", **add)
    flags.DEFINE_enum("split", "val", SPLITS, "Which records to evaluate on.", **add)
    flags.DEFINE_enum(
        "boxes",
        None,
        BOXES,
        "Whose boxes: a person detector's (detections) or the annotations' (ground_truth); by default the "
        "detector's where records of them were built.",
        **add,
    )
    flags.DEFINE_string(
        "dataset_dir", None, "The dataset's folder, here or gs://…; by default dataset/COCO and so on.", **add
    )
    flags.DEFINE_string(
        "records_dir", None, "Folder of the records; by default the dataset folder's records/.", **add
    )
    flags.DEFINE_string("annotations", None, "Annotation file, if it is elsewhere.", **add)
    flags.DEFINE_integer(
        "gpus",
        None,
        "Number of GPUs, which take batches in turn; 0 predicts on the CPU. By default one where there is "
        "one, else the CPU.",
        lower_bound=0,
        **add,
    )
    flags.DEFINE_integer(
        "batch_size",
        32,
        "Instances per GPU and forward pass.",
        lower_bound=1,
        upper_bound=LARGEST_BATCH,
        **add,
    )
    flags.DEFINE_bool(
        "continue",
        False,
        "Take the parts that an earlier evaluation has finished, and predict the rest. Records, weights "
        "and --batch_size have to be the same; the number of GPUs may differ.",
        **add,
    )
    flags.DEFINE_bool("flip_test", True, "Average with the heatmaps of the mirrored image.", **add)
    flags.DEFINE_float(
        "oks_threshold",
        OKS_NMS_THRESHOLD,
        "OKS-NMS: drop poses more alike than this to a better one.",
        lower_bound=0.01,
        **add,
    )
    flags.DEFINE_float(
        "min_visibility",
        MIN_VISIBILITY,
        "Rescoring: keypoints with a higher score make the pose's score.",
        **add,
    )
    flags.DEFINE_bool("soft_nms", False, "Lower the scores of doubles instead of dropping them.", **add)
    flags.DEFINE_integer(
        "num_images", 24, "How many instances the image shows.", lower_bound=1, upper_bound=200, **add
    )

    names = ", ".join(f"{name} ({metric.summary})" for name, metric in METRICS.items())
    flags.DEFINE_list(
        "metric",
        None,
        f"What is measured, separated by commas, the one that counts first; by default what the dataset is "
        f"measured by. {names}.",
        **add,
    )
    define_options(values, _own_options())


def main(values: flags.FlagValues) -> None:
    """Evaluates what the flags ask for."""
    local_only(values.run_dir, "run_dir")
    run_dir = Path(values.run_dir)
    dataset = run_dataset(read_config(checkpoints_folder(run_dir)))
    metrics = tuple(dict.fromkeys(values.metric or dataset.metrics))
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UsageError(f"--metric={','.join(unknown)}: unknown; known: {', '.join(METRICS)}")
    metric_options = options_of(values, _own_options(), metrics, "metric")
    paths = evaluation_paths(
        dataset,
        run_dir,
        split=values.split,
        boxes=values.boxes,
        dataset_dir=values.dataset_dir,
        records_dir=values.records_dir,
        annotations=values.annotations,
    )
    import_tensorflow()
    from evaluate.run import evaluate_run

    evaluate_run(
        EvaluateOptions(
            paths=paths,
            metrics=choose_metrics(metrics, metric_options),
            epoch=values.epoch,
            averaged=values.averaged,
            gpus=values.gpus,
            batch_size=values.batch_size,
            flip_test=values.flip_test,
            resume=bool(values["continue"].value),
            oks_threshold=values.oks_threshold,
            min_visibility=values.min_visibility,
            soft_nms=values.soft_nms,
            num_images=values.num_images,
        )
    )


def _own_options() -> dict[str, tuple[Option, ...]]:
    return {name: metric.options for name, metric in METRICS.items()}


def command(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv)
