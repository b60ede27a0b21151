"""The network of a run, with the weights of one epoch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.heatmaps import METHODS
from model.hrnet import ARCHITECTURES, build
from model.runs import RunConfig, RunError, load_checkpoint, read_config, saved_epochs


@dataclass(frozen=True)
class Network:
    """A network ready to predict.

    Attributes:
        config: the run's `RunConfig`.
        epoch: whose weights the model has.
        model: a Keras model.
    """

    config: RunConfig
    epoch: int
    model: Any


def load_network(output, epoch=None):
    """Builds a run's network and loads a checkpoint.

    Args:
        output: the run's folder, with model_dump/.
        epoch: which checkpoint; None for the last.

    Returns:
        `Network`.

    Raises:
        RunError: if there is no such run or epoch, or this version does not know its network or codec.
    """
    checkpoints = Path(output) / "model_dump"
    config = read_config(checkpoints)
    if epoch is None:
        epochs = saved_epochs(checkpoints)
        if not epochs:
            raise RunError(f"no epoch has been saved in {checkpoints} yet")
        epoch = epochs[-1]
    for what, value, known in (
        ("network", config.model, ARCHITECTURES),
        ("codec", config.codec, METHODS),
    ):
        if value not in known:
            raise RunError(f"the run's {what} {value!r} is unknown; known: {', '.join(known)}")
    model = build(ARCHITECTURES[config.model], config.input_size, config.num_keypoints)
    load_checkpoint(checkpoints, epoch, model)
    return Network(config, epoch, model)
