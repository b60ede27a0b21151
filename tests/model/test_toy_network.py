"""A network of one's own: one function, and an entry in the list. docs/extending.md has these steps."""

import keras
import numpy as np
import pytest
from absl import flags
from safetensors.numpy import load_file

from model.networks import NETWORKS, Network
from model.official_weights import official_shapes
from model.run_config import read_known_config, write_config
from model.run_folder import checkpoint_folder, save_checkpoint
from model.weight_import.importing import Imported, import_weights
from model.weight_import.initial_weights import find_initial_weights, load_initial_weights
from tests.helpers.networks import make_config
from train.cli import options_from
from train.flags import define_flags


def build(input_size, num_keypoints, precision="float32"):
    """Three convolutions with stride 2 and a head: heatmaps of an eighth of the input's size."""
    from model.layers import conv

    image = x = keras.Input((input_size[1], input_size[0], 3), name="image")
    for step in range(3):
        x = keras.layers.Activation("relu")(conv(8, 3, 2, name=f"toy.conv{step}")(x))
    return keras.Model(image, conv(num_keypoints, 1, name="toy.head", use_bias=True)(x))


TOY = Network(
    "toy",
    build,
    output_stride=8,
    known_by=("toy.conv0.weight", 8),
    head=("toy.head.weight", "toy.head.bias"),
)


@pytest.fixture
def added(monkeypatch):
    """The steps of docs/extending.md."""
    monkeypatch.setitem(NETWORKS, "toy", TOY)


def test_train_offers_it_and_its_runs_are_known(added, tmp_path):
    values = flags.FlagValues()
    define_flags(values)
    values(["train", "--model=toy"])
    assert options_from(values).model == "toy"
    write_config(tmp_path, make_config(model="toy", input_size=(64, 96)))
    config = read_known_config(tmp_path)
    assert config.heatmap_size == (8, 12)
    model = config.network.build(config.input_size, config.num_keypoints)
    assert model.output_shape == (None, 12, 8, 17)


def test_its_checkpoints_are_imported_by_name_and_start_a_run_on_other_keypoints(added, tmp_path):
    model = TOY.build((64, 96), 17)
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    save_checkpoint(tmp_path, 1, 10, model, optimizer)
    target = tmp_path / "hrnet_toy.safetensors"
    assert import_weights(checkpoint_folder(tmp_path, 1), target) == Imported("toy", 17, (), False)
    written = load_file(target)
    assert {name: value.shape for name, value in written.items()} == official_shapes(
        model, TOY.official_names
    )
    assert find_initial_weights(tmp_path, "toy") == target
    other = TOY.build((64, 96), 5)
    fit = load_initial_weights(other, target, TOY)
    assert fit.missing == TOY.head
    kernel = written["toy.conv0.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(other.get_layer("toy.conv0").kernel, kernel)
