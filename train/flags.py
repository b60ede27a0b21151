"""The flags of ``train/main.py``; `train.cli.options_from` says what they make."""

from typing import Any

from absl import flags

from model.codecs import CODECS, DEFAULT_CODEC, SIGMAS
from model.networks import DEFAULT_NETWORK, NETWORKS, PRECISIONS
from records.datasets import DATASETS, DEFAULT_DATASET
from train.schedule import SHAPES

#: Flags of what the dataset's recipe augments with: name, what it does, upper bound.
AUGMENTATION = (
    ("scale_factor", "scale by 1 ± this", 0.99),
    ("rotation_factor", "rotate by this many degrees times a normal, at most twice this", 360),
    ("rotation_probability", "how often to rotate", 1),
    ("flip_probability", "how often to mirror", 1),
    ("half_body_probability", "how often to show only half of the body", 1),
)


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags in an absl `FlagValues`."""
    add: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_enum(
        "dataset",
        DEFAULT_DATASET,
        sorted(DATASETS),
        "Which dataset's records to train on.",
        **add,
    )
    flags.DEFINE_string(
        "dataset_dir",
        None,
        "The dataset's folder, here or gs://…; by default dataset/COCO and so on.",
        **add,
    )
    flags.DEFINE_string(
        "records_dir",
        None,
        "Folder of the records; by default the dataset folder's records/.",
        **add,
    )
    flags.DEFINE_enum("split", "train", ["train", "val"], "Which records to train on.", **add)
    flags.DEFINE_string("run_dir", "output", "Where log/ and model_dump/ go.", **add)
    flags.DEFINE_integer("gpus", 1, "Number of GPUs on this host; 0 trains on the CPU.", lower_bound=0, **add)
    flags.DEFINE_enum(
        "precision",
        "float32",
        PRECISIONS,
        "What the network computes in; bfloat16 needs half the memory. Weights stay float32.",
        **add,
    )
    flags.DEFINE_bool("continue", False, "Go on from the last checkpoint in --run_dir.", **add)
    flags.DEFINE_string(
        "initial_weights",
        None,
        "Weights to start from: a .safetensors or .pth file, a folder epoch-NNNN (of which the "
        "moving average is taken where there is one), or none; by default "
        "dataset/imagenet_weights/hrnet_<model>* if that is there. A run that is continued needs none.",
        **add,
    )
    flags.DEFINE_enum(
        "model",
        DEFAULT_NETWORK,
        tuple(NETWORKS),
        "The network: HRNet-W30, -W32, -W48, or a small one for trials.",
        **add,
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
        lower_bound=SIGMAS[0],
        upper_bound=SIGMAS[1],
        **add,
    )
    flags.DEFINE_enum(
        "codec",
        DEFAULT_CODEC,
        tuple(CODECS),
        "How keypoints become heatmaps and are read from them: as in the paper, as DARK or as UDP has it.",
        **add,
    )
    flags.DEFINE_integer("epochs", 210, "Passes over the records in all.", lower_bound=1, **add)
    flags.DEFINE_integer(
        "batch_size",
        None,
        f"Instances per GPU and forward pass; {_published('batch_size')}.",
        lower_bound=1,
        **add,
    )
    flags.DEFINE_integer(
        "gradient_accumulation_steps",
        1,
        "Forward passes whose gradients make one update: larger batches than the memory holds.",
        lower_bound=1,
        **add,
    )
    flags.DEFINE_float(
        "learning_rate",
        1e-3,
        "Learning rate of Adam, at the start or after the warm-up.",
        lower_bound=0,
        **add,
    )
    flags.DEFINE_float(
        "lr_per_256",
        None,
        "Instead of --learning_rate: what it would be for 256 instances per update; it is scaled by the "
        "instances there are (batch_size x gradient_accumulation_steps x GPUs x workers).",
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
        "lr_factor",
        0.1,
        "What --lr_schedule=step multiplies by.",
        lower_bound=0,
        upper_bound=1,
        **add,
    )
    flags.DEFINE_integer(
        "warmup_steps",
        0,
        "Updates over which the learning rate rises from 0; a few dozen help short runs from random weights.",
        lower_bound=0,
        **add,
    )
    flags.DEFINE_float(
        "weight_decay",
        0.0,
        "Decoupled weight decay (AdamW) of kernels, relative to the learning rate.",
        lower_bound=0,
        **add,
    )
    flags.DEFINE_float(
        "clip_norm",
        None,
        "Hold the norm of all gradients together below this.",
        lower_bound=1e-9,
        upper_bound=1e30,  # float32 holds it
        **add,
    )
    flags.DEFINE_float(
        "ema_decay",
        None,
        "Keep a moving average of the weights with this decay, e.g. 0.9998, and validate it.",
        lower_bound=0,
        upper_bound=0.999999,
        **add,
    )
    flags.DEFINE_bool(
        "sync_batch_norm",
        False,
        "Normalize over the instances of all GPUs and not of each alone. Not together with "
        "--gradient_accumulation_steps.",
        **add,
    )
    for name, text, upper_bound in AUGMENTATION:
        text = f"Augmentation: {text}; {_published(name)}."
        flags.DEFINE_float(name, None, text, lower_bound=0, upper_bound=upper_bound, **add)
    flags.DEFINE_float(
        "coarse_dropout_probability",
        0.0,
        "Augmentation: how often to blacken a rectangle, its sides 0.2 to 0.4 of the input's.",
        lower_bound=0,
        upper_bound=1,
        **add,
    )
    flags.DEFINE_integer(
        "shuffle_buffer",
        4096,
        "Instances to shuffle among (the shards are in random order already).",
        lower_bound=1,
        upper_bound=2**31 - 1,
        **add,
    )
    flags.DEFINE_integer(
        "seed",
        0,
        "Of initial weights, order and augmentation.",
        lower_bound=0,
        upper_bound=2**32 - 1,
        **add,
    )
    flags.DEFINE_bool(
        "deterministic",
        False,
        "Use only operations that give the same bits every time: slower, and on the same hardware a run that "
        "was killed and continued ends as one that was not.",
        **add,
    )
    flags.DEFINE_float(
        "save_minutes",
        0.0,
        "Also save within epochs, after so many minutes; 0 saves after epochs only.",
        lower_bound=0,
        **add,
    )
    flags.DEFINE_integer(
        "max_to_keep",
        None,
        "How many of the last epochs' checkpoints stay, besides that which validated best; by default all. "
        "With 1 there is none to fall back to if the last one is damaged.",
        lower_bound=1,
        **add,
    )
    flags.DEFINE_integer(
        "eval_every",
        None,
        "Validate after every so many epochs and the last, on annotated boxes of the split val if there are "
        "records of it; 0 never. By default after each if that takes at most 2% of its time, else as often "
        "as that allows; the first is measured.",
        lower_bound=0,
        **add,
    )
    flags.DEFINE_list(
        "skip_steps",
        [],
        "Numbers of updates not to do, as a run that stopped at one names it.",
        **add,
    )
    flags.DEFINE_bool(
        "skip_damaged",
        False,
        "Read all shards once before the start, and leave out what of them is damaged or missing, with a "
        "count. Without it a run ends at the damaged place and names it.",
        **add,
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
