"""What HRNet-W32 costs at rest: building, the first forward pass and training step; and a step after those.

Beside it the same network with Keras' own optimizer, whose graph is three times as large. Batches are small,
because a first call is about graphs and not about arithmetic. Run alone with ``python benchmarks/model.py``.
"""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from records.command import import_tensorflow

BATCH = 2
STEPS = 8
CONFIG = SimpleNamespace(input_size=(192, 256), heatmap_size=(48, 64), sigma=2.0, codec="standard")


def timed(call):
    """(what `call()` returns, seconds it took)."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def operations(function, *arguments):
    """Number of operations in the graph of a compiled function, which is traced if it was not yet."""
    return len(function.get_concrete_function(*arguments).graph.get_operations())


def main():
    """Prints the table and the numbers."""
    import_tensorflow()
    import keras
    import tensorflow as tf

    from model.hrnet import build_hrnet
    from train.optimizer import Adam
    from train.update import make_train_step

    strategy = tf.distribute.get_strategy()
    rng = np.random.default_rng(0)
    width, height = CONFIG.input_size
    images = tf.constant(rng.integers(0, 256, (BATCH, height, width, 3)), tf.uint8)
    keypoints = tf.constant(rng.uniform(0, width, (BATCH, 17, 3)), tf.float32)
    inputs = tf.cast(images, tf.float32)

    model, build_seconds = timed(lambda: build_hrnet(32, CONFIG.input_size))
    forward = tf.function(lambda inputs: model(inputs, training=False))
    _, forward_seconds = timed(lambda: forward(inputs).numpy())

    def training(optimizer):
        """(operations of the graph, seconds of the first step, of a later one)."""
        step = make_train_step(strategy, model, optimizer, CONFIG)
        _, first = timed(lambda: step(images, keypoints)["loss"].numpy())
        later = min(timed(lambda: step(images, keypoints)["loss"].numpy())[1] for _ in range(STEPS))
        return operations(step, images, keypoints), first, later

    ours = training(Adam(model.trainable_variables, 1e-3))
    keras_adam = keras.optimizers.Adam(1e-3, epsilon=1e-8)
    keras_adam.build(model.trainable_variables)
    theirs = training(
        SimpleNamespace(apply=lambda gradients: keras_adam.apply(gradients, model.trainable_variables))
    )
    print(f"HRNet-W32, {width}x{height}, batches of {BATCH}, {len(model.trainable_variables)} weights")
    print(f"  build          {build_seconds:6.2f} s\n  first forward  {forward_seconds:6.2f} s")
    print("                           ours   Keras' Adam")
    print(f"  operations of a step   {ours[0]:6,}   {theirs[0]:11,}")
    print(f"  first training step    {ours[1]:4.1f} s   {theirs[1]:9.1f} s")
    print(f"  later training steps   {BATCH / ours[2]:4.1f}     {BATCH / theirs[2]:9.1f}   people/s")
    print(f"model_build_seconds {build_seconds:.2f}")
    print(f"model_first_forward_seconds {forward_seconds:.2f}")
    print(f"model_first_step_seconds {ours[1]:.1f}")
    print(f"model_step_operations {ours[0]}")
    print(f"model_step_operations_over_keras_adam {ours[0] / theirs[0]:.2f}")
    print(f"model_first_step_over_keras_adam {ours[1] / theirs[1]:.2f}")
    print(f"model_people_per_second_over_keras_adam {theirs[2] / ours[2]:.2f}\n")


if __name__ == "__main__":
    main()
