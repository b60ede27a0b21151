"""Flags of ``evaluate/main.py``."""

from absl import flags

from evaluate.options import LARGEST_BATCH, MIN_VISIBILITY, OKS_NMS_THRESHOLD, EvaluateOptions
from evaluate.weight_flags import define_weight_flags
from hrpose.command import UsageError, import_tensorflow, run
from hrpose.storage import local_only
from records.datasets.dataset import BOXES, SPLITS

NAME = "python evaluate/main.py"

DESCRIPTION = """
Measures a training run: predicts the keypoints of every person box, removes doubles, and reports the
dataset's metric. Dataset, network and input size are those of the run.

  python evaluate/main.py --epoch=210
  python evaluate/main.py --epoch=best
  python evaluate/main.py --epoch=210 --boxes=ground_truth
  python evaluate/main.py --epoch=210 --gpus=4
  python evaluate/main.py --run_dir output/tiny --noflip_test

The metric is COCO's AP; for MPII, on annotated boxes, PCKh; for PoseTrack its AP, with --tracking also MOTA.

Written to output/result/, by a NAME of annotations, split where these do not say it, network, epoch,
"averaged" if it is, boxes, and "noflip" without flip test (and of digits that say which records, where
they are of custom data, of a list of images, or in a --records_dir not called "records"):
  NAME_results.json    the poses in COCO results form
  NAME_metrics.json    the metric
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


def define_flags(values):
    """Defines the command's flags in an absl `FlagValues`."""
    add = dict(flag_values=values)
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

    flags.DEFINE_bool(
        "tracking", False, "PoseTrack: number instances over time, and measure MOTA too.", **add
    )
    flags.DEFINE_bool(
        "official_tenth",
        False,
        "MPII: take 0.11 for the threshold of Mean@0.1, as the official code and the published numbers do.",
        **add,
    )


def main(values, rest):
    """Evaluates what the flags ask for."""
    if rest:
        raise UsageError(f"nothing is expected after --, received {rest[0]!r}")
    import_tensorflow()
    from evaluate.run import evaluate_run

    evaluate_run(
        EvaluateOptions(
            output=local_only(values.run_dir, "run_dir"),
            epoch=values.epoch,
            averaged=values.averaged,
            split=values.split,
            boxes=values.boxes,
            dataset_dir=values.dataset_dir,
            records_dir=values.records_dir,
            annotations=values.annotations,
            gpus=values.gpus,
            batch_size=values.batch_size,
            flip_test=values.flip_test,
            resume=values["continue"].value,
            oks_threshold=values.oks_threshold,
            min_visibility=values.min_visibility,
            soft_nms=values.soft_nms,
            num_images=values.num_images,
            tracking=values.tracking,
            official_tenth=values.official_tenth,
        )
    )


def command(argv=None):
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv)
