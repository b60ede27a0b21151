"""Validation while training: the evaluator, called as a library."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from evaluate.inference import make_predict_step
from evaluate.metrics import check_metrics, choose_metrics, measure
from evaluate.options import EvaluateOptions
from evaluate.predict_split import make_metric_input, predict_split
from evaluate.report.contact_sheet import draw_instances
from evaluate.run_inputs import EvaluationPaths, find_evaluation_split, run_dataset
from hrpose.command import CommandError
from model.run_config import RunConfig
from model.run_folder import read_checkpoint
from train.checkpoints import CheckpointArrays
from train.metrics_log import MetricLog, read_metrics
from train.options import TrainOptions
from train.setup import Run
from train.timetable import Timetable

log = logging.getLogger(__name__)

IMAGES = 16


@dataclass(frozen=True)
class Validation:
    """The outcome of one validation.

    Attributes:
        name, value: of the metric that decides which epoch is the best; the value may be None.
        values: every number that the metric has, by name.
        text: one line for the user.
        image: (h, w, 3) RGB: some instances with their predicted skeletons.
    """

    name: str
    value: float | None
    values: dict[str, float]
    text: str
    image: npt.NDArray[np.uint8]


class Validator:
    """Measures weights on annotated boxes of the split val, with one copy of the network on one device.

    Args:
        options: the run's.
        config: the run's.

    Attributes:
        notes: lines that name what the records say otherwise of the run's skeleton.

    Raises:
        CommandError: if there are no records to validate on, or they do not belong to the run.
    """

    def __init__(self, options: TrainOptions, config: RunConfig) -> None:
        self._config = config
        # As the official recipes validate while training (TEST.USE_GT_BBOX): COCO has sixteen times as many
        # detected boxes.
        dataset = run_dataset(config)
        places = options.paths.dataset
        paths = EvaluationPaths(options.paths.run_dir, places, places.records("val", "ground_truth"))
        # The headline metric decides which epoch is the best; others are the evaluator's.
        metrics = choose_metrics(dataset.metrics[:1])
        self._options = EvaluateOptions(paths, metrics, batch_size=options.batch_size)
        self._split = find_evaluation_split(paths, config)
        check_metrics(metrics, self._split)
        self.notes = self._split.notes
        self._files = options.paths.log / "validation"
        self._model = config.network.build(config.input_size, config.num_keypoints)
        self._step = make_predict_step(
            self._model, config.make_codec(), self._split.skeleton.flip_permutation
        )

    def warm_up(self) -> None:
        """Compiles what batches of all sizes need, so that a validation can be measured without that."""
        width, height = self._config.input_size
        for instances in (2, 1):  # of another number it is compiled for any
            self._step(np.zeros((instances, height, width, 3), np.uint8))

    def __call__(self, arrays: Mapping[str, npt.NDArray[Any]], title: str) -> Validation:
        """Measures.

        Args:
            arrays: {path of the network's variable: array}.
            title: of the image.

        Raises:
            CommandError: if the predictions cannot be scored.
        """
        for variable in self._model.variables:
            variable.assign(arrays[variable.path])
        split, config = self._split, self._config
        predictions = predict_split([self._step], split, config, self._options.batch_size)
        self._files.mkdir(parents=True, exist_ok=True)
        metric_input = make_metric_input(
            split, predictions, self._options, self._files / "last", "validation"
        )
        (result,) = measure(self._options.metrics, metric_input).values()
        title = f"{title}: {result.headline}"
        image = draw_instances(split, config.input_size, predictions, IMAGES, title)
        values = result.curves
        return Validation(result.best_by, values.get(result.best_by), values, result.headline, image)


def make_validator(options: TrainOptions, config: RunConfig) -> Validator | None:
    """A `Validator` for a run, or None if it shall not or cannot be validated; the user is told why not."""
    if options.eval_every == 0:
        return None
    try:
        validator = Validator(options, config)
    except CommandError as error:
        log.warning("no validation while training: %s", error)
        return None
    for note in validator.notes:
        log.info("note: validation while training: %s", note)
    return validator


def validate(
    validator: Validator,
    run: Run,
    epoch: int,
    learned: CheckpointArrays,
    metric_log: MetricLog,
    timed: bool = False,
) -> float | None:
    """Validates a run after an epoch: the moving average of its weights if it keeps one.

    Args:
        validator: of the run.
        run: which is validated.
        epoch: number of epochs done.
        learned: what was saved.
        metric_log: gets the numbers.
        timed: whether to compile beforehand, so that the time tells how long later ones take.

    Returns:
        How many seconds that took; None if it could not be done.
    """
    try:
        if timed:
            validator.warm_up()
        started = time.monotonic()
        result = validator(learned.get("average", learned["model"]), f"{run.config.model} epoch {epoch}")
        best = run.checkpoints.note_validation(epoch, result.name, result.value)
        metric_log.record("validation", epoch, result.values, image=result.image)  # last: see is_owed
    # What was learned is saved, and days of training are worth more than a file that cannot be read or
    # written, for which TensorFlow has errors of its own.
    except (CommandError, OSError, tf.errors.OpError) as error:
        log.warning("epoch %d: not validated: %s", epoch, error)
        return None
    weights = ", averaged weights" if run.ema else ""
    so_far = "; the best so far" if best else ""
    log.info("epoch %d: validation %s (annotated boxes%s)%s", epoch, result.text, weights, so_far)
    return time.monotonic() - started


def is_owed(run: Run, timetable: Timetable) -> bool:
    """Whether the checkpoint that a run goes on from is still to be validated: the run was killed before.

    Its validation is the last line of metrics.jsonl that is not of a later epoch, if there was one. Lines
    before may be those of another run in the same folder.
    """
    epoch = run.done.epoch
    if not epoch or run.done.update or not timetable.is_due(epoch):
        return False
    lines = [line for line in read_metrics(run.options.paths.log) if line["epoch"] <= epoch]
    return not lines or (lines[-1]["kind"], lines[-1]["epoch"]) != ("validation", epoch)


def validate_saved(validator: Validator, run: Run, metric_log: MetricLog) -> None:
    """Validates the checkpoint that a run goes on from."""
    names = ["model", *(["average"] if run.ema else [])]
    # From its files: several workers would have to read the variables together.
    _, learned = read_checkpoint(run.checkpoints.folder, run.done, names)
    validate(validator, run, run.done.epoch, learned, metric_log)
