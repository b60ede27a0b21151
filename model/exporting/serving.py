"""What is exported: one TensorFlow function from images to heatmaps or keypoints, and what describes it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from hrpose import __version__
from hrpose.command import CommandError
from model.codecs.conventions import Tensor
from model.inputs import IMAGENET_MEAN, IMAGENET_STD, normalize
from model.layers import Upsample
from model.run_config import RunConfig


class ExportError(CommandError):
    """An export that cannot be made as asked. The message says what was asked and what to do."""


class _Nearest(keras.layers.Layer):
    """`model.layers.Upsample` as the single operation that every runtime has a kernel for.

    Without half-pixel centers, output pixel x shows input pixel floor(x / factor): the same repetition.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs: Tensor) -> Tensor:
        size = [side * self.factor for side in inputs.shape[1:3]]
        return tf.raw_ops.ResizeNearestNeighbor(images=inputs, size=size)


def inference_network(model: keras.Model) -> keras.Model:
    """A copy of an HRNet that computes the same from operations that other runtimes know.

    Args:
        model: from a `model.networks.Network`, in float32.

    Raises:
        ExportError: if it computes in another precision; the conversions expect float32.
    """
    if model.compute_dtype != "float32":
        raise ExportError(
            f"the network computes in {model.compute_dtype}; build it under the float32 policy to export it"
        )

    def copy(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, Upsample):
            return _Nearest(layer.factor, name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    network = keras.models.clone_model(model, clone_function=copy)
    network.set_weights(model.get_weights())
    return network


@contextlib.contextmanager
def _plain_argmax() -> Iterator[None]:
    """Lets `keras.ops.argmax` be TensorFlow's own while a function is traced.

    Keras' own first makes negative zeros smaller than positive ones, by looking at their bits; neither LiteRT
    nor ONNX before opset 26 can do that. `decode` gives (0, 0) for a map whose highest value is a
    zero of either sign, so it makes no difference there.
    """
    original = ops.argmax
    ops.argmax = lambda x, axis: tf.argmax(x, axis, output_type="int32")
    try:
        yield
    finally:
        ops.argmax = original


def decode_to_input(heatmaps: Tensor, config: RunConfig) -> Tensor:
    """Keypoints in network-input pixels.

    Args:
        heatmaps: (N, h, w, K) float32.
        config: the run's `model.run_config.RunConfig`.

    Returns:
        (N, K, 3) float32: x, y in pixels of the network input, and score.
    """
    codec = config.make_codec()
    x, y = codec.to_heatmap(config.input_size, config.heatmap_size)
    return codec.decode(heatmaps) * ops.convert_to_tensor([1 / x, 1 / y, 1.0], "float32")


def serving_function(
    network: Callable[..., Tensor], config: RunConfig, decode: bool = False, batch: int | None = None
) -> Any:
    """The function that is exported.

    Args:
        network: from `inference_network`.
        config: the run's `RunConfig`.
        decode: False: ``image`` (B, h, w, 3) float32, RGB normalized by `model.inputs.normalize` →
            ``heatmaps`` (B, h / 4, w / 4, K) float32. True: ``image`` (B, h, w, 3) uint8, RGB →
            ``keypoints`` (B, K, 3) float32: x, y in pixels of that image (the center of the first pixel is
            0, 0), and score, the heatmap's highest value.
        batch: B, or None for any.

    Returns:
        A `tf.function` with one signature.
    """
    width, height = config.input_size
    image = tf.TensorSpec((batch, height, width, 3), tf.uint8 if decode else tf.float32, name="image")

    def serve(image: Tensor) -> dict[str, Tensor]:
        if not decode:
            return {"heatmaps": network(image, training=False)}
        heatmaps = network(normalize(image), training=False)
        with _plain_argmax():
            return {"keypoints": decode_to_input(heatmaps, config)}

    return tf.function(serve, input_signature=[image])


def describe(
    config: RunConfig,
    epoch: int,
    averaged: bool,
    decode: bool,
    batch: int | None,
    precision: str = "float32",
) -> dict[str, Any]:
    """The metadata that goes into every export, as a dict for JSON.

    Args:
        config: the run's `RunConfig`.
        epoch: of the checkpoint.
        averaged: whether the weights are the moving average of those learned.
        decode, batch: as for `serving_function`.
        precision: of the weights.
    """
    formula = "(value / 255 - mean) / std, per RGB channel"
    return {
        "hrpose": __version__,
        "model": config.model,
        "epoch": epoch,
        "averaged": averaged,
        "dataset": config.dataset,
        "precision": precision,
        "input": {
            "name": "image",
            "layout": "NHWC, RGB",
            "batch": batch,
            "size": list(config.input_size),
            "size_order": "width, height",
            "dtype": "uint8" if decode else "float32",
            "crop": "the instance's box, widened about its center to the input's shape, times 1.25",
            "normalization": formula + ("; inside the graph" if decode else "; expected of the caller"),
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
        },
        "output": {
            "name": "keypoints" if decode else "heatmaps",
            "layout": "N, keypoint, (x, y, score)" if decode else "N, height, width, keypoint",
            "space": "pixels of the input image" if decode else "heatmap pixels",
        },
        "heatmap_size": list(config.heatmap_size),
        "codec": config.codec,
        "sigma": config.sigma,
        "skeleton": config.skeleton,
    }
