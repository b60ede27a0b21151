"""Networks that several test modules use, each built once, and the official code's outputs for them."""

import functools
import importlib.util
import json

import numpy as np

from model.hrnet import ARCHITECTURES, build
from tests.shared import shared_data

#: Name of the official outputs -> architecture, input size (width, height), K and number of parameters.
PUBLISHED = {
    "w30_256x192_j17": ("w30", (192, 256), 17, 25_135_883),
    "w32_256x192_j17": ("w32", (192, 256), 17, 28_536_113),
    "w32_256x256_j16": ("w32", (256, 256), 16, 28_536_080),
    "w48_384x288_j17": ("w48", (288, 384), 17, 63_595_745),
}


@functools.cache
def network(architecture, input_size=(64, 64), num_keypoints=17):
    """A network by the name of its architecture. Its weights are whatever the last test left."""
    return build(ARCHITECTURES[architecture], input_size, num_keypoints)


def published(name):
    """The network that stands for an entry of `PUBLISHED`."""
    return network(*PUBLISHED[name][:3])


def official_state(name):
    """[[official name, shape in PyTorch's layout], ...] of an entry of `PUBLISHED`."""
    return json.loads(shared_data("golden", f"state_{name}.json").read_text())


def official_case(name):
    """(arrays, weights, input): recorded outputs, the weights by official name, the input as NHWC."""
    spec = importlib.util.spec_from_file_location("golden_fill", shared_data("golden", "fill.py"))
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    with np.load(shared_data("golden", f"model_{name}.npz")) as file:
        arrays = dict(file)
    state = official_state(name)
    weights = fill.fill(state, int(arrays["fill_seed"]))
    np.testing.assert_allclose(fill.checksum(state, weights), arrays["fill_checksum"], rtol=1e-9)
    image = fill.make_input(int(arrays["input_seed"]), *arrays["input_hw"].tolist())
    np.testing.assert_array_equal(image[..., :4, :4], arrays["input_corner"])
    return arrays, weights, image.transpose(0, 2, 3, 1)
