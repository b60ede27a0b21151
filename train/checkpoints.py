"""The run folder as the trainer uses it: begin or continue, save, and keep no more than asked for."""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from model.best_epoch import forget_best, read_best, withdraw_best, write_best
from model.run_config import RunConfig, read_config, write_config
from model.run_folder import (
    DamagedCheckpointError,
    Progress,
    RunError,
    assign_arrays,
    checkpoint_folder,
    read_checkpoint,
    remove_checkpoint,
    remove_partial,
    saved_epochs,
    saved_progress,
    set_aside,
    variable_arrays,
    write_checkpoint,
)
from model.weight_choice import best_epoch
from train.ema import WeightEMA
from train.optimizer import Adam

log = logging.getLogger(__name__)

#: What is saved: {"model", "optimizer" and perhaps "average": {path of the variable: array}}.
CheckpointArrays = dict[str, dict[str, npt.NDArray[Any]]]

#: What may keep another run's weights finite.
GENTLER = "a lower --learning_rate, more --warmup_steps or --clip_norm"


def find_existing_run(folder: Path, config: RunConfig, resume: bool, write: bool = True) -> bool:
    """Prepares the run folder: writes the configuration of a new run, or checks that of the one to continue.

    Args:
        folder: of the checkpoints.
        config: the run's.
        resume: whether a run in the folder shall be continued.
        write: whether it is on this host to write.

    Returns:
        Whether there is a checkpoint to go on from.

    Raises:
        RunError: if the folder holds a run and `resume` is not set, or one with other settings.
    """
    saved = saved_progress(folder)
    if not saved:  # nothing to lose, even if an earlier start left its configuration
        if write:
            folder.mkdir(parents=True, exist_ok=True)
            remove_partial(folder)
            forget_best(folder)  # of checkpoints that somebody removed
            write_config(folder, config)
        return False
    before = read_config(folder)
    unknown = not before.records
    before = replace(before, records=before.records or config.records)
    if not resume:
        raise RunError(
            f"{folder} already holds a run ({before.model} on {before.dataset}, {saved[-1].epoch} epochs "
            "done); --continue goes on with it, --run_dir starts one elsewhere"
        )
    if differences := before.differences(config):
        raise RunError(
            f"{folder} holds a run with other settings ({'; '.join(differences)}); use its settings to "
            "continue it, or --run_dir to start another"
        )
    if unknown:
        log.warning(
            "the run in %s is of an earlier version, and so were its records: that those it goes on with "
            "were built with the same options cannot be told",
            folder,
        )
    if write:
        remove_partial(folder)
        if unknown:
            write_config(folder, before)
    return True


def refuse_other_weights(folder: Path, weights: str | None) -> None:
    """Sees to it that a run to go on with is not asked to start from something else.

    Args:
        folder: of the run's checkpoints.
        weights: the file that --initial_weights names; None for random weights.

    Raises:
        RunError: if the run is known to have started from another file.
    """
    flag = f"--initial_weights={weights or 'none'}"
    made = read_config(folder).provenance
    if "weights" in made and _resolved(made["weights"]) != _resolved(weights):
        raise RunError(
            f"{flag}: the run in {folder} started from {made['weights'] or 'random weights'}, and goes on "
            "from its checkpoints whatever the flag says; leave it out to continue, or give --run_dir to "
            "start another run from there"
        )
    log.info("note: %s is not used, the run goes on from its checkpoints", flag)


def _resolved(path: str | None) -> Path | None:
    return Path(path).resolve() if path else None


def note_continuation(folder: Path, progress: Progress, step: int, provenance: Mapping[str, Any]) -> None:
    """Adds to a run's configuration what it is gone on with.

    Args:
        folder: of the run's checkpoints.
        progress, step: from where: what `Checkpoints.restore` returned.
        provenance: what goes on with it, as of `RunConfig`. Of its flags, those are noted that differ from
            the run's first start.
    """
    config = read_config(folder)
    before = config.provenance.get("flags", {})
    flags = {
        name: value
        for name, value in provenance.get("flags", {}).items()
        if name not in before or before[name] != value
    }
    entry = {
        "from": checkpoint_folder(folder, progress.epoch, progress.update).name,
        "updates": step,
        **{name: value for name, value in provenance.items() if name != "weights"},  # they are not used
        "flags": flags,
    }
    continued = [*config.provenance.get("continued", []), entry]
    write_config(folder, replace(config, provenance=config.provenance | {"continued": continued}))


