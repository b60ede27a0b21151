"""What ends a run before its time, told so that the user can go on."""

import contextlib
import math
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from model.run_folder import RunError
from train.checkpoints import GENTLER
from train.input_pipeline import instances_of
from train.options import TrainOptions
from train.setup import Run

#: How many instances of a batch a message names.
_NAMED = 8


class TrainStepCheck:
    """Looks whether the losses and gradients of updates are numbers.

    An update's loss is that of the weights before it. If its gradients are no numbers, neither are the
    weights after it, though the loss was one: nothing may be saved before they were looked at. Reading them
    waits for the device, so they are collected and read together.

    Args:
        run: whose updates they are.
        epoch: number of epochs done.

    Attributes:
        loss: the last that was read, or None.
    """

    def __init__(self, run: Run, epoch: int) -> None:
        self._run, self._epoch = run, epoch
        self._unread: list[tuple[int, tf.Tensor, tf.Tensor, Sequence[tf.Tensor]]] = []
        self.loss: float | None = None

    def add(self, step: int, seen: Mapping[str, tf.Tensor], ids: Sequence[tf.Tensor]) -> None:
        """Takes an update's number from 1, what it gave, and the (image ids, instance ids) of its instances.

        `seen` is from `train.train_step.make_train_step`.
        """
        self._unread.append((step, seen["loss"], seen["gradient_norm"], ids))

    def check(self) -> None:
        """Reads what was collected.

        Raises:
            RunError: at the first that is not a number, naming the update and its instances.
        """
        for step, loss, norm, ids in self._unread:
            self.loss, norm = float(loss), float(norm)
            if not math.isfinite(self.loss):
                raise RunError(self._message(step, ids, f"the loss became {self.loss}"))
            if not math.isfinite(norm):
                raise RunError(self._message(step, ids, f"the gradients became {norm}"))
        self._unread = []

    def _message(self, step: int, ids: Sequence[tf.Tensor], what: str) -> str:
        run, filtered = self._run, self._run.options.skip_steps
        instances = instances_of(run.strategy, *ids)
        named = ", ".join(f"{instance} in {image}" for image, instance in instances[:_NAMED])
        named += f" and {len(instances) - _NAMED} more" if len(instances) > _NAMED else ""
        here = " on this host" if run.cluster.workers > 1 else ""
        message = (
            f"{what} in epoch {self._epoch + 1}, update {step:,}, which is not saved; its instances{here} "
            f"(annotation in image) are {named}. "
        )
        if step - 1 in filtered:
            return message + (
                f"Update {step - 1:,} was skipped already, so it is the weights rather than these "
                f"instances: a new run (--run_dir) with {GENTLER} may help, or --continue once the last "
                f"checkpoint in {run.checkpoints.folder} is moved away"
            )
        return message + (
            f"--continue --skip_steps={','.join(map(str, [*filtered, step]))} goes on from the last "
            f"checkpoint without this update; {GENTLER} may help a new run"
        )


@contextlib.contextmanager
def full_device_reported(options: TrainOptions) -> Iterator[None]:
    """Makes one clear error of a batch that is too large.

    Raises:
        RunError: saying how to make it smaller.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise RunError(
            f"a batch of {options.batch_size} instances does not fit into the memory of a "
            f"{'GPU' if options.gpus else 'CPU'}; a smaller --batch_size, with a "
            "--gradient_accumulation_steps as many times as large (now "
            f"{options.gradient_accumulation_steps}), does the same update in more parts"
        ) from error


@contextlib.contextmanager
def lost_worker_reported(workers: int, folder: Path) -> Iterator[None]:
    """Makes one clear error of what TensorFlow says when another worker of the run is gone.

    Args:
        workers: number of workers.
        folder: of the run's checkpoints.

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
        if workers == 1:
            raise
        # An all-reduce that failed leaves a thread pool in its frames. Found only when Python ends, the pool
        # would complain with a stack trace that its files are closed.
        traceback.clear_frames(error.__traceback__)
        raise RunError(
            f"another of the {workers} workers was lost ({(error.message.splitlines() or [''])[0][:200]}); "
            f"start all of them again with --continue to go on from the last checkpoint in {folder}"
        ) from error
