"""What training computes on two and four replicas, as JSON on standard output.

    python -m tests.helpers.two_replicas 2
    python -m tests.helpers.two_replicas 4

They are virtual CPUs, which have to be declared before TensorFlow starts; so tests/conftest.py runs this as
a process of its own.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from model.codecs import codec
from model.layers import BatchNorm, conv
from train.ema import WeightEMA
from train.optimizer import Adam
from train.sync_batch_norm import synchronized
from train.train_step import make_train_step

RATE = 0.01


def batch(instances=4):
    """(images, keypoints_input) of instances whose images differ in brightness."""
    rng = np.random.default_rng(0)
    brightness = np.linspace(20, 250, instances)[:, None, None, None]
    images = rng.integers(0, brightness, (instances, 32, 32, 3)).astype(np.uint8)
    keypoints = np.concatenate(
        [rng.uniform(0, 32, (instances, 3, 2)), rng.integers(0, 3, (instances, 3, 1))], axis=-1
    )
    return images, keypoints.astype(np.float32)


def small_network(train_norm):
    """A stand-in for HRNet: convolution, normalization, convolution; always with the same weights."""
    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 3))
    norm = BatchNorm(name="norm")
    norm.trainable = train_norm
    x = norm(conv(4, 3, 2, name="first")(image))
    x = conv(3, 3, 2, name="second", use_bias=True)(keras.layers.Activation("relu")(x))
    model = keras.Model(image, x)
    for kernel in (model.get_layer("first").kernel, model.get_layer("second").kernel):
        kernel.assign(kernel * 100)  # conv() starts at 0.001, where gradients drown in rounding
    return model


def train_once(
    strategy, train_norm, instances=slice(None), sync=False, gradient_accumulation_steps=1, clip_norm=None
):
    """What one update gives: loss, gradients, running statistics, and whether all replicas have the same."""
    with strategy.scope():
        model = small_network(train_norm)
        model = synchronized(model) if sync else model
        optimizer = Adam(model.trainable_variables, RATE, clip_norm=clip_norm)
        ema = WeightEMA(strategy, model, 0.5)
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    train_step = make_train_step(strategy, model, optimizer, codec("msra"), gradient_accumulation_steps, ema)
    images, keypoints = (array[instances] for array in batch())
    dataset = tf.data.Dataset.from_tensor_slices((images, keypoints)).batch(len(images))
    (shares,) = strategy.experimental_distribute_dataset(dataset)
    seen = train_step(*shares)
    norm = model.get_layer("norm")
    # After one step Adam's mean of gradients, m, is a tenth of the gradient.
    means = [variable for variable in optimizer.variables if variable.path.endswith("_momentum")]
    copies = [
        strategy.experimental_local_results(variable.value)
        for variable in (*model.trainable_variables, *optimizer.variables)
    ]
    emas = ema.arrays()
    result = {
        "loss": float(seen["loss"]),
        "hits": seen["hits"].numpy().tolist(),
        "counted": seen["counted"].numpy().tolist(),
        "gradient_norm": float(seen["gradient_norm"]),
        "averages_moved": {path: (before[path] - emas[path]).tolist() for path in before},
        "gradients": {
            variable.path: (mean.numpy() * 10).tolist()
            for variable, mean in zip(model.trainable_variables, means, strict=True)
        },
        "moved": {
            variable.path: (before[variable.path] - variable.numpy()).tolist()
            for variable in model.trainable_variables
        },
        "iterations": [int(copy) for copy in strategy.experimental_local_results(optimizer.iterations.value)],
        "moving_mean": norm.moving_mean.numpy().tolist(),
        "moving_variance": norm.moving_variance.numpy().tolist(),
        "replicas_agree": all(np.array_equal(first, other) for first, *others in copies for other in others),
    }
    # As a checkpoint is loaded.
    norm.moving_mean.assign(np.arange(4))
    result["assigned"] = [
        copy.numpy().tolist() for copy in strategy.experimental_local_results(norm.moving_mean.value)
    ]
    return result


def main():
    """Prints the results for one replica and for two, or for four: strategies of two sizes do not mix."""
    count = int(sys.argv[1])
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    one = tf.distribute.OneDeviceStrategy("CPU:0")
    several = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)])
    if count == 2:
        results = {
            "one_frozen": train_once(one, train_norm=False),
            "two_frozen": train_once(several, train_norm=False),
            "one": train_once(one, train_norm=True),
            "two": train_once(several, train_norm=True),
            "first_half": train_once(one, train_norm=True, instances=slice(2)),
            "second_half": train_once(one, train_norm=True, instances=slice(2, 4)),
            "two_synced": train_once(several, train_norm=True, sync=True),
            "accumulated_frozen": train_once(one, train_norm=False, gradient_accumulation_steps=4),
            "two_accumulated": train_once(several, train_norm=True, gradient_accumulation_steps=2),
            "two_accumulated_frozen": train_once(several, train_norm=False, gradient_accumulation_steps=2),
            "accumulated": train_once(one, train_norm=True, gradient_accumulation_steps=2),
            "one_clipped": train_once(one, train_norm=False, clip_norm=1e-3),
        }
    else:
        results = {
            "four_frozen": train_once(several, train_norm=False),
            "four_synced": train_once(several, train_norm=True, sync=True),
            "four_clipped": train_once(several, train_norm=False, clip_norm=1e-3),
        }
    print(json.dumps(results))


if __name__ == "__main__":
    main()
