"""Which checkpoint is meant, and which of its weights: one rule for all that use them.

A run with train/main.py --ema_decay keeps two sets: the weights as learnt, from which it goes on, and their
moving average, which it validates. Who uses a checkpoint gets the average where the run keeps one;
``--averaged`` insists on it, and ``--noaveraged`` asks for the weights as learnt.
"""

import argparse

from model.runs import RunError, parse_epoch

EPOCH_HELP = (
    "Which checkpoint: the number of epochs done, or best for the epoch that validated best while training; "
    "by default the last."
)
AVERAGED_HELP = (
    "Take the moving average of the weights, which train/main.py --ema_decay keeps; with --noaveraged the "
    "weights as learnt. By default the average where the run keeps one, as validation while training does."
)


def choose_averaged(config, folder, averaged=None):
    """Whether to take the moving average of a run's weights.

    Args:
        config: the run's `model.runs.RunConfig`.
        folder: of its checkpoints, for the message.
        averaged: what ``--averaged`` says; None for the average where the run keeps one.

    Raises:
        RunError: if it is asked for and the run keeps none.
    """
    kept = bool(config.recipe.get("ema_decay"))
    if averaged and not kept:
        raise RunError(
            f"the run in {folder} keeps no moving average of its weights, as train/main.py --ema_decay "
            "would; without --averaged its weights as learnt are taken"
        )
    return kept if averaged is None else averaged


def add_weight_choice(parser):
    """Adds ``--epoch``, ``--averaged`` and ``--noaveraged`` to an argparse parser."""

    def epoch(text):
        try:
            return parse_epoch(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    parser.add_argument("--epoch", type=epoch, metavar="N|best", help=_within_a_list(EPOCH_HELP))
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--averaged", action="store_true", default=None, help=_within_a_list(AVERAGED_HELP))
    either.add_argument(
        "--noaveraged", action="store_false", default=None, dest="averaged", help="take the weights as learnt"
    )


def _within_a_list(text):
    """A flag's help as argparse's own entries are written: no capital, no full stop at the end."""
    return text[0].lower() + text[1:].rstrip(".")
