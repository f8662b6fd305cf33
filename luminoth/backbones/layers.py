"""The convolution that all backbones and heads are made of."""

from __future__ import annotations

import keras
import tensorflow as tf

# How much of the old statistics a training step keeps. Detection runs are short and their batches small: 0.99
# would still remember the start after several hundred steps.
_STATISTICS_MOMENTUM = 0.97


class Conv(keras.layers.Layer):
    """A convolution with bias or batch norm, and an optional activation.

    Padding is symmetric (`dilation * (kernel_size - 1) // 2` on every side), also with stride 2, where Keras'
    "same" would shift the grid by half a cell. Batch norm that is not being trained is folded into kernel and
    bias before the convolution: one pass over the pixels instead of three, in training as well.

    Args:
        in_channels: channels of the input.
        filters: channels of the output.
        kernel_size: side of a square kernel, or (height, width); odd.
        stride: of the output grid, in input cells.
        dilation: distance between the kernel's taps.
        norm: batch norm instead of a bias.
        train_norm: whether batch norm learns scale and offset and follows the batch's statistics in training.
        norm_epsilon: added to the variance.
        activation: "relu", "relu6" or None.
        kernel_initializer: Keras initializer.
        weight_decay: factor of the L2 loss on the kernel (`weight_decay * sum(kernel ** 2) / 2`).

    Input [B, H, W, in_channels], output [B, ceil(H / stride), ceil(W / stride), filters].
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        norm: bool = False,
        train_norm: bool = False,
        norm_epsilon: float = 1e-5,
        activation: str | None = None,
        kernel_initializer="he_normal",
        weight_decay: float = 0.0,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.filters, self.stride, self.dilation = filters, stride, dilation
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self._borders = dilation * (height - 1) // 2, dilation * (width - 1) // 2
        self._activation = keras.activations.get(activation)
        self._has_norm, self._train_norm, self._norm_epsilon = norm, train_norm, norm_epsilon
        self.kernel = self.add_weight(
            name="kernel",
            shape=(height, width, in_channels, filters),
            initializer=kernel_initializer,
            regularizer=keras.regularizers.L2(weight_decay / 2) if weight_decay else None,
        )
        if norm:
            self.gamma = self._channel_weight("gamma", "ones", trainable=train_norm)
            self.beta = self._channel_weight("beta", "zeros", trainable=train_norm)
            self.moving_mean = self._channel_weight("moving_mean", "zeros", trainable=False)
            self.moving_variance = self._channel_weight("moving_variance", "ones", trainable=False)
        else:
            self.bias = self._channel_weight("bias", "zeros", trainable=True)
        self.built = True

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not self._has_norm:
            return self._activate(tf.nn.bias_add(self._convolve(inputs, self.kernel), self.bias))
        if training and self._train_norm and self.trainable:
            return self._activate(self._normalise_by_batch(self._convolve(inputs, self.kernel)))
        kernel, bias = self.folded()
        return self._activate(tf.nn.bias_add(self._convolve(inputs, kernel), bias))

    def folded(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Kernel and bias that give what kernel and batch norm with its stored statistics give."""
        gamma, beta = tf.cast(self.gamma, tf.float32), tf.cast(self.beta, tf.float32)
        mean, variance = tf.cast(self.moving_mean, tf.float32), tf.cast(self.moving_variance, tf.float32)
        scale = gamma * tf.math.rsqrt(variance + self._norm_epsilon)
        kernel = tf.convert_to_tensor(self.kernel)
        return kernel * tf.cast(scale, kernel.dtype), tf.cast(beta - mean * scale, kernel.dtype)

    def _channel_weight(self, name: str, initializer: str, *, trainable: bool):
        return self.add_weight(name=name, shape=(self.filters,), initializer=initializer, trainable=trainable)

    def _convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        # With stride 1 "SAME" is symmetric already. With stride 2 the padding is the convolution's own: `tf.pad` and
        # "VALID" trains faster, since it stays in oneDNN, but corrupts memory there on TensorFlow 2.21 (the process
        # dies of "double free" within a hundred steps on small pictures).
        rows, columns = self._borders
        padding = "SAME" if self.stride == 1 else [[0, 0], [rows, rows], [columns, columns], [0, 0]]
        return tf.nn.conv2d(inputs, kernel, self.stride, padding, dilations=self.dilation)

    def _activate(self, outputs: tf.Tensor) -> tf.Tensor:
        return self._activation(outputs)

    def _normalise_by_batch(self, outputs: tf.Tensor) -> tf.Tensor:
        normalised, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            outputs,
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            epsilon=self._norm_epsilon,
            is_training=True,
        )
        for stored, current in ((self.moving_mean, mean), (self.moving_variance, variance)):
            stored.assign(stored * _STATISTICS_MOMENTUM + current * (1.0 - _STATISTICS_MOMENTUM))
        return normalised


class Dense(keras.layers.Layer):
    """A fully connected layer over the last axis, with bias and an optional activation.

    Args:
        in_features, out_features: sizes of the last axis.
        activation: "relu", "relu6" or None.
        kernel_initializer: Keras initializer.
        weight_decay: factor of the L2 loss on the kernel.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: str | None = None,
        kernel_initializer="he_normal",
        weight_decay: float = 0.0,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self._activation = keras.activations.get(activation)
        self.kernel = self.add_weight(
            name="kernel",
            shape=(in_features, out_features),
            initializer=kernel_initializer,
            regularizer=keras.regularizers.L2(weight_decay / 2) if weight_decay else None,
        )
        self.bias = self.add_weight(name="bias", shape=(out_features,), initializer="zeros")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return self._activation(tf.matmul(inputs, self.kernel) + self.bias)
