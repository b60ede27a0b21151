"""The training loss."""

import tensorflow as tf
from keras import ops


def heatmap_loss(heatmaps: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Half the mean squared error of weighted heatmaps.

    The official code's JointsMSELoss with USE_TARGET_WEIGHT: the weight multiplies both maps, so it counts
    squared, and the mean runs over all cells, keypoints and instances, the unlabeled ones included.

    Args:
        heatmaps, targets: (N, h, w, K) float32.
        weights: (N, K) float32.

    Returns:
        A float32 scalar.
    """
    difference = (heatmaps - targets) * weights[:, None, None, :]
    return 0.5 * ops.mean(ops.square(difference))
