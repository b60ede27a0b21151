"""A codec of one's own: one function, and an entry in the list. docs/extending.md has these steps."""

import numpy as np
import pytest
from absl import flags

from model.codecs import CODECS, Codec, codec
from model.run_config import read_known_config, write_config
from tests.helpers.networks import make_config
from train.cli import options_from
from train.flags import define_flags


def toy(sigma):
    """Targets are one cell of 1; the cell is what is read. Sigma is not needed."""
    from keras import ops

    from model.codecs import heatmaps

    def encode(keypoints_input, input_size, heatmap_size):
        keypoints = ops.convert_to_tensor(keypoints_input, "float32")
        (input_width, input_height), (width, height) = input_size, heatmap_size
        x = ops.cast(ops.floor(keypoints[..., 0] * width / input_width + 0.5), "int32")
        y = ops.cast(ops.floor(keypoints[..., 1] * height / input_height + 0.5), "int32")
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        weights = ops.cast(inside & (keypoints[..., 2] > 0), "float32")
        rows = ops.transpose(ops.one_hot(y, height), (0, 2, 1))
        columns = ops.transpose(ops.one_hot(x, width), (0, 2, 1))
        return (rows * weights[:, None, :])[:, :, None, :] * columns[:, None, :, :], weights

    def decode(maps):
        return heatmaps.decode_peaks(maps, step=no_step)

    def no_step(maps, x, y):
        return ops.zeros_like(x, dtype="float32"), ops.zeros_like(y, dtype="float32")

    def flip_back(maps, flip_permutation):
        return heatmaps.flip_back(maps, flip_permutation, shift=True)

    return Codec("toy", sigma, unbiased=False, encode=encode, decode=decode, flip_back=flip_back)


@pytest.fixture
def added(monkeypatch):
    """The steps of docs/extending.md."""
    monkeypatch.setitem(CODECS, "toy", toy)


def test_it_codes_as_it_says(added):
    keypoints = np.float32([[[40, 84, 2], [41, 86, 1], [300, 20, 2], [40, 84, 0]]])
    heatmaps, weights = codec("toy").encode(keypoints, (192, 256), (48, 64))
    np.testing.assert_array_equal(weights, [[1, 1, 0, 0]])
    np.testing.assert_array_equal(codec("toy").decode(heatmaps)[0, :2], [[10, 21, 1], [10, 22, 1]])
    assert np.count_nonzero(heatmaps) == 2


def test_train_offers_it_and_its_runs_are_known(added, tmp_path):
    values = flags.FlagValues()
    define_flags(values)
    values(["train", "--codec=toy", "--sigma=3"])
    assert options_from(values).codec == "toy"
    write_config(tmp_path, make_config(codec="toy", sigma=3.0))
    ours = read_known_config(tmp_path).make_codec()
    assert (ours.name, ours.sigma) == ("toy", 3.0)
