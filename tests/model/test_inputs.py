"""What the network is given."""

import numpy as np
import tensorflow as tf

from model.inputs import normalize


def test_normalize_is_imagenets_mean_and_deviation_per_rgb_channel():
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)
    images[0, 0, :2] = [[0, 0, 0], [255, 255, 255]]
    expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    result = normalize(images)
    assert result.dtype == "float32"
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)


def test_normalize_is_the_same_inside_a_graph():
    images = np.random.default_rng(1).integers(0, 256, (3, 4, 4, 3), np.uint8)
    graph = tf.function(normalize, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    np.testing.assert_allclose(graph(images), normalize(images), rtol=0, atol=1e-6)
