"""Loss functions, without reduction: the caller knows what to divide by."""

from __future__ import annotations

import tensorflow as tf


def smooth_l1(predictions: tf.Tensor, targets: tf.Tensor, sigma: float) -> tf.Tensor:
    """Huber-like loss (Fast R-CNN, Girshick 2015, equation 3), summed over the last axis.

        0.5 * (sigma * x) ** 2   where |x| < 1 / sigma ** 2
        |x| - 0.5 / sigma ** 2   elsewhere

    torchvision's and Detectron2's `beta` is 1 / sigma ** 2.

    Args:
        predictions, targets: [..., K] float32.
        sigma: positive.

    Returns:
        [...] float32.
    """
    differences = tf.abs(predictions - targets)
    turn = 1.0 / sigma**2
    losses = tf.where(differences < turn, 0.5 * sigma**2 * differences**2, differences - 0.5 * turn)
    return tf.reduce_sum(losses, axis=-1)


def masked_mean(losses: tf.Tensor, mask: tf.Tensor, count: tf.Tensor | None = None) -> tf.Tensor:
    """Sum of `losses` where `mask`, over `count` (by default the number of true entries), never over zero."""
    # `where`, not a product: a masked-out entry may be infinite.
    total = tf.reduce_sum(tf.where(mask, losses, 0.0))
    count = tf.reduce_sum(tf.cast(mask, tf.float32)) if count is None else tf.cast(count, tf.float32)
    return total / tf.maximum(count, 1.0)
