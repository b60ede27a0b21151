"""HRNet: its size, its layers' names, and the official network's outputs, gradients and statistics."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.hrnet import build_hrnet
from model.networks import NETWORKS, PRECISIONS
from model.official_weights import load_state_dict, official_name
from tests.helpers.networks import PUBLISHED, network, official_case, published
from train.losses import heatmap_loss

# The names that the module's docstring promises for what has weights.
PLACES = r"""
    stem\.(conv|bn)[12]
    | layer1\.block\d\.((conv|bn)[123] | downsample\.(conv|bn))
    | transition[123]\.branch\d\.(step0\.)?(conv|bn)
    | stage[234]\.module\d\.branch[0-3]\.block\d\.(conv|bn)[12]
    | stage[234]\.module\d\.fuse(?P<to>\d)from(?P<source>\d)\.(?P<step>step[0-2]\.)?(conv|bn)
    | head\.conv
"""
# Layers without weights are called after the place they end, or the one before.
OPERATIONS = (
    r"image | heatmaps | (stem|layer1|transition[123]|stage[234])\.[\w.]+\.(relu\d? | add | pad | up)"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_number_of_trainable_parameters_is_the_published_one(name):
    variables = published(name).trainable_variables
    assert sum(int(np.prod(variable.shape)) for variable in variables) == PUBLISHED[name][3]


@pytest.mark.parametrize(
    ("input_size", "num_keypoints"), [((32, 32), 1), ((192, 256), 16), ((256, 192), 17), ((96, 320), 14)]
)
def test_heatmaps_are_a_quarter_of_any_input(input_size, num_keypoints):
    width, height = input_size
    model = NETWORKS["w24_tiny"].build(input_size, num_keypoints)
    assert model.input_shape == (None, height, width, 3)
    assert model.output_shape == (None, height // 4, width // 4, num_keypoints)
    assert model(np.zeros((2, height, width, 3), "float32")).shape == (
        2,
        height // 4,
        width // 4,
        num_keypoints,
    )


def test_build_hrnet_takes_width_and_any_other_option_of_the_architecture():
    model = build_hrnet(8, (64, 32), 3, modules=(1, 1, 1), blocks=1, stem_channels=16, stem_blocks=1)
    assert model.output_shape == (None, 8, 16, 3)
    assert model.get_layer("stage4.module0.branch3.block0.conv1").filters == 64
    assert {layer.name for layer in model.layers}.isdisjoint({"stage4.module0.branch3.block1.conv1"})


@pytest.mark.parametrize("input_size", [(190, 256), (192, 250), (0, 32), (32, -32), (48, 64)])
def test_a_size_that_is_no_positive_multiple_of_32_is_refused_and_named(input_size):
    with pytest.raises(ValueError, match=re.escape(str(input_size)) + ".*multiples of 32"):
        build_hrnet(32, input_size)


@pytest.mark.parametrize("num_keypoints", [0, -1])
def test_a_network_without_keypoints_is_refused(num_keypoints):
    with pytest.raises(ValueError, match=f"num_keypoints is {num_keypoints}; .*at least one"):
        build_hrnet(32, num_keypoints=num_keypoints)


@pytest.mark.parametrize(
    "case",
    [("w24_tiny",), *(pytest.param(case[:3], marks=pytest.mark.slow) for case in PUBLISHED.values())],
    ids=str,
)
def test_every_layer_is_named_after_its_place(case):
    model = network(*case)
    for layer in model.layers:
        grammar = PLACES if layer.weights else OPERATIONS
        place = re.fullmatch(grammar, layer.name, re.VERBOSE)
        assert place, layer.name
        if layer.weights and place["to"]:
            # Steps lead down only, and nothing is fused from a branch into itself.
            assert (place["to"] > place["source"]) == bool(place["step"]), layer.name
            assert place["to"] != place["source"], layer.name


def test_every_precision_on_offer_can_be_built():
    for precision in PRECISIONS:
        assert NETWORKS["w24_tiny"].build((32, 32), 1, precision).output_shape == (None, 8, 8, 1)


def test_bfloat16_computes_in_bfloat16_and_answers_and_remembers_in_float32():
    before = keras.config.dtype_policy().name
    model = NETWORKS["w24_tiny"].build((64, 64), 17, precision="bfloat16")
    assert keras.config.dtype_policy().name == before
    float32 = {layer.name for layer in model.layers if layer.compute_dtype == "float32"}
    assert float32 == {"head.conv", "heatmaps"}
    assert {layer.compute_dtype for layer in model.layers} == {"float32", "bfloat16"}
    assert model.inputs[0].dtype == "float32"
    assert {variable.dtype for variable in model.variables} == {"float32"}
    for training in (False, True):
        heatmaps = model(np.ones((2, 64, 64, 3), "float32"), training=training)
        assert heatmaps.dtype == "float32"
        assert np.isfinite(heatmaps).all()


def test_bfloat16_comes_close_to_float32():
    """bfloat16 keeps 8 bits: a layer rounds its values by up to 0.004 of them, and many follow each other."""
    exact = NETWORKS["w24_tiny"].build((64, 64), 17)
    rounded = NETWORKS["w24_tiny"].build((64, 64), 17, precision="bfloat16")
    rng = np.random.default_rng(0)
    for one, other in zip(exact.variables, rounded.variables, strict=True):
        assert one.path == other.path
        if one.path.endswith("kernel"):  # of He's size: every layer keeps the spread of its input
            fan_in = np.prod(one.shape[:3])
            one.assign(rng.normal(scale=np.sqrt(2 / fan_in), size=one.shape))
        other.assign(one)
    image = rng.normal(size=(2, 64, 64, 3)).astype("float32")
    expected, heatmaps = exact(image).numpy(), rounded(image).numpy()
    error = np.sqrt(np.mean((heatmaps - expected) ** 2)) / np.std(expected)
    assert 1e-4 < error < 0.02


def test_a_precision_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"precision is 'float16'; .*float32, bfloat16"):
        build_hrnet(32, precision="float16")


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_inference_is_that_of_the_official_network(name):
    arrays, weights, image = official_case(name)
    model = published(name)
    load_state_dict(model, weights)
    heatmaps = np.transpose(model(image, training=False), (0, 3, 1, 2))
    # Measured: 5e-6. The other order of float32 sums allows 2e-5, a mirrored kernel is 0.02 off.
    np.testing.assert_allclose(heatmaps, arrays["output"], rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def training_step():
    """(recorded arrays, heatmaps, loss, {official name: gradient}, {official name: variable}) of one step."""
    arrays, weights, image = official_case("w32_256x192_j17")
    model = published("w32_256x192_j17")
    load_state_dict(model, weights)
    with tf.GradientTape() as tape:
        heatmaps = model(image, training=True)
        loss = heatmap_loss(
            heatmaps, arrays["train_target"].transpose(0, 2, 3, 1), arrays["train_target_weight"][..., 0]
        )
    gradients = tape.gradient(loss, model.trainable_variables)
    names = [official_name(variable.path) for variable in model.trainable_variables]
    variables = {official_name(variable.path): variable.numpy() for variable in model.variables}
    return arrays, heatmaps, loss, dict(zip(names, gradients, strict=True)), variables


@pytest.mark.slow
def test_training_output_and_loss_are_the_official_ones(training_step):
    arrays, heatmaps, loss, _, _ = training_step
    np.testing.assert_allclose(
        np.transpose(heatmaps, (0, 3, 1, 2)), arrays["train_output"], rtol=0, atol=2e-3
    )
    np.testing.assert_allclose(loss, arrays["train_loss"], rtol=1e-4)
    targets, everywhere = arrays["train_target"].transpose(0, 2, 3, 1), np.ones((2, 17), "float32")
    unweighted = heatmap_loss(heatmaps, targets, everywhere)
    np.testing.assert_allclose(unweighted, arrays["train_loss_no_weight"], rtol=1e-4)


@pytest.mark.slow
def test_gradients_are_the_official_ones(training_step):
    arrays, _, _, gradients, _ = training_step
    norms = [np.linalg.norm(gradients[name]) for name in arrays["train_grad_names"]]
    np.testing.assert_allclose(norms, arrays["train_grad_norms_float64"], rtol=1e-2)
    assert len(norms) == 12


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_running_statistics_after_a_step_are_the_official_ones(index, training_step):
    arrays, _, _, _, variables = training_step
    layer = arrays["train_bn_names"][index]
    for leaf, tolerance in (("running_mean", 1e-6), ("running_var", 2e-6)):
        expected = arrays[f"train_bn{index}_{leaf}"]
        np.testing.assert_allclose(variables[f"{layer}.{leaf}"], expected, rtol=0, atol=tolerance)
