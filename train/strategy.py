"""Which devices a run uses."""

import tensorflow as tf

from records.command import UsageError


def make_strategy(gpus):
    """The distribution strategy for a number of GPUs; 0 is the CPU.

    Raises:
        UsageError: if there are fewer GPUs.
    """
    there = tf.config.list_physical_devices("GPU")
    if gpus > len(there):
        have = f"this machine has {len(there)}" if there else "TensorFlow finds none here"
        hint = "--gpus=0 trains on the CPU" if not there else f"--gpus={len(there)} uses all of them"
        raise UsageError(f"--gpus={gpus}: {have}; {hint}")
    if not gpus:
        if tf.config.get_visible_devices("GPU"):
            tf.config.set_visible_devices([], "GPU")
        return tf.distribute.OneDeviceStrategy("CPU:0")
    for device in there:
        if not tf.config.experimental.get_memory_growth(device):
            tf.config.experimental.set_memory_growth(device, True)
    return tf.distribute.MirroredStrategy([f"GPU:{index}" for index in range(gpus)])
