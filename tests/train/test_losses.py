"""The training loss."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers.shared import shared_data
from train.losses import heatmap_loss


def test_loss_is_half_the_mean_square_over_all_cells_with_the_weight_squared():
    rng = np.random.default_rng(0)
    heatmaps, targets = rng.normal(size=(2, 3, 4, 5, 6))
    weights = rng.uniform(0, 2, (3, 6))
    expected = sum(
        (weights[n, k] * (heatmaps - targets)[n, :, :, k].ravel()) @ (heatmaps - targets)[n, :, :, k].ravel()
        * weights[n, k]
        for n, k in np.ndindex(3, 6)
    ) / (2 * 3 * 4 * 5 * 6)  # fmt: skip
    loss = heatmap_loss(*(tf.constant(array, tf.float32) for array in (heatmaps, targets, weights)))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_an_unlabeled_keypoint_adds_nothing_but_counts_in_the_mean():
    heatmaps = np.ones((1, 2, 2, 2), "float32")
    loss = heatmap_loss(heatmaps, np.zeros_like(heatmaps), np.float32([[1, 0]]))
    assert float(loss) == 0.25


@pytest.mark.parametrize("case", ["a", "b", "c"])
@pytest.mark.parametrize("kind", ["weighted", "plain"])
def test_loss_and_gradient_are_those_of_the_official_jointsmseloss(case, kind):
    with np.load(shared_data("golden", "loss_accuracy.npz")) as file:
        output, target = (
            tf.constant(file[f"{case}_{name}"].transpose(0, 2, 3, 1)) for name in ("output", "target")
        )
        weights = file[f"{case}_target_weight"][..., 0]
        loss_expected, norm_expected = file[f"{case}_mse_{kind}"], file[f"{case}_mse_{kind}_grad_norm"]
    if kind == "plain":
        weights = np.ones_like(weights)
    with tf.GradientTape() as tape:
        tape.watch(output)
        loss = heatmap_loss(output, target, weights)
    np.testing.assert_allclose(loss, loss_expected, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(tape.gradient(loss, output)), norm_expected, rtol=1e-5)
