"""BatchNorm and conv against NumPy, in bfloat16, and BatchNorm and the train step on two replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from model.layers import BatchNorm, conv, quick_variables
from tests.helpers.two_replicas import RATE

CHANNELS = 5


def filled_batch_norm(**options):
    """A BatchNorm with variables that are not at their defaults: the layer and their float64 values."""
    layer = BatchNorm(**options)
    layer.build((None, None, None, CHANNELS))
    rng = np.random.default_rng(0)
    values = {
        name: rng.uniform(0.5, 1.5, CHANNELS) for name in ("gamma", "beta", "moving_mean", "moving_variance")
    }
    for name, value in values.items():
        getattr(layer, name).assign(value)
    return layer, values


def activations(shape=(2, 3, 4)):
    """Input whose channels differ in mean and spread."""
    rng = np.random.default_rng(1)
    return rng.normal(np.arange(CHANNELS), 1 + np.arange(CHANNELS), (*shape, CHANNELS))


def reference(x, values, train):
    """(output, running mean, running variance) with PyTorch's momentum 0.1, eps 1e-5, n / (n - 1)."""
    running = values["moving_mean"], values["moving_variance"]
    mean, variance = running
    if train:
        count = x[..., 0].size
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        batch = mean, variance * count / (count - 1)
        running = [0.9 * old + 0.1 * new for old, new in zip(running, batch, strict=True)]
    return (x - mean) / np.sqrt(variance + 1e-5) * values["gamma"] + values["beta"], *running


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_is_the_formula_with_the_unbiased_running_variance(train):
    layer, values = filled_batch_norm()
    x = activations()
    output, mean, variance = reference(x, values, train)
    np.testing.assert_allclose(layer(np.float32(x), training=train), output, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-6)


def test_batch_norm_does_the_same_inside_a_graph_of_unknown_sizes():
    layer, values = filled_batch_norm()
    x = activations()
    output, mean, _ = reference(x, values, train=True)
    graph = tf.function(
        lambda x: layer(x, training=True),
        input_signature=[tf.TensorSpec([None, None, None, CHANNELS], tf.float32)],
    )
    np.testing.assert_allclose(graph(np.float32(x)), output, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-6)


def test_gradients_of_batch_norm_are_those_of_the_formula():
    layer, values = filled_batch_norm()
    x, weight = activations(), np.random.default_rng(2).normal(size=(2, 3, 4, CHANNELS))
    single = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(single)
        loss = tf.reduce_sum(layer(single, training=True) * weight.astype("float32"))
    gradient, for_gamma, for_beta = tape.gradient(loss, [single, layer.gamma.value, layer.beta.value])
    normed = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(for_beta, weight.sum((0, 1, 2)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(for_gamma, (weight * normed).sum((0, 1, 2)), rtol=1e-4, atol=1e-4)
    step = 1e-5
    for place in [(0, 0, 0, 0), (1, 2, 3, 4), (0, 1, 2, 3)]:
        moved = x.copy()
        moved[place] += step
        change = (reference(moved, values, True)[0] - reference(x, values, True)[0]) * weight
        np.testing.assert_allclose(gradient[place], change.sum() / step, rtol=1e-3, atol=1e-4)


def test_a_frozen_batch_norm_uses_and_keeps_its_running_statistics_while_training():
    layer, values = filled_batch_norm()
    layer.trainable = False
    x = activations()
    expected = reference(x, values, train=False)[0]
    np.testing.assert_allclose(layer(np.float32(x), training=True), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, values["moving_mean"], rtol=1e-6)


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_keeps_its_statistics_in_float32_under_mixed_precision(train):
    layer, values = filled_batch_norm(dtype="mixed_bfloat16")
    x = tf.cast(activations(), tf.bfloat16)
    output, mean, variance = reference(tf.cast(x, tf.float64).numpy(), values, train)
    result = layer(x, training=train)
    assert result.dtype == "bfloat16"
    assert {variable.dtype for variable in layer.variables} == {"float32"}
    np.testing.assert_allclose(tf.cast(result, tf.float64), output, rtol=2**-7, atol=2**-7)
    # As exact as in float32: only the input and the output are rounded to bfloat16.
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-5)


def torch_convolution(x, kernel, stride):
    """Convolution with ``padding=kernel // 2`` on every side, as PyTorch counts: NumPy, float64."""
    size = kernel.shape[0]
    border = size // 2
    padded = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return np.einsum("nyxcij,ijco->nyxo", windows[:, ::stride, ::stride], kernel)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2)])
