"""MobileNetV3-large (Howard et al. 2019, "Searching for MobileNetV3", table 1) up to its last 1 x 1 convolution.

Groups are named `stem`, `block1` ... `block15` and `last` (torchvision's `features.0` ... `features.16`). A block
expands the channels (1 x 1), looks around in each of them (depthwise k x k), in some blocks weighs them by what the
whole map holds (squeeze and excite), and projects them back (1 x 1), beside the identity where shapes allow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from luminoth.backbones.layers import Conv, Layer, mean_of_cells, scale_channels
from luminoth.backbones.pixels import IMAGENET_PIXELS, PixelRule
from luminoth.errors import ModelError


class _BlockShape(NamedTuple):
    kernel_size: int
    expanded: int
    out_channels: int
    squeezes: bool
    activation: str
    stride: int


_STEM_WIDTH = 16
_BLOCKS = (
    _BlockShape(3, 16, 16, False, "relu", 1),
    _BlockShape(3, 64, 24, False, "relu", 2),
    _BlockShape(3, 72, 24, False, "relu", 1),
    _BlockShape(5, 72, 40, True, "relu", 2),
    _BlockShape(5, 120, 40, True, "relu", 1),
    _BlockShape(5, 120, 40, True, "relu", 1),
    _BlockShape(3, 240, 80, False, "hard_swish", 2),
    _BlockShape(3, 200, 80, False, "hard_swish", 1),
    _BlockShape(3, 184, 80, False, "hard_swish", 1),
    _BlockShape(3, 184, 80, False, "hard_swish", 1),
    _BlockShape(3, 480, 112, True, "hard_swish", 1),
    _BlockShape(3, 672, 112, True, "hard_swish", 1),
)
# Blocks 13 to 15. Detectors with few classes need fewer channels here (section 6.3 of the paper).
_TAIL = (
    _BlockShape(5, 672, 160, True, "hard_swish", 2),
    _BlockShape(5, 960, 160, True, "hard_swish", 1),
    _BlockShape(5, 960, 160, True, "hard_swish", 1),
)
_REDUCED_TAIL = (
    _BlockShape(5, 672, 80, True, "hard_swish", 2),
    _BlockShape(5, 480, 80, True, "hard_swish", 1),
    _BlockShape(5, 480, 80, True, "hard_swish", 1),
)


class MobileNetV3(Layer):
    """A stem, fifteen blocks and a last convolution, some of whose outputs are the feature maps.

    Args:
        outputs: what is returned, in the network's order: names of groups, or `block{i}/expand` for what block i
            has between its first and its second convolution. The default is what torchvision's Faster R-CNN looks
            at (two maps of stride 32); `("block13/expand", "last")` is SSDlite's (strides 16 and 32). Groups after
            the last output are not made.
        reduced_tail: half as many channels from block13's output on, as SSDlite has it.
        train_norm: whether batch norm is trained; frozen otherwise.
        norm_epsilon: 1e-5 in torchvision's Faster R-CNN, 1e-3 in its SSDlite and its classifier.
        pixels: how the weights want their pixels.
        weight_decay: factor of the L2 loss on kernels.

    Attributes:
        strides, out_channels: of the maps returned.

    Call: [B, H, W, 3] normalised pixels to a tuple of maps [B, ceil(H / stride), ceil(W / stride), channels].

    Raises:
        ModelError: an output has a name that does not exist.
    """

    groups = ("stem", *(f"block{number}" for number in range(1, 16)), "last")
    tail = None

    def __init__(
        self,
        *,
        outputs: Sequence[str] = ("block13", "last"),
        reduced_tail: bool = False,
        train_norm: bool = False,
        norm_epsilon: float = 1e-5,
        pixels: PixelRule = IMAGENET_PIXELS,
        weight_decay: float = 0.0,
        name: str = "backbone",
    ) -> None:
        super().__init__(name=name)
        shapes = _BLOCKS + (_REDUCED_TAIL if reduced_tail else _TAIL)
        maps = _available_maps(shapes)
        unknown = [output for output in outputs if output not in maps]
        if unknown or not outputs:
            raise ModelError(
                f"MobileNetV3 has no output {', '.join(unknown) or '()'}; choose from stem, block1 ... block15, "
                "block2/expand ... block15/expand and last"
            )
        self.pixels, self._outputs = pixels, tuple(outputs)
        self.strides = tuple(maps[output].stride for output in outputs)
        self.out_channels = tuple(maps[output].channels for output in outputs)

        settings = {"norm": True, "train_norm": train_norm, "norm_epsilon": norm_epsilon, "weight_decay": weight_decay}
        hard_swish = {"activation": "hard_swish", **settings}
        deepest = max(self.groups.index(output.split("/")[0]) for output in outputs)
        self.stem = Conv(3, _STEM_WIDTH, 3, stride=2, name="stem", **hard_swish)
        self.blocks, in_channels = [], _STEM_WIDTH
        for number, shape in enumerate(shapes[:deepest], start=1):
            self.blocks.append(_Block(in_channels, shape, settings, name=f"block{number}"))
            in_channels = shape.out_channels
        self.last = Conv(in_channels, 6 * in_channels, name="last", **hard_swish) if "last" in outputs else None

    def call(self, images: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, ...]:
        features = self.stem(images, training=training)
        maps = {"stem": features}
        for block in self.blocks:
            features, maps[f"{block.name}/expand"] = block(features, training=training)
            maps[block.name] = features
        if self.last is not None:
            maps["last"] = self.last(features, training=training)
        return tuple(maps[output] for output in self._outputs)

    def group(self, name: str) -> Layer | None:
        """The layer of a group of `groups`; None for one that was not made."""
        layers = {layer.name: layer for layer in (self.stem, *self.blocks, self.last) if layer is not None}
        return layers.get(name)


class _Map(NamedTuple):
    stride: int
    channels: int


def _available_maps(shapes: Sequence[_BlockShape]) -> dict[str, _Map]:
    """Every output by its name."""
    maps, stride = {"stem": _Map(2, _STEM_WIDTH)}, 2
    for number, shape in enumerate(shapes, start=1):
        if number > 1:  # block1 does not expand
            maps[f"block{number}/expand"] = _Map(stride, shape.expanded)
        stride *= shape.stride
        maps[f"block{number}"] = _Map(stride, shape.out_channels)
    return maps | {"last": _Map(stride, 6 * shapes[-1].out_channels)}


class _Block(Layer):
    """An inverted residual: narrow between the blocks, wide inside. Gives its output and its expanded features."""

    def __init__(self, in_channels: int, shape: _BlockShape, settings: dict, *, name: str) -> None:
        super().__init__(name=name)
        wide, active = shape.expanded, {"activation": shape.activation, **settings}
        self._adds_input = shape.stride == 1 and in_channels == shape.out_channels
        self.expand = Conv(in_channels, wide, name="expand", **active) if wide != in_channels else None
        self.depthwise = Conv(
            wide, wide, shape.kernel_size, stride=shape.stride, groups=wide, name="depthwise", **active
        )
        self.squeeze = self.excite = None
        if shape.squeezes:
            narrow, decay = _squeezed(wide), settings["weight_decay"]
            self.squeeze = Conv(wide, narrow, activation="relu", weight_decay=decay, name="squeeze")
            self.excite = Conv(narrow, wide, activation="hard_sigmoid", weight_decay=decay, name="excite")
        self.project = Conv(wide, shape.out_channels, name="project", **settings)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        expanded = inputs if self.expand is None else self.expand(inputs, training=training)
        features = self.depthwise(expanded, training=training)
        if self.squeeze is not None:
            # The mean is over all cells, padding of the batch included, as in torchvision.
            mean = mean_of_cells(features, keepdims=True)
            features = scale_channels(features, self.excite(self.squeeze(mean)))
        outputs = self.project(features, training=training)
        return (outputs + inputs if self._adds_input else outputs), expanded


def _squeezed(channels: int) -> int:
    """A quarter of the channels, as the nearest multiple of 8 that is not less than nine tenths of it."""
    quarter = channels // 4
    rounded = (quarter + 4) // 8 * 8
    return rounded if rounded >= 0.9 * quarter else rounded + 8
