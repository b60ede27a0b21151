"""Networks without batch normalization compute what those with it do."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from evaluate.inference import make_predict_step
from model.codecs import codec
from model.folding import fold_batch_norms
from model.layers import BatchNorm
from model.networks import NETWORKS
from records.skeletons import COCO

SIZE = (64, 96)


def trained_network(precision="float32"):
    """A small HRNet with statistics, scales and offsets as after some training, all of them different."""
    model = NETWORKS["w24_tiny"].build(SIZE, 17, precision)
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, BatchNorm):
            shape = layer.gamma.shape
            values = [(0.5, 1.5), (-0.5, 0.5), (-0.5, 0.5), (0.5, 2.0)]  # gamma, beta, mean, variance
            layer.set_weights([random.uniform(*span, shape) for span in values])
        elif layer.weights:
            kernel = random.normal(0, 1 / np.sqrt(np.prod(layer.kernel.shape[:3])), layer.kernel.shape)
            layer.set_weights([kernel, *layer.get_weights()[1:]])
    return model


def make_images(count):
    return np.random.default_rng(2).integers(0, 256, (count, SIZE[1], SIZE[0], 3), np.uint8)


def test_a_folded_network_has_the_same_heatmaps_and_no_batch_norm():
    model = trained_network()
    folded = fold_batch_norms(model)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    inputs = np.random.default_rng(0).normal(size=(3, SIZE[1], SIZE[0], 3)).astype(np.float32)
    expected, received = (network(inputs, training=False).numpy() for network in (model, folded))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_folding_leaves_the_network_as_it_is():
    model = trained_network()
    before = [weight.copy() for weight in model.get_weights()]
    folded = fold_batch_norms(model)
    for weight in folded.trainable_variables:
        weight.assign(tf.zeros(weight.shape))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.5)])
def test_a_step_of_constant_weights_finds_the_same_keypoints(precision, tolerance):
    model, images = trained_network(precision), tf.constant(make_images(4))
    found = []
    for constant in (False, True):
        step = make_predict_step(model, codec("dark"), COCO.flip_permutation, constant=constant)
        found.append(step(images).numpy())
    scale = np.abs(found[0][..., 2]).max()
    # Where a map has two peaks of nearly the same height, rounding may choose the other one.
    near = np.linalg.norm(found[0][..., :2] - found[1][..., :2], axis=-1) < tolerance
    assert near.mean() > (0.99 if precision == "float32" else 0.8)
    np.testing.assert_allclose(found[1][..., 2], found[0][..., 2], rtol=0, atol=tolerance / 10 * scale)


def test_constant_weights_stay_what_they_were():
    model, images = trained_network(), tf.constant(make_images(2))
    step = make_predict_step(model, codec("msra"), constant=True)
    before = step(images).numpy()
    for weight in model.trainable_variables:
        weight.assign(tf.zeros(weight.shape))
    assert np.array_equal(step(images).numpy(), before)
    # Another batch size is another graph, made after the weights have changed.
    np.testing.assert_allclose(step(images[:1]).numpy(), before[:1], rtol=1e-4, atol=1e-5)
