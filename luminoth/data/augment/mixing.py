"""Pictures made of several: `mosaic` (YOLOv4) and `mixup`; `copy_paste` has a file of its own.

The others are called partners and come undecoded, as functions, so that they cost nothing unless they are drawn.
Crowds of all pictures stay crowds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from luminoth.data.augment.canvas import Colour, Placement, draw_placement, fit, lay
from luminoth.data.augment.picture import (
    Picture,
    as_type,
    clip_objects,
    join_objects,
    move_boxes,
    size_of,
    uniform_int,
)

Partners = Sequence[Callable[[], Picture]]

_CENTRE = (0.25, 0.75)  # where a mosaic's four pictures meet, as shares of its sides; each is seen at all


def mosaic(
    picture: Picture,
    seed: tf.Tensor,
    *,
    partners: Partners,
    min_scale: float,
    max_scale: float,
    min_visible: float,
    fill: Colour,
) -> Picture:
    """Four pictures around a point, on a canvas of the first one's size (YOLOv4, section 3.3).

    Each is resized by a factor of its own and lies with a corner at the point, in its quarter of the canvas; of one
    that is larger than its quarter some part is seen.

    Args:
        picture: the upper left one.
        seed: int32 [2].
        partners: the other three.
        min_scale, max_scale: with a factor of 1 a picture just fits the canvas, with 0.5 a quarter of it.
        min_visible: an object of which less than this share of its area is seen goes.
        fill: colour of what no picture covers, 0 to 255: one number, or three (RGB).
    """
    size = tf.maximum(size_of(picture), 2)  # a quarter has at least one pixel
    seeds = tf.random.split(seed, 5)
    shares = tf.random.stateless_uniform([2], seeds[4], *_CENTRE)
    centre = tf.clip_by_value(tf.cast(tf.round(shares * tf.cast(size, tf.float32)), tf.int32), 1, size - 1)

    quarters = []
    for number, each in enumerate([picture, *(partner() for partner in partners)]):
        is_second = tf.constant([number // 2, number % 2]) > 0  # row, column
        quarter = tf.where(is_second, size - centre, centre)
        placement = _draw_at_corner(seeds[number], size_of(each), size, quarter, is_second, (min_scale, max_scale))
        laid = clip_objects(lay(each, placement, quarter, fill), min_visible)
        start = tf.where(is_second, centre, 0)
        quarters.append(laid._replace(boxes=move_boxes(laid.boxes, start)))
    images = [as_type(each.image, picture.image.dtype) for each in quarters]
    rows = [tf.concat(images[:2], axis=1), tf.concat(images[2:], axis=1)]
    return join_objects(tf.concat(rows, axis=0), quarters)


def mixup(picture: Picture, seed: tf.Tensor, *, partners: Partners, alpha: float) -> Picture:
    """Two pictures, one shining through the other, with the objects of both (Zhang et al. 2019, section 3.1).

    The other one is resized to fit and lies anywhere; what it does not cover stays as it is.

    Args:
        picture: what to change.
        seed: int32 [2].
        partners: the other one.
        alpha: the first picture's share is drawn from Beta(alpha, alpha). Every object counts in full, however faint
            it is, so a large alpha does better: shares near one half.
    """
    other, size = partners[0](), size_of(picture)
    seeds = tf.random.split(seed, 3)
    placement = draw_placement(seeds[0], size_of(other), size, 1.0, 1.0)
    laid = lay(other, placement, size)
    first, second = (tf.random.stateless_gamma([], seeds[1 + number], alpha) for number in (0, 1))
    share = tf.where(placement.covers(size), second / (first + second), 0.0)  # a beta is made of two gammas
    image, over = tf.cast(picture.image, tf.float32), tf.cast(laid.image, tf.float32)
    return join_objects(as_type(image + share * (over - image), picture.image.dtype), [picture, laid])


def _draw_at_corner(
    seed: tf.Tensor,
    size: tf.Tensor,
    canvas: tf.Tensor,
    quarter: tf.Tensor,
    is_second: tf.Tensor,
    scales: tuple[float, float],
) -> Placement:
    """Where a picture lies in its quarter: along each axis at the mosaic's centre, or anywhere if it is longer."""
    seeds = tf.random.split(seed, 3)
    new_size = fit(size, canvas, tf.random.stateless_uniform([], seeds[0], *scales))
    spare = quarter - new_size
    at_centre = tf.where(is_second, 0, spare)
    anywhere = tf.stack([uniform_int(seeds[1 + axis], tf.minimum(spare[axis], 0), 0) for axis in (0, 1)])
    return Placement(new_size, tf.where(spare > 0, at_centre, anywhere))
