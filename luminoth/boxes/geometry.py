"""Areas, overlaps and clipping."""

from __future__ import annotations

import tensorflow as tf


def box_areas(boxes: tf.Tensor) -> tf.Tensor:
    """Areas [...] of boxes [..., 4], in square pixels; inverted boxes have area 0."""
    widths = tf.maximum(boxes[..., 2] - boxes[..., 0], 0.0)
    heights = tf.maximum(boxes[..., 3] - boxes[..., 1], 0.0)
    return widths * heights


def pairwise_intersections(boxes: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Areas shared by each box and each other box.

    Args:
        boxes: [..., N, 4] float32, pixels.
        others: [..., M, 4] float32, pixels, with the same leading dimensions.

    Returns:
        [..., N, M] float32, square pixels.
    """
    # Split into columns first: [..., N, 1] against [..., 1, M] avoids an [N, M, 2] intermediate.
    x_min, y_min, x_max, y_max = tf.split(boxes, 4, axis=-1)  # each [..., N, 1]
    other_x_min, other_y_min, other_x_max, other_y_max = tf.split(tf.linalg.matrix_transpose(others), 4, axis=-2)
    widths = tf.minimum(x_max, other_x_max) - tf.maximum(x_min, other_x_min)
    heights = tf.minimum(y_max, other_y_max) - tf.maximum(y_min, other_y_min)
    return tf.maximum(widths, 0.0) * tf.maximum(heights, 0.0)


def pairwise_iou(boxes: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Intersection over union of each box with each other box.

    Args:
        boxes: [..., N, 4] float32, pixels.
        others: [..., M, 4] float32, pixels, with the same leading dimensions.

    Returns:
        [..., N, M] float32, 0 to 1; 0 where both boxes are empty.
    """
    intersections = pairwise_intersections(boxes, others)
    unions = box_areas(boxes)[..., :, None] + box_areas(others)[..., None, :] - intersections
    return tf.math.divide_no_nan(intersections, unions)


def clip_boxes(boxes: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
    """Moves corners that lie outside the picture onto its border.

    Args:
        boxes: [..., N, 4] float32, pixels.
        image_sizes: [..., 2], (height, width) in pixels, with the same leading dimensions.
    """
    sizes = tf.cast(image_sizes, boxes.dtype)[..., None, :]  # [..., 1, 2]
    limits = tf.concat([sizes[..., ::-1], sizes[..., ::-1]], axis=-1)  # [..., 1, 4]: width, height, width, height
    return tf.clip_by_value(boxes, 0.0, limits)


def inside_image(boxes: tf.Tensor, image_sizes: tf.Tensor, border: float = 0.0) -> tf.Tensor:
    """Which boxes lie within the picture, give or take `border` pixels.

    Args:
        boxes: [N, 4] or [..., N, 4] float32, pixels.
        image_sizes: [..., 2], (height, width) in pixels.
        border: how far a box may reach over the picture's edge.

    Returns:
        [..., N] bool.
    """
    sizes = tf.cast(image_sizes, boxes.dtype)[..., None, :]  # [..., 1, 2]
    return (
        (boxes[..., 0] >= -border)
        & (boxes[..., 1] >= -border)
        & (boxes[..., 2] <= sizes[..., 1] + border)
        & (boxes[..., 3] <= sizes[..., 0] + border)
    )
