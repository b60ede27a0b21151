"""Reads weight files of several origins into one form: official names, PyTorch layout, float32.

* ``.safetensors``: timm's HRNets, files of `model.weight_import.cli`, anything with official names. timm
  names the backbone exactly as the authors do, and like their ImageNet classifiers has a head that pose
  networks lack: incre_modules, downsamp_modules, final_layer.0, final_layer.1, classifier, and fusions to the
  lower resolutions at the end of stage 4.
* our own checkpoints: a folder epoch-NNNN, or a file in it (Keras' variable paths and layout); of a folder
  the moving average of the weights where there is one.
* ``.pth``, ``.pth.tar``, ``.pt``, ``.bin``: PyTorch's pickles, through PyTorch's restricted reader, which
  makes tensors and containers and runs nothing.

Files are hostile until read: what does not hold plain finite numbers is refused by name.
"""

import codecs
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import ml_dtypes  # noqa: F401 - teaches NumPy bfloat16, which safetensors files may hold
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from hrpose.command import CommandError
from model.networks import NETWORKS, Network
from model.official_weights import official_name
from model.run_folder import read_parts, saved_parts

#: The weights of a checkpoint: as learned, and their moving average.
LEARNED, EMA = "model.safetensors", "average.safetensors"
#: The largest published file (HRNet-W48 with its optimizer's state) has 0.8 GB.
MAX_BYTES = 4 << 30
TORCH_SUFFIXES = (".pth", ".pth.tar", ".pt", ".bin")
#: Earlier versions run code from crafted files even with weights_only=True (CVE-2025-32434).
MIN_TORCH = (2, 6)
TORCH = "'torch>=2.6' (this project's extra: torch)"
#: What is converted to float32, as safetensors calls it.
FLOATS = ("F64", "F32", "F16", "BF16")
#: Where PyTorch training scripts put the weights among other things; "model" may also be the model's name.
NESTED_IN = ("state_dict", "model_state_dict", "model")


class WeightsError(CommandError):
    """Weights that cannot be used as asked. The message says what was received, expected, and what to do."""


def read_weights(
    path: Path | str, averaged: bool | None = None, networks: Iterable[Network] | None = None
) -> dict[str, npt.NDArray[np.float32]]:
    """Reads a weight file, or the folder of one of our checkpoints.

    ``module.``, which PyTorch's DataParallel puts before every name, is taken off, and the counters
    ``*.num_batches_tracked`` are left out.

    Args:
        path: the file or folder.
        averaged: of a checkpoint's folder, as for `weights_file`.
        networks: of which a checkpoint may be; None for any of `NETWORKS`.

    Returns:
        {official name: float32 array in PyTorch's layout}: convolutions (out, in, kh, kw).

    Raises:
        WeightsError: if it is not there, cannot be read, is too large, damaged or of another kind, holds
            anything but finite numbers, or needs PyTorch and there is none.
        RunError: if it is of a checkpoint that does not hold what was saved, or cannot be read.
    """
    file = weights_file(path, averaged)
    _refuse_other_kinds(file)
    if file.stem in saved_parts(file.parent):
        read_parts(file.parent, [file.stem])  # compares checksums; a safetensors file has none of its own
    if file.suffix == ".safetensors":
        arrays = _read_safetensors(file)
    elif file.name.endswith(TORCH_SUFFIXES):
        arrays = _read_torch(file)
    else:
        raise WeightsError(f"{file}: expected a file named *.safetensors or *{', *'.join(TORCH_SUFFIXES)}")
    while arrays and all(name.startswith("module.") for name in arrays):
        arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    if any("/" in name for name in arrays):
        arrays = _from_keras(file, arrays, NETWORKS.values() if networks is None else networks)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"{file}: {name} holds NaN or infinite numbers (as float32); use another file")
    return arrays


def weights_file(path: Path | str, averaged: bool | None = None) -> Path:
    """The file that holds the weights: the path itself, or what is in a checkpoint's folder.

    Args:
        path: of the file or folder.
        averaged: of a folder, whether to take the moving average of the weights; None for the average where
            there is one (see `model.weight_choice`).

    Raises:
        WeightsError: if it is not there, or too large, or there is nothing to choose.
    """
    path = Path(path)
    if path.is_dir():
        learned, ema = path / LEARNED, path / EMA
        if not learned.is_file():
            raise WeightsError(
                f"{path} is a folder without {LEARNED}; name a file, or a checkpoint such as "
                "output/model_dump/epoch-0210; a run's own folder is --run_dir"
            )
        if averaged and not ema.is_file():
            raise WeightsError(
                f"{path} has no moving average of the weights, as train/main.py --ema_decay would keep; "
                "without --averaged the weights as learned are taken"
            )
        if averaged is None and Path(EMA).stem in saved_parts(path) and not ema.is_file():
            raise WeightsError(
                f"{path} is damaged: the moving average of the weights was saved, but {EMA} is gone; "
                "--noaveraged takes the weights as learned"
            )
        path = learned if averaged is False or not ema.is_file() else ema
    elif averaged is not None:
        raise WeightsError(
            f"{path} is no checkpoint's folder, so there is nothing to choose; leave out "
            "--averaged or --noaveraged"
        )
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise WeightsError(f"{path} has {path.stat().st_size:,} bytes; expected at most {MAX_BYTES:,}")
    return path


#: What a file begins with that a download left in place of weights, and what to say of it.
_OTHER_KINDS = (
    (
        rb"\s*(<!--|<!doctype|<html|<head|<\?xml)",
        "is a web page, as a link to a page about the file gives it; download the file itself",
    ),
    (
        rb"version https://git-lfs",
        "is a pointer of Git LFS to the file, which is not here yet; git lfs pull brings it",
    ),
    (rb"\Z", "is empty; download it again"),
)


def _refuse_other_kinds(path: Path) -> None:
    try:
        with path.open("rb") as file:
            beginning = file.read(512).removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    for pattern, what in _OTHER_KINDS:
        if re.match(pattern, beginning, re.IGNORECASE):
            raise WeightsError(f"{path} {what}")


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _read_safetensors(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    arrays: dict[str, npt.NDArray[np.float32]] = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118 - it is not a dict
                dtype = file.get_slice(name).get_dtype()
                if _is_counter(name):
                    continue
                if dtype not in FLOATS:
                    raise WeightsError(f"{path}: {name} is of type {dtype}; expected one of {FLOATS}")
                with np.errstate(over="ignore"):  # what becomes infinite is found and named later
                    arrays[name] = file.get_tensor(name).astype(np.float32)
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is not a safetensors file, or is damaged: {error}") from error
    return arrays


def _import_torch(path: Path) -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path} is a PyTorch file, and reading it needs PyTorch: pip install {TORCH}. Or run python "
            "model/weights.py import where PyTorch is, and bring the .safetensors file here"
        ) from error
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < MIN_TORCH:
        raise WeightsError(
            f"PyTorch {torch.__version__} does not read hostile files safely; pip install {TORCH}"
        )
    return torch


def _read_torch(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    torch = _import_torch(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a hostile or damaged file makes of PyTorch's reader
        # PyTorch's own text recommends to switch the protection off.
        raise WeightsError(
            f"{path} cannot be read: it is not a PyTorch file, is damaged, or holds more than tensors and "
            f"plain containers ({type(error).__name__} from torch.load with weights_only=True)"
        ) from error
    if isinstance(content, dict):
        content = next((content[key] for key in NESTED_IN if isinstance(content.get(key), dict)), content)
    entries = content.items() if isinstance(content, dict) else ()
    tensors = {name: value for name, value in entries if isinstance(value, torch.Tensor)}
    if not tensors:
        raise WeightsError(
            f"{path} holds no weights: expected a dict of tensors, at the top or under one of {NESTED_IN}"
        )
    if sum(tensor.numel() for tensor in tensors.values()) * 4 > MAX_BYTES:
        raise WeightsError(f"{path} describes more numbers than {MAX_BYTES:,} bytes hold")
    arrays = {}
    for name, tensor in tensors.items():
        if _is_counter(str(name)):
            continue
        if not isinstance(name, str) or not tensor.is_floating_point() or tensor.layout != torch.strided:
            raise WeightsError(f"{path}: {name} is of type {tensor.dtype}; expected dense floating point")
        arrays[name] = tensor.detach().to(torch.float32).numpy()
    return arrays


def _from_keras(
    path: Path, arrays: dict[str, npt.NDArray[np.float32]], networks: Iterable[Network]
) -> dict[str, npt.NDArray[np.float32]]:
    """{Keras' path: array in Keras' layout} as {official name: array in PyTorch's}."""
    errors = []
    for names in dict.fromkeys(tuple(network.official_names) for network in networks):
        try:
            return {
                official_name(name, names): array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
                for name, array in arrays.items()
            }
        except ValueError as error:
            errors.append(error)
    raise WeightsError(f"{path} is not a checkpoint of a network here: {errors[0]}") from errors[0]
