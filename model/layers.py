"""The layers of HRNet that Keras has no exact or fast equivalent for, and a quick way to make variables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from model.codecs.conventions import Tensor

# A user's keras.json may say otherwise; all layers here and all stored weights have the channels last.
keras.config.set_image_data_format("channels_last")


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization with the official constants and, under TensorFlow, the fused kernel.

    The official code (PyTorch) uses ``momentum=0.1`` (0.9 in Keras' terms) and ``eps=1e-5``, and updates the
    running variance with the unbiased batch variance, n / (n - 1). Keras 3 composes the normalization from
    about a dozen element-wise operations and uses the biased variance; TensorFlow's fused kernel is one
    operation, several times faster on a CPU, and returns the unbiased variance. Under another backend the
    layer is Keras' own.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"momentum": 0.9, "epsilon": 1e-5, **kwargs})

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Makes the variables; under several replicas each keeps running statistics, read as their mean."""
        if keras.backend.backend() != "tensorflow":
            super().build(input_shape)
            return
        import tensorflow as tf

        def creator(create: Callable[..., Any], **options: Any) -> Any:
            # Keras gives no way to say this. Left to itself the first replica's statistics would be saved.
            if not options["trainable"]:
                options["synchronization"] = tf.VariableSynchronization.ON_READ
                options["aggregation"] = tf.VariableAggregation.MEAN
            return create(**options)

        with tf.variable_creator_scope(creator):
            super().build(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        """Normalizes ``inputs`` (N, H, W, C) over all but the last axis."""
        if keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        train = bool(training) and self.trainable
        # The kernel also moves the running statistics. Composed of multiplications and additions, that was a
        # fifth of a training step's graph.
        mean, variance = self.moving_mean.value, self.moving_variance.value
        outputs, new_mean, new_variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma.value,
            offset=self.beta.value,
            mean=mean,
            variance=variance,
            epsilon=self.epsilon,
            exponential_avg_factor=1 - self.momentum,
            is_training=train,
        )
        if train:
            mean.assign(new_mean)
            variance.assign(new_variance)
        return outputs


class Upsample(keras.layers.Layer):
    """Nearest-neighbor upsampling: output pixel x shows input pixel floor(x / factor).

    Keras' own `UpSampling2D` composes the repetition from ten times as many operations, a sixth of a training
    step's graph; TensorFlow's single kernel for it has a gradient that adds up in no fixed order on a GPU.

    Args:
        factor: how many times larger, the same for both sides.
    """

    def __init__(self, factor: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, inputs: Tensor) -> Tensor:
        """(N, h, w, C) → (N, h * factor, w * factor, C)."""
        height, width, channels = inputs.shape[1:]
        cells = keras.ops.reshape(inputs, (-1, height, 1, width, 1, channels))
        shape = (keras.ops.shape(inputs)[0], height, self.factor, width, self.factor, channels)
        return keras.ops.reshape(
            keras.ops.broadcast_to(cells, shape), (-1, *self.compute_output_shape(inputs.shape)[1:])
        )

    def compute_output_shape(self, input_shape: Sequence[Any]) -> tuple[Any, ...]:
        """The shape of what `call` returns."""
        count, height, width, channels = input_shape
        return count, height * self.factor, width * self.factor, channels

    def get_config(self) -> dict[str, Any]:
        """What a copy of the layer is made from."""
        return {**super().get_config(), "factor": self.factor}


def conv(
    filters: int,
    kernel: int,
    stride: int = 1,
    name: str | None = None,
    use_bias: bool = False,
    dtype: str | None = None,
) -> Callable[[Tensor], Tensor]:
    """A convolution padded as PyTorch's ``padding=kernel // 2``, as a function of one tensor.

    With stride 2, Keras' ``"same"`` would pad only the right and the bottom of an even-sized map, which
    shifts every output by one pixel against the published weights; so the border is added explicitly.
    Weights start as in the official code: normal with standard deviation 0.001, bias 0.
    """
    layer = keras.layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=use_bias,
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
        dtype=dtype,
        name=name,
    )
    if stride == 1:
        return layer
    pad = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")
    return lambda x: layer(pad(x))


@contextmanager
def quick_variables() -> Iterator[None]:
    """Context in which TensorFlow makes variables quickly: they all have the same name to it.

    TensorFlow prepares a kernel for every new name and keeps it, which is half of the time to make a small
    variable. Nothing is saved or found by this name: Keras' paths, which we use everywhere, stay as they are.
    Under another backend the context does nothing.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    def creator(create: Callable[..., Any], **options: Any) -> Any:
        with tf.name_scope("hrnet/"):  # with a slash at the end it is not put below the layer's name
            return create(**(options | {"name": "variable"}))

    with tf.variable_creator_scope(creator):
        yield
