"""The trainer: reads top to bottom."""

import contextlib
import logging
import os
import time

from hrpose.logs import log_file
from model.run_folder import Progress
from records.checking.damage import damage_reported
from train.failures import TrainStepCheck, full_device_reported, lost_worker_reported
from train.input_pipeline import epoch_batches
from train.metrics_log import EpochTotals, MetricLog
from train.options import TrainOptions, read_cluster
from train.setup import Run, prepare
from train.signals import StopRequest, interrupted, stop_on_signals
from train.strategy import any_worker
from train.timetable import Timetable
from train.train_step import TrainStep, make_train_step
from train.validation import is_owed, make_validator, validate, validate_saved

log = logging.getLogger(__name__)

#: The device is asked how it goes after so many updates and not after each: asking waits for it.
CHECK_EVERY = 10


def train(options: TrainOptions) -> int:
    """Trains a run to its last epoch.

    Returns:
        The number of updates done in all.

    Raises:
        RunError: if the run cannot go on; see `train.setup.prepare` for what else.
        InterruptedRunError: after Ctrl-C or SIGTERM.
    """
    cluster = read_cluster(os.environ.get("TF_CONFIG"))
    with contextlib.ExitStack() as held, lost_worker_reported(cluster.workers, options.paths.checkpoints):
        run = prepare(options, cluster, held)
        if cluster.is_chief:
            held.enter_context(log_file(options.paths.log / "train.log"))
        return train_run(run)


def train_run(run: Run) -> int:
    """`train`, of what `train.setup.prepare` has made."""
    options, paths = run.options, run.options.paths
    timetable = Timetable(options, run.checkpoints.folder)
    owed = any_worker(run.strategy, run.cluster, run.cluster.is_chief and is_owed(run, timetable))
    finished = run.done.epoch >= options.epochs
    if finished:
        log.info("%s: all %d epochs are done", run.checkpoints.folder, options.epochs)
        if not owed:
            return run.step
    train_step = make_train_step(
        run.strategy,
        run.model,
        run.optimizer,
        run.config.make_codec(),
        options.gradient_accumulation_steps,
        run.ema,
    )
    validator = make_validator(options, run.config) if run.cluster.is_chief else None
    before = (run.done.epoch * run.steps_per_epoch + run.done.update) * run.global_batch
    instances = options.epochs * run.steps_per_epoch * run.global_batch
    with (
        MetricLog(paths.log, instances, before, write=run.cluster.is_chief) as metric_log,
        damage_reported(
            paths.records,
            "; --continue --skip_damaged goes on without what is lost",
            fingerprint=run.config.records,
        ),
        stop_on_signals() as stop,
    ):
        if not finished:
            run.say()
        step = run.step
        if owed:
            if validator:
                validate_saved(validator, run, metric_log)
            if any_worker(run.strategy, run.cluster, bool(stop)):  # the others wait here
                raise interrupted(stop, run.checkpoints.folder, step)
        for epoch in range(run.done.epoch, options.epochs):
            start = run.done.update if epoch == run.done.epoch else 0
            with full_device_reported(options):
                step, totals = train_epoch(run, train_step, epoch, start, step, metric_log, stop)
                seconds = totals.seconds_per_update * run.steps_per_epoch
            learned = run.checkpoints.save(Progress(epoch + 1), step)
            metric_log.end_epoch(epoch + 1, totals.summary(run.config.skeleton["keypoints"]))
            if validator and timetable.is_due(epoch + 1):
                unsettled = timetable.every is None and seconds > 0
                took = validate(validator, run, epoch + 1, learned, metric_log, unsettled)
                if unsettled and took is not None:
                    timetable.decide(took, seconds)
            if any_worker(run.strategy, run.cluster, bool(stop)):
                raise interrupted(stop, run.checkpoints.folder, step)
        if validator:
            run.checkpoints.say_best()
    return step


def train_epoch(
    run: Run,
    train_step: TrainStep,
    epoch: int,
    start: int,
    step: int,
    metric_log: MetricLog,
    stop: StopRequest,
) -> tuple[int, EpochTotals]:
    """Trains an epoch, or the rest of one.

    Args:
        run: which is trained.
        train_step: from `make_train_step`.
        epoch: number of epochs done.
        start: number of updates done of this one.
        step: number of updates done in all.
        metric_log: told of each update.
        stop: a wish that is answered by saving.

    Returns:
        step, and the totals of what was done.
    """
    options, several = run.options, run.cluster.workers > 1
    metric_log.begin_epoch(f"epoch {epoch + 1}/{options.epochs}")
    totals, updates = EpochTotals(run.global_batch), TrainStepCheck(run, epoch)
    batches = epoch_batches(run, epoch, start)
    saved = time.monotonic()
    for update in range(start + 1, run.steps_per_epoch + 1):
        with totals.waiting():
            images, keypoints, *ids = next(batches)
        totals.learning_rate = options.schedule.learning_rate(step, run.steps_per_epoch, options.epochs)
        step += 1
        if step not in options.skip_steps:
            run.optimizer.learning_rate.assign(totals.learning_rate)
            seen = train_step(images, keypoints)
            totals.add(seen)
            updates.add(step, seen, ids)
        asked = step % CHECK_EVERY == 0
        if asked:
            updates.check()
        metric_log.update(totals, updates.loss if asked else None)
        if update == run.steps_per_epoch or (several and not asked):  # workers stop at the same update
            continue
        due = options.save_minutes and time.monotonic() - saved > 60 * options.save_minutes
        if any_worker(run.strategy, run.cluster, bool(stop or due)):
            updates.check()
            run.checkpoints.save(Progress(epoch, update), step)
            saved = time.monotonic()
            if any_worker(run.strategy, run.cluster, bool(stop)):
                raise interrupted(stop, run.checkpoints.folder, step)
    updates.check()
    return step, totals