@pytest.mark.parametrize("size", [(8, 6), (7, 5)])
def test_conv_pads_as_pytorch_does(kernel, stride, size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3))
    image = keras.Input((*size, 3))
    model = keras.Model(image, conv(4, kernel, stride, name="c")(image))
    values = np.random.default_rng(1).normal(size=(kernel, kernel, 3, 4))
    model.get_layer("c").set_weights([values])
    result = model(x.astype("float32"))
    np.testing.assert_allclose(result, torch_convolution(x, values, stride), rtol=1e-4, atol=1e-5)


def test_conv_starts_small_and_without_bias_unless_asked():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 64))
    model = keras.Model(image, [conv(64, 3, name="a")(image), conv(2, 1, name="b", use_bias=True)(image)])
    (kernel,) = model.get_layer("a").get_weights()
    assert np.std(kernel) == pytest.approx(1e-3, rel=0.02)
    assert abs(np.mean(kernel)) < 2e-5
    np.testing.assert_array_equal(model.get_layer("b").get_weights()[1], [0, 0])


def test_variables_that_were_made_quickly_have_their_own_values_and_paths():
    with quick_variables():
        layers = [keras.layers.Dense(2, name=name) for name in ("first", "second")]
        for layer in layers:
            layer.build((None, 2))
    first, second = (layer.kernel for layer in layers)
    first.assign([[1, 2], [3, 4]])
    second.assign([[5, 6], [7, 8]])
    np.testing.assert_array_equal(first, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(second, [[5, 6], [7, 8]])
    assert (first.path, second.path) == ("first/kernel", "second/kernel")
    assert first.value.name == second.value.name


# ---- two replicas


@pytest.mark.slow
def test_two_replicas_learn_what_one_learns_from_the_same_batch(replicas):
    one, two = replicas["one_frozen"], replicas["two_frozen"]
    assert one["loss"] > 1e-3
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert set(one["gradients"]) == set(two["gradients"]) == {"first/kernel", "second/kernel", "second/bias"}
    for path, gradient in one["gradients"].items():
        assert np.abs(gradient).max() > 1e-3, path
        np.testing.assert_allclose(two["gradients"][path], gradient, rtol=1e-4, atol=1e-6, err_msg=path)
        # The first step of Adam is the learning rate times the sign, where there is a gradient at all.
        step = np.where(np.abs(gradient) > 1e-5, RATE * np.sign(gradient), np.nan)
        for moved in (one["moved"][path], two["moved"][path]):
            np.testing.assert_allclose(np.where(np.isnan(step), np.nan, moved), step, rtol=2e-3)


@pytest.mark.slow
def test_each_replica_normalizes_its_own_share(replicas):
    """Loss and gradients are the mean of what each half gives alone, as on the GPUs of the official code."""
    halves = [replicas["first_half"], replicas["second_half"]]
    assert replicas["two"]["loss"] == pytest.approx(np.mean([half["loss"] for half in halves]), rel=1e-5)
    for path, gradient in replicas["two"]["gradients"].items():
        expected = np.mean([half["gradients"][path] for half in halves], axis=0)
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6, err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["moving_mean", "moving_variance"])
def test_running_statistics_are_the_mean_over_the_replicas(statistic, replicas):
    first, second = (np.array(replicas[half][statistic]) for half in ("first_half", "second_half"))
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_allclose(replicas["two"][statistic], (first + second) / 2, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_replicas_stay_alike(replicas):
    """After an update all have the same weights; statistics that are loaded reach every replica."""
    assert replicas["two"]["replicas_agree"]
    assert replicas["two"]["iterations"] == [1, 1]
    assert replicas["two"]["assigned"] == [[0, 1, 2, 3]] * 2
