"""Weights of the official PyTorch implementation, by its own names, into our models.

Run as a command it imports weight files: ``python model/weights.py import --help``.
"""

import re

import numpy as np

# Our layer name -> the module of the official state_dict that holds its weights
# (leoxiaobin/deep-high-resolution-net.pytorch, lib/models/pose_hrnet.py).
_OFFICIAL_NAMES = [
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
]
_LEAVES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def official_name(variable_path):
    """The official state_dict's name of a variable, e.g. ``stage2.0.branches.1.3.conv2.weight``.

    Args:
        variable_path: Keras' path, e.g. ``stage2.module0.branch1.block3.conv2/kernel``.

    Raises:
        ValueError: if it is not a variable of an HRNet.
    """
    layer, leaf = variable_path.rsplit("/", 1)
    for pattern, replacement in _OFFICIAL_NAMES:
        if re.fullmatch(pattern, layer):
            return f"{re.sub(pattern, replacement, layer)}.{_LEAVES[leaf]}"
    raise ValueError(f"{variable_path!r} is not the name of an HRNet variable")


def official_shapes(model):
    """{official name: shape in PyTorch's layout} of every variable of a model made by `build_hrnet`."""
    shapes = {official_name(variable.path): tuple(variable.shape) for variable in model.variables}
    return {
        name: tuple(shape[axis] for axis in (3, 2, 0, 1)) if len(shape) == 4 else shape
        for name, shape in shapes.items()
    }


def load_state_dict(model, state_dict, strict=True):
    """Copies official weights into a model made by `build_hrnet`.

    Args:
        model: the HRNet.
        state_dict: {official name: NumPy array in PyTorch's layout}: convolutions (out, in, kh, kw),
            everything else (C,). Entries named ``*.num_batches_tracked`` are passed over.
        strict: whether every variable must be found and every entry used.

    Returns:
        (missing, unused): official names that the model has and the dict lacks, and the reverse; both
        empty if strict.

    Raises:
        ValueError: if a shape differs (both are named), or, if strict, names differ. Nothing is changed then.
    """
    values, missing = [], []
    unused = {name for name in state_dict if not name.endswith("num_batches_tracked")}
    for variable in model.variables:
        name = official_name(variable.path)
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
