"""Which checkpoint is meant, and which of its weights: one rule for all that use them.

A run with train/main.py --ema_decay keeps two sets: the weights as learned, from which it goes on, and their
moving average, which it validates. Who uses a checkpoint gets the average where the run keeps one;
``--averaged`` insists on it, and ``--noaveraged`` asks for the weights as learned.
"""

from pathlib import Path

from absl import flags

from model.best_epoch import BEST, read_best
from model.run_config import RunConfig
from model.run_folder import RunError, list_saved, saved_epochs

EPOCH_HELP = (
    "Which checkpoint: the number of epochs done, or best for the epoch that validated best while training; "
    "by default the last."
)
AVERAGED_HELP = (
    "Take the moving average of the weights, which train/main.py --ema_decay keeps; with --noaveraged the "
    "weights as learned. By default the average where the run keeps one, as validation while training does."
)


def parse_epoch(text: str) -> int | str:
    """What --epoch says: a number of epochs done, or "best".

    Raises:
        ValueError: if it is neither.
    """
    if text == "best":
        return text
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"expected a number of epochs, or best; received {text[:100]!r}")
    return int(text)


def choose_epoch(folder: Path | str, epoch: int | str | None = None) -> int:
    """The epoch that is meant: by its number, "best" for `best_epoch`, None for the last that was saved.

    Raises:
        RunError: if there is none. Whether the checkpoint of a number is there,
            `model.run_folder.read_checkpoint` says.
    """
    if epoch == "best":
        return best_epoch(folder)
    if isinstance(epoch, int):
        return epoch
    there = saved_epochs(folder)
    if not there:
        raise RunError(f"no epoch has been saved in {folder} yet")
    return there[-1]


def best_epoch(folder: Path | str) -> int:
    """The epoch that validated best while training: what the official code keeps as its model_best.

    Args:
        folder: of the run's checkpoints.

    Raises:
        RunError: if that is not known, or its checkpoint is gone.
    """
    best, _ = read_best(folder)
    if best is None:
        raise RunError(
            f"no epoch in {folder} is known to have validated best: {BEST} is missing or damaged. "
            "train/main.py writes it when it validates, which needs records of the split val; another "
            f"--epoch=N can be evaluated ({list_saved(folder)})"
        )
    if best not in saved_epochs(folder):
        raise RunError(
            f"epoch {best} validated best, but its checkpoint is not in {folder} any more; "
            f"{list_saved(folder)}"
        )
    return best


def choose_averaged(config: RunConfig, folder: Path | str, averaged: bool | None = None) -> bool:
    """Whether to take the moving average of a run's weights.

    Args:
        config: the run's `model.run_config.RunConfig`.
        folder: of its checkpoints, for the message.
        averaged: what ``--averaged`` says; None for the average where the run keeps one.

    Raises:
        RunError: if it is asked for and the run keeps none.
    """
    kept = bool(config.recipe.get("ema_decay"))
    if averaged and not kept:
        raise RunError(
            f"the run in {folder} keeps no moving average of its weights, as train/main.py --ema_decay "
            "would; without --averaged its weights as learned are taken"
        )
    return kept if averaged is None else averaged


class _EpochParser(flags.ArgumentParser[int | str]):
    """A number of epochs, or "best"."""

    def parse(self, argument: str) -> int | str:
        return parse_epoch(argument)

    def flag_type(self) -> str:
        return "a number of epochs, or best"


def define_weight_flags(values: flags.FlagValues) -> None:
    """Defines ``--epoch`` and ``--averaged`` in an absl `FlagValues`."""
    flags.DEFINE(_EpochParser(), "epoch", None, EPOCH_HELP, flag_values=values)
    flags.DEFINE_bool("averaged", None, AVERAGED_HELP, flag_values=values)
