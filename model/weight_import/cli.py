"""The command ``python model/weights.py import``."""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from hrpose.atomic_files import WriteError, write_whole
from hrpose.command import CommandError, captured_stderr, prepare_process
from model.networks import NETWORKS
from model.official_weights import official_shapes
from model.run_config import CONFIG
from model.run_folder import Progress, checkpoint_folder, require_saved
from model.weight_choice import add_weight_choice, choose_epoch
from model.weight_import.initial_weights import fit_backbone, head_size, is_named_for, network_of, summarize
from model.weight_import.readers import EMA, LEARNT, WeightsError, read_weights, sha256, weights_file

NAME = "python model/weights.py"

DESCRIPTION = """
Turns a weight file into one that training starts from.

  python model/weights.py import --from hrnet_w32-36af842e.pth --to dataset/imagenet_weights/hrnet_w32
  python train/main.py --model=w32
  python model/weights.py import --from output --epoch best --to hrnet_w32_mine

Read are the authors' ImageNet and pose files (.pth; needs PyTorch: pip install 'torch>=2.6'), timm's
hrnet_w30, hrnet_w32 and hrnet_w48 (.safetensors), and checkpoints of train/main.py (the run's folder, or a
folder epoch-NNNN): the moving average of the weights where the run keeps one, or what --noaveraged says.
Written is a .safetensors file with the authors' names, float32, for which PyTorch is not needed. What the
pose network has no place for, such as a classifier, is left out and named.

Exits with 0 if the file is written, 2 for wrong usage, 1 if the weights cannot be used.
"""


def parser():
    """The command's arguments."""
    whole = argparse.ArgumentParser(
        prog=NAME, description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="import")
    one = commands.add_parser(
        "import",
        help="turn a weight file into one that training starts from",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument(
        "--from",
        type=os.path.expanduser,
        required=True,
        dest="source",
        metavar="FILE",
        help="weights to read: a file, a run's folder (what train/main.py calls --run_dir), or a folder "
        "epoch-NNNN",
    )
    one.add_argument(
        "--to",
        type=os.path.expanduser,
        required=True,
        dest="target",
        metavar="FILE",
        help="file to write; .safetensors is added if missing. train/main.py finds "
        "dataset/imagenet_weights/hrnet_w32* for --model=w32, and so on",
    )
    add_weight_choice(one)
    one.add_argument("--overwrite", action="store_true", help="replace the file if it is there")
    return whole


def checkpoint_of(source, epoch):
    """The checkpoint's folder, if `source` is a run's folder; anything else is returned as it is.

    Args:
        source: path of a file or folder.
        epoch: as for `model.weight_choice.choose_epoch`; for runs only.

    Raises:
        RunError: if the run has no such epoch.
        WeightsError: if there is an epoch, but no run.
    """
    source = Path(source)
    is_checkpoint = (source / LEARNT).is_file()  # other programs' folders may have a config.json too
    for folder in () if is_checkpoint else (source / "model_dump", source):
        if (folder / CONFIG).is_file():
            progress = Progress(choose_epoch(folder, epoch))
            require_saved(folder, progress)
            return checkpoint_folder(folder, progress.epoch)
    if epoch is not None:
        raise WeightsError(
            f"{source} is no run's folder, so there is no --epoch to choose; expected what train/main.py "
            "calls --run_dir"
        )
    return source


def import_weights(source, target, averaged=None):
    """Reads weights, chooses what belongs into the network they are for, and writes that.

    Args:
        source: anything `model.weight_import.readers.read_weights` reads.
        target: the .safetensors file to write, in a folder that may not exist yet.
        averaged: as for `model.weight_import.readers.weights_file`.

    Returns:
        (name of the network, number of keypoints of its head or 0, names left out, whether the weights are a
        checkpoint's moving average).

    Raises:
        WeightsError: if they cannot be read, are not a whole HRNet backbone, or are to be named for another
            network.
        WriteError: if the file cannot be written; what stood there before is intact then.
        RunError: as `model.weight_import.readers.read_weights`.
    """
    state = read_weights(source, averaged)
    with captured_stderr():
        network = network_of(state)
        others = [other for other in NETWORKS if other != network.name and is_named_for(other, target)]
        if others and not is_named_for(network.name, target):
            raise WeightsError(
                f"it holds a {network.name}, but --model={others[0]} would start from a file named "
                f"{target.name}; name it hrnet_{network.name}"
            )
        shapes = official_shapes(network.build((64, 64), 1), network.official_names)
    keypoints = head_size(state, shapes, network.head)
    shapes |= {name: (keypoints, *shapes[name][1:]) for name in network.head}
    fit = fit_backbone(state, shapes, network.head)
    keypoints = 0 if fit.missing else keypoints
    file = weights_file(source, averaged)
    metadata = {
        "format": "hrpose weights: the authors' names, PyTorch's layout",
        "network": network.name,
        "num_keypoints": str(keypoints),
        "source": file.name,
        "source_sha256": sha256(file),
    }
    if is_checkpoint := (file.parent / "state.json").is_file():
        metadata |= {"checkpoint": file.parent.name, "averaged": str(file.name == EMA).lower()}
    # A transposed array is another order of the same memory, and safetensors writes memory as it lies. Its
    # save_file would make a file that only its owner can read.
    arrays = {name: np.ascontiguousarray(value) for name, value in fit.values.items()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError.of(target, error) from error
    write_whole(target, save(arrays, metadata))
    return network.name, keypoints, fit.unused, is_checkpoint and file.name == EMA


def _run(options):
    target = Path(options.target)
    if not target.name or target.is_dir():
        raise WeightsError(f"--to={options.target}: expected a file to write, for example hrnet_w32")
    if target.suffix != ".safetensors":
        target = target.with_name(f"{target.name}.safetensors")
    if target.exists() and not options.overwrite:
        raise WeightsError(f"{target} is there already; --overwrite replaces it")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the network is asked for names and shapes only
    try:
        source = checkpoint_of(options.source, options.epoch)
        network, keypoints, unused, averaged = import_weights(source, target, options.averaged)
    except WeightsError as error:
        if str(options.source) in str(error) or isinstance(error.__cause__, OSError):
            raise
        raise WeightsError(f"{options.source}: {error}") from error
    head = f"head for {keypoints} keypoints" if keypoints else "no head for keypoints"
    print(f"{source}: backbone of HRNet {network}, {head}{', averaged weights' * averaged}")
    if unused:
        print(f"left out {len(unused):,} arrays: {summarize(unused)}")
    print(f"wrote {target} ({target.stat().st_size / 1e6:.0f} MB)")
    if not is_named_for(network, target):
        print(f"note: train/main.py --model={network} looks for files named hrnet_{network}*")


def command(argv=None):
    """Runs the command and returns its exit code."""
    prepare_process()
    try:
        _run(parser().parse_args(argv))
    except SystemExit as end:  # argparse has printed what is wrong (2), or the help (0)
        return end.code
    except (CommandError, OSError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{NAME}: interrupted", file=sys.stderr)
        return 130
    return 0