class Checkpoints:
    """Saves and restores what a run has learned.

    Args:
        folder: of the checkpoints.
        model, optimizer: what learns.
        ema: the moving average of the model's weights, if the run keeps one.
        max_to_keep: how many epochs' checkpoints stay besides the best; None for all.
        write: whether it is on this host to write; the others only take part in reading the variables.
    """

    def __init__(
        self,
        folder: Path,
        model: keras.Model,
        optimizer: Adam,
        ema: WeightEMA | None = None,
        max_to_keep: int | None = None,
        write: bool = True,
    ) -> None:
        self.folder = folder
        self._model, self._optimizer, self._ema = model, optimizer, ema
        self._max_to_keep, self._write = max_to_keep, write

    def restore(self) -> tuple[Progress, int]:
        """Takes over the latest checkpoint that is whole.

        Returns:
            Its progress, and the number of updates done in all.

        Raises:
            RunError: if none is whole, or the last of them cannot be read or belongs to another network.
        """
        names = ["model", "optimizer", *(["average"] if self._ema else [])]
        for progress in reversed(saved_progress(self.folder)):
            try:
                step, parts = read_checkpoint(self.folder, progress, names)
            except DamagedCheckpointError as error:  # others may be mended, and what was learned is there
                log.warning("%s; going on from the one before", error)
                continue
            path = checkpoint_folder(self.folder, progress.epoch, progress.update)
            assign_arrays(self._model, parts["model"], path / "model.safetensors")
            assign_arrays(self._optimizer, parts["optimizer"], path / "optimizer.safetensors")
            if self._ema:
                self._ema.assign(parts["average"])
            return progress, step
        raise RunError(f"every checkpoint in {self.folder} is damaged; --run_dir starts a run elsewhere")

    def go_on_from(self, progress: Progress) -> None:
        """Makes a checkpoint the run's last: those after it, which `restore` found damaged, are set aside.

        Later ones must not stay: `max_to_keep` and the next start would take them for what the run has
            learned
        last. A best epoch after it is of weights that the run no longer has; the best before it is the best
        again.

        Args:
            progress: what `restore` returned.
        """
        if not self._write:
            return
        withdraw_best(self.folder, progress.epoch)
        # The last first, so that one who is killed here finds nothing but damaged ones after `progress`.
        for later in reversed(saved_progress(self.folder)):
            if later > progress:
                kept = set_aside(self.folder, later)
                log.warning("what is left of the damaged checkpoint is kept as %s", kept)

    def save(self, progress: Progress, step: int) -> CheckpointArrays:
        """Saves, and removes what need not stay: older ones within an epoch, and epochs beyond `max_to_keep`.

        Returns:
            What was saved.

        Raises:
            RunError: if it cannot be saved. The checkpoints before it stay.
        """
        # Several workers read some variables together, so all of them have to come here.
        parts = {"model": variable_arrays(self._model), "optimizer": variable_arrays(self._optimizer)}
        if self._ema:
            parts["average"] = self._ema.arrays()
        check_finite(parts, step, self.folder)
        if not self._write:
            return parts
        write_checkpoint(self.folder, progress, step, parts)
        for old in saved_progress(self.folder):
            if old.update and old < progress:
                remove_checkpoint(self.folder, old)
        if self._max_to_keep is not None and not progress.update:
            best, _ = read_best(self.folder)
            until_now = [epoch for epoch in saved_epochs(self.folder) if epoch <= progress.epoch]
            for epoch in until_now[: -self._max_to_keep]:
                if epoch != best:
                    remove_checkpoint(self.folder, Progress(epoch))
        return parts

    def note_validation(self, epoch: int, name: str, value: float | None) -> bool:
        """Notes the epoch if it validated better than those before, so that it stays; returns whether."""
        _, best = read_best(self.folder)
        if self._write and value is not None and (best is None or value > best):
            write_best(self.folder, epoch, name, value)
            return True
        return False

    def say_best(self) -> None:
        """Says which epoch validated best, if that is known."""
        with contextlib.suppress(RunError):
            epoch = best_epoch(self.folder)
            log.info("epoch %d validated best: evaluate/main.py --epoch=best takes it", epoch)


def check_finite(parts: CheckpointArrays, step: int, folder: Path) -> None:
    """Holds weights back that are no numbers: going on from them is not possible.

    `train.failures.TrainStepCheck` finds them sooner, but running statistics that grew without bound need not
    show in a loss.

    Args:
        parts: what is to be saved.
        step: number of updates done in all.
        folder: of the run's checkpoints, for the message.

    Raises:
        RunError: naming a variable with an infinity or NaN.
    """
    for part, arrays in parts.items():
        for path, array in arrays.items():
            if not np.isfinite(array).all():
                raise RunError(
                    f"after update {step:,} {path} of the {part} holds infinities or NaN, so it is not "
                    f"saved; --continue goes on from the last checkpoint in {folder}, and {GENTLER} may "
                    "help a new run"
                )
