"""Anchors: the fixed boxes, of several scales and ratios, that stand at every cell of a feature map.

Faster R-CNN (Ren et al. 2015), section 3.1.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def anchor_shapes(base_size: float, scales: Sequence[float], ratios: Sequence[float]) -> np.ndarray:
    """The anchors of one cell, centred on (0, 0).

    Args:
        base_size: side in pixels of the square anchor of scale 1.
        scales: factors of the side.
        ratios: height / width; the area does not change with it.

    Returns:
        [ratios * scales, 4] float32, pixels; ratio-major: all scales of the first ratio come first.
    """
    sides = base_size * np.asarray(scales, np.float64)
    roots = np.sqrt(np.asarray(ratios, np.float64))[:, None]  # [ratios, 1]
    half_widths, half_heights = (sides / roots / 2).ravel(), (sides * roots / 2).ravel()
    return np.stack([-half_widths, -half_heights, half_widths, half_heights], axis=1).astype(np.float32)


def grid_anchors(shapes: np.ndarray, grid_size: tuple, stride: float, offset: float = 0.5) -> tf.Tensor:
    """All anchors of a feature map, in the order in which a convolution's output [H, W, k] is flattened.

    Args:
        shapes: [k, 4] float32, pixels, from `anchor_shapes`.
        grid_size: (rows, columns) of the feature map; ints or scalar tensors.
        stride: pixels from one cell to the next.
        offset: where in its cell an anchor's centre lies, in strides: 0.5 is the middle; 0 is what Luminoth,
            torchvision and Detectron2 use.

    Returns:
        [rows * columns * k, 4] float32, pixels.
    """
    ys = (tf.cast(tf.range(grid_size[0]), tf.float32) + offset) * stride
    xs = (tf.cast(tf.range(grid_size[1]), tf.float32) + offset) * stride
    grid_ys, grid_xs = tf.meshgrid(ys, xs, indexing="ij")  # [rows, columns] each
    centers = tf.stack([grid_xs, grid_ys, grid_xs, grid_ys], axis=-1)  # [rows, columns, 4]
    return tf.reshape(centers[:, :, None, :] + tf.constant(shapes), (-1, 4))  # [rows, columns, k, 4] -> [., 4]
