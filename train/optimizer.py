"""Adam (Kingma and Ba, ICLR 2015) as one operation per variable, and one for the norm of its gradients.

Keras' optimizers compose an update of a dozen operations per variable. HRNet-W32 has 878 variables, so that
was two thirds of the training step's graph, and of the minute before a first step ended.
"""

from collections.abc import Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from model.layers import quick_variables


class Adam:
    """Adam with PyTorch's arithmetic, optionally with decoupled weight decay and gradient clipping.

    Of step t, with gradient g (``torch.optim.Adam``, and ``AdamW`` where weight decay is given):

        m = beta_1 m + (1 - beta_1) g
        v = beta_2 v + (1 - beta_2) g²
        w = w - rate weight_decay w
        w = w - rate · m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Keras' own Adam adds epsilon before the bias correction of v, which in the first steps makes it 30 times
    as large. Under several replicas gradients are summed over them; each replica then updates its own copy,
    and as all do the same, the copies stay alike.

    Attributes:
        learning_rate: a 0-d float32 variable, to be assigned before a step.
        iterations: a 0-d int64 variable, the number of steps done.
        variables: these two and every weight's m and v, named as by Keras' Adam; a checkpoint holds them.
    """

    def __init__(
        self,
        weights: Iterable[keras.Variable],
        learning_rate: float,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
    ) -> None:
        """Makes the variables; call it in the strategy's scope, as the model.

        Args:
            weights: the float32 Keras variables to be trained.
            learning_rate: the first value of the variable.
            beta_1, beta_2, epsilon: the paper's.
            weight_decay: of Loshchilov and Hutter 2019, relative to the learning rate. It is applied to
                kernels and not to biases or normalization, which have one dimension.
            clip_norm: the norm of all gradients together is held below this, if given.
        """
        # The kernel computes with float32's 0.999, so the bias correction must be that number's.
        self._betas = float(np.float32(beta_1)), float(np.float32(beta_2))
        self._epsilon, self._weight_decay, self._clip_norm = epsilon, weight_decay, clip_norm
        self._weights = list(weights)
        with quick_variables(), keras.name_scope("adam"):
            self.iterations = _variable((), "int64", "iteration")
            self.learning_rate = _variable((), "float32", "learning_rate")
            names = [weight.path.replace("/", "_") for weight in self._weights]
            self._slots = [
                tuple(_variable(weight.shape, "float32", f"{name}_{m}") for m in ("momentum", "velocity"))
                for weight, name in zip(self._weights, names, strict=True)
            ]
        self.learning_rate.assign(learning_rate)
        self.variables = [self.iterations, self.learning_rate, *(v for pair in self._slots for v in pair)]

    def apply(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Does one step; to be called in replica context, on every replica.

        Args:
            gradients: tensors, in the order and with the shapes of the weights.

        Returns:
            () float32, the norm of all gradients of all replicas together, before clipping. It is no finite
            number where a gradient is none, nor where v, which holds squares, may be none after this step.
        """
        replicas = tf.distribute.get_replica_context()
        if replicas.num_replicas_in_sync > 1:
            gradients = replicas.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(gradients)
        if self._clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm, use_norm=norm)
        rate = tf.convert_to_tensor(self.learning_rate.value)
        # Raw operations on the replica's own copy: assign() would ask all replicas to agree on the value.
        step = self.iterations.value.handle
        tf.raw_ops.AssignAddVariableOp(resource=step, value=tf.constant(1, tf.int64))
        done = tf.cast(tf.raw_ops.ReadVariableOp(resource=step, dtype=tf.int64), tf.float64)
        beta_1, beta_2 = self._betas
        correction_1 = 1 - beta_1**done
        correction_2 = tf.sqrt(1 - beta_2**done)
        # The kernel's update is lr m / (sqrt(v) + epsilon); with these two it is the formula above.
        arguments = {
            "lr": tf.cast(tf.cast(rate, tf.float64) * correction_2 / correction_1, tf.float32),
            "epsilon": tf.cast(self._epsilon * correction_2, tf.float32),
            "beta1_power": tf.constant(0.0),  # the kernel's own correction, in float32, is left out
            "beta2_power": tf.constant(0.0),
            "beta1": tf.constant(beta_1),
            "beta2": tf.constant(beta_2),
        }
        for weight, gradient, (m, v) in zip(self._weights, gradients, self._slots, strict=True):
            handle = weight.value.handle
            if self._weight_decay and len(weight.shape) > 1:
                decayed = weight.value * (rate * self._weight_decay)
                tf.raw_ops.AssignSubVariableOp(resource=handle, value=decayed)
            tf.raw_ops.ResourceApplyAdam(
                var=handle, m=m.value.handle, v=v.value.handle, grad=gradient, **arguments
            )
        return norm


def _variable(shape: Sequence[int], dtype: str, name: str) -> keras.Variable:
    return keras.Variable("zeros", shape=shape, dtype=dtype, trainable=False, name=name)
