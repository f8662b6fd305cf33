"""Drawing a balanced minibatch of foreground and background candidates."""

from __future__ import annotations

import tensorflow as tf

from luminoth.boxes.matching import BACKGROUND, FOREGROUND


def sample_labels(labels: tf.Tensor, size: int, foreground_fraction: float, seed: tf.Tensor) -> tf.Tensor:
    """Chooses at most `size` candidates of each picture, at random.

    At most `round(size * foreground_fraction)` are foreground; background fills the rest (Faster R-CNN, section
    3.1.3). The same seed draws the same sample.

    Args:
        labels: [B, N] int32: FOREGROUND, BACKGROUND or IGNORED.
        size: most candidates a picture.
        foreground_fraction: most foreground among them, 0 to 1.
        seed: [2] int32.

    Returns:
        [B, N] bool, true for the chosen ones; never for ignored ones.
    """
    ranks = tf.random.stateless_uniform(tf.shape(labels), seed)
    is_foreground, is_background = labels == FOREGROUND, labels == BACKGROUND
    foreground = _lowest(ranks, is_foreground, tf.constant(round(size * foreground_fraction)))
    foreground_counts = tf.reduce_sum(tf.cast(foreground, tf.int32), axis=1, keepdims=True)  # [B, 1]
    return foreground | _lowest(ranks, is_background, size - foreground_counts)


def _lowest(ranks: tf.Tensor, is_eligible: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
    """The `counts` (scalar or [B, 1]) eligible entries of lowest rank in each row [B, N]."""
    # The threshold is the rank of the count-th eligible entry; ties of random floats would add at most one.
    eligible_ranks = tf.where(is_eligible, ranks, 2.0)
    ordered = tf.sort(tf.concat([eligible_ranks, tf.fill([tf.shape(ranks)[0], 1], 2.0)], axis=1), axis=1)
    last = tf.minimum(tf.broadcast_to(counts, [tf.shape(ranks)[0], 1]), tf.shape(ranks)[1])
    threshold = tf.gather(ordered, last, batch_dims=1)  # [B, 1]: the first rank that is not chosen
    return is_eligible & (eligible_ranks < threshold)
