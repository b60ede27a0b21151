"""Networks that several test modules use, each built once, and the official code's outputs for them."""

import functools
import importlib.util
import json

import numpy as np

from model.networks import NETWORKS
from model.official_weights import official_shapes
from model.run_config import RunConfig
from records.skeletons import COCO
from tests.helpers.shared import shared_data

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
    return NETWORKS[architecture].build(input_size, num_keypoints)


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


def random_state(model, seed=0):
    """A state_dict for a model, in PyTorch's layout, of random values."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype("float32") for name, shape in official_shapes(model).items()}


def classifier_state(state):
    """The same backbone as the authors' and timm's ImageNet classifiers name it, with their heads.

    The sizes are smaller than theirs; the names are those of HRNet-Image-Classification and of timm's
    HighResolutionNet. `final_layer` is a different thing there: a convolution and a batch norm.
    """
    rng = np.random.default_rng(0)
    names = [
        *(f"incre_modules.{i}.0.{leaf}" for i in range(4) for leaf in ("conv1.weight", "bn3.running_var")),
        *(f"downsamp_modules.{i}.{leaf}" for i in range(3) for leaf in ("0.weight", "0.bias", "1.weight")),
        *("final_layer.0.weight", "final_layer.0.bias", "final_layer.1.running_mean"),
        *("classifier.weight", "classifier.bias"),
        *(f"stage4.2.fuse_layers.{to}.0.0.0.weight" for to in (1, 2, 3)),
    ]
    extra = {name: rng.normal(size=(4, 3)).astype("float32") for name in names}
    backbone = {name: value for name, value in state.items() if not name.startswith("final_layer.")}
    counters = {"bn1.num_batches_tracked": np.int64(7), "classifier.num_batches_tracked": np.int64(7)}
    return {**backbone, **extra, **{name: np.array(value) for name, value in counters.items()}}


def make_config(skeleton=None, **changes):
    """The `RunConfig` of a small run."""
    settings = dict(
        dataset="coco",
        records="0123abcd",
        skeleton=skeleton or COCO.to_json(),
        model="w24_tiny",
        input_size=(64, 96),
        codec="msra",
        sigma=2.0,
        recipe={},
    )
    return RunConfig(**(settings | changes))
