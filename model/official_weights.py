"""Weights of a network's authors, by their names and in PyTorch's layout, into our models.

``python model/weights.py import`` imports weight files.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras

#: Of HRNet: our layer's name, and the module of the official state_dict that holds its weights
#: (leoxiaobin/deep-high-resolution-net.pytorch, lib/models/pose_hrnet.py).
HRNET_NAMES = (
    (r"stem\.(conv|bn)(\d)", r"\1\2"),
    (r"layer1\.block(\d+)\.(conv|bn)(\d)", r"layer1.\1.\2\3"),
    (r"layer1\.block(\d+)\.downsample\.conv", r"layer1.\1.downsample.0"),
    (r"layer1\.block(\d+)\.downsample\.bn", r"layer1.\1.downsample.1"),
    (r"transition(\d)\.branch(\d)\.conv", r"transition\1.\2.0"),
    (r"transition(\d)\.branch(\d)\.bn", r"transition\1.\2.1"),
    (r"transition(\d)\.branch(\d)\.step(\d)\.conv", r"transition\1.\2.\3.0"),
    (r"transition(\d)\.branch(\d)\.step(\d)\.bn", r"transition\1.\2.\3.1"),
    (r"stage(\d)\.module(\d)\.branch(\d)\.block(\d)\.(conv|bn)(\d)", r"stage\1.\2.branches.\3.\4.\5\6"),
    (r"stage(\d)\.module(\d)\.fuse(\d)from(\d)\.conv", r"stage\1.\2.fuse_layers.\3.\4.0"),
    (r"stage(\d)\.module(\d)\.fuse(\d)from(\d)\.bn", r"stage\1.\2.fuse_layers.\3.\4.1"),
    (r"stage(\d)\.module(\d)\.fuse(\d)from(\d)\.step(\d)\.conv", r"stage\1.\2.fuse_layers.\3.\4.\5.0"),
    (r"stage(\d)\.module(\d)\.fuse(\d)from(\d)\.step(\d)\.bn", r"stage\1.\2.fuse_layers.\3.\4.\5.1"),
    (r"head\.conv", r"final_layer"),
)
#: The only layer of HRNet whose size depends on the number of keypoints.
HRNET_HEAD = ("final_layer.weight", "final_layer.bias")
#: The first convolution of HRNet's highest-resolution branch; its size is the network's width.
HRNET_WIDTH = "stage2.0.branches.0.0.conv1.weight"

#: Of a network that was not published under other names than ours.
OWN_NAMES = ((r"(.+)", r"\1"),)

_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def official_name(variable_path: str, names: Sequence[tuple[str, str]] = HRNET_NAMES) -> str:
    """The official state_dict's name of a variable, e.g. ``stage2.0.branches.1.3.conv2.weight``.

    Args:
        variable_path: Keras' path, e.g. ``stage2.module0.branch1.block3.conv2/kernel``.
        names: of the network, `model.networks.Network.official_names`.

    Raises:
        ValueError: if the network has no such variable.
    """
    layer, _, leaf = variable_path.rpartition("/")
    for pattern, replacement in names if leaf in _LEAVES else ():
        if re.fullmatch(pattern, layer):
            return f"{re.sub(pattern, replacement, layer)}.{_LEAVES[leaf]}"
    raise ValueError(f"{variable_path!r} is not the name of a variable of the network")


def official_shapes(
    model: "keras.Model", names: Sequence[tuple[str, str]] = HRNET_NAMES
) -> dict[str, tuple[int, ...]]:
    """{official name: shape in PyTorch's layout} of every variable of a model; names as `official_name`."""
    shapes = {official_name(variable.path, names): tuple(variable.shape) for variable in model.variables}
    return {
        name: tuple(shape[axis] for axis in (3, 2, 0, 1)) if len(shape) == 4 else shape
        for name, shape in shapes.items()
    }


def load_state_dict(
    model: "keras.Model",
    state_dict: Mapping[str, npt.ArrayLike],
    strict: bool = True,
    names: Sequence[tuple[str, str]] = HRNET_NAMES,
) -> tuple[list[str], list[str]]:
    """Copies official weights into a model.

    Args:
        model: made by `build_hrnet`, or by the network that `names` is of.
        state_dict: {official name: NumPy array in PyTorch's layout}: convolutions (out, in, kh, kw),
            everything else (C,). Entries named ``*.num_batches_tracked`` are passed over.
        strict: whether every variable must be found and every entry used.
        names: as for `official_name`.

    Returns:
        (missing, unused): official names that the model has and the dict lacks, and the reverse; both
        empty if strict.

    Raises:
        ValueError: if a shape differs (both are named), or, if strict, names differ. Nothing is changed then.
    """
    values, missing = [], []
    unused = {name for name in state_dict if not name.endswith("num_batches_tracked")}
    for variable in model.variables:
        name = official_name(variable.path, names)
        if name not in state_dict:
            missing.append(name)
            continue
        unused.discard(name)
        value = np.asarray(state_dict[name])
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
        if value.shape != tuple(variable.shape):
            raise ValueError(
                f"{name} has the shape {value.shape} (as height, width, in, out where it is a convolution), "
                f"but the model's {variable.path} has {tuple(variable.shape)}"
            )
        values.append((variable, value))
    if strict and (missing or unused):
        raise ValueError(
            f"the weights do not fit the model: {len(missing)} not found {missing[:5]}, "
            f"{len(unused)} not used {sorted(unused)[:5]}; strict=False loads what fits"
        )
    for variable, value in values:
        variable.assign(value)
    return missing, sorted(unused)
