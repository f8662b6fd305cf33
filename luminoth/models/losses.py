"""Loss functions, without reduction: the caller knows what to divide by."""

from __future__ import annotations

import tensorflow as tf


def smooth_l1(predictions: tf.Tensor, targets: tf.Tensor, beta: float) -> tf.Tensor:
    """Huber-like loss (Fast R-CNN, Girshick 2015, equation 3), summed over the last axis.

        0.5 * x ** 2 / beta   where |x| < beta
        |x| - 0.5 * beta      elsewhere

    `beta` is torchvision's and Detectron2's; Luminoth's `sigma` gives 1 / sigma ** 2.

    Args:
        predictions, targets: [..., K] float32.
        beta: where the parabola ends, 0 or more; 0 is plain L1.

    Returns:
        [...] float32.
    """
    differences = tf.abs(predictions - targets)
    if beta == 0:
        return tf.reduce_sum(differences, axis=-1)
    # Split at beta rather than chosen by `where`: neither part can overflow, so no gradient becomes 0 * infinity.
    curved = tf.minimum(differences, beta)
    return tf.reduce_sum(0.5 * curved * (curved / beta) + (differences - curved), axis=-1)


def masked_mean(losses: tf.Tensor, mask: tf.Tensor, count: tf.Tensor | None = None) -> tf.Tensor:
    """Sum of `losses` where `mask`, over `count` (by default the number of true entries), never over zero."""
    # `where`, not a product: a masked-out entry may be infinite.
    total = tf.reduce_sum(tf.where(mask, losses, 0.0))
    count = tf.reduce_sum(tf.cast(mask, tf.float32)) if count is None else tf.cast(count, tf.float32)
    return total / tf.maximum(count, 1.0)
