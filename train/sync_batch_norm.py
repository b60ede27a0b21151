"""Batch normalization over the instances of all GPUs."""

import keras
import tensorflow as tf

from model.layers import BatchNorm


class SyncBatchNorm(BatchNorm):
    """`BatchNorm` whose mean and variance are those of the global batch.

    Mean and squared deviations are summed over the replicas one after the other: the mean square minus the
    squared mean would lose half of float32's digits.
    """

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Normalizes ``inputs`` (N, H, W, C); replicas have equal shares of the batch."""
        replicas = tf.distribute.get_replica_context()
        if not (training and self.trainable) or replicas is None:
            return super().call(inputs, training=training, mask=mask)
        x = tf.cast(inputs, tf.float32)
        mean, variance = tf.nn.moments(x, axes=(0, 1, 2))
        own_mean = mean
        mean = replicas.all_reduce(tf.distribute.ReduceOp.MEAN, own_mean)
        variance = replicas.all_reduce(tf.distribute.ReduceOp.MEAN, variance + tf.square(own_mean - mean))
        outputs = tf.nn.batch_normalization(
            x, mean, variance, self.beta.value, self.gamma.value, self.epsilon
        )
        count = tf.cast(tf.size(x[..., 0]) * replicas.num_replicas_in_sync, tf.float32)
        for moving, new in (
            (self.moving_mean.value, mean),
            (self.moving_variance.value, variance * count / (count - 1)),
        ):
            moving.assign(moving * self.momentum + new * (1 - self.momentum))
        return tf.cast(outputs, inputs.dtype)


def synchronized(model: keras.Model) -> keras.Model:
    """A network like another, with `SyncBatchNorm`; call it in the strategy's scope."""

    def clone(layer: keras.Layer) -> keras.Layer:
        kind = SyncBatchNorm if isinstance(layer, BatchNorm) else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy
