"""Non-maximum suppression with fixed-size outputs.

TensorFlow's operators want y-first boxes; that order does not leave this file.
"""

from __future__ import annotations

from typing import NamedTuple

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

    Args:
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32, any real numbers (logits too).
        is_valid: [B, N] bool; other boxes take no part.
        max_outputs: K, most boxes kept in a picture.
        iou_threshold: 0 to 1.
    """

    def one_picture(arguments):
        picture_boxes, picture_scores = arguments
        indices = tf.image.non_max_suppression(
            picture_boxes, picture_scores, max_outputs, iou_threshold, score_threshold=_LOWEST_VALID
        )
        kept = tf.shape(indices)[0]
        return tf.pad(indices, [[0, max_outputs - kept]]), tf.range(max_outputs) < kept

    y_first = tf.gather(boxes, [1, 0, 3, 2], axis=-1)
    ranked = tf.where(is_valid, scores, _NEVER)
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

    The boxes of each class are moved to a place of their own, so that one suppression serves all classes.

    Args:
        boxes: [B, N, 4] float32, pixels.
        scores: [B, N] float32.
        class_ids: [B, N] int32.
        is_valid: [B, N] bool.
        max_outputs: most boxes kept in a picture, over all classes.
        iou_threshold: 0 to 1.
    """
    inside = tf.where(is_valid[..., None], boxes, 0.0)
    extent = tf.reduce_max(tf.abs(inside)) + 1.0
    # Offsets of 2 * extent would do; more would cost float32 digits.
    offsets = tf.cast(class_ids, tf.float32) * (2.0 * extent)
    return nms(inside + offsets[..., None], scores, is_valid, max_outputs=max_outputs, iou_threshold=iou_threshold)


def gather_kept(values: tf.Tensor, kept: Kept) -> tf.Tensor:
    """The rows of values [B, N, ...] that were kept, [B, K, ...]; zeros where not valid."""
    gathered = tf.gather(values, kept.indices, batch_dims=1)
    mask = tf.reshape(kept.is_valid, tf.concat([tf.shape(kept.is_valid), [1] * (len(values.shape) - 2)], axis=0))
    return tf.where(mask, gathered, tf.zeros((), values.dtype))


_NEVER = tf.float32.min
_LOWEST_VALID = tf.float32.min / 2  # between `_NEVER` and every real score
