"""HRNet-W32 at 192x256 on the CPU, over the official PyTorch implementation in channels_last.

* inference: images to keypoints with flip test and decoding, batches of 8, over two plain forward passes;
* training: a step with Adam, batches of 8 and 16;
* the first step: seconds from the start of a process to the end of its first training step.

Without --peer DIR only the absolute numbers are shown. Run alone with ``python benchmarks/network.py``.
"""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks.turns import Peer, in_turns, parse_with_peer, rate, ratio
from records.command import import_tensorflow

INPUT_SIZE = (192, 256)
SECONDS = 8.0
ROUNDS = 5
CHANNELS = 32


def predict_once(batch):
    """A function that predicts a batch of random pictures; returns people."""
    import tensorflow as tf

    from evaluate.inference import make_predict_step
    from model.hrnet import build_hrnet
    from records.skeletons import COCO

    step = make_predict_step(build_hrnet(CHANNELS, INPUT_SIZE), "standard", 2.0, COCO.flip_permutation)
    images = tf.constant(random_images(batch))
    return lambda: len(step(images).numpy())


def train_once(batch):
    """A function that does a training step on random pictures; returns people."""
    import tensorflow as tf

    from model.hrnet import build_hrnet
    from train.optimizer import Adam
    from train.update import make_train_step

    model = build_hrnet(CHANNELS, INPUT_SIZE)
    step = make_train_step(tf.distribute.get_strategy(), model, Adam(model.trainable_variables, 1e-3), Config)
    images = tf.constant(random_images(batch))
    keypoints = tf.constant(np.random.default_rng(0).uniform(0, 192, (batch, 17, 3)), tf.float32)

    def once():
        step(images, keypoints)["loss"].numpy()
        return batch

    return once


class Config:
    """What of a run's configuration the training step reads."""

    input_size, heatmap_size, sigma, codec = INPUT_SIZE, (48, 64), 2.0, "standard"


def random_images(batch):
    """(B, h, w, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (batch, INPUT_SIZE[1], INPUT_SIZE[0], 3), np.uint8)


def first_step_seconds(batch):
    """Seconds of a process of its own that does one training step."""
    start = time.perf_counter()
    subprocess.run([sys.executable, __file__, "--first_step", str(batch)], check=True)
    return time.perf_counter() - start


def official_first_step_seconds(checkout, batch):
    """The same of the official implementation."""
    start = time.perf_counter()
    with Peer(checkout, "step", "--batch", batch) as peer:
        peer.once()
        return time.perf_counter() - start


def compare(title, key, sides, rounds):
    """Measures the sides, shows them, and prints the ratio of the first to the second if there is one."""
    found = in_turns(sides, rounds)
    print(title)
    for side, numbers in found.items():
        print(f"  {side:24} {np.median(numbers):7.2f}")
    if len(found) > 1:
        print(f"{key}_over_official {ratio(*found.values()):.2f}")
    print(flush=True)


def main():
    """Prints the tables and the ratios."""
    arguments = parse_with_peer(__doc__)
    import_tensorflow()
    rounds, seconds, batches = (1, 0.1, (2,)) if arguments.smoke else (ROUNDS, SECONDS, (8, 16))
    for what, make, sizes in (("forward", predict_once, batches[:1]), ("step", train_once, batches)):
        for batch in sizes:
            name = "inference" if what == "forward" else f"train_step_{batch}"
            with contextlib.ExitStack() as stack:
                once = make(batch)
                once()
                sides = {"HRPose": rate(once, seconds)}
                if arguments.peer:
                    options = ("--batch", batch, "--seconds", seconds)
                    peer = stack.enter_context(Peer(arguments.peer, what, *options))
                    peer.once()
                    sides["official PyTorch"] = peer.rate
                compare(f"W32 {name.replace('_', ' ')}, batches of {batch}, people/s", name, sides, rounds)
    batch = batches[0]
    sides = {"HRPose": lambda: first_step_seconds(batch)}
    if arguments.peer:
        sides["official PyTorch"] = lambda: official_first_step_seconds(arguments.peer, batch)
    compare("W32 from a process' start to its first step's end, seconds", "first_step", sides, min(rounds, 3))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first_step"]:
        import_tensorflow()
        train_once(int(sys.argv[2]))()
    else:
        main()
