"""VGG 16 and 19 (Simonyan and Zisserman 2014) up to conv5, without the last pooling: stride 16, 512 channels.

Groups are named `conv1` ... `conv5`. There is no tail: the box head's fully connected layers follow the RoIs
(`rcnn.layer_sizes: [4096, 4096]`).
"""

from __future__ import annotations

import tensorflow as tf

from luminoth.backbones.layers import Conv, Layer
from luminoth.backbones.pixels import CAFFE_PIXELS, PixelRule

VGG_UNITS = {"vgg_16": (2, 2, 3, 3, 3), "vgg_19": (2, 2, 4, 4, 4)}

_WIDTHS = (64, 128, 256, 512, 512)


class VGG(Layer):
    """Five groups of 3 x 3 convolutions, with pooling between them.

    Args:
        units: convolutions in each group.
        pixels: how the weights want their pixels.
        weight_decay: factor of the L2 loss on kernels.

    Call: [B, H, W, 3] normalised pixels to one map [B, H // 16, W // 16, 512], in a tuple.
    """

    groups = ("conv1", "conv2", "conv3", "conv4", "conv5")
    strides, out_channels, tail = (16,), (_WIDTHS[-1],), None

    def __init__(
        self,
        units: tuple[int, ...],
        *,
        pixels: PixelRule = CAFFE_PIXELS,
        weight_decay: float = 0.0,
        name: str = "backbone",
    ) -> None:
        super().__init__(name=name)
        self.pixels = pixels
        in_channels = (3, *_WIDTHS[:-1])
        for group, arguments in zip(self.groups, zip(in_channels, _WIDTHS, units, strict=True), strict=True):
            setattr(self, group, _Group(*arguments, weight_decay=weight_decay, name=group))

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor]:
        features = self.conv1(images)
        for name in self.groups[1:]:
            features = getattr(self, name)(tf.nn.max_pool2d(features, 2, 2, "VALID"))
        return (features,)

    def group(self, name: str) -> Layer:
        """The layer of a group of `groups`."""
        return getattr(self, name)


class _Group(Layer):
    def __init__(self, in_channels: int, width: int, units: int, *, weight_decay: float, name: str) -> None:
        super().__init__(name=name)
        self.convs = [
            Conv(
                in_channels if index == 0 else width,
                width,
                3,
                activation="relu",
                weight_decay=weight_decay,
                name=f"conv{index + 1}",
            )
            for index in range(units)
        ]

    def call(self, features: tf.Tensor) -> tf.Tensor:
        for conv in self.convs:
            features = conv(features)
        return features
