"""Drawing a balanced minibatch of foreground and background candidates, for each picture by itself.

What is drawn in a picture depends on its own seed alone, not on the pictures beside it: a batch that is divided among
devices, or into parts that are accumulated, draws what it would have drawn in one piece.
"""

from __future__ import annotations

import tensorflow as tf

from luminoth.boxes.matching import BACKGROUND, FOREGROUND


def picture_seeds(seed: tf.Tensor, count: tf.Tensor | int, first: tf.Tensor | int = 0) -> tf.Tensor:
    """A seed for each picture of a batch, as `tf.random.fold_in(seed, number)` gives them.

    Args:
        seed: [2] int32, of the whole batch; or [B, 2], which are the pictures' seeds already.
        count: B, pictures in this part of the batch.
        first: number of its first picture in the whole batch.

    Returns:
        [B, 2] int32.
    """
    seed = tf.convert_to_tensor(seed, tf.int32)
    if seed.shape.rank == 2:
        return seed
    mixed = tf.random.fold_in(seed, 0)[0]
    return tf.stack([tf.fill([count], mixed), first + tf.range(count)], axis=-1)


def split_seeds(seeds: tf.Tensor, parts: int) -> list[tf.Tensor]:
    """Independent seeds for each of some purposes, as `tf.random.split` gives them: [B, 2] to `parts` times [B, 2]."""
    return tf.unstack(tf.map_fn(lambda seed: tf.random.split(seed, parts), seeds), axis=1)  # [B, parts, 2]


def sample_labels(labels: tf.Tensor, size: int, foreground_fraction: float, seed: tf.Tensor) -> tf.Tensor:
    """Chooses at most `size` candidates of each picture, at random.

    At most `int(size * foreground_fraction)` are foreground; background fills the rest (Faster R-CNN, section
    3.1.3). The same seed draws the same sample (XLA another one).

    Args:
        labels: [B, N] int32: FOREGROUND, BACKGROUND or IGNORED.
        size: most candidates a picture.
        foreground_fraction: most foreground among them, 0 to 1.
        seed: see `picture_seeds`.

    Returns:
        [B, N] bool, true for the chosen ones; never for ignored ones.
    """
    shape = tf.shape(labels)
    ranks = tf.map_fn(
        lambda seed: tf.random.stateless_uniform(shape[1:], seed),
        picture_seeds(seed, shape[0]),
        fn_output_signature=tf.TensorSpec(labels.shape[1:], tf.float32),
    )
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
