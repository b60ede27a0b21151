"""HRNet-W32 at 192x256 on the CPU, over the official PyTorch implementation in channels_last.

* inference: images to keypoints with flip test and decoding, batches of 8, over two plain forward passes, in
  float32 and in bfloat16;
* training: a step with Adam, batches of 8 and 16;
* the first step: seconds from the start of a process to the end of its first training step.

Without --peer DIR only the absolute numbers are shown. Run alone with ``python benchmarks/network.py``.
"""

import contextlib
import functools
import itertools
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks.turns import Peer, in_turns, parse_with_peer, rate, ratio
from hrpose.command import import_tensorflow

INPUT_SIZE = (192, 256)
SECONDS = 4.0
ROUNDS = 5
#: Of `model.networks`; the smaller one is what --smoke takes.
NETWORK, SMOKE_NETWORK = "w32", "w24_tiny"


def predict_once(batch, precision, network=NETWORK):
    """A function that predicts a batch of random images as the evaluator does; returns instances.

    For the weights see `benchmarks.peer.forward`.
    """
    import tensorflow as tf

    from evaluate.inference import make_predict_step
    from model.codecs import codec
    from model.networks import NETWORKS
    from records.skeletons import COCO

    model = NETWORKS[network].build(INPUT_SIZE, COCO.num_keypoints, precision=precision)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            deviation = 1 / np.sqrt(np.prod(layer.kernel.shape[:3]))
            layer.kernel.assign(random.normal(0, deviation, layer.kernel.shape))
        elif hasattr(layer, "moving_mean"):
            layer.beta.assign(random.normal(0, 0.1, layer.beta.shape))
            layer.moving_mean.assign(random.normal(0, 0.1, layer.beta.shape))
    step = make_predict_step(model, codec("msra"), COCO.flip_permutation, constant=True)
    images = tf.constant(random_images(batch))
    return lambda: len(step(images).numpy())


def train_once(batch, strategy=None, network=NETWORK):
    """A function that does a training step of `batch` random instances on each replica; returns instances.

    Args:
        batch: instances of a replica.
        strategy: a `tf.distribute.Strategy`; by default the trainer's for the CPU.
        network: its name.
    """
    import tensorflow as tf

    from model.codecs import codec
    from model.networks import NETWORKS
    from records.skeletons import COCO
    from train.optimizer import Adam
    from train.strategy import make_strategy
    from train.train_step import make_train_step

    strategy = strategy or make_strategy(0)
    with strategy.scope():
        model = NETWORKS[network].build(INPUT_SIZE, COCO.num_keypoints)
        optimizer = Adam(model.trainable_variables, 1e-3)
    step = make_train_step(strategy, model, optimizer, codec("msra"))
    keypoints = np.random.default_rng(0).uniform(0, 192, (batch, 17, 3)).astype(np.float32)
    instances = [
        strategy.experimental_distribute_values_from_function(lambda _, part=part: part)
        for part in map(tf.constant, (random_images(batch), keypoints))
    ]

    def once():
        step(*instances)["loss"].numpy()
        return batch * strategy.num_replicas_in_sync

    return once


def random_images(batch):
    """(B, h, w, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (batch, INPUT_SIZE[1], INPUT_SIZE[0], 3), np.uint8)


def first_step_seconds(batch, network):
    """Seconds from the start of a process of its own to the end of its first training step."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--first_step", str(batch), network]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout.readline() != "done\n":
            sys.exit("the first training step failed; the lines above say why")
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
    network = SMOKE_NETWORK if arguments.smoke else NETWORK
    # Inference comes first: the training step's strategy changes how TensorFlow prepares all graphs.
    rows = []
    for precision in ("float32", "bfloat16"):
        once = functools.partial(predict_once, batches[0], precision, network)
        rows.append(("forward", f"inference_{precision}", batches[0], {"--precision": precision}, once))
    for batch in batches:
        once = functools.partial(train_once, batch, network=network)
        rows.append(("step", f"train_step_{batch}", batch, {}, once))
    for what, name, batch, options, make in rows:
        with contextlib.ExitStack() as stack:
            once = make()
            once()
            sides = {"HRPose": rate(once, seconds)}
            if arguments.peer:
                options |= {"--batch": batch, "--seconds": seconds}
                peer = stack.enter_context(Peer(arguments.peer, what, *itertools.chain(*options.items())))
                peer.once()
                sides["official PyTorch"] = peer.rate
            title = f"{network} {name.replace('_', ' ')}, batches of {batch}, people/s"
            compare(title, name, sides, rounds)
    batch = batches[0]
    sides = {"HRPose": lambda: first_step_seconds(batch, network)}
    if arguments.peer:
        sides["official PyTorch"] = lambda: official_first_step_seconds(arguments.peer, batch)
    title = f"{network} from a process' start to its first step's end, seconds"
    compare(title, "first_step", sides, min(rounds, 3))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--first_step"]:
        import_tensorflow()
        train_once(int(sys.argv[2]), network=sys.argv[3])()
        print("done", flush=True)
    else:
        main()
