"""A few real people learned by heart: do records, network, codec and metric fit together on real annotations?

A small network is trained on the labeled instances of COCO's train split in `--dataset_dir`, on the CPU
without augmentation but mirroring, and measured on the same instances with their annotated boxes and the flip
test. What misplaces keypoints on the way, by part of a heatmap cell or to the wrong side, keeps AP below 0.9.

Takes 3 core-minutes. Run with ``make overfit`` or ``python benchmarks/overfit.py``; ``--smoke`` does a few
updates only.
"""

import contextlib
import io
import json
import resource
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from absl import flags

from benchmarks.turns import COCO_DIR
from hrpose.command import UsageError, import_tensorflow, run
from records.datasets import DATASETS, dataset_paths
from records.manifest import MANIFEST

NAME = "python benchmarks/overfit.py"
DESCRIPTION = """
Trains a small network on a few real people until it knows them by heart, and measures it on the same
instances.

  python benchmarks/overfit.py
  python benchmarks/overfit.py --smoke

The last line is their COCO AP.
"""

GOAL = 0.90
INPUT_SIZE = (128, 192)
BATCH = 16
EPOCHS = 15
#: Times that an epoch shows each instance. A checkpoint costs as much as one pass over so few instances.
PASSES = 10


def define_flags(values):
    """Defines the command's flags in an absl `FlagValues`."""
    add = dict(flag_values=values)
    flags.DEFINE_string(
        "dataset_dir",
        str(COCO_DIR),
        "A folder in COCO's layout with a few instances in it; nothing is written there.",
        **add,
    )
    flags.DEFINE_bool("smoke", False, "Only see whether it runs: one pass, after which AP is about 0.", **add)
    flags.DEFINE_integer(
        "seed", 0, "Of weights, order and mirroring.", lower_bound=0, upper_bound=2**32 - 1, **add
    )


def main(values):
    """Builds, trains, measures; prints the table and the numbers."""
    annotations, images = find_instances(values.dataset_dir)
    passes, epochs = (1, 1) if values.smoke else (PASSES, EPOCHS)
    import_tensorflow()
    from evaluate.metrics import choose_metrics
    from evaluate.options import EvaluateOptions
    from evaluate.run import evaluate_run
    from evaluate.run_inputs import evaluation_paths
    from train.loop import train

    with tempfile.TemporaryDirectory() as folder:
        records = Path(folder) / "records"
        instances = build(annotations, images, records / "train").records
        repeat(records / "train", Path(folder) / "repeated", passes)
        options = train_options(Path(folder) / "repeated", Path(folder) / "run", epochs, values.seed)
        print(f"{instances} instances, each about {passes * epochs} times; the bar shows how far it is")
        started, used = time.perf_counter(), cpu_seconds()
        with contextlib.redirect_stdout(io.StringIO()):  # the bar, on standard error, says enough
            updates = train(options)
        seconds, used = time.perf_counter() - started, cpu_seconds() - used
        dataset = DATASETS["coco"]
        paths = evaluation_paths(
            dataset,
            options.paths.run_dir,
            split="train",
            boxes="ground_truth",
            records_dir=records,
            annotations=annotations,
        )
        measured = EvaluateOptions(paths, choose_metrics(dataset.metrics))
        with contextlib.redirect_stdout(io.StringIO()):  # names files that are about to be removed
            metrics = evaluate_run(measured)

    width, height = INPUT_SIZE
    verdict = "reached" if metrics["AP"] >= GOAL else "NOT reached"
    print(
        f"\nOverfitting {instances} instances of {annotations.name}, {options.model} at {width}x{height}, CPU"
    )
    print(f"  training   {updates:,} updates of {BATCH} instances, {seconds / 60:.1f} minutes")
    print(f"  speed      {updates * BATCH / seconds:.0f} instances/s, {used / 60:.1f} core-minutes in all")
    numbers = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("AP", "AP .5", "AP .75", "AR"))
    print(f"  measured   {numbers}")
    print(f"  AP of {GOAL:.2f} {verdict}{' (--smoke learns nothing)' if values.smoke else ''}")
    print(f"overfit_minutes {seconds / 60:.1f}\noverfit_core_minutes {used / 60:.1f}")
    print(f"overfit_ap {metrics['AP']:.3f}\n")


def find_instances(dataset_dir):
    """(annotation file, image folder) of the train split.

    Raises:
        UsageError: if one is not there.
    """
    layout, folder = DATASETS["coco"].layout, Path(dataset_dir)
    annotations = folder / layout.annotations["train"]
    images = folder / layout.images.format(split="train")
    for path in (annotations, images):
        if not path.exists():
            raise UsageError(
                f"{path} does not exist; --dataset_dir={dataset_dir} should name a folder in COCO's layout, "
                "with its 2017 annotations and images of the train split"
            )
    return annotations, images


def build(annotations, images, folder):
    """Builds records of everybody labeled; returns their `Manifest`."""
    from pipelines.build import build_records
    from pipelines.build_specs import Build
    from pipelines.crops import CropOptions

    return build_records(
        Build(
            dataset="coco",
            split="train",
            boxes="ground_truth",
            skeleton=DATASETS["coco"].skeleton,
            annotations=str(annotations),
            images=str(images),
            detections="",
            folder=str(folder),
            options=CropOptions(INPUT_SIZE),
        )
    )


def repeat(folder, to, times):
    """Copies records so that a reader of the copy meets everybody so many times."""
    from records.manifest import read_manifest

    shutil.copytree(folder, to)
    manifest = read_manifest(to)
    repeated = replace(manifest, shards=manifest.shards * times)
    (to / MANIFEST).write_text(json.dumps(repeated.to_json()))


def train_options(records, run_dir, epochs, seed):
    """`TrainOptions` of the run."""
    from records.augment import Augmentation
    from train.options import TrainOptions, TrainPaths
    from train.schedule import Schedule

    return TrainOptions(
        dataset="coco",
        paths=TrainPaths(run_dir, dataset_paths(DATASETS["coco"]), records),
        model="w24_tiny",
        codec="udp",
        sigma=1.2,
        epochs=epochs,
        batch_size=BATCH,
        gpus=0,
        schedule=Schedule(initial=3e-3, shape="cosine", warmup_steps=100),
        # Mirrored images are learned too because the flip test shows them.
        augmentation=Augmentation(
            scale_factor=0, rotation_factor=0, rotation_probability=0, half_body_probability=0
        ),
        seed=seed,
        max_to_keep=1,
    )


def cpu_seconds():
    """Processor time of this process so far, all cores together."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def command(argv=None):
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv)


if __name__ == "__main__":
    sys.exit(command())
