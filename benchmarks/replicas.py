"""Training HRNet-W32 at 192x256 with two replicas on this host's CPU, over training with one.

Both have the same cores. A second replica computes a batch of its own, and their gradients are added up, so
that the ratio says what keeping replicas in step costs; on GPUs each would bring its own cores. Run alone
with ``python benchmarks/replicas.py``.
"""

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import numpy as np

from benchmarks.network import NETWORK, SMOKE_NETWORK, train_once
from benchmarks.turns import argument_parser, in_turns, rate, ratio
from hrpose.command import import_tensorflow

SECONDS = 5.0
ROUNDS = 5


def main():
    """Prints the table and the ratio."""
    arguments = argument_parser(__doc__).parse_args()
    import_tensorflow()
    import tensorflow as tf

    from train.strategy import make_strategy

    seconds, rounds, batch = (0.1, 1, 1) if arguments.smoke else (SECONDS, ROUNDS, 8)
    network = SMOKE_NETWORK if arguments.smoke else NETWORK
    # An operation computes on one core, so that the replicas need not wait for each other's operations.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(len(os.sched_getaffinity(0)))
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategies = {
        "1 replica": make_strategy(0),
        "2 replicas": tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
    }
    sides = {
        name: rate(train_once(batch, strategy, network), seconds) for name, strategy in strategies.items()
    }
    in_turns(sides, 1)  # first calls are not counted
    found = in_turns(sides, rounds)
    print(f"{network} training on the CPU, batches of {batch} a replica, people/s")
    for name, numbers in found.items():
        print(f"  {name:12} {np.median(numbers):6.2f}")
    print(f"two_replicas_over_one {ratio(found['2 replicas'], found['1 replica']):.2f}")


if __name__ == "__main__":
    main()
