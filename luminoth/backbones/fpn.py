"""The feature pyramid (Lin et al. 2017): strong features at every scale, from those a backbone has anyway.

C5 -> lateral -> output -> P5 -> pooling -> P6
              \\ enlarged, plus
C4 -> lateral -> output -> P4
              \\ ...
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from luminoth.backbones.layers import Conv, Layer


class FeaturePyramid(Layer):
    """From a backbone's maps to maps of equal depth, and one coarser one.

    Args:
        in_channels, strides: of the backbone's maps, finest first.
        channels: of all maps that come out.
        norm: batch norm instead of a bias in every convolution (torchvision's v2).
        train_norm: whether that batch norm is trained.
        extra_level: the coarser map: "pool", every second value of the coarsest one (Faster R-CNN); "none".
        weight_decay: factor of the L2 loss on kernels.

    Attributes:
        strides, out_channels: of the maps that come out, finest first.

    Call: a tuple of maps [B, h_i, w_i, in_channels[i]] to a tuple of maps [B, h_i, w_i, channels], and the extra one
    of half the coarsest's size.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        *,
        channels: int = 256,
        norm: bool = False,
        train_norm: bool = False,
        extra_level: str = "pool",
        weight_decay: float = 0.0,
        name: str = "fpn",
    ) -> None:
        super().__init__(name=name)
        self._has_extra = extra_level == "pool"
        self.strides = (*strides, 2 * strides[-1]) if self._has_extra else tuple(strides)
        self.out_channels = (channels,) * len(self.strides)
        settings = {
            "norm": norm,
            "train_norm": train_norm,
            "kernel_initializer": keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"),
            "weight_decay": weight_decay,
        }
        levels = range(1, len(in_channels) + 1)
        self.laterals = [
            Conv(count, channels, 1, name=f"lateral{level}", **settings)
            for level, count in zip(levels, in_channels, strict=True)
        ]
        self.outputs = [Conv(channels, channels, 3, name=f"output{level}", **settings) for level in levels]

    def call(self, maps: Sequence[tf.Tensor], training: bool = False) -> tuple[tf.Tensor, ...]:
        merged = [lateral(features, training=training) for lateral, features in zip(self.laterals, maps, strict=True)]
        for finer in range(len(merged) - 2, -1, -1):
            merged[finer] += _enlarge(merged[finer + 1], like=merged[finer])
        pyramid = [output(features, training=training) for output, features in zip(self.outputs, merged, strict=True)]
        if self._has_extra:
            pyramid.append(pyramid[-1][:, ::2, ::2])
        return tuple(pyramid)


def _enlarge(features: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Each value repeated until the map is as large as `like`."""
    return tf.image.resize(features, tf.shape(like)[1:3], method="nearest")
