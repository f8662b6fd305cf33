"""The whole picture, mirrored or stretched."""

from __future__ import annotations

import tensorflow as tf

from luminoth.data.augment.picture import Picture, resized


def flip(picture: Picture, seed: tf.Tensor, *, left_right: bool, up_down: bool) -> Picture:
    """Mirrors the picture: left and right, up and down, or both (a half turn). Draws nothing from `seed`."""
    image, boxes = picture.image, picture.boxes
    size = tf.cast(tf.shape(image), boxes.dtype)
    x_min, y_min, x_max, y_max = tf.unstack(boxes, axis=1)
    if left_right:
        image = image[:, ::-1]
        x_min, x_max = size[1] - x_max, size[1] - x_min
    if up_down:
        image = image[::-1]
        y_min, y_max = size[0] - y_max, size[0] - y_min
    return picture._replace(image=image, boxes=tf.stack([x_min, y_min, x_max, y_max], axis=1))


def resize(picture: Picture, seed: tf.Tensor, *, min_size: int, max_size: int) -> Picture:
    """Stretches height and width to sizes drawn apart, both from `min_size` to `max_size` pixels."""
    size = tf.random.stateless_uniform([2], seed, min_size, max_size + 1, tf.int32)
    return resized(picture, size[0], size[1])
