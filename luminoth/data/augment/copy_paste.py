"""Objects of one picture pasted into another (Ghiasi et al. 2021), as rectangles: there are boxes and no masks."""

from __future__ import annotations

import tensorflow as tf

from luminoth.data.augment.canvas import draw_placement, lay
from luminoth.data.augment.mixing import Partners
from luminoth.data.augment.picture import Picture, clip_objects, join_objects, keep_objects, size_of


def copy_paste(
    picture: Picture,
    seed: tf.Tensor,
    *,
    partners: Partners,
    share: float,
    min_scale: float,
    max_scale: float,
    max_hidden: float,
) -> Picture:
    """Pastes some objects of another picture over this one.

    The other picture is resized and laid somewhere, and of it the boxes of the chosen objects are seen. An object
    goes when they hide more than `max_hidden` of its box; else its box shrinks to what is seen. The same holds for
    the other picture's objects that were not chosen but lie, at least in part, within a box that was. Crowds of the
    other picture are never pasted.

    Args:
        picture: what to paste into.
        seed: int32 [2].
        partners: the other one.
        share: how many of its objects are chosen, each with this probability; one at least.
        min_scale, max_scale: with a factor of 1 the other picture just fits this one.
        max_hidden: share of a box, 0 to 1.
    """
    size = size_of(picture)
    seeds = tf.random.split(seed, 2)
    other = partners[0]()
    placement = draw_placement(seeds[0], size_of(other), size, min_scale, max_scale)
    laid = lay(other, placement, size)
    laid = clip_objects(keep_objects(laid, ~laid.is_crowd), 1.0 - max_hidden)

    pasted = _covered(tf.boolean_mask(laid.boxes, _choose(seeds[1], tf.shape(laid.boxes)[0], share)), size)
    image = tf.where(pasted[..., None], tf.cast(laid.image, picture.image.dtype), picture.image)
    return join_objects(image, [_seen_through(picture, ~pasted, max_hidden), _seen_through(laid, pasted, max_hidden)])


def _choose(seed: tf.Tensor, count: tf.Tensor, share: float) -> tf.Tensor:
    """[count] bool: each with probability `share`; one at least."""
    draws = tf.random.stateless_uniform([count], seed)
    return draws <= tf.maximum(tf.reduce_min(draws), share)


def _rows_and_columns(boxes: tf.Tensor, size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which rows [N, H] and columns [N, W] of a picture have the centres of their pixels in each box; float32."""
    rows = tf.range(size[0], dtype=tf.float32) + 0.5
    columns = tf.range(size[1], dtype=tf.float32) + 0.5
    in_rows = (rows >= boxes[:, 1:2]) & (rows < boxes[:, 3:4])
    in_columns = (columns >= boxes[:, 0:1]) & (columns < boxes[:, 2:3])
    return tf.cast(in_rows, tf.float32), tf.cast(in_columns, tf.float32)


def _covered(boxes: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """[H, W] bool: which pixels lie in any of the boxes [N, 4]."""
    rows, columns = _rows_and_columns(boxes, size)
    return tf.matmul(rows, columns, transpose_a=True) > 0


def _seen_through(picture: Picture, is_seen: tf.Tensor, max_hidden: float) -> Picture:
    """The objects of which enough is seen, their boxes around what is.

    Args:
        picture: with boxes that lie within it.
        is_seen: [H, W] bool.
        max_hidden: share of a box's pixels.
    """
    rows, columns = _rows_and_columns(picture.boxes, size_of(picture))
    seen = tf.cast(is_seen, tf.float32)
    seen_in_columns = tf.matmul(rows, seen) * columns  # [N, W]: pixels of each box that are seen in each column
    seen_in_rows = tf.matmul(columns, seen, transpose_b=True) * rows  # [N, H]
    pixels = tf.reduce_sum(rows, axis=1) * tf.reduce_sum(columns, axis=1)
    seen_pixels = tf.reduce_sum(seen_in_rows, axis=1)
    boxes = tf.where((seen_pixels < pixels)[:, None], _around(seen_in_rows, seen_in_columns), picture.boxes)
    return keep_objects(picture._replace(boxes=boxes), (pixels > 0) & (seen_pixels >= (1.0 - max_hidden) * pixels))


def _around(seen_in_rows: tf.Tensor, seen_in_columns: tf.Tensor) -> tf.Tensor:
    """[N, 4]: the smallest boxes around the rows [N, H] and columns [N, W] that are not 0."""
    starts, ends = [], []
    for counts in (seen_in_columns, seen_in_rows):
        is_seen = tf.cast(counts > 0, tf.int32)
        starts.append(tf.argmax(is_seen, axis=1, output_type=tf.int32))
        ends.append(tf.shape(counts)[1] - tf.argmax(is_seen[:, ::-1], axis=1, output_type=tf.int32))
    return tf.cast(tf.stack([*starts, *ends], axis=1), tf.float32)
