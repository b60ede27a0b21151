"""Flags of ``train/main.py``."""

from pathlib import Path

from absl import flags

from records.command import UsageError, import_tensorflow, integers, parse_input_size, run
from records.layout import LAYOUTS, records_folder
from train.schedule import SHAPES, Schedule

NAME = "python train/main.py"

DESCRIPTION = """
Trains an HRNet on records made by pipelines/build_records.py. The defaults are the paper's COCO recipe.

  python train/main.py --gpus=4
  python train/main.py --dataset coco --gpus=1 --model w48 --batch_size 16
  python train/main.py --dataset synthetic --gpus=0 --model w16_tiny --epochs 5 --output_dir output/tiny

A checkpoint is saved after every epoch; the same command with --continue goes on from the last one.
  output/model_dump/   the run's configuration and its checkpoints (epoch-0001 …)
  output/log/          curves: tensorboard --logdir output/log
Then: python evaluate/main.py --epoch=210

--flagfile=FILE reads flags from a file, one a line; train/recipes/ has some.
"""

#: Names of `model.hrnet.ARCHITECTURES`; written again here because --help must not wait for TensorFlow (a
#: test compares the two).
MODELS = ("w30", "w32", "w48", "w16_tiny")


def define_flags(values):
    """Defines the command's flags in an absl `FlagValues`."""
    add = dict(flag_values=values)
    flags.DEFINE_enum("dataset", "coco", sorted(LAYOUTS), "Which dataset's records to train on.", **add)
    flags.DEFINE_string(
        "dataset_dir", None, "The dataset's folder; by default dataset/COCO and so on.", **add
    )
    flags.DEFINE_string(
        "records_dir", None, "Folder of the records; by default the dataset folder's records/.", **add
    )
    flags.DEFINE_enum("split", "train", ["train", "val"], "Which records to train on.", **add)
    flags.DEFINE_string("output_dir", "output", "Where log/ and model_dump/ go.", **add)
    flags.DEFINE_integer(
        "gpus", 1, "Number of GPUs on this machine; 0 trains on the CPU.", lower_bound=0, **add
    )
    flags.DEFINE_bool("continue", False, "Go on from the last checkpoint in --output_dir.", **add)
    flags.DEFINE_enum(
        "model", "w32", MODELS, "The network: HRNet-W30, -W32, -W48, or a small one for trials.", **add
    )
    flags.DEFINE_string(
        "input_size",
        None,
        "Width x height of the network input in pixels, e.g. 192x256; by default what the records are for.",
        **add,
    )
    flags.DEFINE_float(
        "sigma",
        2.0,
        "Width of the target Gaussians in heatmap pixels (3 is usual for 288x384).",
        lower_bound=0.1,
        **add,
    )
    flags.DEFINE_integer("epochs", 210, "Passes over the records in all.", lower_bound=1, **add)
    flags.DEFINE_integer("batch_size", 32, "People per GPU and update.", lower_bound=1, **add)
    flags.DEFINE_float(
        "learning_rate",
        1e-3,
        "Learning rate of Adam, at the start or after the warm-up.",
        lower_bound=0,
        **add,
    )
    flags.DEFINE_enum(
        "lr_schedule",
        "step",
        SHAPES,
        "step: multiply the learning rate by --lr_factor after each of --lr_steps; cosine: let it fall to 0 "
        "over the run.",
        **add,
    )
    flags.DEFINE_list(
        "lr_steps", ["170", "200"], "After how many epochs --lr_schedule=step multiplies.", **add
    )
    flags.DEFINE_float(
        "lr_factor", 0.1, "What --lr_schedule=step multiplies by.", lower_bound=0, upper_bound=1, **add
    )
    flags.DEFINE_integer(
        "warmup_steps",
        0,
        "Updates over which the learning rate rises from 0; a few dozen help short runs from random weights.",
        lower_bound=0,
        **add,
    )
    flags.DEFINE_float(
        "scale_factor", 0.35, "Augmentation: scale by 1 ± this.", lower_bound=0, upper_bound=0.99, **add
    )
    flags.DEFINE_float(
        "rotation_factor",
        45.0,
        "Augmentation: rotate by this many degrees times a normal, at most twice this.",
        lower_bound=0,
        **add,
    )
    flags.DEFINE_float(
        "rotation_probability", 0.6, "Augmentation: how often to rotate.", lower_bound=0, upper_bound=1, **add
    )
    flags.DEFINE_float(
        "flip_probability", 0.5, "Augmentation: how often to mirror.", lower_bound=0, upper_bound=1, **add
    )
    flags.DEFINE_float(
        "half_body_probability",
        0.3,
        "Augmentation: how often to show only half of the body.",
        lower_bound=0,
        upper_bound=1,
        **add,
    )
    flags.DEFINE_integer(
        "shuffle_buffer",
        4096,
        "People to shuffle among (the shards are in random order already).",
        lower_bound=1,
        **add,
    )
    flags.DEFINE_integer(
        "seed", 0, "Of initial weights, order and augmentation.", lower_bound=0, upper_bound=2**32 - 1, **add
    )


def main(values, rest):
    """Trains what the flags ask for."""
    if rest:
        raise UsageError(f"nothing is expected after --, received {rest[0]!r}")
    layout = LAYOUTS[values.dataset]
    records_dir = values.records_dir or Path(values.dataset_dir or layout.default_dir()) / "records"
    records = records_folder(records_dir, values.split, "ground_truth")
    input_size = parse_input_size(values.input_size) if values.input_size else None
    steps = tuple(integers(step, 1, ",", "lr_steps")[0] for step in values.lr_steps)

    import_tensorflow()
    from records.augment import Augmentation
    from train.loop import TrainOptions, train

    train(
        TrainOptions(
            dataset=values.dataset,
            records=str(records),
            output=values.output_dir,
            model=values.model,
            input_size=input_size,
            sigma=values.sigma,
            epochs=values.epochs,
            batch_size=values.batch_size,
            gpus=values.gpus,
            schedule=Schedule(
                initial=values.learning_rate,
                shape=values.lr_schedule,
                milestones=steps,
                factor=values.lr_factor,
                warmup_steps=values.warmup_steps,
            ),
            augmentation=Augmentation(
                scale_factor=values.scale_factor,
                rotation_factor=values.rotation_factor,
                rotation_probability=values.rotation_probability,
                flip_probability=values.flip_probability,
                half_body_probability=values.half_body_probability,
            ),
            shuffle_buffer=values.shuffle_buffer,
            seed=values.seed,
            resume=values["continue"].value,
        )
    )


def command(argv=None):
    """Runs the command and returns its exit code."""
    from model.runs import RunError

    return run(NAME, DESCRIPTION, define_flags, main, argv, user_errors=(RunError,))
