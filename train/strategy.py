"""Which devices of which workers a run uses."""

import logging

import tensorflow as tf

from hrpose.cluster import Cluster
from hrpose.devices import use_gpus
from model.run_folder import RunError
from train.signals import ctrl_c_ends_the_process

log = logging.getLogger(__name__)


def make_strategy(gpus: int, cluster: Cluster | None = None) -> tf.distribute.Strategy:
    """The distribution strategy for a number of GPUs; 0 is the CPU.

    Args:
        gpus: of this host.
        cluster: the workers, if there are several.

    Raises:
        UsageError: if there are fewer GPUs.
        RunError: if this host cannot join the others.
    """
    devices = use_gpus(gpus, "trains")
    if cluster is not None and cluster.workers > 1:  # finds the others by TF_CONFIG, and waits for them
        if gpus:
            tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:gpus], "GPU")
        index, workers = cluster.index, cluster.workers
        log.info("worker %d of %d waits for the others; Ctrl-C ends it", index, workers)
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


def any_worker(strategy: tf.distribute.Strategy, cluster: Cluster, wish: bool) -> bool:
    """Whether any worker has a wish; all have to ask at the same place of the run."""
    if cluster.workers == 1:
        return wish
    votes = strategy.run(lambda: tf.constant(float(wish)))
    return float(strategy.reduce(tf.distribute.ReduceOp.SUM, votes, axis=None)) > 0
