"""The network of a run, with the weights of one epoch."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from model.run_config import RunConfig, read_known_config
from model.run_folder import checkpoint_folder, checkpoints_folder, load_checkpoint
from model.weight_choice import choose_averaged, choose_epoch


@dataclass(frozen=True)
class Network:
    """A network ready to predict.

    Attributes:
        config: the run's `RunConfig`.
        epoch: whose weights the models have.
        averaged: whether these are the moving average of the weights.
        weights: CRC-32 of the file they were read from.
        models: copies of the network, one on each device.
    """

    config: RunConfig
    epoch: int
    averaged: bool
    weights: int
    models: tuple[keras.Model, ...]

    @property
    def title(self) -> str:
        """The network in words: "w32 after epoch 210, averaged weights"."""
        return f"{self.config.model} after epoch {self.epoch}{', averaged weights' * self.averaged}"


def load_network(
    run_dir: Path,
    epoch: int | str | None = None,
    averaged: bool | None = None,
    devices: Sequence[str | None] = (None,),
) -> Network:
    """Builds a run's network and loads a checkpoint.

    Args:
        run_dir: the run's folder, with model_dump/.
        epoch: which checkpoint: a number, "best" for the one that validated best, None for the last.
        averaged: whether to take the moving average of the weights; see `model.weight_choice`.
        devices: where to place a copy each, as TensorFlow names them; None leaves the choice to TensorFlow.

    Raises:
        RunError: if there is no such run, epoch or average, or this version does not know its network or
            codec.
    """
    checkpoints = checkpoints_folder(run_dir)
    config = read_known_config(checkpoints)
    chosen = choose_epoch(checkpoints, epoch)
    averaged = choose_averaged(config, checkpoints, averaged)
    models = []
    for device in devices:
        with tf.device(device):
            model = config.network.build(config.input_size, config.num_keypoints)
            load_checkpoint(checkpoints, chosen, model, ema=averaged)
        models.append(model)
    file = checkpoint_folder(checkpoints, chosen) / f"{'average' if averaged else 'model'}.safetensors"
    return Network(config, chosen, averaged, zlib.crc32(file.read_bytes()), tuple(models))
