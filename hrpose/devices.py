"""The GPUs of this host, as training and evaluation ask for them."""

import tensorflow as tf

from hrpose.command import UsageError


def use_gpus(gpus: int | None, verb: str) -> tuple[str, ...]:
    """Finds as many devices as asked for and makes GPUs take only the memory they need.

    Args:
        gpus: how many GPUs; 0 for the CPU; None for one GPU where there is one, else the CPU.
        verb: what the command does, for the message: "trains".

    Returns:
        Device names: ("GPU:0", "GPU:1" …), or ("CPU:0",).

    Raises:
        UsageError: if there are fewer GPUs.
    """
    there = tf.config.list_physical_devices("GPU")
    gpus = min(len(there), 1) if gpus is None else gpus
    if gpus > len(there):
        have = f"this host has {len(there)}" if there else "TensorFlow finds none here"
        hint = f"--gpus=0 {verb} on the CPU" if not there else f"--gpus={len(there)} uses all of them"
        raise UsageError(f"--gpus={gpus}: {have}; {hint}")
    if not gpus:
        if tf.config.get_visible_devices("GPU"):
            tf.config.set_visible_devices([], "GPU")
        return ("CPU:0",)
    for device in there:
        if not tf.config.experimental.get_memory_growth(device):
            tf.config.experimental.set_memory_growth(device, True)
    return tuple(f"GPU:{index}" for index in range(gpus))
