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

from benchmarks.turns import argument_parser
from hrpose.command import import_tensorflow

BATCH = 2
STEPS = 15
INPUT_SIZE = (192, 256)


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
    smoke = argument_parser(__doc__).parse_args().smoke
    network, rounds = ("w24_tiny", 1) if smoke else ("w32", STEPS)
    import_tensorflow()
    import keras
    import tensorflow as tf

    from model.codecs import codec
    from model.networks import NETWORKS
    from records.skeletons import COCO
    from train.optimizer import Adam
    from train.train_step import make_train_step

    strategy = tf.distribute.get_strategy()
    rng = np.random.default_rng(0)
    width, height = INPUT_SIZE
    images = tf.constant(rng.integers(0, 256, (BATCH, height, width, 3)), tf.uint8)
    keypoints = tf.constant(rng.uniform(0, width, (BATCH, 17, 3)), tf.float32)
    inputs = tf.cast(images, tf.float32)

    model, build_seconds = timed(lambda: NETWORKS[network].build(INPUT_SIZE, COCO.num_keypoints))
    forward = tf.function(lambda inputs: model(inputs, training=False))
    _, forward_seconds = timed(lambda: forward(inputs).numpy())

    keras_adam = keras.optimizers.Adam(1e-3, epsilon=1e-8)
    keras_adam.build(model.trainable_variables)

    def keras_apply(gradients):
        keras_adam.apply(gradients, model.trainable_variables)
        return tf.linalg.global_norm(gradients)

    optimizers = (
        Adam(model.trainable_variables, 1e-3),
        SimpleNamespace(apply=keras_apply),
    )
    steps = [make_train_step(strategy, model, optimizer, codec("msra")) for optimizer in optimizers]
    first = [timed(lambda step=step: step(images, keypoints)["loss"].numpy())[1] for step in steps]
    # In turns, so that a busy neighbor slows both.
    turns = [
        [timed(lambda step=step: step(images, keypoints)["loss"].numpy())[1] for step in steps]
        for _ in range(rounds)
    ]
    later = np.min(turns, axis=0)
    sizes = [operations(step, images, keypoints) for step in steps]
    print(f"HRNet {network}, {width}x{height}, batches of {BATCH}, {len(model.trainable_variables)} weights")
    print(f"  build          {build_seconds:6.2f} s\n  first forward  {forward_seconds:6.2f} s")
    print("                           ours   Keras' Adam")
    print(f"  operations of a step   {sizes[0]:6,}   {sizes[1]:11,}")
    print(f"  first training step    {first[0]:4.1f} s   {first[1]:9.1f} s")
    print(f"  later training steps   {BATCH / later[0]:4.1f}     {BATCH / later[1]:9.1f}   people/s")
    print(f"model_build_seconds {build_seconds:.2f}")
    print(f"model_first_forward_seconds {forward_seconds:.2f}")
    print(f"model_first_step_seconds {first[0]:.1f}")
    print(f"model_step_operations {sizes[0]}")
    print(f"model_step_operations_over_keras_adam {sizes[0] / sizes[1]:.2f}")
    print(f"model_first_step_over_keras_adam {first[0] / first[1]:.2f}")
    print(f"model_instances_per_second_over_keras_adam {later[1] / later[0]:.2f}\n")


if __name__ == "__main__":
    main()
