"""Turns a weight file, or a checkpoint, into a file that training starts from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from hrpose.atomic_files import WriteError, write_whole
from hrpose.command import captured_stderr, import_tensorflow
from model.networks import NETWORKS
from model.official_weights import official_shapes
from model.run_config import read_config
from model.run_folder import Progress, checkpoint_folder, checkpoints_folder, require_saved
from model.weight_choice import choose_epoch
from model.weight_import.initial_weights import fit_backbone, head_size, is_named_for, network_of
from model.weight_import.readers import EMA, WeightsError, read_weights, sha256, weights_file


def checkpoint_of(run_dir: Path | str, epoch: int | str | None) -> Path:
    """The folder of a run's checkpoint.

    Args:
        run_dir: the run's folder, with model_dump/.
        epoch: as for `model.weight_choice.choose_epoch`.

    Raises:
        RunError: if there is no such run, or it has no such epoch.
    """
    folder = checkpoints_folder(run_dir)
    read_config(folder)  # says so if there is no run
    progress = Progress(choose_epoch(folder, epoch))
    require_saved(folder, progress)
    return checkpoint_folder(folder, progress.epoch)


@dataclass(frozen=True)
class Imported:
    """What was written.

    Attributes:
        network: name of the network that the weights are for.
        num_keypoints: of its head; 0 if there is none.
        unused: names of the source that the network has no place for.
        averaged: whether the weights are a checkpoint's moving average.
    """

    network: str
    num_keypoints: int
    unused: tuple[str, ...]
    averaged: bool


def import_weights(source: Path | str, target: Path, averaged: bool | None = None) -> Imported:
    """Reads weights, chooses what belongs into the network they are for, and writes that.

    Args:
        source: anything `model.weight_import.readers.read_weights` reads.
        target: the .safetensors file to write, in a folder that may not exist yet.
        averaged: as for `model.weight_import.readers.weights_file`.

    Raises:
        WeightsError: if they cannot be read, are not a whole backbone, or are to be named for another
            network.
        WriteError: if the file cannot be written; what stood there before is intact then.
        RunError: as `model.weight_import.readers.read_weights`.
    """
    state = read_weights(source, averaged)
    network = network_of(state)
    others = [other for other in NETWORKS if other != network.name and is_named_for(other, target)]
    if others and not is_named_for(network.name, target):
        raise WeightsError(
            f"it holds a {network.name}, but --model={others[0]} would start from a file named "
            f"{target.name}; name it hrnet_{network.name}"
        )
    import_tensorflow()
    with captured_stderr():
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
    is_average = file.name == EMA
    if is_checkpoint := (file.parent / "state.json").is_file():
        metadata |= {"checkpoint": file.parent.name, "averaged": str(is_average).lower()}
    # A transposed array is another order of the same memory, and safetensors writes memory as it lies. Its
    # save_file would make a file that only its owner can read.
    arrays = {name: np.ascontiguousarray(value) for name, value in fit.values.items()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError.of(target, error) from error
    write_whole(target, save(arrays, metadata))
    return Imported(network.name, keypoints, fit.unused, is_checkpoint and is_average)
