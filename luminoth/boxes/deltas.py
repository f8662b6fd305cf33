"""Boxes as deltas from reference boxes, and back.

The encoding is defined by its inverse: `decode(references, encode(references, boxes)) == boxes`
(R-CNN, Girshick et al. 2014, appendix C):

    t_x = (x - x_ref) / w_ref    t_y = (y - y_ref) / h_ref    t_w = log(w / w_ref)    t_h = log(h / h_ref)

where x, y are centres. The deltas are divided by `variances` (centre, size), which brings them to about unit
variance: (0.1, 0.2) is the same as the coder weights (10, 10, 5, 5) of torchvision and Detectron2.
"""

from __future__ import annotations

import math

import tensorflow as tf

# exp(t) is cut here: a network at its start must not produce infinite boxes. 1000 / 16 is the largest factor
# that takes a stride-16 cell to a picture of 1,000 pixels (the value Detectron and torchvision use).
MAX_LOG_SCALE = math.log(1000.0 / 16)


def encode(references: tf.Tensor, boxes: tf.Tensor, variances: tuple[float, float] = (1.0, 1.0)) -> tf.Tensor:
    """Deltas that lead from `references` to `boxes`.

    Args:
        references: [..., 4] float32, pixels: anchors or RoIs, of positive width and height.
        boxes: [..., 4] float32, pixels, of positive width and height.
        variances: what centre and size deltas are divided by.

    Returns:
        [..., 4] float32: t_x, t_y, t_w, t_h.
    """
    ref_centers, ref_sizes = _centers_and_sizes(references)
    centers, sizes = _centers_and_sizes(boxes)
    return tf.concat(
        [(centers - ref_centers) / ref_sizes / variances[0], tf.math.log(sizes / ref_sizes) / variances[1]],
        axis=-1,
    )


def decode(references: tf.Tensor, deltas: tf.Tensor, variances: tuple[float, float] = (1.0, 1.0)) -> tf.Tensor:
    """Boxes that `deltas` lead to from `references`: the inverse of `encode`.

    Args:
        references: [..., 4] float32, pixels.
        deltas: [..., 4] float32; size deltas above `MAX_LOG_SCALE` are cut to it.
        variances: as given to `encode`.

    Returns:
        [..., 4] float32, pixels.
    """
    ref_centers, ref_sizes = _centers_and_sizes(references)
    centers = deltas[..., :2] * variances[0] * ref_sizes + ref_centers
    half_sizes = 0.5 * tf.exp(tf.minimum(deltas[..., 2:] * variances[1], MAX_LOG_SCALE)) * ref_sizes
    return tf.concat([centers - half_sizes, centers + half_sizes], axis=-1)


def _centers_and_sizes(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    sizes = boxes[..., 2:] - boxes[..., :2]  # [..., 2]: width, height
    return boxes[..., :2] + 0.5 * sizes, sizes
