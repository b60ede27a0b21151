"""The command ``train/main.py``."""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from absl import flags

from hrpose.command import UsageError, import_tensorflow, run
from hrpose.flag_values import input_size_note, integers, parse_input_size
from hrpose.storage import local_only
from model.networks import NETWORKS
from records.augment import Augmentation
from records.datasets import DATASETS, dataset_paths
from train.flags import AUGMENTATION, define_flags
from train.options import TrainOptions, TrainPaths, read_cluster
from train.schedule import Schedule

log = logging.getLogger(__name__)

#: Where the trainer looks for weights to start from.
IMAGENET_WEIGHTS = "dataset/imagenet_weights"

NAME = "python train/main.py"

DESCRIPTION = """
Trains an HRNet on records made by pipelines/build_records.py. The defaults are the paper's COCO recipe,
but augmentation and batch size are those published for the --dataset.

  python train/main.py --gpus=4
  python train/main.py --flagfile=train/recipes/coco_w48_384x288.cfg --gpus=8 --batch_size=12
  python train/main.py --dataset synthetic --gpus=0 --model=w24_tiny --epochs 5 --run_dir output/tiny

A checkpoint is saved after every epoch; the same command with --continue goes on from the last one that is
whole, and config.json notes by what. Ctrl-C saves too; a second one does not.
  output/model_dump/   the run's configuration and its checkpoints (epoch-0001 …)
  output/log/          train.log, metrics.jsonl, and curves: tensorboard --logdir output/log
Then: python evaluate/main.py --epoch=210

--flagfile=FILE reads flags from a file, one a line; train/recipes/ has the published ones. Flags that come
after it win.

Several workers train together when the environment variable TF_CONFIG names them: the same command on each,
with --run_dir on storage that all of them see. --gpus counts those of each worker.
"""


def main(values: flags.FlagValues) -> None:
    """Trains what the flags ask for."""
    # What is wrong with a flag, or with TF_CONFIG, is said before TensorFlow starts.
    options = options_from(values, read_cluster(os.environ.get("TF_CONFIG")).workers)
    if options.input_size and (note := input_size_note(options.input_size)):
        log.info("%s", note)
    import_tensorflow()
    from train.loop import train

    given = options.initial_weights is not None
    options = replace(options, initial_weights=initial_weights(options), weights_given=given)
    options = replace(options, provenance=provenance(values) | {"weights": options.initial_weights})
    if values.lr_per_256 is not None:
        rate, per_256 = options.schedule.initial, values.lr_per_256
        log.info("learning rate %g, scaled from %g for 256 instances", rate, per_256)
    train(options)


def options_from(values: flags.FlagValues, workers: int = 1) -> TrainOptions:
    """The `TrainOptions` that flags ask for.

    Args:
        values: the command's flags, parsed.
        workers: number of workers.

    Raises:
        UsageError: naming the flag that is wrong.
    """
    places = dataset_paths(
        DATASETS[values.dataset], dataset_dir=values.dataset_dir, records_dir=values.records_dir
    )
    run_dir = Path(local_only(values.run_dir, "run_dir"))
    skip_steps = tuple(integers(step, 1, ",", "skip_steps")[0] for step in values.skip_steps)
    return TrainOptions(
        dataset=values.dataset,
        paths=TrainPaths(run_dir, places, places.records(values.split, "ground_truth")),
        model=values.model,
        input_size=parse_input_size(values.input_size) if values.input_size else None,
        codec=values.codec,
        sigma=values.sigma,
        epochs=values.epochs,
        batch_size=batch_size(values),
        gradient_accumulation_steps=values.gradient_accumulation_steps,
        gpus=values.gpus,
        precision=values.precision,
        schedule=Schedule(
            initial=learning_rate(values, workers),
            shape=values.lr_schedule,
            milestones=tuple(integers(step, 1, ",", "lr_steps")[0] for step in values.lr_steps),
            factor=values.lr_factor,
            warmup_steps=values.warmup_steps,
        ),
        weight_decay=values.weight_decay,
        clip_norm=values.clip_norm,
        ema_decay=values.ema_decay,
        sync_batch_norm=values.sync_batch_norm,
        augmentation=augmentation(values),
        coarse_dropout_probability=values.coarse_dropout_probability,
        initial_weights=values.initial_weights,
        shuffle_buffer=values.shuffle_buffer,
        seed=values.seed,
        deterministic=values.deterministic,
        resume=bool(values["continue"].value),
        save_minutes=values.save_minutes,
        max_to_keep=values.max_to_keep,
        eval_every=values.eval_every,
        skip_steps=skip_steps,
        skip_damaged=values.skip_damaged,
    )


def batch_size(values: flags.FlagValues) -> int:
    """--batch_size, or that of the dataset's recipe."""
    return DATASETS[values.dataset].recipe.batch_size if values.batch_size is None else values.batch_size


def augmentation(values: flags.FlagValues) -> Augmentation:
    """The `Augmentation` of the dataset's recipe, but for the flags that are given."""
    named = {name: values[name].value for name, *_ in AUGMENTATION}
    given = {name: value for name, value in named.items() if value is not None}
    return replace(DATASETS[values.dataset].recipe.augmentation, **given)


def learning_rate(values: flags.FlagValues, workers: int) -> float:
    """--learning_rate, or --lr_per_256 for the instances per update that the flags give.

    Raises:
        UsageError: if both are given.
    """
    if values.lr_per_256 is None:
        return values.learning_rate
    if values["learning_rate"].present:
        raise UsageError("--learning_rate and --lr_per_256 say the same in two ways; give one of them")
    instances = batch_size(values) * values.gradient_accumulation_steps * max(values.gpus, 1) * workers
    return values.lr_per_256 * instances / 256


def initial_weights(options: TrainOptions, folder: Path | str = IMAGENET_WEIGHTS) -> str | None:
    """The file a run starts from, or None; the user is told where one would be looked for.

    Raises:
        WeightsError: if several files could be meant.
    """
    from model.weight_import.initial_weights import find_initial_weights

    if options.initial_weights:
        return None if options.initial_weights == "none" else options.initial_weights
    found = find_initial_weights(folder, options.model)
    if found is None and not options.resume and NETWORKS[options.model].pretrained:
        log.info(
            "note: %s/hrnet_%s* does not exist, so a new run starts from random weights; the published "
            "numbers were reached from ImageNet weights (python model/weights.py import makes the file)",
            folder,
            options.model,
        )
    return str(found) if found else None


def provenance(values: flags.FlagValues) -> dict[str, Any]:
    """What a run is made by, for its configuration: every flag, versions, and the commit if there is one."""
    ours = values.flags_by_module_dict().values()
    given = {flag.name: flag.value for module_flags in ours for flag in module_flags}
    versions = {name: version(name) for name in ("tensorflow", "keras", "numpy")}
    versions["python"] = sys.version.split()[0]
    return {"flags": given, "versions": versions, "commit": commit()}


def commit() -> str | None:
    """The commit of the code, with "+" if files differ from it; None outside of a repository."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        call: dict[str, Any] = {
            "cwd": root,
            "capture_output": True,
            "text": True,
            "timeout": 10,
            "check": True,
        }
        head = subprocess.run(["git", "rev-parse", "HEAD"], **call).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **call).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def command(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run(NAME, DESCRIPTION, define_flags, main, argv)
