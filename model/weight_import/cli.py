"""The command ``model/weights.py``."""

import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from hrpose.command import UsageError, run, run_one_of
from model.weight_choice import define_weight_flags
from model.weight_import.importing import checkpoint_of, import_weights
from model.weight_import.initial_weights import is_named_for, summarize
from model.weight_import.readers import WeightsError

NAME = "python model/weights.py"

DESCRIPTION = """
Turns a weight file into one that training starts from.

  python model/weights.py import --from hrnet_w32-36af842e.pth --to dataset/imagenet_weights/hrnet_w32
  python train/main.py --model=w32
  python model/weights.py import --run_dir output --epoch best --to hrnet_w32_mine

Read are the authors' ImageNet and pose files (.pth; needs PyTorch: pip install 'torch>=2.6'), timm's
hrnet_w30, hrnet_w32 and hrnet_w48 (.safetensors), and checkpoints of train/main.py (of the run in
--run_dir, or --from a folder epoch-NNNN): the moving average of the weights where the run keeps one, or what
--noaveraged says.
Written is a .safetensors file with the authors' names, float32, for which PyTorch is not needed. What the
pose network has no place for, such as a classifier, is left out and named.

Exits with 0 if the file is written, 2 for wrong usage, 1 if the weights cannot be used.
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the flags of ``import`` in an absl `FlagValues`."""
    flags.DEFINE_string(
        "from", None, "Weights to read: a file, or a checkpoint's folder epoch-NNNN.", flag_values=values
    )
    flags.DEFINE_string(
        "run_dir", None, "In place of --from: the run's folder, of which --epoch is read.", flag_values=values
    )
    flags.DEFINE_string(
        "to",
        None,
        "File to write; .safetensors is added if missing. train/main.py finds "
        "dataset/imagenet_weights/hrnet_w32* for --model=w32, and so on.",
        flag_values=values,
    )
    define_weight_flags(values)
    flags.DEFINE_bool("overwrite", False, "Replace the file if it is there.", flag_values=values)


def main(values: flags.FlagValues) -> None:
    """Imports what the flags name, and shows what became of it."""
    file, run_dir = values["from"].value, values.run_dir
    if file is None and run_dir is None:
        raise UsageError("--from is missing: the weights to read; or --run_dir, a run's folder")
    if file is not None and run_dir is not None:
        raise UsageError("--from and --run_dir both say what to read; give one of them")
    if run_dir is None and values.epoch is not None:
        raise UsageError(f"--epoch chooses a checkpoint of --run_dir, a run's folder; received --from={file}")
    if values.to is None:
        raise UsageError("--to is missing: the file to write")
    given, target = str(run_dir if file is None else file), Path(values.to)
    if not target.name or target.is_dir():
        raise WeightsError(f"--to={values.to}: expected a file to write, for example hrnet_w32")
    if target.suffix != ".safetensors":
        target = target.with_name(f"{target.name}.safetensors")
    if target.exists() and not values.overwrite:
        raise WeightsError(f"{target} is there already; --overwrite replaces it")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the network is asked for names and shapes only
    try:
        source = given if run_dir is None else checkpoint_of(run_dir, values.epoch)
        done = import_weights(source, target, values.averaged)
    except WeightsError as error:
        if given in str(error) or isinstance(error.__cause__, OSError):
            raise
        raise WeightsError(f"{given}: {error}") from error
    head = f"head for {done.num_keypoints} keypoints" if done.num_keypoints else "no head for keypoints"
    print(f"{source}: backbone of {done.network}, {head}{', averaged weights' * done.averaged}")
    if done.unused:
        print(f"left out {len(done.unused):,} arrays: {summarize(done.unused)}")
    print(f"wrote {target} ({target.stat().st_size / 1e6:.0f} MB)")
    if not is_named_for(done.network, target):
        print(f"note: train/main.py --model={done.network} looks for files named hrnet_{done.network}*")


def command(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    commands = {"import": lambda rest: run(f"{NAME} import", DESCRIPTION, define_flags, main, rest)}
    return run_one_of(NAME, DESCRIPTION, commands, argv)
