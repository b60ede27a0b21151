"""One update: the same on any number of replicas and in any number of parts, and what keeps up with it."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.two_replicas import small_network
from train.ema import WeightEMA
from train.sync_batch_norm import SyncBatchNorm, synchronized


def norm_of(gradients):
    return np.sqrt(sum(np.square(gradient).sum() for gradient in map(np.array, gradients.values())))


def assert_same_update(one, other):
    """Loss, gradients and running statistics to 1e-5 of the largest."""
    assert one["loss"] > 1e-3
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert other["gradient_norm"] == pytest.approx(norm_of(one["gradients"]), rel=1e-5)
    for path, gradient in one["gradients"].items():
        largest = np.abs(gradient).max()
        assert largest > 1e-6, path
        np.testing.assert_allclose(other["gradients"][path], gradient, atol=1e-5 * largest, err_msg=path)
    for statistic in ("moving_mean", "moving_variance"):
        np.testing.assert_allclose(other[statistic], one[statistic], rtol=1e-5, atol=1e-6)
    assert (other["hits"], other["counted"]) == (one["hits"], one["counted"])
    assert other["replicas_agree"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["two_frozen", "four_frozen", "accumulated_frozen", "two_accumulated_frozen"]
)
def test_replicas_and_parts_learn_what_one_learns_from_the_same_batch(replicas, name):
    assert sum(replicas[name]["counted"]) > 0
    assert_same_update(replicas["one_frozen"], replicas[name])


@pytest.mark.slow
def test_parts_are_normalized_each_alone_as_replicas_are(replicas):
    assert replicas["accumulated"]["loss"] == pytest.approx(replicas["two"]["loss"], rel=1e-5)
    for path, gradient in replicas["two"]["gradients"].items():
        atol = 1e-5 * np.abs(gradient).max()
        np.testing.assert_allclose(replicas["accumulated"]["gradients"][path], gradient, atol=atol)
    assert replicas["two_accumulated"]["replicas_agree"]
    assert np.isfinite(replicas["two_accumulated"]["moving_mean"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two_synced", "four_synced"])
def test_synchronized_batch_norm_makes_replicas_one_batch(replicas, name):
    assert_same_update(replicas["one"], replicas[name])
    assert replicas["two"]["loss"] != pytest.approx(replicas["one"]["loss"], rel=1e-4)


@pytest.mark.slow
def test_clipping_looks_at_the_gradient_of_all_replicas_together(replicas):
    one, four, free = (replicas[name] for name in ("one_clipped", "four_clipped", "one_frozen"))
    assert norm_of(one["gradients"]) == pytest.approx(1e-3, rel=1e-4)
    assert one["gradient_norm"] == pytest.approx(norm_of(free["gradients"]), rel=1e-5)
    for path, gradient in one["gradients"].items():
        np.testing.assert_allclose(four["gradients"][path], gradient, rtol=1e-4, atol=1e-8)
        assert np.abs(free["gradients"][path]).max() > np.abs(gradient).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "two", "four_synced"])
def test_the_average_takes_in_every_replica_s_step_once(replicas, name):
    """After the first update the decay is 2 / 11."""
    for path, moved in replicas[name]["moved"].items():
        np.testing.assert_allclose(
            replicas[name]["averages_moved"][path], 9 / 11 * np.array(moved), rtol=1e-4, atol=1e-7
        )


def test_the_average_s_decay_rises_to_what_was_asked_for():
    strategy, model = tf.distribute.OneDeviceStrategy("CPU:0"), small_network(train_norm=True)
    ema = WeightEMA(strategy, model, 0.3)
    kernel = model.get_layer("first").kernel
    expected = kernel.numpy()
    for update, decay in zip(itertools.count(1), (2 / 11, 3 / 12, 0.3, 0.3)):
        kernel.assign(kernel + 1)
        ema.update(tf.constant(update, tf.int64))
        expected = decay * expected + (1 - decay) * kernel.numpy()
        np.testing.assert_allclose(ema.arrays()["first/kernel"], expected, rtol=1e-5)
    saved = ema.arrays()
    other = WeightEMA(strategy, model, 0.3)
    other.assign(saved)
    np.testing.assert_array_equal(other.arrays()["first/kernel"], saved["first/kernel"])


def test_a_synchronized_network_has_the_same_variables_and_says_the_same():
    model = small_network(train_norm=True)
    copy = synchronized(model)
    assert [v.path for v in copy.variables] == [v.path for v in model.variables]
    assert isinstance(copy.get_layer("norm"), SyncBatchNorm)
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(copy(images), model(images))
    np.testing.assert_allclose(copy(images, training=True), model(images, training=True), atol=1e-5)
    for variable in model.variables:
        np.testing.assert_allclose(
            next(v for v in copy.variables if v.path == variable.path), variable, rtol=1e-5, atol=1e-6
        )
