"""The layers that all backbones and heads are made of.

They compute in the type of their inputs: weights are float32 and are cast where they are used. So the precision of a
network is decided in one place, where the pixels enter it; Keras' own casting is switched off.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import keras
import tensorflow as tf

from luminoth.backbones import avx2_convolution

# How much of the old statistics a training step keeps. Detection runs are short and their batches small: 0.99
# would still remember the start after several hundred steps.
_STATISTICS_MOMENTUM = 0.97


class Layer(keras.layers.Layer):
    """A Keras layer that makes its weights in its constructor and leaves the type of its inputs alone."""

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name, autocast=False)
        self.built = True


_DRAWS_WEIGHTS = ContextVar("draws_weights", default=True)


@contextmanager
def weights_follow() -> Iterator[None]:
    """Layers made inside begin with zeros, which saves the time to draw weights that are loaded right afterwards."""
    before = _DRAWS_WEIGHTS.set(False)
    try:
        yield
    finally:
        _DRAWS_WEIGHTS.reset(before)


class WeightedLayer(Layer):
    """A layer with a kernel and a bias, or what amounts to them, that can be frozen."""

    def __init__(self, *, name: str) -> None:
        super().__init__(name=name)
        self._frozen: tuple[tf.Tensor, tf.Tensor] | None = None

    def add_weight(self, *, initializer, **settings) -> keras.Variable:
        return super().add_weight(initializer=initializer if _DRAWS_WEIGHTS.get() else "zeros", **settings)

    def freeze(self, dtype: tf.DType) -> None:
        """From now on computes with today's weights, prepared once and kept in `dtype`; for inference only."""
        kernel, bias = self.kernel_and_bias()
        self._frozen = tf.cast(kernel, dtype), tf.cast(bias, dtype)

    def kernel_and_bias(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Float32 kernel and bias that the inputs meet outside training."""
        raise NotImplementedError

    def _weights_in(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        kernel, bias = self._frozen or self.kernel_and_bias()
        return tf.cast(kernel, dtype), tf.cast(bias, dtype)

    def _add_bias(self, outputs: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """outputs + bias, [..., C] and [C], with a gradient that is right in all types."""
        if outputs.dtype != tf.bfloat16 or self._frozen:
            return tf.nn.bias_add(outputs, bias)
        return _add_bias_in_bfloat16(outputs, bias)


_COLLECTED: ContextVar[list[tuple[keras.Variable, tf.Tensor]] | None] = ContextVar("collected", default=None)


@contextmanager
def statistics_collected() -> Iterator[list[tuple[keras.Variable, tf.Tensor]]]:
    """Gives a list; batch norms that are called inside put their statistics there, as (variable, its next value).

    For whoever assigns them himself, averaged over devices and parts of a batch, and only if the update is made.
    Otherwise batch norm assigns them at once.
    """
    before = _COLLECTED.set(collected := [])
    try:
        yield collected
    finally:
        _COLLECTED.reset(before)


class Conv(WeightedLayer):
    """A convolution with bias or batch norm, and an optional activation.

    Padding is symmetric (`dilation * (kernel_size - 1) // 2` on every side), also with stride 2, where Keras'
    "same" would shift the grid by half a cell. Batch norm that is not being trained is folded into kernel and
    bias before the convolution: one pass over the pixels instead of three, in training as well.

    Args:
        in_channels: channels of the input.
        filters: channels of the output.
        kernel_size: side of a square kernel, or (height, width); odd.
        stride: of the output grid, in input cells: 1 or 2.
        dilation: distance between the kernel's taps; 1 where the stride is 2.
        groups: parts into which the channels are split; an output channel sees its own part only. `in_channels`
            makes the convolution depthwise.
        norm: batch norm instead of a bias.
        train_norm: whether batch norm learns scale and offset and follows the batch's statistics in training.
        norm_epsilon: added to the variance.
        activation: "relu", "relu6", another name that `keras.activations` knows, or None.
        kernel_initializer: Keras initializer.
        weight_decay: factor of the L2 loss on the kernel (`weight_decay * sum(kernel ** 2) / 2`).

    Input [B, H, W, in_channels], output [B, ceil(H / stride), ceil(W / stride), filters], both of one floating type.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        norm: bool = False,
        train_norm: bool = False,
        norm_epsilon: float = 1e-5,
        activation: str | None = None,
        kernel_initializer="he_normal",
        weight_decay: float = 0.0,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.filters, self.stride, self.dilation, self.groups = filters, stride, dilation, groups
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.is_depthwise = groups == in_channels == filters and groups > 1
        sees_every_cell = groups == 1 and (stride == 1 or height == width == 1)
        self._suits_avx2 = sees_every_cell and avx2_convolution.suits_this_machine()
        self._mirrored: tf.Tensor | None = None
        self._activation = keras.activations.get(activation)
        self._has_norm, self._train_norm, self._norm_epsilon = norm, train_norm, norm_epsilon
        self.kernel = self.add_weight(
            name="kernel",
            shape=(height, width, in_channels // groups, filters),
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

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        if training and self._has_norm and self._train_norm and self.trainable:
            kernel = tf.cast(self.kernel, inputs.dtype)
            return self._activation(self._normalise_by_batch(self._convolve(inputs, kernel)))
        kernel, bias = self._weights_in(inputs.dtype)
        return self._activation(self._add_bias(self._convolve(inputs, kernel), bias))

    def freeze(self, dtype: tf.DType) -> None:
        super().freeze(dtype)
        self._mirrored = None

    def kernel_and_bias(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Float32 kernel and bias that the inputs meet outside training, batch norm folded in."""
        kernel = tf.convert_to_tensor(self.kernel)
        if not self._has_norm:
            return kernel, tf.convert_to_tensor(self.bias)
        scale = self.gamma * tf.math.rsqrt(self.moving_variance + self._norm_epsilon)
        return kernel * scale, self.beta - self.moving_mean * scale

    def _channel_weight(self, name: str, initializer: str, *, trainable: bool):
        return self.add_weight(name=name, shape=(self.filters,), initializer=initializer, trainable=trainable)

    def _convolve(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if self.is_depthwise:
            return self._convolve_depthwise(inputs, kernel)
        if self.stride == 1:
            return self._convolve_every_cell(inputs, kernel)
        # "SAME" would pad unevenly at stride 2. The padding and, for 1 x 1 kernels, the stride are operations of their
        # own: the gradient of a convolution that states its padding leaves oneDNN, which takes twice the time, and
        # oneDNN's gradient of a strided 1 x 1 convolution corrupts memory on TensorFlow 2.21 (the process dies of
        # "double free" within a hundred steps on small pictures).
        rows, columns = (size // 2 for size in self.kernel.shape[:2])
        if rows == columns == 0:
            return self._convolve_every_cell(inputs[:, :: self.stride, :: self.stride], kernel)
        padded = tf.pad(inputs, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
        return tf.nn.conv2d(padded, kernel, self.stride, "VALID")

    def _convolve_every_cell(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if not self._suits_avx2 or inputs.dtype != tf.float32:
            return tf.nn.conv2d(inputs, kernel, 1, "SAME", dilations=self.dilation)
        if self._frozen and inputs.shape[0] == 1:
            return avx2_convolution.convolve_transposed(inputs, self._mirrored_kernel(), self.dilation)
        return avx2_convolution.convolve(inputs, kernel, self.dilation)

    def _mirrored_kernel(self) -> tf.Tensor:
        if self._mirrored is None:
            with tf.init_scope():  # once, not in each call of the graph that is being traced
                self._mirrored = avx2_convolution.mirror_kernel(tf.cast(self._frozen[0], tf.float32))
        return self._mirrored

    def _convolve_depthwise(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        kernel = tf.transpose(kernel, (0, 1, 3, 2))  # [kh, kw, 1, C] -> [kh, kw, C, 1]
        if self.stride == 2:
            # With a row and a column of zeros more, "SAME" pads evenly, for maps of even and odd sizes alike. (A fused
            # depthwise convolution that states its padding ends the process on TensorFlow 2.21.)
            kernel = tf.pad(kernel, [[0, 1], [0, 1], [0, 0], [0, 0]])
        strides, dilations = [1, self.stride, self.stride, 1], [self.dilation] * 2
        return tf.nn.depthwise_conv2d(inputs, kernel, strides, "SAME", dilations=dilations)

    def _normalise_by_batch(self, outputs: tf.Tensor) -> tf.Tensor:
        normalised, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            outputs,
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            epsilon=self._norm_epsilon,
            is_training=True,
        )
        for stored, current in ((self.moving_mean, mean), (self.moving_variance, variance)):
            collected = _COLLECTED.get()
            before = next((value for variable, value in reversed(collected or ()) if variable is stored), stored)
            following = before * _STATISTICS_MOMENTUM + current * (1.0 - _STATISTICS_MOMENTUM)
            if collected is None:
                stored.assign(following)
            else:
                collected.append((stored, following))
        return normalised


class Dense(WeightedLayer):
    """A fully connected layer over the last axis, with bias and an optional activation, in the inputs' type.

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

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """inputs: [..., in_features] to [..., out_features]."""
        kernel, bias = self._weights_in(inputs.dtype)
        return self._activation(self._add_bias(tf.matmul(inputs, kernel), bias))

    def kernel_and_bias(self) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.convert_to_tensor(self.kernel), tf.convert_to_tensor(self.bias)


def mean_of_cells(features: tf.Tensor, *, keepdims: bool = False) -> tf.Tensor:
    """[B, h, w, C] to [B, C], or [B, 1, 1, C] with `keepdims`, in the features' type.

    Summed up in float32: on the CPU TensorFlow's mean of float16 is infinite above 65,504 and wrong beyond some
    thousand cells.
    """
    return tf.cast(tf.reduce_mean(tf.cast(features, tf.float32), (1, 2), keepdims=keepdims), features.dtype)


def scale_channels(features: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """[B, h, w, C] times [B, 1, 1, C], of one type; the factors' gradient, a sum over cells, is made in float32."""
    return features * factors if features.dtype == tf.float32 else _scale_channels_in_halves(features, factors)


@tf.custom_gradient
def _scale_channels_in_halves(features: tf.Tensor, factors: tf.Tensor):
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_cells = tf.cast(upstream, tf.float32) * tf.cast(features, tf.float32)
        return upstream * factors, tf.cast(tf.reduce_sum(of_cells, (1, 2), keepdims=True), factors.dtype)

    return features * factors, gradient


@tf.custom_gradient
def _add_bias_in_bfloat16(outputs: tf.Tensor, bias: tf.Tensor):
    # TensorFlow's own gradient adds up in bfloat16 on the CPU, one cell after the other: 10,000 ones make 512.
    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cells = tf.range(len(upstream.shape) - 1)
        return upstream, tf.cast(tf.reduce_sum(tf.cast(upstream, tf.float32), cells), bias.dtype)

    return tf.nn.bias_add(outputs, bias), gradient
