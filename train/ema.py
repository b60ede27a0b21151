"""The moving average of a network's weights."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from model.run_folder import variable_arrays


class WeightEMA:
    """An exponential moving average of a network's trainable weights.

    The decay of update t is min(decay, (1 + t) / (10 + t)), as `tf.train.ExponentialMovingAverage` has it
    with ``num_updates``: the random weights of the start are soon forgotten. Running statistics of batch
    normalization are averages already and are taken as they are.

    Attributes:
        decay: of the average, for example 0.9999.
    """

    def __init__(self, strategy: tf.distribute.Strategy, model: keras.Model, decay: float) -> None:
        """Begins with the network's present weights; call it in the strategy's scope."""
        self.decay = decay
        self._strategy, self._model = strategy, model
        self._emas = [
            tf.Variable(variable.numpy(), trainable=False, name=f"average_{index}")
            for index, variable in enumerate(model.trainable_variables)
        ]

    def update(self, updates: tf.Tensor) -> None:
        """Takes in the network's present weights; to be called in cross-replica context.

        Args:
            updates: () int64, number of updates done, this one included.
        """
        updates = tf.cast(updates, tf.float32)
        rate = 1 - tf.minimum(self.decay, (1 + updates) / (10 + updates))
        for ema, variable in zip(self._emas, self._model.trainable_variables, strict=True):
            value = tf.convert_to_tensor(variable.value)
            self._strategy.extended.update(
                ema,
                lambda own, new: own.assign_add((tf.cast(new, own.dtype) - own) * tf.cast(rate, own.dtype)),
                args=(value,),
            )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """{path of the network's variable: array}, averaged where it is trainable, for each variable."""
        pairs = zip(self._model.trainable_variables, self._emas, strict=True)
        averaged = {variable.path: np.array(ema.numpy(), order="C") for variable, ema in pairs}
        return variable_arrays(self._model) | averaged

    def assign(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Takes over what `arrays` gave."""
        for variable, ema in zip(self._model.trainable_variables, self._emas, strict=True):
            ema.assign(arrays[variable.path])
