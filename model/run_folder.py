"""The run folder: what a training run is, and its checkpoints, as trainer and evaluator read them.

    output/model_dump/config.json                  what the run trains, on what, and what it was made by
    output/model_dump/best.json                    which epoch validated best
    output/model_dump/epoch-0001/model.safetensors      the network's variables, by Keras' path
    output/model_dump/epoch-0001/optimizer.safetensors  the optimizer's
    output/model_dump/epoch-0001/average.safetensors    the moving average of the network's, if there is one
    output/model_dump/epoch-0001/state.json             progress
    output/model_dump/epoch-0001-update-000500/         the same, 500 updates after epoch 1

Safetensors files hold arrays and nothing that could run. A checkpoint appears under its name only when it is
complete.
"""

import json
import os
import re
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hrpose.atomic_files import PARTIAL, discard, replacing
from hrpose.command import CommandError
from hrpose.json_checks import is_whole

#: {path of a Keras variable: its values}.
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]


class HasVariables(Protocol):
    """A model, or an optimizer, of Keras."""

    @property
    def variables(self) -> Sequence[Any]:
        """Keras variables, with a path each."""


class RunError(CommandError):
    """A run folder that cannot be used as asked. The message says what is there and what to do."""


class DamagedCheckpointError(RunError):
    """A checkpoint that could be read and does not hold what was saved."""


def write_json(path: Path, data: Any) -> None:
    """Writes a JSON file of the run's folder whole or not at all.

    Raises:
        RunError: if it cannot be saved. One that was there before stays.
    """
    try:
        with replacing(path, durable=True) as temporary:
            temporary.write_text(json.dumps(data, indent=1))
    except OSError as error:
        raise RunError(f"{path} could not be saved: {error}; the checkpoints before it are intact") from error


@dataclass(frozen=True, order=True)
class Progress:
    """How far a run is. Ordered in time.

    Attributes:
        epoch: number of epochs done.
        update: number of updates done of the epoch after that.
    """

    epoch: int
    update: int = 0


def checkpoints_folder(run_dir: Path | str) -> Path:
    """Where in a run's folder its configuration and its checkpoints stand."""
    return Path(run_dir) / "model_dump"


def checkpoint_folder(folder: Path | str, epoch: int, update: int = 0) -> Path:
    """Where the checkpoint of an epoch stands, or the one so many updates after it."""
    return Path(folder) / (f"epoch-{epoch:04d}" + (f"-update-{update:06d}" if update else ""))


def saved_progress(folder: Path | str) -> list[Progress]:
    """The `Progress` of every complete checkpoint, in order.

    Raises:
        RunError: if the folder is there but cannot be read; what it holds is not known then.
    """
    try:
        with os.scandir(folder) as entries:
            folders = [entry.name for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{folder} cannot be read: {error.strerror or error}") from error
    names = (re.fullmatch(r"epoch-([0-9]{4,})(?:-update-([0-9]{6,}))?", name) for name in folders)
    return sorted(Progress(int(name[1]), int(name[2] or 0)) for name in names if name)


def saved_epochs(folder: Path | str) -> list[int]:
    """The epochs that have a complete checkpoint, in order."""
    return [progress.epoch for progress in saved_progress(folder) if not progress.update]


def list_saved(folder: Path | str) -> str:
    """The epochs that have a complete checkpoint, in words: "saved epochs: 1-3, 5"."""
    there = saved_epochs(folder)
    return f"saved epochs: {_ranges(there)}" if there else "no epoch has been saved yet"


def save_checkpoint(
    folder: Path | str,
    epoch: int,
    step: int,
    model: HasVariables,
    optimizer: HasVariables,
    update: int = 0,
    ema: Arrays | None = None,
) -> None:
    """Saves model, optimizer and progress, all or nothing.

    Args:
        folder: of the run's checkpoints.
        epoch: number of epochs done.
        step: number of updates done in all.
        model, optimizer: objects with Keras `variables`, which are saved by path.
        update: number of updates done of the epoch after.
        ema: {path: array}, the moving average of the model's variables, or None.
    """
    parts = {"model": variable_arrays(model), "optimizer": variable_arrays(optimizer)}
    write_checkpoint(folder, Progress(epoch, update), step, parts | ({"average": ema} if ema else {}))


def write_checkpoint(folder: Path | str, progress: Progress, step: int, parts: Mapping[str, Arrays]) -> None:
    """`save_checkpoint` with what is saved as {name of the file: {path: array}}."""
    final = checkpoint_folder(folder, progress.epoch, progress.update)
    remove_partial(folder)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with replacing(final, durable=True) as temporary:
            temporary.mkdir()
            checksums = {}
            for name, arrays in parts.items():
                content = save(arrays)
                checksums[name] = zlib.crc32(content)
                (temporary / f"{name}.safetensors").write_bytes(content)
            state: dict[str, Any] = {"epoch": progress.epoch, "update": progress.update, "step": step}
            state["crc32"] = checksums | {"state": _state_crc32(state)}
            (temporary / "state.json").write_text(json.dumps(state))
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"{final} could not be saved: {error}; the checkpoints before it are intact"
        ) from error


def remove_checkpoint(folder: Path | str, progress: Progress) -> None:
    """Removes a checkpoint; one that is removed by halves is none."""
    path = checkpoint_folder(folder, progress.epoch, progress.update)
    gone = path.with_name(f"{path.name}{PARTIAL}")
    discard(gone)
    path.rename(gone)
    shutil.rmtree(gone)


