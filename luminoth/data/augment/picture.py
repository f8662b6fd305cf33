"""A picture with its objects, and what every augmentation does to objects: choose, clip, move and join them."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from luminoth.boxes.geometry import box_areas, clip_boxes
from luminoth.resize import resize_bilinear, scale_boxes

# An object that is seen in full may, by the rounding of its corners, be a hair larger than what is seen of it.
_ROUNDING = 1e-4


class Picture(NamedTuple):
    """One decoded picture and its objects, as tensors.

    Attributes:
        image: [H, W, 3], uint8 or float32, RGB, 0 to 255.
        boxes: [N, 4] float32, pixels of `image`.
        class_ids: [N] int32.
        is_crowd: [N] bool.
    """

    image: tf.Tensor
    boxes: tf.Tensor
    class_ids: tf.Tensor
    is_crowd: tf.Tensor


def size_of(picture: Picture) -> tf.Tensor:
    """[2] int32: height and width."""
    return tf.shape(picture.image)[:2]


def remove_degenerate(picture: Picture) -> Picture:
    """Clips the boxes to the picture and removes those without area there; NaN corners count as such."""
    boxes = clip_boxes(picture.boxes, size_of(picture))
    return keep_objects(picture._replace(boxes=boxes), (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))


def keep_objects(picture: Picture, mask: tf.Tensor) -> Picture:
    """The picture with those objects only for which `mask` [N] is true."""
    return Picture(picture.image, *(tf.boolean_mask(values, mask) for values in picture[1:]))


def visible_objects(boxes: tf.Tensor, is_crowd: tf.Tensor, window: tf.Tensor, min_visible: float) -> tf.Tensor:
    """Of which objects a window shows enough.

    Args:
        boxes: [N, 4] float32.
        is_crowd: [N] bool; a crowd is one in each of its parts, so any part of it is enough.
        window: [4] or [M, 1, 4] float32, a box.
        min_visible: share of an object's area, 0 to 1.

    Returns:
        [N] or [M, N] bool; an object of which nothing is seen is never among them.
    """
    shown = box_areas(tf.concat([tf.maximum(boxes, window)[..., :2], tf.minimum(boxes, window)[..., 2:]], axis=-1))
    enough = shown >= min_visible * (1.0 - _ROUNDING) * box_areas(boxes)
    return (shown > 0.0) & (enough | is_crowd)


def clip_objects(picture: Picture, min_visible: float) -> Picture:
    """Clips the boxes to the picture; an object of which less than `min_visible` lies in it goes."""
    height, width = tf.unstack(tf.cast(size_of(picture), tf.float32))
    stays = visible_objects(picture.boxes, picture.is_crowd, tf.stack([0.0, 0.0, width, height]), min_visible)
    return keep_objects(picture._replace(boxes=clip_boxes(picture.boxes, size_of(picture))), stays)


def cut_window(picture: Picture, window: tf.Tensor, stays: tf.Tensor) -> Picture:
    """Cuts out a part of the picture.

    Args:
        picture: what to cut from.
        window: [4] int32, the part as a box within the picture, not empty.
        stays: [N] bool: which objects stay, clipped to the part.
    """
    left, top, right, bottom = tf.unstack(window)
    image = picture.image[top:bottom, left:right]
    boxes = clip_boxes(move_boxes(picture.boxes, (-top, -left)), tf.stack([bottom - top, right - left]))
    return keep_objects(picture._replace(image=image, boxes=boxes), stays)


def move_boxes(boxes: tf.Tensor, offset) -> tf.Tensor:
    """Boxes [N, 4], moved by `offset`: (down, right) in pixels."""
    down, right = (tf.cast(step, tf.float32) for step in (offset[0], offset[1]))
    return boxes + tf.stack([right, down, right, down])


def join_objects(image: tf.Tensor, pictures: list[Picture]) -> Picture:
    """`image` with the objects of all pictures, in their order; the boxes are taken as they are."""
    return Picture(image, *(tf.concat(values, axis=0) for values in zip(*(each[1:] for each in pictures), strict=True)))


def resized(picture: Picture, height, width) -> Picture:
    """The picture, stretched to this size; float32."""
    boxes = scale_boxes(picture.boxes, tf.unstack(size_of(picture)), (height, width))
    return picture._replace(image=resize_bilinear(picture.image, height, width), boxes=boxes)


def as_type(image: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Pixels as `dtype`: for uint8 rounded to whole grey levels."""
    if dtype == image.dtype:
        return image
    return tf.saturate_cast(tf.round(image), dtype) if dtype == tf.uint8 else tf.cast(image, dtype)


def uniform_int(seed: tf.Tensor, low, high) -> tf.Tensor:
    """An int32 from `low` to `high`, both included."""
    return tf.random.stateless_uniform([], seed, low, high + 1, tf.int32)
