"""Which devices of which workers a run uses."""

import json
import re
from dataclasses import dataclass

import tensorflow as tf

from hrpose.command import UsageError
from hrpose.devices import use_gpus
from model.run_folder import RunError
from train.signals import ctrl_c_ends_the_process

#: A worker's address as gRPC takes it: a name, an IPv4 address, or an IPv6 address in brackets.
_HOST = re.compile(r"(?:[^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}")


@dataclass(frozen=True)
class Cluster:
    """The workers of a run.

    Attributes:
        workers: how many there are.
        index: which of them this is; 0 is the chief, who writes.
    """

    workers: int = 1
    index: int = 0

    @property
    def is_chief(self):
        """Whether this host writes checkpoints and curves."""
        return self.index == 0


def read_cluster(tf_config):
    """The workers that the environment variable TF_CONFIG names.

    Args:
        tf_config: its value, e.g. ``{"cluster": {"worker": ["a:1234", "b:1234"]}, "task": {"type": "worker",
            "index": 0}}``; None or empty for one worker. A "chief" is the first of the workers.

    Raises:
        UsageError: if it is anything else.
    """
    if not tf_config:
        return Cluster()
    try:
        data = json.loads(tf_config)
        kinds = dict(data.get("cluster", {}))
        if not kinds:
            return Cluster()
        for hosts in kinds.values():
            wrong = [host for host in hosts if not _HOST.fullmatch(host)]
            if wrong or not isinstance(hosts, list):
                raise ValueError(f"{(wrong or [hosts])[0]!r} is not host:port")
        kind, index = data["task"]["type"], int(data["task"]["index"])
        if not kinds.keys() <= {"chief", "worker"} or not 0 <= index < len(kinds[kind]):
            raise ValueError(f"task {kind} {index} of a cluster of {', '.join(kinds)}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"the environment variable TF_CONFIG cannot be used ({error!r}); expected is "
            '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}} with '
            "another index on each worker"
        ) from error
    before = len(kinds.get("chief", [])) if kind == "worker" else 0
    return Cluster(workers=sum(map(len, kinds.values())), index=before + index)


def make_strategy(gpus, cluster=None):
    """The distribution strategy for a number of GPUs; 0 is the CPU.

    Args:
        gpus: of this host.
        cluster: a `Cluster`, for several workers.

    Raises:
        UsageError: if there are fewer GPUs.
        RunError: if this host cannot join the others.
    """
    devices = use_gpus(gpus, "trains")
    several = cluster is not None and cluster.workers > 1
    if several and gpus:
        tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:gpus], "GPU")
    if several:  # finds the others by TF_CONFIG, and waits for them
        print(f"worker {cluster.index} of {cluster.workers} waits for the others; Ctrl-C ends it", flush=True)
        try:
            with ctrl_c_ends_the_process():  # nothing of Python runs until all are there
                return tf.distribute.MultiWorkerMirroredStrategy()
        except (tf.errors.OpError, ValueError) as error:
            raise RunError(
                f"worker {cluster.index} of {cluster.workers} cannot join the others "
                f"({(str(error).splitlines() or [''])[0][:200]}); TF_CONFIG has to give it an address of its "
                "own with a port that is free, and the others' as they can be reached from here"
            ) from error
    if not gpus:
        # On a CPU, rewriting the training step's graph gains nothing and takes most of its first update.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        return tf.distribute.OneDeviceStrategy(devices[0])
    return tf.distribute.MirroredStrategy(list(devices))


def any_worker(strategy, cluster, wish):
    """Whether any worker has a wish; all have to ask at the same place of the run."""
    if cluster.workers == 1:
        return wish
    votes = strategy.run(lambda: tf.constant(float(wish)))
    return float(strategy.reduce(tf.distribute.ReduceOp.SUM, votes, axis=None)) > 0
