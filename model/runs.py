"""The run folder: what a training run is, and its checkpoints, as trainer and evaluator read them.

    output/model_dump/config.json                  what the run trains, and on what
    output/model_dump/epoch-0001/model.safetensors      the network's variables, by Keras' path
    output/model_dump/epoch-0001/optimizer.safetensors  the optimizer's
    output/model_dump/epoch-0001/state.json             epoch, step

Safetensors files hold arrays and nothing that could run. A checkpoint appears under its name only when it is
complete.
"""

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

CONFIG = "config.json"


class RunError(Exception):
    """A run folder that cannot be used as asked. The message says what is there and what to do."""


@dataclass(frozen=True)
class RunConfig:
    """What a run trains. Written once, when it starts.

    Attributes:
        dataset: the name given as --dataset.
        records: fingerprint of the training records.
        skeleton: the keypoints, as `records.skeletons.Skeleton.to_json` gives them.
        model: a name in `model.hrnet.ARCHITECTURES`.
        input_size: (width, height) of the network input in pixels.
        codec: method of `model.heatmaps`.
        sigma: of the target Gaussians, in heatmap pixels.
        recipe: everything else that decides the result, by flag name.
    """

    dataset: str
    records: str
    skeleton: dict
    model: str
    input_size: tuple[int, int]
    codec: str
    sigma: float
    recipe: dict

    @property
    def heatmap_size(self):
        """(width, height) of the heatmaps: a quarter of the input's."""
        return self.input_size[0] // 4, self.input_size[1] // 4

    @property
    def num_keypoints(self):
        """K."""
        return len(self.skeleton["keypoints"])

    def differences(self, other):
        """Lines that name each setting in which another `RunConfig` differs: "name: mine → theirs"."""
        mine, theirs = _flat(self), _flat(other)
        return [
            f"{name}: {mine.get(name)} → {theirs.get(name)}"
            for name in {**mine, **theirs}
            if mine.get(name) != theirs.get(name)
        ]


def _flat(config):
    settings = asdict(config)
    settings["skeleton"] = settings["skeleton"]["name"]
    return json.loads(json.dumps(settings | settings.pop("recipe")))


def write_config(folder, config):
    """Writes a run's configuration into its (existing) folder of checkpoints."""
    temporary = Path(folder) / f"{CONFIG}.partial"
    temporary.write_text(json.dumps(asdict(config), indent=1))
    temporary.replace(Path(folder) / CONFIG)


def read_config(folder):
    """Reads a run's configuration.

    Raises:
        RunError: if there is none, or it cannot be read.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise RunError(f"no run in {folder}: {CONFIG} is missing. python train/main.py starts one")
    try:
        data = json.loads(path.read_text())
        config = {field.name: data[field.name] for field in fields(RunConfig)}
        width, height = map(int, config["input_size"])
        config = RunConfig(**(config | {"input_size": (width, height)}))
        _ = config.num_keypoints, config.skeleton["name"], dict(config.recipe)
        return config
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is not a run configuration this version can read: {error!r}") from error


def checkpoint_folder(folder, epoch):
    """Where an epoch's checkpoint stands."""
    return Path(folder) / f"epoch-{epoch:04d}"


def saved_epochs(folder):
    """The epochs that have a complete checkpoint, in order."""
    folders = (path for path in Path(folder).glob("epoch-*") if path.is_dir())
    names = (re.fullmatch(r"epoch-(\d{4,})", path.name) for path in folders)
    return sorted(int(name[1]) for name in names if name)


def save_checkpoint(folder, epoch, step, model, optimizer):
    """Saves model, optimizer and progress after an epoch, all or nothing.

    Args:
        folder: of the run's checkpoints.
        epoch: number of epochs done.
        step: number of updates done.
        model, optimizer: Keras objects; their variables are saved by path.
    """
    final = checkpoint_folder(folder, epoch)
    temporary = final.with_name(f"{final.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(_arrays(model), temporary / "model.safetensors")
    save_file(_arrays(optimizer), temporary / "optimizer.safetensors")
    (temporary / "state.json").write_text(json.dumps({"epoch": epoch, "step": step}))
    for path in temporary.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)


def load_checkpoint(folder, epoch, model, optimizer=None):
    """Loads a checkpoint into a model, and its optimizer's state if one is given.

    Returns:
        The number of updates that had been done.

    Raises:
        RunError: if the epoch was not saved, or is damaged, or belongs to another network.
    """
    path = checkpoint_folder(folder, epoch)
    if not path.is_dir():
        there = saved_epochs(folder)
        have = f"saved epochs: {_ranges(there)}" if there else "no epoch has been saved yet"
        raise RunError(f"epoch {epoch} was never saved in {folder}; {have}")
    try:
        step = int(json.loads((path / "state.json").read_text())["step"])
        parts = [(model, path / "model.safetensors")]
        if optimizer is not None:
            parts.append((optimizer, path / "optimizer.safetensors"))
        # Everything is read before anything is changed.
        parts = [(target, load_file(file), file) for target, file in parts]
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(f"the checkpoint {path} is damaged: {error}") from error
    for target, arrays, file in parts:
        _assign(target, arrays, file)
    return step


def _arrays(keras_object):
    return {variable.path: np.array(variable.numpy(), order="C") for variable in keras_object.variables}


def _assign(keras_object, arrays, path):
    variables = {variable.path: variable for variable in keras_object.variables}
    wrong = set(variables) ^ set(arrays) or {
        name for name, variable in variables.items() if tuple(variable.shape) != arrays[name].shape
    }
    if wrong:
        raise RunError(f"{path} belongs to another network; for example {sorted(wrong)[0]} does not match")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _ranges(numbers):
    """Numbers as text, runs shortened: "1-3, 5"."""
    parts, start = [], None
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        start = number if start is None else start
        if following != number + 1:
            parts.append(f"{start}-{number}" if number > start else f"{number}")
            start = None
    return ", ".join(parts)