def set_aside(folder: Path | str, progress: Progress) -> Path:
    """Takes a checkpoint out of the run and keeps its files; returns the folder they are in."""
    path = checkpoint_folder(folder, progress.epoch, progress.update)
    aside = path.with_name(f"{path.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)  # of an earlier time
    return path.rename(aside)


def remove_partial(folder: Path | str) -> None:
    """Removes what a process that was killed left of what it was saving or removing."""
    for path in Path(folder).glob(f"*{PARTIAL}"):
        discard(path)


def load_checkpoint(
    folder: Path | str,
    epoch: int,
    model: HasVariables,
    optimizer: HasVariables | None = None,
    update: int = 0,
    ema: bool = False,
) -> int:
    """Loads a checkpoint into a model, and its optimizer's state if one is given.

    Args:
        folder: of the run's checkpoints.
        epoch, update: which.
        model, optimizer: objects with Keras `variables`.
        ema: whether the model shall get the moving average of the weights.

    Returns:
        The number of updates that had been done.

    Raises:
        RunError: if it was not saved, cannot be read, is damaged, or belongs to another network.
    """
    path = checkpoint_folder(folder, epoch, update)
    targets = {"average" if ema else "model": model}
    if optimizer is not None:
        targets["optimizer"] = optimizer
    step, parts = read_checkpoint(folder, Progress(epoch, update), [*targets])
    for name, target in targets.items():
        assign_arrays(target, parts[name], path / f"{name}.safetensors")
    return step


def read_checkpoint(
    folder: Path | str, progress: Progress, names: Sequence[str]
) -> tuple[int, dict[str, Arrays]]:
    """Reads parts of a checkpoint.

    Args:
        folder: of the run's checkpoints.
        progress: which.
        names: the parts, of "model", "optimizer" and "average".

    Returns:
        (number of updates done in all, {name: {path: array}}).

    Raises:
        DamagedCheckpointError: if what can be read of it is not what was saved.
        RunError: if it was not saved, or cannot be read: which a later attempt may find mended.
    """
    require_saved(folder, progress)
    return read_parts(checkpoint_folder(folder, progress.epoch, progress.update), names)


def require_saved(folder: Path | str, progress: Progress) -> None:
    """Raises RunError, which names the epochs there are, if this checkpoint was never saved."""
    if progress not in saved_progress(folder):
        raise RunError(f"epoch {progress.epoch} was never saved in {folder}; {list_saved(folder)}")


def saved_parts(path: Path | str) -> set[str]:
    """The names of the parts that a checkpoint's folder was saved with; none if it does not say so."""
    try:
        return set(json.loads((Path(path) / "state.json").read_bytes())["crc32"]) - {"state"}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


def read_parts(path: Path | str, names: Sequence[str]) -> tuple[int, dict[str, Arrays]]:
    """`read_checkpoint` of a checkpoint's own folder, wherever it stands and whatever it is called."""
    path = Path(path)
    try:
        state = json.loads((path / "state.json").read_text())
        contents = {name: (path / f"{name}.safetensors").read_bytes() for name in names}
        for name, content in contents.items():
            if state.get("crc32", {}).get(name, zlib.crc32(content)) != zlib.crc32(content):
                raise ValueError(f"{name}.safetensors has a wrong checksum")
        if not is_whole(state["step"]):
            raise ValueError(f"the number of updates in state.json is {str(state['step'])[:100]}")
        if state.get("crc32", {}).get("state", _state_crc32(state)) != _state_crc32(state):
            raise ValueError("state.json has a wrong checksum")
        return state["step"], {name: load(content) for name, content in contents.items()}
    except (
        FileNotFoundError,  # a part of it
        IsADirectoryError,
        SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise DamagedCheckpointError(f"the checkpoint {path} is damaged: {error}") from error
    except OSError as error:  # a permission, or a network disk that is away for a moment
        raise RunError(
            f"the checkpoint {path} cannot be read ({error.strerror or error}), which need not mean that it "
            "is damaged; nothing was changed, try again once it can be read"
        ) from error


def _state_crc32(state: Mapping[str, Any]) -> int:
    """Of the numbers; that of the arrays' files is beside them."""
    return zlib.crc32(json.dumps([state.get(name) for name in ("epoch", "update", "step")]).encode())


def variable_arrays(target: HasVariables) -> Arrays:
    """{path: array} of an object's Keras `variables`."""
    return {variable.path: np.array(variable.numpy(), order="C") for variable in target.variables}


def assign_arrays(keras_object: HasVariables, arrays: Arrays, path: Path) -> None:
    """Gives an object's Keras `variables` their values, {path: array}; `path` is named in the error."""
    variables = {variable.path: variable for variable in keras_object.variables}
    wrong = set(variables) ^ set(arrays) or {
        name for name, variable in variables.items() if tuple(variable.shape) != arrays[name].shape
    }
    if wrong:
        raise RunError(f"{path} belongs to another network; for example {sorted(wrong)[0]} does not match")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _ranges(numbers: Sequence[int]) -> str:
    """Numbers as text, runs shortened: "1-3, 5"."""
    parts, start = [], None
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        start = number if start is None else start
        if following != number + 1:
            parts.append(f"{start}-{number}" if number > start else f"{number}")
            start = None
    return ", ".join(parts)
