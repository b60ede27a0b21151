"""The training accuracy."""

import numpy as np
import pytest

from tests.helpers.shared import shared_data
from train.train_step import keypoint_hits


def peaks(places, size=(64, 48)):
    """(N, h, w, K) heatmaps with a single 1 at each (x, y)."""
    places = np.asarray(places)
    maps = np.zeros((*places.shape[:1], *size, places.shape[1]), np.float32)
    for instance, keypoints in enumerate(places):
        for keypoint, (x, y) in enumerate(keypoints):
            maps[instance, y, x, keypoint] = 1
    return maps


def test_a_tenth_of_the_other_side_is_the_unit_and_half_of_it_is_too_far():
    # x is measured in tenths of the height, 6.4 cells; y in tenths of the width, 4.8 cells.
    target = peaks([[(20, 20)] * 5])
    predicted = peaks([[(23, 20), (24, 20), (20, 22), (20, 23), (20, 20)]])
    hits, counted = keypoint_hits(predicted, target)
    np.testing.assert_array_equal(hits, [1, 0, 1, 0, 1])
    np.testing.assert_array_equal(counted, [1] * 5)


def test_targets_at_the_border_or_without_a_peak_do_not_count():
    target = peaks([[(1, 20), (20, 1), (2, 2), (20, 20)]])
    target[..., 3] = 0
    hits, counted = keypoint_hits(target, target)
    np.testing.assert_array_equal(counted, [0, 0, 1, 0])
    np.testing.assert_array_equal(hits, [0, 0, 1, 0])


def test_a_map_without_a_positive_value_points_to_the_corner():
    hits, counted = keypoint_hits(np.full((1, 64, 48, 1), -1, np.float32), peaks([[(3, 3)]]))
    assert (float(hits[0]), float(counted[0])) == (0, 1)


def test_instances_are_added_up():
    hits, counted = keypoint_hits(peaks([[(9, 9)], [(9, 9)], [(40, 9)]]), peaks([[(9, 9)]] * 3))
    assert (float(hits[0]), float(counted[0])) == (2, 3)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_the_official_code_counts_the_same(case):
    with np.load(shared_data("golden", "loss_accuracy.npz")) as file:
        output, target = (file[f"{case}_{name}"].transpose(0, 2, 3, 1) for name in ("output", "target"))
        mean, *expected = file[f"{case}_acc"]
    expected = np.array(expected)
    hits, counted = (part.numpy() for part in keypoint_hits(output, target))
    np.testing.assert_array_equal(counted > 0, expected >= 0)
    shares = hits[counted > 0] / counted[counted > 0]
    np.testing.assert_allclose(shares, expected[expected >= 0], rtol=1e-6)
    assert np.mean(shares) == pytest.approx(mean)
