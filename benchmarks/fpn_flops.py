"""How many floating-point operations Faster R-CNN R50-FPN takes, counted from the shapes of its layers.

A multiplication with its addition counts two. Only convolutions and fully connected layers count: what RoIAlign,
suppression, normalising and resizing cost is time without work in this reckoning, as it should be when the question is
how well a machine is used.
"""

from __future__ import annotations

from typing import NamedTuple


class Flops(NamedTuple):
    """Operations of a forward pass."""

    convolution: int
    matrix: int

    @property
    def total(self) -> int:
        return self.convolution + self.matrix


def resnet50_fpn_flops(size: tuple[int, int], *, num_rois: int = 1000, num_outputs: int = 91) -> Flops:
    """A forward pass on one picture.

    Args:
        size: (height, width) of the padded input, multiples of 32.
        num_rois: RoIs that go through the box head.
        num_outputs: classes with background; four box deltas for each.
    """
    height, width = size
    cells = {level: (height // 2**level) * (width // 2**level) for level in range(1, 6)}
    cells[6] = -(-height // 64) * -(-width // 64)

    total = _convolution(cells[1], 7, 3, 64)
    channels = 64
    for level, (units, middle) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)], start=2):
        for unit in range(units):
            # The first 1 x 1 of a stage still sees the map before it: the stride is in the 3 x 3.
            before = cells[level - 1] if unit == 0 and level > 2 else cells[level]
            total += _convolution(before, 1, channels, middle)
            total += _convolution(cells[level], 3, middle, middle)
            total += _convolution(cells[level], 1, middle, 4 * middle)
            if unit == 0:
                total += _convolution(cells[level], 1, channels, 4 * middle)
            channels = 4 * middle
        total += _convolution(cells[level], 1, channels, 256) + _convolution(cells[level], 3, 256, 256)
    anchors = 3
    for level in range(2, 7):
        total += _convolution(cells[level], 3, 256, 256) + _convolution(cells[level], 1, 256, 5 * anchors)
    matrix = num_rois * 2 * (256 * 7 * 7 * 1024 + 1024 * 1024 + 1024 * 5 * num_outputs)
    return Flops(total, matrix)


def _convolution(cells: int, kernel: int, in_channels: int, out_channels: int) -> int:
    return 2 * cells * kernel * kernel * in_channels * out_channels
