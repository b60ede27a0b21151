"""One update of the weights, compiled, and how many keypoints the network finds meanwhile."""

from collections.abc import Callable

import keras
import tensorflow as tf

from model.codecs import Codec
from model.inputs import normalize
from train.ema import WeightEMA
from train.losses import heatmap_loss
from train.optimizer import Adam

#: What `make_train_step` returns.
TrainStep = Callable[[tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]


def make_train_step(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    optimizer: Adam,
    codec: Codec,
    gradient_accumulation_steps: int = 1,
    ema: WeightEMA | None = None,
) -> TrainStep:
    """One update: (image uint8 (B, h, w, 3), keypoints_input (B, K, 3)) → what the global batch gave.

    The batch is the strategy's: each replica sees its share, and the loss and gradients are those of all.

    Args:
        strategy: where it runs.
        model, optimizer: made in its scope.
        codec: of the targets.
        gradient_accumulation_steps: into how many equal parts a replica cuts its share, one forward pass
            each; batch normalization sees a part.
        ema: the average to keep up, or None.

    Returns:
        A function of the batch; it returns {"loss": (), "hits": (K,), "counted": (K,), "gradient_norm": ()}:
        the mean loss, `keypoint_hits` summed over the batch, and what `Adam.apply` returns.
    """
    weights = model.trainable_variables
    input_size, heatmap_size = (shape[2:0:-1] for shape in (model.input_shape, model.output_shape))

    def forward_and_back(
        images: tf.Tensor, keypoints_input: tf.Tensor
    ) -> tuple[list[tf.Tensor], *tuple[tf.Tensor, ...]]:
        targets, target_weights = codec.encode(keypoints_input, input_size, heatmap_size)
        with tf.GradientTape() as tape:
            heatmaps = model(normalize(images), training=True)
            # Parts have equal shares, so the sum of these over all is the global batch's mean.
            loss = heatmap_loss(heatmaps, targets, target_weights)
            loss = loss / (gradient_accumulation_steps * strategy.num_replicas_in_sync)
        hits, counted = keypoint_hits(heatmaps, targets)
        return tape.gradient(loss, weights), loss, hits, counted

    def replica_step(images: tf.Tensor, keypoints_input: tf.Tensor) -> list[tf.Tensor]:
        if gradient_accumulation_steps == 1:
            gradients, *seen = forward_and_back(images, keypoints_input)
        else:
            part = images.shape[0] // gradient_accumulation_steps

            def add_part(
                index: tf.Tensor, gradients: list[tf.Tensor], seen: list[tf.Tensor]
            ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
                rows = slice(index * part, (index + 1) * part)
                more, *values = forward_and_back(images[rows], keypoints_input[rows])
                gradients = [a + b for a, b in zip(gradients, more, strict=True)]
                return index + 1, gradients, [a + b for a, b in zip(seen, values, strict=True)]

            keypoints = keypoints_input.shape[1]
            nothing = [tf.zeros(()), tf.zeros(keypoints), tf.zeros(keypoints)]
            # One after the other: side by side they would need the memory that this is to save.
            _, gradients, seen = tf.while_loop(
                lambda index, *_: index < gradient_accumulation_steps,
                add_part,
                (tf.constant(0), [tf.zeros(weight.shape) for weight in weights], nothing),
                parallel_iterations=1,
                maximum_iterations=gradient_accumulation_steps,
            )
        gradient_norm = optimizer.apply(gradients)  # the same on all replicas, and summed below
        return [*seen, gradient_norm / strategy.num_replicas_in_sync]

    # There is nothing for autograph to rewrite, and looking for it costs a second.
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def train_step(images: tf.Tensor, keypoints_input: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = strategy.run(replica_step, (images, keypoints_input))
        if ema is not None:
            ema.update(optimizer.iterations.value)
        names = ("loss", "hits", "counted", "gradient_norm")
        return {
            name: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
            for name, value in zip(names, seen, strict=True)
        }

    return train_step


def keypoint_hits(heatmaps: tf.Tensor, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
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


def _highest_cell(heatmaps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """x, y of each map's first highest cell, (N, K) float32 each; 0, 0 for maps without a positive value."""
    _, height, width, keypoints = heatmaps.shape
    cells = tf.reshape(heatmaps, (-1, height * width, keypoints))
    index = tf.where(tf.reduce_max(cells, axis=1) > 0, tf.argmax(cells, axis=1, output_type=tf.int32), 0)
    return tf.cast(index % width, tf.float32), tf.cast(index // width, tf.float32)
