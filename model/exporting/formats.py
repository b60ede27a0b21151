"""A trained network as SavedModel, ONNX or LiteRT file.

Each function writes its export all or nothing. What `model.exporting.serving.describe` says of the network
travels with it as JSON, readable without our code:

* SavedModel: the file ``assets.extra/hrpose.json`` (the folder that TensorFlow leaves to others);
* ONNX: the metadata property ``hrpose``;
* LiteRT: ``hrpose.json`` in a ZIP archive at the end of the file, where LiteRT's metadata format keeps its
  files too; ``zipfile`` and every unzip program read it, interpreters do not look that far.
"""

import contextlib
import importlib.util
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hrpose.atomic_files import WriteError, replacing
from model.exporting.serving import ExportError, describe, inference_network, serving_function
from model.inputs import normalize
from model.run_config import RunConfig

#: Name of the description, as a file and (without its ending) as a property.
METADATA = "hrpose.json"
#: What TensorFlow raises when a disk does not take what it writes.
_OF_THE_DISK = (tf.errors.ResourceExhaustedError, tf.errors.PermissionDeniedError)
#: Of ONNX: the oldest that has all we need, so that older runtimes read it too.
OPSET = 13


def export_saved_model(
    model: keras.Model,
    config: RunConfig,
    epoch: int,
    path: Path | str,
    decode: bool = False,
    batch: int | None = None,
    overwrite: bool = False,
    averaged: bool = False,
) -> None:
    """Writes a SavedModel: a folder with the signature ``serving_default``.

    Args:
        model: the trained HRNet, in float32.
        config: the run's `model.run_config.RunConfig`.
        epoch: of the weights, for the metadata.
        path: the folder to write.
        decode: False: normalized float32 images → heatmaps. True: uint8 images → keypoints in their pixels.
            `model.exporting.serving.serving_function` has the shapes.
        batch: how many images a call takes; None for any number.
        overwrite: whether to replace what is there.
        averaged: whether the weights are the moving average of those learned, for the metadata.

    Raises:
        ExportError: if something is there already, or the network is not float32.
    """
    with _replacing(path, overwrite) as temporary:
        _save(serving_function(inference_network(model), config, decode, batch), temporary)
        extra = temporary / "assets.extra"
        extra.mkdir()
        description = describe(config, epoch, averaged, decode, batch)
        (extra / METADATA).write_text(json.dumps(description, indent=1))


def export_onnx(
    model: keras.Model,
    config: RunConfig,
    epoch: int,
    path: Path | str,
    decode: bool = False,
    batch: int | None = None,
    overwrite: bool = False,
    averaged: bool = False,
) -> None:
    """Writes an ONNX file; arguments and errors as for `export_saved_model`.

    Raises:
        ExportError: also if tf2onnx is not installed.
    """
    if importlib.util.find_spec("tf2onnx") is None:
        raise ExportError("writing ONNX needs tf2onnx, which is not installed: pip install 'tf2onnx>=1.17'")
    import tf2onnx

    with _replacing(path, overwrite) as temporary:
        serve = serving_function(inference_network(model), config, decode, batch)
        proto, _ = tf2onnx.convert.from_function(serve, serve.input_signature, opset=OPSET)
        if batch is None:
            for value in (*proto.graph.input, *proto.graph.output):
                value.type.tensor_type.shape.dim[0].dim_param = "batch"  # tf2onnx numbers them apart
        proto.metadata_props.add(
            key=Path(METADATA).stem, value=json.dumps(describe(config, epoch, averaged, decode, batch))
        )
        temporary.write_bytes(proto.SerializeToString())


def export_litert(
    model: keras.Model,
    config: RunConfig,
    epoch: int,
    path: Path | str,
    decode: bool = False,
    batch: int | None = 1,
    overwrite: bool = False,
    precision: str = "float32",
    images: npt.NDArray[np.uint8] | None = None,
    averaged: bool = False,
) -> None:
    """Writes a LiteRT (.tflite) file with the signature ``serving_default``.

    Arguments and errors as for `export_saved_model`, and

    Args:
        batch: None gives a graph of unknown shape, which most accelerators cannot take.
        precision: "float32"; "float16": the weights rounded to half the size, computed with as the device
            likes; "int8": weights and activations of eight bits, with float32 at input and output.
        images: for "int8": (N, h, w, 3) uint8, RGB, N > 0: instances as the network sees them. The ranges of
            all activations are measured on them.

    Raises:
        ExportError: also for another precision, and for int8 without images or with the decoder.
    """
    if precision not in ("float32", "float16", "int8"):
        raise ExportError(f"precision {precision!r} is not available; available: float32, float16, int8")
    if precision == "int8" and decode:
        raise ExportError(
            "int8 with the decoder inside the graph is not available: x, y and score would be rounded to the "
            "same 255 steps. Export the heatmaps, or float16"
        )
    measured = np.zeros(0, np.uint8) if images is None else images
    if precision == "int8" and not len(measured):
        raise ExportError("int8 needs images of instances, to measure the ranges of the activations on")
    with _replacing(path, overwrite) as temporary, tempfile.TemporaryDirectory() as folder:
        _save(serving_function(inference_network(model), config, decode, batch), folder)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            converter.representative_dataset = lambda: _calls(measured, batch or 1)
        content = converter.convert()
        temporary.write_bytes(content)
        with zipfile.ZipFile(temporary, "a") as archive:
            description = describe(config, epoch, averaged, decode, batch, precision)
            archive.writestr(zipfile.ZipInfo(METADATA), json.dumps(description, indent=1))


def _save(serve: Any, folder: Path | str) -> None:
    """Saves a function with its variables as a SavedModel."""
    module = tf.Module()
    module.serve = serve
    module.network_variables = serve.get_concrete_function().variables
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def _calls(images: npt.NDArray[np.uint8], batch: int) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
    """Images as the arguments of calls; the last batch is filled up with the first images."""
    for start in range(0, len(images), batch):
        some = np.take(images, range(start, start + batch), axis=0, mode="wrap")
        yield {"image": normalize(some).numpy()}


@contextlib.contextmanager
def _replacing(path: Path | str, overwrite: bool) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what was written there takes its place at the end.

    Raises:
        ExportError: if something is there that shall stay, or the disk does not take what is written.
    """
    path = Path(path)
    if os.path.lexists(path):
        if not overwrite:
            raise ExportError(f"{path} is there already; --overwrite replaces it")
        if path.is_dir() and not (path / "saved_model.pb").is_file():
            raise ExportError(f"{path} is a folder, and not that of a SavedModel: nothing is replaced")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, any_kind=True) as temporary:
            yield temporary
    except (OSError, *_OF_THE_DISK) as error:
        # TensorFlow's texts begin with a node of its graph, and end with an operation's name.
        reason = (
            error if isinstance(error, OSError) else re.sub(r"^\{\{.*?\}\} *| *\[Op:\w+\]$", "", str(error))
        )
        raise ExportError(str(WriteError.of(path, reason))) from error
