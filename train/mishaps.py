"""What ends a run before its time, told so that the user can go on."""

import contextlib
import math

import tensorflow as tf

from model.runs import RunError
from train.feed import people_of

#: How many people of a batch a message names.
_NAMED = 8


class LossCheck:
    """Looks whether the losses are numbers.

    Reading a loss waits for the device, so losses are collected and read together.

    Args:
        run: `train.run.Run`.
        epoch: number of epochs done.

    Attributes:
        last: the last loss that was read, or None.
    """

    def __init__(self, run, epoch):
        self._run, self._epoch = run, epoch
        self._unread, self.last = [], None

    def add(self, step, loss, ids):
        """Takes an update's number from 1, its loss and the (image ids, person ids) of its people."""
        self._unread.append((step, loss, ids))

    def check(self):
        """Reads the losses.

        Raises:
            RunError: at the first that is not a number, naming the update and its people.
        """
        for step, loss, ids in self._unread:
            self.last = float(loss)
            if not math.isfinite(self.last):
                raise RunError(self._message(step, ids))
        self._unread = []

    def _message(self, step, ids):
        people = people_of(self._run.strategy, *ids)
        named = ", ".join(f"{person} in {image}" for image, person in people[:_NAMED])
        named += f" and {len(people) - _NAMED} more" if len(people) > _NAMED else ""
        left_out = ",".join(map(str, [*self._run.options.leave_out, step]))
        return (
            f"the loss became {self.last} in epoch {self._epoch + 1}, update {step}, which is not saved; its "
            f"people (annotation in picture) are {named}. --continue --leave_out={left_out} goes on from the "
            "last checkpoint without this update; a lower --learning_rate, more --warmup_steps or "
            "--clip_norm may help a new run"
        )


@contextlib.contextmanager
def lost_machine_reported(run):
    """Makes one clear error of what TensorFlow says when another machine of the run is gone.

    Raises:
        RunError: saying how to go on.
    """
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    ) as error:
        if run.cluster.workers == 1:
            raise
        raise RunError(
            f"another of the {run.cluster.workers} machines was lost "
            f"({(error.message.splitlines() or [''])[0][:200]}); "
            f"start all of them again with --continue to go on from the last checkpoint in "
            f"{run.checkpoints.folder}"
        ) from error
