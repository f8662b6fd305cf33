"""ResNet v1 and ResNeXt (He et al. 2015, Xie et al. 2016), cut for detection.

Groups are named as in Luminoth: `conv1`, `block1` ... `block4` (conv2_x ... conv5_x in the papers, res2 ... res5 in
Detectron2, layer1 ... layer4 in torchvision).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from luminoth.backbones.layers import Conv, Layer
from luminoth.backbones.pixels import CAFFE_PIXELS, PixelRule
from luminoth.errors import ModelError


@dataclass(frozen=True)
class ResNetShape:
    """How many residual units each block has, and how wide they are.

    Attributes:
        units: residual units of block1 ... block4.
        widths: channels of the 3 x 3 convolutions of block1 ... block4.
        out_channels: of block1 ... block4.
        is_bottleneck: units of 1 x 1, 3 x 3, 1 x 1 convolutions; else of two 3 x 3.
        groups: of the 3 x 3 convolutions of bottleneck units (ResNeXt's cardinality).
        stem_width: channels of the first convolution.
    """

    units: tuple[int, int, int, int]
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)
    out_channels: tuple[int, int, int, int] = (256, 512, 1024, 2048)
    is_bottleneck: bool = True
    groups: int = 1
    stem_width: int = 64


RESNET_SHAPES = {
    "resnet_v1_50": ResNetShape((3, 4, 6, 3)),
    "resnet_v1_101": ResNetShape((3, 4, 23, 3)),
    "resnet_v1_152": ResNetShape((3, 8, 36, 3)),
    "resnext_101_32x8d": ResNetShape((3, 4, 23, 3), widths=(256, 512, 1024, 2048), groups=32),
}


def thin_resnet_shape(width: int) -> ResNetShape:
    """A small ResNet of basic units (2, 2, 2, 2), `width` channels in block1, doubled from block to block."""
    widths = (width, 2 * width, 4 * width, 8 * width)
    return ResNetShape((2, 2, 2, 2), widths, widths, is_bottleneck=False, stem_width=width)


class ResNet(Layer):
    """conv1, pooling and blocks, some of whose outputs are the feature maps.

    Args:
        shape: units and widths.
        outputs: numbers of the blocks whose outputs are returned, ascending. Blocks after the last are not made,
            except block4 as `tail`.
        output_stride: largest stride, 8, 16 or 32: a block that would stride beyond it dilates its 3 x 3
            convolutions by 2 instead.
        with_tail: whether block4 is made to be run on each pooled RoI ("C4").
        tail_stride: stride of the tail's first unit, 1 or 2.
        stride_in_3x3: where a bottleneck unit strides: in its 3 x 3 (torchvision, Detectron2's X101) or its first
            1 x 1 (the paper, Keras Applications, Detectron2's R50 and R101).
        train_norm: whether batch norm is trained; frozen otherwise.
        norm_epsilon: 1.001e-5 is Keras Applications'; 1e-5 torchvision's and Detectron2's; 0 that of torchvision's
            first COCO weights.
        pixels: how the weights want their pixels.
        weight_decay: factor of the L2 loss on kernels.

    Attributes:
        strides, out_channels: of the maps returned.

    Call: [B, H, W, 3] normalised pixels to a tuple of maps [B, ceil(H / stride), ceil(W / stride), channels].
    """

    groups = ("conv1", "block1", "block2", "block3", "block4")

    def __init__(
        self,
        shape: ResNetShape,
        *,
        outputs: Sequence[int] = (3,),
        output_stride: int = 16,
        with_tail: bool = True,
        tail_stride: int = 1,
        stride_in_3x3: bool = False,
        train_norm: bool = False,
        norm_epsilon: float = 1.001e-5,
        pixels: PixelRule = CAFFE_PIXELS,
        weight_decay: float = 0.0,
        name: str = "backbone",
    ) -> None:
        super().__init__(name=name)
        if output_stride not in (8, 16, 32):
            raise ModelError(f"a ResNet's output_stride must be 8, 16 or 32; got {output_stride}")
        if with_tail and max(outputs) == 4:
            raise ModelError("block4 gives features, so it cannot be the tail as well")
        self.is_bottleneck, self._outputs, self.pixels = shape.is_bottleneck, tuple(outputs), pixels
        settings = {"train_norm": train_norm, "norm_epsilon": norm_epsilon, "weight_decay": weight_decay}
        units = {"stride_in_3x3": stride_in_3x3, "conv_settings": settings}
        self.conv1 = Conv(3, shape.stem_width, 7, stride=2, norm=True, activation="relu", name="conv1", **settings)
        self.blocks, strides, stride, dilation = [], [], 4, 1
        for number in range(1, max(outputs) + 1):
            unit_stride = 1 if number == 1 else 2
            if stride * unit_stride > output_stride:
                unit_stride, dilation = 1, 2 * dilation
            stride *= unit_stride
            self.blocks.append(_Block(shape, number, stride=unit_stride, dilation=dilation, **units))
            strides.append(stride)
        self.tail = _Block(shape, 4, stride=tail_stride, dilation=1, **units) if with_tail else None
        self.strides = tuple(strides[number - 1] for number in outputs)
        self.out_channels = tuple(shape.out_channels[number - 1] for number in outputs)

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, ...]:
        features = self.conv1(images, training=training)
        # Zeros are as good as minus infinity around a ReLU's output; XLA knows no padding stated to the pooling.
        features = tf.nn.max_pool2d(tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]]), 3, 2, "VALID")
        maps = []
        for block in self.blocks:
            features = block(features, training=training)
            maps.append(features)
        return tuple(maps[number - 1] for number in self._outputs)

    def group(self, name: str) -> Layer | None:
        """The layer of a group of `groups`; None for a block that was not made."""
        layers = {layer.name: layer for layer in (self.conv1, *self.blocks, self.tail) if layer is not None}
        return layers.get(name)


class _Block(Layer):
    """Residual units of one width; the first one strides and changes the number of channels."""

    def __init__(
        self,
        shape: ResNetShape,
        number: int,
        *,
        stride: int,
        dilation: int,
        stride_in_3x3: bool,
        conv_settings: dict,
    ) -> None:
        super().__init__(name=f"block{number}")
        width, self.out_channels, self.stride = shape.widths[number - 1], shape.out_channels[number - 1], stride
        in_channels = shape.stem_width if number == 1 else shape.out_channels[number - 2]
        self.units = []
        for index in range(shape.units[number - 1]):
            channels = (in_channels if index == 0 else self.out_channels, width, self.out_channels)
            unit_stride, unit_name = stride if index == 0 else 1, f"unit{index + 1}"
            if shape.is_bottleneck:
                unit = _BottleneckUnit(
                    *channels, unit_stride, dilation, shape.groups, stride_in_3x3, conv_settings, name=unit_name
                )
            else:
                unit = _BasicUnit(*channels, unit_stride, dilation, conv_settings, name=unit_name)
            self.units.append(unit)

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        for unit in self.units:
            features = unit(features, training=training)
        return features


class _BasicUnit(Layer):
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
        first = {"stride": stride, "dilation": dilation, "norm": True, "activation": "relu", **settings}
        self.conv1 = Conv(in_channels, width, 3, name="conv1", **first)
        self.conv2 = Conv(width, out_channels, 3, dilation=dilation, norm=True, name="conv2", **settings)
        self.shortcut = _shortcut(in_channels, out_channels, stride, settings)

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        residual = self.conv2(self.conv1(features, training=training), training=training)
        return _joined(residual, self.shortcut, features, training)


class _BottleneckUnit(Layer):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut."""

    def __init__(
        self,
        in_channels: int,
        width: int,
        out_channels: int,
        stride: int,
        dilation: int,
        groups: int,
        stride_in_3x3: bool,
        settings: dict,
        *,
        name: str,
    ) -> None:
        super().__init__(name=name)
        first, second = (1, stride) if stride_in_3x3 else (stride, 1)
        normed = {"norm": True, "activation": "relu", **settings}
        self.conv1 = Conv(in_channels, width, 1, stride=first, name="conv1", **normed)
        self.conv2 = Conv(width, width, 3, stride=second, dilation=dilation, groups=groups, name="conv2", **normed)
        self.conv3 = Conv(width, out_channels, 1, norm=True, name="conv3", **settings)
        self.shortcut = _shortcut(in_channels, out_channels, stride, settings)

    def call(self, features: tf.Tensor, training: bool = False) -> tf.Tensor:
        residual = self.conv2(self.conv1(features, training=training), training=training)
        residual = self.conv3(residual, training=training)
        return _joined(residual, self.shortcut, features, training)


def _shortcut(in_channels: int, out_channels: int, stride: int, settings: dict) -> Conv | None:
    """A projection where the unit changes shape; None, the identity, elsewhere."""
    if in_channels == out_channels and stride == 1:
        return None
    return Conv(in_channels, out_channels, 1, stride=stride, norm=True, name="shortcut", **settings)


def _joined(residual: tf.Tensor, shortcut: Conv | None, features: tf.Tensor, training: bool) -> tf.Tensor:
    past = features if shortcut is None else shortcut(features, training=training)
    # `add_n` and not `+`: it says that both shapes are equal, so that TensorFlow fuses it and the ReLU with the
    # convolution before, also where the shapes are unknown.
    return tf.nn.relu(tf.add_n([residual, past]))
