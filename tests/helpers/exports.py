"""What tests of exports have in common: a network to export, images to run it on, its description."""

import functools
import json
import zipfile

import keras
import numpy as np
import onnxruntime

from model.inputs import normalize
from model.networks import NETWORKS

#: (width, height) of the network's input.
SIZE = (64, 96)


@functools.cache
def random_network(num_keypoints, architecture="w24_tiny"):
    """A network of random weights whose activations, like a trained one's, and heatmaps are of about size 1.

    Without the running statistics that belong to the weights, W32's activations would leave float16's range.
    """
    model = NETWORKS[architecture].build(SIZE, num_keypoints)
    rng = np.random.default_rng(num_keypoints)
    for variable in model.variables:
        shape = tuple(variable.shape)
        if variable.path.endswith("kernel"):
            variable.assign(rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape))
        else:
            variable.assign(rng.uniform(0.5, 1.5, shape))
    image = normalize(make_images(4, seed=9))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(image, training=True)
    head = model.get_layer("head.conv")
    heatmaps = model(image).numpy()
    head.kernel.assign(head.kernel / heatmaps.std())
    head.bias.assign(-(heatmaps.mean(axis=(0, 1, 2)) - head.bias) / heatmaps.std())
    return model


def make_images(count, seed=0):
    """(count, h, w, 3) uint8: colored squares of 8 pixels."""
    squares = np.random.default_rng(seed).integers(0, 256, (count, SIZE[1] // 8, SIZE[0] // 8, 3))
    return np.kron(squares, np.ones((1, 8, 8, 1))).astype(np.uint8)


def description(file_format, path):
    """The metadata of an export, by general means."""
    if file_format == "saved_model":
        return json.loads((path / "assets.extra" / "hrpose.json").read_text())
    if file_format == "onnx":
        return json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map["hrpose"])
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("hrpose.json"))
