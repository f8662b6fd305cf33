"""ResNet v1 (He et al. 2015), cut for detection: conv1 to block3 give features, block4 is the head's tail.

Groups are named as in Luminoth: `conv1`, `block1` ... `block4` (conv2_x ... conv5_x in the paper).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from luminoth.backbones.layers import Conv
from luminoth.errors import ModelError


@dataclass(frozen=True)
class ResNetShape:
    """How many residual units each block has, and how wide they are.

    Attributes:
        units: residual units of block1 ... block4.
        widths: channels of the 3 x 3 convolutions of block1 ... block4.
        expansion: output channels of a unit / its width. 4: bottleneck units (1 x 1, 3 x 3, 1 x 1); 1: basic
            units (3 x 3, 3 x 3).
        stem_width: channels of the first convolution.
    """

    units: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    expansion: int = 4
    stem_width: int = 64

    def out_channels(self, block: int) -> int:
        """Channels of the output of block 1 ... 4."""
        return self.widths[block - 1] * self.expansion


RESNET_SHAPES = {
    "resnet_v1_50": ResNetShape((3, 4, 6, 3)),
    "resnet_v1_101": ResNetShape((3, 4, 23, 3)),
    "resnet_v1_152": ResNetShape((3, 8, 36, 3)),
}


def thin_resnet_shape(width: int) -> ResNetShape:
    """A small ResNet of basic units (2, 2, 2, 2), `width` channels in block1, doubled from block to block."""
    return ResNetShape((2, 2, 2, 2), (width, 2 * width, 4 * width, 8 * width), expansion=1, stem_width=width)


class ResNet(keras.layers.Layer):
    """conv1, pooling and block1 ... block3; block4 as `tail`.

    Args:
        shape: units and widths.
        output_stride: 16, or 8: block3 then keeps block2's grid and dilates its convolutions instead.
        with_tail: whether block4 is made.
        tail_stride: stride of the tail's first unit, 1 or 2.
        stride_in_3x3: where a bottleneck unit strides: in its 3 x 3 (torchvision) or its first 1 x 1 (the paper,
            Keras Applications, Detectron2's R50 and R101).
        train_norm: whether batch norm is trained; frozen otherwise.
        norm_epsilon: 1.001e-5 is Keras Applications'.
        channel_means: subtracted from the channels, in the order that the weights expect.
        channel_scale: what pixels are divided by afterwards.
        bgr: whether the weights expect blue first.
        weight_decay: factor of the L2 loss on kernels.

    Call: [B, H, W, 3] normalised pixels to [B, H / stride, W / stride, out_channels].
    """

    groups = ("conv1", "block1", "block2", "block3", "block4")

    def __init__(
        self,
        shape: ResNetShape,
        *,
        output_stride: int = 16,
        with_tail: bool = True,
        tail_stride: int = 1,
        stride_in_3x3: bool = False,
        train_norm: bool = False,
        norm_epsilon: float = 1.001e-5,
        channel_means: Sequence[float] = (103.939, 116.779, 123.68),
        channel_scale: float = 1.0,
        bgr: bool = True,
        weight_decay: float = 0.0,
        name: str = "backbone",
    ) -> None:
        super().__init__(name=name)
        if output_stride not in (8, 16):
            raise ModelError(f"a ResNet's output_stride must be 8 or 16; got {output_stride}")
        self.stride, self.out_channels = output_stride, shape.out_channels(3)
        self.is_bottleneck = shape.expansion > 1
        self._channel_means, self._channel_scale, self._bgr = tuple(channel_means), channel_scale, bgr
        conv_settings = {"train_norm": train_norm, "norm_epsilon": norm_epsilon, "weight_decay": weight_decay}

        def block(number: int, in_channels: int, stride: int, dilation: int = 1) -> _Block:
            return _Block(
                shape,
                number,
                in_channels,
                stride,
                dilation,
                stride_in_3x3,
                conv_settings,
                name=f"block{number}",
            )

        self.conv1 = Conv(3, shape.stem_width, 7, stride=2, norm=True, activation="relu", name="conv1", **conv_settings)
        self.block1 = block(1, shape.stem_width, 1)
        self.block2 = block(2, shape.out_channels(1), 2)
        self.block3 = block(3, shape.out_channels(2), *((2, 1) if output_stride == 16 else (1, 2)))
        self.tail = block(4, shape.out_channels(3), tail_stride) if with_tail else None
        self.built = True

    def normalise(self, images: tf.Tensor) -> tf.Tensor:
        """RGB pixels [B, H, W, 3], 0 to 255, to what the weights expect."""
        ordered = tf.reverse(images, [-1]) if self._bgr else images
        return (ordered - tf.constant(self._channel_means)) / self._channel_scale

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        features = self.conv1(images, training=training)
        # Zeros are as good as minus infinity around a ReLU's output.
        features = tf.nn.max_pool2d(features, 3, 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
        for block in (self.block1, self.block2, self.block3):
            features = block(features, training=training)
        return features

    def group(self, name: str) -> keras.layers.Layer | None:
        """The layer of a group of `groups`; None for a tail that was not made."""
        return self.tail if name == "block4" else getattr(self, name)


class _Block(keras.layers.Layer):
    """Residual units of one width; the first one strides and changes the number of channels."""

    def __init__(
        self,
        shape: ResNetShape,
        number: int,
        in_channels: int,
        stride: int,
        dilation: int,
        stride_in_3x3: bool,
        conv_settings: dict,
        *,
        name: str,
    ) -> None:
        super().__init__(name=name)
        width, self.out_channels = shape.widths[number - 1], shape.out_channels(number)
        self.stride = stride
        self.units = []
        for index in range(shape.units[number - 1]):
            arguments = (in_channels if index == 0 else self.out_channels, width, self.out_channels)
            unit_stride, unit_name = stride if index == 0 else 1, f"unit{index + 1}"
            if shape.expansion == 1:
                unit = _BasicUnit(*arguments, unit_stride, dilation, conv_settings, name=unit_name)
            else:
                unit = _BottleneckUnit(*arguments, unit_stride, dilation, stride_in_3x3, conv_settings, name=unit_name)
            self.units.append(unit)
        self.built = True

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        for unit in self.units:
            features = unit(features, training=training)
        return features


class _BasicUnit(keras.layers.Layer):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        stride: int,
        dilation: int,
        settings: dict,
        *,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.conv1 = Conv(
            in_channels,
            width,
            3,
            stride=stride,
            dilation=dilation,
            norm=True,
            activation="relu",
            name="conv1",
            **settings,
        )
        self.conv2 = Conv(width, out_channels, 3, dilation=dilation, norm=True, name="conv2", **settings)
        self.shortcut = _shortcut(in_channels, out_channels, stride, settings)
        self.built = True

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        residual = self.conv2(self.conv1(features, training=training), training=training)
        return tf.nn.relu(residual + _apply_shortcut(self.shortcut, features, training))


class _BottleneckUnit(keras.layers.Layer):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        stride: int,
        dilation: int,
        stride_in_3x3: bool,
        settings: dict,
        *,
        name: str,
    ) -> None:
        super().__init__(name=name)
        first, second = (1, stride) if stride_in_3x3 else (stride, 1)
        self.conv1 = Conv(in_channels, width, 1, stride=first, norm=True, activation="relu", name="conv1", **settings)
        self.conv2 = Conv(
            width,
            width,
            3,
            stride=second,
            dilation=dilation,
            norm=True,
            activation="relu",
            name="conv2",
            **settings,
        )
        self.conv3 = Conv(width, out_channels, 1, norm=True, name="conv3", **settings)
        self.shortcut = _shortcut(in_channels, out_channels, stride, settings)
        self.built = True

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        residual = self.conv2(self.conv1(features, training=training), training=training)
        residual = self.conv3(residual, training=training)
        return tf.nn.relu(residual + _apply_shortcut(self.shortcut, features, training))


def _shortcut(in_channels: int, out_channels: int, stride: int, settings: dict) -> Conv | None:
    """A projection where the unit changes shape; None, the identity, elsewhere."""
    if in_channels == out_channels and stride == 1:
        return None
    return Conv(in_channels, out_channels, 1, stride=stride, norm=True, name="shortcut", **settings)


def _apply_shortcut(shortcut: Conv | None, features: tf.Tensor, training: bool) -> tf.Tensor:
    return features if shortcut is None else shortcut(features, training=training)
