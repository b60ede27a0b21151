"""A network without batch normalization that computes what a trained one does."""

import keras
import numpy as np

from model.codecs.conventions import Tensor
from model.layers import BatchNorm


class _Identity(keras.layers.Layer):
    """Stands where a batch normalization was, which is called with these arguments."""

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        return inputs


def fold_batch_norms(model: keras.Model) -> keras.Model:
    """A copy of an HRNet whose convolutions do what batch normalization did after them, for inference only.

    Normalizing by running statistics is one multiplication and one addition per channel: the convolution's
    kernel takes the first, a bias the second. They are computed in float64 and rounded once, so that heatmaps
    differ by rounding only.

    Args:
        model: from a `model.networks.Network`: each `BatchNorm` follows a convolution that nothing else
            reads.

    Returns:
        A functional Keras model of the same precision with weights of its own.
    """
    norms = {
        layer.input._keras_history.operation.name: layer
        for layer in model.layers
        if isinstance(layer, BatchNorm)
    }
    removed = {norm.name for norm in norms.values()}

    def copy(layer: keras.Layer) -> keras.Layer:
        if layer.name in removed:
            return _Identity(name=layer.name, dtype=layer.dtype_policy)
        config = layer.get_config()
        if layer.name in norms:
            config["use_bias"] = True
        return layer.__class__.from_config(config)

    folded = keras.models.clone_model(model, clone_function=copy)
    for layer in model.layers:
        if layer.name in norms:
            norm = norms[layer.name]
            gamma, beta, mean, variance = (np.asarray(weight, np.float64) for weight in norm.get_weights())
            factor = gamma / np.sqrt(variance + norm.epsilon)
            (kernel,) = layer.get_weights()
            folded.get_layer(layer.name).set_weights([kernel * factor, beta - mean * factor])
        elif layer.weights and layer.name not in removed:
            folded.get_layer(layer.name).set_weights(layer.get_weights())
    return folded
