"""Non-maximum suppression with fixed-size outputs.

TensorFlow's operator wants y-first boxes; that order does not leave this file. It has kernels for the CPU, the GPU
and XLA, as long as the output is padded to its full size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Kept(NamedTuple):
    """What suppression left of N boxes in each of B pictures, by descending score.

    Attributes:
        indices: [B, K] int32 into the N boxes; 0 where not valid.
        is_valid: [B, K] bool.
    """

    indices: tf.Tensor
    is_valid: tf.Tensor


def nms(boxes: tf.Tensor, scores: tf.Tensor, is_valid: tf.Tensor, *, max_outputs: int, iou_threshold: float) -> Kept:
    """Greedy suppression in each picture: a box goes when a better one overlaps it by more than the threshold.

    An IoU equal to the threshold does not suppress, as in torchvision and Detectron2. Of equal scores the first
    box is the better one.

    Args:
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32, any real numbers (logits too).
        is_valid: [B, N] bool; other boxes take no part.
        max_outputs: K, most boxes kept in a picture.
        iou_threshold: 0 to 1.
    """

    def one_picture(arguments):
        indices, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=arguments[0],
            scores=arguments[1],
            max_output_size=max_outputs,
            iou_threshold=iou_threshold,
            score_threshold=_LOWEST_VALID,
            pad_to_max_output_size=True,
        )
        is_kept = tf.range(max_outputs) < count
        return tf.where(is_kept, indices, 0), is_kept

    missing = tf.maximum(max_outputs - tf.shape(boxes)[1], 0)  # XLA's kernel wants as many boxes as it may keep
    y_first = tf.pad(tf.gather(boxes, [1, 0, 3, 2], axis=-1), [[0, 0], [0, missing], [0, 0]])
    ranked = tf.pad(tf.where(is_valid, scores, _NEVER), [[0, 0], [0, missing]], constant_values=_NEVER)
    indices, kept_mask = tf.map_fn(
        one_picture,
        (y_first, ranked),
        fn_output_signature=(tf.TensorSpec([max_outputs], tf.int32), tf.TensorSpec([max_outputs], tf.bool)),
    )
    return Kept(indices, kept_mask)


def class_nms(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    class_ids: tf.Tensor,
    is_valid: tf.Tensor,
    *,
    max_outputs: int,
    iou_threshold: float,
) -> Kept:
    """Suppression among boxes of the same class only.

    The boxes of each class are moved to a place of their own, so that one suppression serves all classes. The
    places form a square around (0, 0). On a line, 90 classes of a picture of 1,333 pixels would reach coordinates
    of 120,000; so they stay below 7,000 and keep four more binary digits of float32's 24, on which an IoU close to
    the threshold turns.

    Args:
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32.
        class_ids: [B, N] int32, from 0.
        is_valid: [B, N] bool.
        max_outputs: most boxes kept in a picture, over all classes.
        iou_threshold: 0 to 1.
    """
    is_box = is_valid[..., None]
    origin = tf.reduce_min(tf.where(is_box, boxes, np.inf), axis=[1, 2], keepdims=True)  # [B, 1, 1]
    inside = tf.where(is_box, boxes - origin, 0.0)
    cell = tf.reduce_max(inside, axis=[1, 2], keepdims=True) + 1.0  # pixels from one class to the next
    ids = tf.where(is_valid, class_ids, 0)  # [B, N]
    columns = tf.math.ceil(tf.sqrt(tf.cast(tf.reduce_max(ids, axis=1, keepdims=True) + 1, tf.float32)))  # [B, 1]
    down, across = ids // tf.cast(columns, tf.int32), ids % tf.cast(columns, tf.int32)
    places = tf.cast(tf.stack([across, down, across, down], axis=-1), tf.float32) - columns[..., None] / 2
    return nms(inside + places * cell, scores, is_valid, max_outputs=max_outputs, iou_threshold=iou_threshold)


def gather_kept(values: tf.Tensor, kept: Kept) -> tf.Tensor:
    """The rows of values [B, N, ...] that were kept, [B, K, ...]; zeros where not valid."""
    gathered = tf.gather(values, kept.indices, batch_dims=1)
    mask = tf.reshape(kept.is_valid, tf.concat([tf.shape(kept.is_valid), [1] * (len(values.shape) - 2)], axis=0))
    return tf.where(mask, gathered, tf.zeros((), values.dtype))


_NEVER = tf.float32.min
_LOWEST_VALID = tf.float32.min / 2  # between `_NEVER` and every real score
