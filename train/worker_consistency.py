"""Workers that train one network hold against each other what they start from."""

import json
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hrpose.cluster import Cluster
from model.run_folder import RunError

#: {name: JSON value} of what has to be the same on every worker.
Facts = dict[str, Any]

Result = TypeVar("Result")


def alike(
    strategy: tf.distribute.Strategy, cluster: Cluster, work: Callable[[], tuple[Result, Facts]]
) -> Result:
    """Does a part of a run's preparation on every worker, and sees to it that it went the same on all.

    Training would not notice: workers that start from different weights or take different updates exchange
    gradients all the same. One that cannot start tells the others, which would wait for it.

    Args:
        strategy: of all workers. They have to come here together.
        cluster: the workers.
        work: returns a result, and what has to be the same everywhere. It must not wait for other workers.

    Returns:
        The result.

    Raises:
        RunError: naming the workers, if what they have differs or another of them failed.
        Exception: what `work` raises here.
    """
    if cluster.workers == 1:
        return work()[0]
    failure: Exception | None = None
    try:
        result, facts = work()
    except Exception as error:  # whatever it is, the others wait
        failure = error
        text = json.dumps({"failure": str(error) or repr(error)})
    else:
        text = json.dumps({"facts": facts})
    try:
        said = [json.loads(line) for line in gather_texts(strategy, cluster, text)]
    except tf.errors.OpError as error:
        traceback.clear_frames(error.__traceback__)  # as `train.failures.lost_worker_reported`
        if failure is None:
            raise RunError(
                f"another of the {cluster.workers} workers was lost before the first update "
                f"({(error.message.splitlines() or [''])[0][:200]}); start all of them again"
            ) from error
    if failure is not None:
        raise failure
    for index, other in enumerate(said):
        if "failure" in other:
            raise RunError(f"worker {index} of {cluster.workers} cannot start: {other['failure']}")
    if differing := differences([other["facts"] for other in said]):
        raise RunError(
            f"the {cluster.workers} workers do not start alike ({'; '.join(differing)}); each of them needs "
            "the same flags, the same records, and the same --run_dir on storage that all of them see"
        )
    return result


def differences(facts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines that say where workers differ: "name: a on worker 0, 2, b on worker 1".

    Args:
        facts: {name: JSON value} of each worker.
    """
    lines = []
    for name in dict.fromkeys(name for one in facts for name in one):
        workers: dict[str, list[str]] = {}
        for index, one in enumerate(facts):
            workers.setdefault(json.dumps(one.get(name)), []).append(str(index))
        if len(workers) > 1:
            sides = (f"{value[:300]} on worker {', '.join(who)}" for value, who in workers.items())
            lines.append(f"{name}: {', '.join(sides)}")
    return lines


def gather_texts(strategy: tf.distribute.Strategy, cluster: Cluster, text: str) -> list[str]:
    """What every worker says, in the order of workers; all have to ask at the same place of the run."""
    content = np.frombuffer(text.encode(), np.uint8)
    # Of what all backends can exchange, float32 sums are the least; every number here is below 2^24.
    lengths = _rows(strategy, cluster, np.array([len(content)]))[:, 0]
    padded = np.zeros(lengths.max(), np.uint8)
    padded[: len(content)] = content
    rows = _rows(strategy, cluster, padded).astype(np.uint8)
    return [row[:length].tobytes().decode() for row, length in zip(rows, lengths, strict=True)]


def _rows(strategy: tf.distribute.Strategy, cluster: Cluster, row: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """(workers, len(row)) ints: each worker's row, of small numbers."""
    rows = np.zeros((cluster.workers, len(row)), np.float32)
    rows[cluster.index] = row
    votes = strategy.run(lambda: tf.constant(rows))
    total = strategy.reduce(tf.distribute.ReduceOp.SUM, votes, axis=None).numpy()
    return np.rint(total * cluster.workers / strategy.num_replicas_in_sync).astype(np.int64)
