"""Weights to start from: which network a file is for, what of it fits, and where the trainer finds it.

A network starts from a whole backbone or not at all: a file that lacks part of it, or has another width, is
refused. Only the head, which belongs to one set of keypoints, may stay as it was initialized, and that is
reported.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from model.networks import NETWORKS, Network
from model.official_weights import load_state_dict, official_shapes
from model.weight_import.readers import TORCH_SUFFIXES, WeightsError, read_weights

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Fit:
    """What of a file a network takes.

    Attributes:
        values: {official name: float32 array in PyTorch's layout}: what the network takes.
        missing: official names that the network has and does not get: the head, or nothing.
        unused: names in the file that the network has no place for, or not of that size.
        head: what became of the head, in words.
    """

    values: dict[str, npt.NDArray[np.float32]]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    head: str

    def report(self) -> str:
        """One or two lines for the user: what is used, what became of the head, what is left out."""
        lines = [f"{len(self.values):,} arrays used; head: {self.head}"]
        if self.unused:
            lines.append(f"left out {len(self.unused):,} arrays: {summarize(self.unused)}")
        return "\n".join(lines)


def network_of(state: Mapping[str, npt.NDArray[np.float32]]) -> Network:
    """Which of `NETWORKS` a file's weights are for, by the width of its backbone.

    Args:
        state: {official name: array}, from `read_weights`.

    Raises:
        WeightsError: if it is none of them.
    """
    known = {network.name: network.known_by for network in NETWORKS.values() if network.known_by}
    for name, (array, width) in known.items():
        if array in state and state[array].shape[:1] == (width,):
            return NETWORKS[name]
    arrays = dict.fromkeys(array for array, _ in known.values())
    there = next((array for array in arrays if array in state), None)
    if there is None:
        raise WeightsError(
            f"no weights of a network here: {' or '.join(arrays)} is missing; the file has "
            f"{summarize(state) or 'nothing'}"
        )
    widths = ", ".join(f"{width} ({name})" for name, (array, width) in known.items() if array == there)
    raise WeightsError(
        f"{there} has the shape {state[there].shape}; the widths of the networks here are {widths}"
    )


def head_size(
    state: Mapping[str, npt.NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]], head: Sequence[str]
) -> int:
    """How many keypoints a file's head is for; 0 if it has none.

    Args:
        state: {official name: array}, from `read_weights`.
        shapes: {official name: shape} of the network for any number of keypoints.
        head: `Network.head`.
    """
    for name in head[:1]:
        if name in state and state[name].shape[1:] == shapes[name][1:]:
            return state[name].shape[0]
    return 0


#: Parts of a network that a message names.
_PARTS_NAMED = 8


def summarize(names: Iterable[str]) -> str:
    """Official names counted by the part of the network they belong to: "classifier (2), final_layer (7)".

    Of many parts the first few are named.
    """
    found = (re.match(r"stage\d\.\d+\.\w+\.\d+|[^.]*", name) for name in names)
    parts = Counter(part[0] for part in found if part)
    counted = [f"{part} ({count})" for part, count in sorted(parts.items())]
    more = len(counted) - _PARTS_NAMED
    return ", ".join(counted[:_PARTS_NAMED]) + (f" and {more} other parts" if more > 0 else "")


def fit_backbone(
    state: Mapping[str, npt.NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]], head: Sequence[str]
) -> Fit:
    """Chooses what a network can start from: the whole backbone, and the head where its size is the same.

    Args:
        state: {official name: array}, from `read_weights`.
        shapes: {official name: shape in PyTorch's layout} of the network, from `official_shapes`.
        head: `Network.head`.

    Raises:
        WeightsError: if part of the backbone is missing or has another shape (both are named).
    """
    backbone = [name for name in shapes if name not in head]
    missing = [name for name in backbone if name not in state]
    if missing:
        raise WeightsError(
            f"no weights of this network: {len(missing):,} of its {len(backbone):,} arrays are missing, for "
            f"example {missing[0]}; the file has {summarize(state) or 'nothing'}"
        )
    for name in backbone:
        if state[name].shape != shapes[name]:
            raise WeightsError(
                f"weights of another network: {name} has the shape {state[name].shape}, this network's has "
                f"{shapes[name]}"
            )
    differs = [name for name in head if name in state and state[name].shape != shapes[name]]
    if differs:
        found = (
            f"as initialized ({differs[0]} is {state[differs[0]].shape}, the network's {shapes[differs[0]]})"
        )
    elif all(name in state for name in head):
        found = "from the file"
        backbone = [*backbone, *head]
    else:
        found = "as initialized (the file has none for keypoints)"
    values = {name: state[name] for name in backbone}
    return Fit(
        values=values,
        missing=tuple(name for name in shapes if name not in values),
        unused=tuple(sorted(name for name in state if name not in values)),
        head=found,
    )


def load_initial_weights(model: "keras.Model", path: Path | str, network: Network) -> Fit:
    """Loads what `fit_backbone` chooses of a file into a network.

    Args:
        model: built by `network`.
        path: anything `read_weights` reads: a .safetensors or .pth file, or a folder epoch-NNNN.
        network: what it is.

    Returns:
        `Fit`; its `report()` is for the user.

    Raises:
        WeightsError: if the file cannot be read or does not fit. Nothing is changed then.
    """
    try:
        state = read_weights(path, networks=[network])
        fit = fit_backbone(state, official_shapes(model, network.official_names), network.head)
    except WeightsError as error:
        raise WeightsError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    load_state_dict(model, fit.values, strict=False, names=network.official_names)
    return fit


def is_named_for(network: str, path: Path | str) -> bool:
    """Whether a file's name says that it holds weights of a network: ``hrnet_<network>*``."""
    return re.match(rf"hrnet_{re.escape(network)}(?![0-9])", Path(path).name) is not None


def find_initial_weights(folder: Path | str, network: str) -> Path | None:
    """The file of initial weights for a network: ``hrnet_<network>*`` in a folder.

    A .safetensors file is preferred to PyTorch's, which needs PyTorch.

    Args:
        folder: where to look, e.g. dataset/imagenet_weights. It need not exist.
        network: a name in `model.networks.NETWORKS`, e.g. "w32".

    Returns:
        The path, or None if there is none.

    Raises:
        WeightsError: if there are several of a kind.
    """
    files = sorted(path for path in Path(folder).glob("*") if is_named_for(network, path) and path.is_file())
    for suffixes in ((".safetensors",), TORCH_SUFFIXES):
        found = [path for path in files if path.name.endswith(suffixes)]
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise WeightsError(f"{folder} has several files for {network}: {names}; say which to start from")
        if found:
            return found[0]
    return None
