"""Which ground-truth box each anchor or RoI belongs to."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from luminoth.boxes.geometry import pairwise_coverage, pairwise_iou

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1


class Matches(NamedTuple):
    """The outcome for N candidates in each of B pictures.

    Attributes:
        labels: [B, N] int32: FOREGROUND, BACKGROUND or IGNORED.
        gt_indices: [B, N] int32: the ground-truth row of largest overlap (0 where there is none).
    """

    labels: tf.Tensor
    gt_indices: tf.Tensor


def match(
    candidates: tf.Tensor,
    gt_boxes: tf.Tensor,
    is_object: tf.Tensor,
    is_crowd: tf.Tensor,
    *,
    foreground_threshold: float,
    background_threshold_high: float,
    background_threshold_low: float = 0.0,
    is_candidate: tf.Tensor | None = None,
    keep_best_per_object: bool = False,
    clobber_positives: bool = False,
) -> Matches:
    """Labels candidates by their overlap with the ground truth (Faster R-CNN, section 3.1.2).

    A candidate is foreground when its largest IoU with an object reaches `foreground_threshold`, background
    when it lies in [`background_threshold_low`, `background_threshold_high`), ignored otherwise. Background
    candidates that lie for more than half in a crowd region are ignored too.

    Args:
        candidates: [B, N, 4] float32, pixels (anchors or RoIs).
        gt_boxes: [B, G, 4] float32, pixels, padded.
        is_object: [B, G] bool, which rows are real boxes, crowd regions included.
        is_crowd: [B, G] bool.
        foreground_threshold: lowest IoU of a foreground candidate.
        background_threshold_high: IoU below which a candidate is background.
        background_threshold_low: lowest IoU of a background candidate; used to mine harder negatives.
        is_candidate: [B, N] bool, which candidates take part; the others are ignored. Default: all.
        keep_best_per_object: also make foreground, for each object, the candidates of largest IoU with it, so
            that no object is left out; they then belong to that object.
        clobber_positives: background wins over foreground by `keep_best_per_object`.
    """
    if is_candidate is None:
        is_candidate = tf.ones(tf.shape(candidates)[:2], tf.bool)
    is_target = is_object & ~is_crowd
    overlaps = tf.where(
        is_target[:, None, :] & is_candidate[:, :, None], pairwise_iou(candidates, gt_boxes), -1.0
    )  # [B, N, G]; -1 never wins, and a candidate whose row is all -1 has no object at all
    gt_indices, best = _best_object(overlaps)
    is_background = (best >= background_threshold_low) & (best < background_threshold_high)
    is_background |= best < 0.0  # no object in the picture: everything is background
    is_foreground = best >= foreground_threshold

    if keep_best_per_object:
        best_of_object = tf.reduce_max(overlaps, axis=1, keepdims=True)  # [B, 1, G]
        is_best = (overlaps == best_of_object) & (best_of_object > 0.0)  # [B, N, G]; ties all count
        has_best = tf.reduce_any(is_best, axis=2)
        if clobber_positives:
            has_best &= ~is_background
        own_object, _ = _best_object(tf.where(is_best, overlaps, -1.0))
        gt_indices = tf.where(has_best & ~is_foreground, own_object, gt_indices)
        is_foreground |= has_best

    in_crowd = tf.where((is_object & is_crowd)[:, None, :], pairwise_coverage(candidates, gt_boxes), 0.0)
    is_background &= tf.reduce_max(_padded(in_crowd, 0.0), axis=2) <= 0.5

    labels = tf.where(is_background, BACKGROUND, IGNORED)
    labels = tf.where(is_foreground, FOREGROUND, labels)
    return Matches(tf.where(is_candidate, labels, IGNORED), gt_indices)


def gather_matched(values: tf.Tensor, gt_indices: tf.Tensor) -> tf.Tensor:
    """The ground-truth rows of each candidate: values [B, G, ...] at gt_indices [B, N] -> [B, N, ...]."""
    rank = len(values.shape)
    padded = tf.pad(values, [[0, 0], [0, 1]] + [[0, 0]] * (rank - 2))  # so that G may be 0
    return tf.gather(padded, gt_indices, batch_dims=1)


def _best_object(overlaps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Index [B, N] and value [B, N] of the largest overlap [B, N, G]; G may be 0."""
    padded = _padded(overlaps, -1.0)
    return tf.argmax(padded, axis=2, output_type=tf.int32), tf.reduce_max(padded, axis=2)


def _padded(overlaps: tf.Tensor, value: float) -> tf.Tensor:
    return tf.pad(overlaps, [[0, 0], [0, 0], [0, 1]], constant_values=value)
