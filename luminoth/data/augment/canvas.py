"""Pictures laid on a canvas: `expand` (SSD), `large_scale_jitter` (Simple Copy-Paste), and what mixing needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from luminoth.data.augment.picture import Picture, as_type, clip_objects, move_boxes, resized, size_of, uniform_int
from luminoth.resize import scale_boxes

# An expanded canvas of a photograph could take gigabytes (12 megapixels by 4 x 4, as floats: 2.3 GB). The picture
# is shrunk first where the canvas would be larger than this; networks see far smaller inputs than that anyway.
MAX_CANVAS_PIXELS = 4096 * 4096

Colour = float | Sequence[float]


def expand(picture: Picture, seed: tf.Tensor, *, fill: Colour, min_ratio: float, max_ratio: float) -> Picture:
    """Puts the picture anywhere on a larger canvas, so that its objects become small ones (SSD, section 3.6).

    Args:
        picture: what to change.
        seed: int32 [2].
        fill: colour of the canvas, 0 to 255: one number, or three (RGB).
        min_ratio, max_ratio: the canvas's sides are a factor from this range times the picture's; at least 1.
    """
    seeds = tf.random.split(seed, 3)
    ratio = tf.random.stateless_uniform([], seeds[0], min_ratio, max_ratio)
    picture = _shrunk_for_canvas(picture, ratio)
    shape = tf.shape(picture.image)
    canvas = tf.cast(tf.round(tf.cast(shape[:2], tf.float32) * ratio), tf.int32)
    spare = tf.maximum(canvas - shape[:2], 0)
    top, left = uniform_int(seeds[1], 0, spare[0]), uniform_int(seeds[2], 0, spare[1])

    margins = [[top, spare[0] - top], [left, spare[1] - left]]
    channels = [
        tf.pad(channel, margins, constant_values=tf.cast(colour, channel.dtype))
        for channel, colour in zip(tf.unstack(picture.image, 3, axis=-1), _three(fill), strict=True)
    ]
    return picture._replace(image=tf.stack(channels, axis=-1), boxes=move_boxes(picture.boxes, (top, left)))


def large_scale_jitter(
    picture: Picture,
    seed: tf.Tensor,
    *,
    size: int,
    min_scale: float,
    max_scale: float,
    min_visible: float,
    fill: Colour,
) -> Picture:
    """Resizes by a factor from a wide range, then cuts or fills up to a square (Ghiasi et al. 2021, section 3).

    With a factor of 1 the picture just fits the square, aspect ratio kept. A larger one is cut anywhere, a smaller one
    lies anywhere.

    Args:
        picture: what to change.
        seed: int32 [2].
        size: height and width of the square, in pixels.
        min_scale, max_scale: the factor's range; the paper has 0.1 to 2.
        min_visible: an object of which less than this share of its area is seen goes.
        fill: colour of what the picture does not cover, 0 to 255: one number, or three (RGB).
    """
    canvas = tf.constant([size, size])
    placement = draw_placement(seed, size_of(picture), canvas, min_scale, max_scale)
    return clip_objects(lay(picture, placement, canvas, fill), min_visible)


class Placement(NamedTuple):
    """Where a picture lies on a canvas.

    Attributes:
        size: [2] int32, height and width it is resized to.
        offset: [2] int32, (down, right), pixels from the canvas's corner to its own; may be negative.
    """

    size: tf.Tensor
    offset: tf.Tensor

    def covers(self, canvas: tf.Tensor) -> tf.Tensor:
        """[height, width, 1] bool: which pixels of a canvas of that size are the picture's."""
        rows, columns = (
            (tf.range(canvas[axis]) >= self.offset[axis])
            & (tf.range(canvas[axis]) < self.offset[axis] + self.size[axis])
            for axis in (0, 1)
        )
        return (rows[:, None] & columns)[..., None]


def fit(size: tf.Tensor, canvas: tf.Tensor, scale: tf.Tensor | float) -> tf.Tensor:
    """[2] int32: `size`, aspect ratio kept, so that it just fits `scale` times the canvas; at least one pixel."""
    size, canvas = tf.cast(size, tf.float32), tf.cast(canvas, tf.float32)
    return tf.maximum(tf.cast(tf.round(size * tf.reduce_min(canvas / size) * scale), tf.int32), 1)


def draw_placement(
    seed: tf.Tensor, size: tf.Tensor, canvas: tf.Tensor, min_scale: float, max_scale: float
) -> Placement:
    """Anywhere on the canvas, or, where it is larger, with the canvas anywhere on it.

    Args:
        seed: int32 [2].
        size: [2] int32, height and width of the picture as it is.
        canvas: [2] int32, height and width.
        min_scale, max_scale: see `fit`.
    """
    seeds = tf.random.split(seed, 3)
    new_size = fit(size, canvas, tf.random.stateless_uniform([], seeds[0], min_scale, max_scale))
    spare = canvas - new_size
    offset = [uniform_int(seeds[1 + axis], tf.minimum(spare[axis], 0), tf.maximum(spare[axis], 0)) for axis in (0, 1)]
    return Placement(new_size, tf.stack(offset))


def lay(picture: Picture, placement: Placement, canvas: tf.Tensor, fill: Colour = 0.0) -> Picture:
    """The canvas with the picture on it.

    Resizing and cutting are one operation, so that what lies outside of the canvas costs nothing.

    Args:
        picture: what to lay; the result has its type.
        placement: where.
        canvas: [2] int32, height and width, not empty.
        fill: colour of the canvas.

    Returns:
        The picture, its boxes in pixels of the canvas and not clipped to it.
    """
    size = size_of(picture)
    # Bilinear, antialiased where it shrinks: the operation behind `tf.image.resize`, which has no offset.
    image = tf.raw_ops.ScaleAndTranslate(
        images=picture.image[None],
        size=canvas,
        scale=tf.cast(placement.size, tf.float32) / tf.cast(size, tf.float32),
        translation=tf.cast(placement.offset, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]
    image = tf.where(placement.covers(canvas), image, tf.constant(_three(fill), tf.float32))
    boxes = scale_boxes(picture.boxes, tf.unstack(size), tf.unstack(placement.size))
    image = tf.ensure_shape(as_type(image, picture.image.dtype), (None, None, 3))
    return picture._replace(image=image, boxes=move_boxes(boxes, placement.offset))


def _three(colour: Colour) -> list[float]:
    return [colour] * 3 if isinstance(colour, (int, float)) else list(colour)


def _shrunk_for_canvas(picture: Picture, ratio: tf.Tensor) -> Picture:
    """The picture, smaller where it is necessary to keep `ratio` times its sides within `MAX_CANVAS_PIXELS`."""
    size = tf.cast(size_of(picture), tf.float32)
    scale = tf.sqrt(MAX_CANVAS_PIXELS / tf.reduce_prod(size * ratio))
    smaller = tf.maximum(tf.cast(size * scale, tf.int32), 1)
    picture = picture._replace(image=tf.cast(picture.image, tf.float32))
    return tf.cond(scale < 1.0, lambda: resized(picture, smaller[0], smaller[1]), lambda: picture)
