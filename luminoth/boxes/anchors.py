"""Anchors: the fixed boxes, of several sizes and ratios, that stand at every cell of a feature map.

Faster R-CNN (Ren et al. 2015), section 3.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import tensorflow as tf


def anchor_shapes(
    sides: Sequence[float],
    ratios: Sequence[float],
    *,
    order: Literal["ratio_major", "size_major"] = "ratio_major",
    rounded: bool = False,
) -> np.ndarray:
    """The anchors of one cell, centred on (0, 0).

    Args:
        sides: of the square anchors, in pixels.
        ratios: height / width; the area does not change with it.
        order: "ratio_major" (Luminoth, torchvision): all sides of the first ratio come first; "size_major"
            (Detectron2): all ratios of the first side.
        rounded: corners lie on whole pixels, halves rounded to even, as torchvision's do.

    Returns:
        [ratios * sides, 4] float32, pixels.

    Raises:
        ValueError: `order` is neither of the two.
    """
    if order not in ("ratio_major", "size_major"):
        raise ValueError(f"order: got {order!r}; it must be 'ratio_major' or 'size_major'")
    # torchvision rounds what float32 gives, the others keep what float64 gives: a corner near one half tells.
    precision = np.float32 if rounded else np.float64
    lengths = np.asarray(sides, precision)[None, :]  # [1, sides]
    roots = np.sqrt(np.asarray(ratios, precision))[:, None]  # [ratios, 1]
    widths, heights = 1 / roots * lengths, roots * lengths  # [ratios, sides]
    corners = np.stack([-widths, -heights, widths, heights], axis=-1) / 2  # [ratios, sides, 4]
    if order == "size_major":
        corners = corners.transpose(1, 0, 2)
    if rounded:
        corners = np.round(corners)
    return corners.reshape(-1, 4).astype(np.float32)


def grid_anchors(shapes: np.ndarray, grid_size: tuple, strides, offset: float = 0.5) -> tf.Tensor:
    """All anchors of a feature map, in the order in which a convolution's output [H, W, k] is flattened.

    Args:
        shapes: [k, 4] float32, pixels, from `anchor_shapes`.
        grid_size: (rows, columns) of the feature map; ints or scalar tensors.
        strides: pixels from one cell to the next: one number, or (down, across), each a number or a scalar
            tensor. torchvision takes the padded picture's height and width, divided by rows and columns, rounded
            down; the others take the feature map's nominal stride.
        offset: where in its cell an anchor's centre lies, in strides: 0.5 is the middle; 0 is what Luminoth,
            torchvision and Detectron2 use.

    Returns:
        [rows * columns * k, 4] float32, pixels.
    """
    down, across = strides if isinstance(strides, (tuple, list)) else (strides, strides)
    ys = (tf.cast(tf.range(grid_size[0]), tf.float32) + offset) * tf.cast(down, tf.float32)
    xs = (tf.cast(tf.range(grid_size[1]), tf.float32) + offset) * tf.cast(across, tf.float32)
    grid_ys, grid_xs = tf.meshgrid(ys, xs, indexing="ij")  # [rows, columns] each
    centers = tf.stack([grid_xs, grid_ys, grid_xs, grid_ys], axis=-1)  # [rows, columns, 4]
    return tf.reshape(centers[:, :, None, :] + tf.constant(shapes), (-1, 4))  # [rows, columns, k, 4] -> [., 4]
