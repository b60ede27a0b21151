"""When a run is validated."""

import logging
import math
from dataclasses import replace
from pathlib import Path

from model.run_config import read_config, write_config
from model.run_folder import RunError
from train.options import TrainOptions

log = logging.getLogger(__name__)

#: The share of an epoch's time that validations may take unless --eval_every says how often.
AFFORDABLE = 0.02

#: Where the run's configuration notes, in what it was made by, how often that is.
NOTED = "validated_every"


def affordable_interval(validation_seconds: float, epoch_seconds: float) -> int:
    """After how many epochs validations take `AFFORDABLE` of the time, and no more: a whole number from 1."""
    if validation_seconds <= AFFORDABLE * epoch_seconds:
        return 1
    return math.ceil(validation_seconds / max(AFFORDABLE * epoch_seconds, 1e-9))


class Timetable:
    """After which epochs a run is validated: every so many, and the last.

    If the user does not say how many, the first validation is measured, and the run's configuration notes
    what came of it, so that the run goes on with the same after an interruption.

    Args:
        options: the run's.
        folder: of the run's checkpoints, with its configuration.

    Attributes:
        every: the number of epochs; 0 for never, None as long as it has to be measured.
    """

    def __init__(self, options: TrainOptions, folder: Path) -> None:
        self._epochs, self._folder = options.epochs, folder
        asked = options.eval_every
        self.every: int | None = read_config(folder).provenance.get(NOTED) if asked is None else asked

    def is_due(self, epoch: int) -> bool:
        """Whether the run is to be validated after so many epochs."""
        if self.every is None:
            return True
        return self.every > 0 and (epoch == self._epochs or epoch % self.every == 0)

    def decide(self, validation_seconds: float, epoch_seconds: float) -> None:
        """Settles how often to validate from how long the first validation and the epoch before it took."""
        self.every = affordable_interval(validation_seconds, epoch_seconds)
        how_often = f"after every {self.every} epochs and the last" if self.every > 1 else "after every epoch"
        noted = ""
        try:
            config = read_config(self._folder)
            made = config.provenance | {NOTED: self.every}
            write_config(self._folder, replace(config, provenance=made))
        except RunError as error:  # it will be measured again
            noted = f" (not noted: {error})"
        log.info(
            "a validation takes %.3g s and an epoch %.3g s: validating %s; --eval_every sets it%s",
            validation_seconds,
            epoch_seconds,
            how_often,
            noted,
        )
