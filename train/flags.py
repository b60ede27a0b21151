"""The flags of ``train/main.py``, and what they make."""

from dataclasses import replace
from pathlib import Path

from absl import flags

from hrpose.command import UsageError
from hrpose.flag_values import integers, parse_input_size
from hrpose.storage import local_only
from model.codecs import CODECS, DEFAULT_CODEC, SIGMAS
from model.networks import DEFAULT_NETWORK, NETWORKS, PRECISIONS
from records.augment import Augmentation
from records.datasets import DATASETS, DEFAULT_DATASET, dataset_paths
from train.options import TrainOptions, TrainPaths
from train.schedule import SHAPES, Schedule

#: Flags of what the dataset's recipe augments with: name, what it does, upper bound.
AUGMENTATION = (
    ("scale_factor", "scale by 1 ± this", 0.99),
    ("rotation_factor", "rotate by this many degrees times a normal, at most twice this", 360),
    ("rotation_probability", "how often to rotate", 1),
    ("flip_probability", "how often to mirror", 1),
    ("half_body_probability", "how often to show only half of the body", 1),
)

#: Where the trainer looks for weights to start from.
IMAGENET_WEIGHTS = "dataset/imagenet_weights"


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags in an absl `FlagValues`."""
    flags.DEFINE_enum(
        "dataset",
        DEFAULT_DATASET,
        sorted(DATASETS),
        "Which dataset's records to train on.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "dataset_dir",
        None,
        "The dataset's folder, here or gs://…; by default dataset/COCO and so on.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "records_dir",
        None,
        "Folder of the records; by default the dataset folder's records/.",
        flag_values=values,
    )
    flags.DEFINE_enum("split", "train", ["train", "val"], "Which records to train on.", flag_values=values)
    flags.DEFINE_string("run_dir", "output", "Where log/ and model_dump/ go.", flag_values=values)
    flags.DEFINE_integer(
        "gpus", 1, "Number of GPUs on this host; 0 trains on the CPU.", lower_bound=0, flag_values=values
    )
    flags.DEFINE_enum(
        "precision",
        "float32",
        PRECISIONS,
        "What the network computes in; bfloat16 needs half the memory. Weights stay float32.",
        flag_values=values,
    )
    flags.DEFINE_bool("continue", False, "Go on from the last checkpoint in --run_dir.", flag_values=values)
    flags.DEFINE_string(
        "initial_weights",
        None,
        "Weights to start from: a .safetensors or .pth file, a folder epoch-NNNN (of which the "
        "moving average is taken where there is one), or none; by default "
        "dataset/imagenet_weights/hrnet_<model>* if that is there. A run that is continued needs none.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "model",
        DEFAULT_NETWORK,
        tuple(NETWORKS),
        "The network: HRNet-W30, -W32, -W48, or a small one for trials.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "input_size",
        None,
        "Width x height of the network input in pixels, e.g. 192x256; by default what the records are for.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "sigma",
        2.0,
        "Width of the target Gaussians in heatmap pixels (3 is usual for 288x384).",
        lower_bound=SIGMAS[0],
        upper_bound=SIGMAS[1],
        flag_values=values,
    )
    flags.DEFINE_enum(
        "codec",
        DEFAULT_CODEC,
        tuple(CODECS),
        "How keypoints become heatmaps and are read from them: as in the paper, as DARK or as UDP has it.",
        flag_values=values,
    )
    flags.DEFINE_integer("epochs", 210, "Passes over the records in all.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "batch_size",
        None,
        f"Instances per GPU and forward pass; {_published('batch_size')}.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "gradient_accumulation_steps",
        1,
        "Forward passes whose gradients make one update: larger batches than the memory holds.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_float(
        "learning_rate",
        1e-3,
        "Learning rate of Adam, at the start or after the warm-up.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "lr_per_256",
        None,
        "Instead of --learning_rate: what it would be for 256 instances per update; it is scaled by the "
        "instances there are (batch_size x gradient_accumulation_steps x GPUs x workers).",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "lr_schedule",
        "step",
        SHAPES,
        "step: multiply the learning rate by --lr_factor after each of --lr_steps; cosine: let it fall to 0 "
        "over the run.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "lr_steps", ["170", "200"], "After how many epochs --lr_schedule=step multiplies.", flag_values=values
    )
    flags.DEFINE_float(
        "lr_factor",
        0.1,
        "What --lr_schedule=step multiplies by.",
        lower_bound=0,
        upper_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "warmup_steps",
        0,
        "Updates over which the learning rate rises from 0; a few dozen help short runs from random weights.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "weight_decay",
        0.0,
        "Decoupled weight decay (AdamW) of kernels, relative to the learning rate.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_float(
        "clip_norm",
        None,
        "Hold the norm of all gradients together below this.",
        lower_bound=1e-9,
        upper_bound=1e30,  # float32 holds it
        flag_values=values,
    )
    flags.DEFINE_float(
        "ema_decay",
        None,
        "Keep a moving average of the weights with this decay, e.g. 0.9998, and validate it.",
        lower_bound=0,
        upper_bound=0.999999,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "sync_batch_norm",
        False,
        "Normalize over the instances of all GPUs and not of each alone. Not together with "
        "--gradient_accumulation_steps.",
        flag_values=values,
    )
    for name, text, upper_bound in AUGMENTATION:
        text = f"Augmentation: {text}; {_published(name)}."
        flags.DEFINE_float(name, None, text, lower_bound=0, upper_bound=upper_bound, flag_values=values)
    flags.DEFINE_float(
        "coarse_dropout_probability",
        0.0,
        "Augmentation: how often to blacken a rectangle, its sides 0.2 to 0.4 of the input's.",
        lower_bound=0,
        upper_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "shuffle_buffer",
        4096,
        "Instances to shuffle among (the shards are in random order already).",
        lower_bound=1,
        upper_bound=2**31 - 1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Of initial weights, order and augmentation.",
        lower_bound=0,
        upper_bound=2**32 - 1,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "deterministic",
        False,
        "Use only operations that give the same bits every time: slower, and on the same hardware a run that "
        "was killed and continued ends as one that was not.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "save_minutes",
        0.0,
        "Also save within epochs, after so many minutes; 0 saves after epochs only.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_to_keep",
        None,
        "How many of the last epochs' checkpoints stay, besides that which validated best; by default all. "
        "With 1 there is none to fall back to if the last one is damaged.",
        lower_bound=1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "eval_every",
        None,
        "Validate after every so many epochs and the last, on annotated boxes of the split val if there are "
        "records of it; 0 never. By default after each if that takes at most 2% of its time, else as often "
        "as that allows; the first is measured.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_list(
        "skip_steps",
        [],
        "Numbers of updates not to do, as a run that stopped at one names it.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "skip_damaged",
        False,
        "Read all shards once before the start, and leave out what of them is damaged or missing, with a "
        "count. Without it a run ends at the damaged place and names it.",
        flag_values=values,
    )


def _published(setting: str) -> str:
    """What the help says of the default of a flag that the dataset's recipe decides."""
    datasets: dict[float, list[str]] = {}
    for dataset in DATASETS.values():
        both = vars(dataset.recipe) | vars(dataset.recipe.augmentation)
        datasets.setdefault(both[setting], []).append(dataset.name)
    several = len(datasets) > 1
    texts = (f"{value:g}" + f" for {', '.join(names)}" * several for value, names in datasets.items())
    return f"by default what the dataset's published recipe has: {'; '.join(texts)}"


def options_from(values: flags.FlagValues, workers: int = 1) -> TrainOptions:
    """The `TrainOptions` that flags ask for.

    Args:
        values: the flags defined here, parsed.
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
