"""The two layers of HRNet that Keras has no exact or fast equivalent for."""

import keras


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation with the official constants and, under TensorFlow, the fused kernel.

    The official code (PyTorch) uses ``momentum=0.1`` (0.9 in Keras' terms) and ``eps=1e-5``, and updates the
    running variance with the unbiased batch variance, n / (n - 1). Keras 3 composes the normalisation from
    about a dozen element-wise operations and uses the biased variance; TensorFlow's fused kernel is one
    operation, several times faster on a CPU, and returns the unbiased variance. Under another backend the
    layer is Keras' own.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"momentum": 0.9, "epsilon": 1e-5, **kwargs})

    def build(self, input_shape):
        """Makes the variables; under several replicas each keeps running statistics, read as their mean."""
        if keras.backend.backend() != "tensorflow":
            return super().build(input_shape)
        import tensorflow as tf

        def creator(create, **options):
            # Keras gives no way to say this. Left to itself the first replica's statistics would be saved.
            if not options["trainable"]:
                options["synchronization"] = tf.VariableSynchronization.ON_READ
                options["aggregation"] = tf.VariableAggregation.MEAN
            return create(**options)

        with tf.variable_creator_scope(creator):
            super().build(input_shape)

    def call(self, inputs, training=None, mask=None):
        """Normalises ``inputs`` (N, H, W, C) over all but the last axis."""
        if keras.backend.backend() != "tensorflow":
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        train = bool(training) and self.trainable
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=[] if train else self.moving_mean,
            variance=[] if train else self.moving_variance,
            epsilon=self.epsilon,
            is_training=train,
        )
        if train:
            self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1 - self.momentum))
            self.moving_variance.assign(self.moving_variance * self.momentum + variance * (1 - self.momentum))
        return outputs


def conv(filters, kernel, stride=1, name=None, use_bias=False):
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
        name=name,
    )
    if stride == 1:
        return layer
    pad = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")
    return lambda x: layer(pad(x))
