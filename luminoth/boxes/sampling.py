"""Drawing a balanced minibatch of foreground and background candidates."""

from __future__ import annotations

import tensorflow as tf

from luminoth.boxes.matching import BACKGROUND, FOREGROUND


def sample_labels(labels: tf.Tensor, size: int, foreground_fraction: float, seed: tf.Tensor) -> tf.Tensor:
    """Chooses at most `size` candidates of each picture, at random.

    At most `int(size * foreground_fraction)` are foreground; background fills the rest (Faster R-CNN, section
    3.1.3). The same seed draws the same sample (XLA another one).

    Args:
        labels: [B, N] int32: FOREGROUND, BACKGROUND or IGNORED.
        size: most candidates a picture.
        foreground_fraction: most foreground among them, 0 to 1.
        seed: [2] int32.

    Returns:
        [B, N] bool, true for the chosen ones; never for ignored ones.
    """
    ranks = tf.random.stateless_uniform(tf.shape(labels), seed)
    foreground_limit = int(size * foreground_fraction)
    foreground = _highest(ranks, labels == FOREGROUND, foreground_limit, foreground_limit)
    foreground_counts = tf.reduce_sum(tf.cast(foreground, tf.int32), axis=1, keepdims=True)  # [B, 1]
    return foreground | _highest(ranks, labels == BACKGROUND, size, size - foreground_counts)


def _highest(ranks: tf.Tensor, is_eligible: tf.Tensor, limit: int, counts) -> tf.Tensor:
    """The `counts` (a number or [B, 1], at most `limit`) eligible entries of highest rank in each row [B, N]."""
    # A static size where there is one: XLA asks for it.
    limit = min(limit, ranks.shape[1]) if ranks.shape[1] is not None else tf.minimum(limit, tf.shape(ranks)[1])
    # Taken by place, not by a threshold on the rank: among 200,000 random floats two are often equal.
    top_ranks, top_places = tf.math.top_k(tf.where(is_eligible, ranks, -1.0), limit)  # [B, limit]
    is_taken = (top_ranks >= 0.0) & (tf.range(limit) < counts)
    rows = tf.broadcast_to(tf.range(tf.shape(ranks)[0])[:, None], tf.shape(top_places))
    hits = tf.scatter_nd(tf.stack([rows, top_places], axis=-1), tf.cast(is_taken, tf.int32), tf.shape(ranks))
    return hits > 0
