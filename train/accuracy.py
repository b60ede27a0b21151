"""How many keypoints the network finds while it learns."""

import tensorflow as tf


def keypoint_hits(heatmaps, targets):
    """Counts keypoints whose highest cell is near that of the target: the official code's `accuracy`.

    A keypoint counts if its target's highest cell has x and y above 1; it is a hit if the distance of the two
    cells, with x in units of a tenth of the map's height and y of its width, is below 0.5. (The official
    code has height and width in this order; for square maps it makes no difference.)

    Args:
        heatmaps, targets: (N, h, w, K) float32.

    Returns:
        hits, counted: (K,) float32 each.
    """
    height, width = targets.shape[1:3]
    predicted_x, predicted_y = _highest_cell(heatmaps)
    target_x, target_y = _highest_cell(targets)
    x = (predicted_x - target_x) / (height / 10)
    y = (predicted_y - target_y) / (width / 10)
    counts = tf.cast((target_x > 1) & (target_y > 1), tf.float32)
    hits = tf.cast(tf.sqrt(x * x + y * y) < 0.5, tf.float32) * counts
    return tf.reduce_sum(hits, axis=0), tf.reduce_sum(counts, axis=0)


def _highest_cell(heatmaps):
    """x, y of each map's first highest cell, (N, K) float32 each; 0, 0 for maps without a positive value."""
    _, height, width, keypoints = heatmaps.shape
    cells = tf.reshape(heatmaps, (-1, height * width, keypoints))
    index = tf.where(tf.reduce_max(cells, axis=1) > 0, tf.argmax(cells, axis=1, output_type=tf.int32), 0)
    return tf.cast(index % width, tf.float32), tf.cast(index // width, tf.float32)
