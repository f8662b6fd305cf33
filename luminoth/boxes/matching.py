"""Which ground-truth box each anchor or RoI belongs to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from luminoth.boxes.geometry import box_areas, pairwise_intersections

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
    candidates that lie for more than half in a crowd region are ignored too. Where no object is in the picture,
    everything is background. A candidate always belongs to the object that it overlaps most (of equals, the
    first), also when it is foreground by `keep_best_per_object` (Luminoth, torchvision and Detectron2 agree).

    Args:
        candidates: [B, N, 4] float32, pixels (anchors or RoIs).
        gt_boxes: [B, G, 4] float32, pixels, padded; G may be 0.
        is_object: [B, G] bool, which rows are real boxes, crowd regions included.
        is_crowd: [B, G] bool.
        foreground_threshold: lowest IoU of a foreground candidate; one that touches no object never is.
        background_threshold_high: IoU below which a candidate is background.
        background_threshold_low: lowest IoU of a background candidate; used to mine harder negatives.
        is_candidate: [B, N] bool, which candidates take part; the others are ignored. Default: all.
        keep_best_per_object: also make foreground, for each object, the candidates of largest IoU with it, ties
            included, so that every object that a candidate touches has one (unless that candidate overlaps
            another object more).
        clobber_positives: background wins over foreground by `keep_best_per_object`.
    """
    if is_candidate is not None:
        candidates = tf.where(is_candidate[..., None], candidates, 0.0)  # an empty box overlaps nothing
    overlaps, crowd_coverage = _overlaps(candidates, gt_boxes, is_object & ~is_crowd, is_object & is_crowd)
    gt_indices = tf.argmax(overlaps, axis=1, output_type=tf.int32)  # [B, N]
    best = tf.reduce_max(overlaps, axis=1)
    is_foreground = (best >= foreground_threshold) & (best > 0.0)
    is_background = (best >= background_threshold_low) & (best < background_threshold_high)
    is_background |= ~tf.reduce_any(is_object & ~is_crowd, axis=1, keepdims=True)

    if keep_best_per_object:
        best_of_object = tf.reduce_max(overlaps, axis=2, keepdims=True)  # [B, G + 1, 1]
        best_of_object = tf.where(best_of_object > 0.0, best_of_object, 2.0)  # none touches it: nothing equals 2
        is_best = tf.reduce_any(overlaps == best_of_object, axis=1)
        is_foreground |= is_best & ~is_background if clobber_positives else is_best

    labels = tf.where(is_background & (crowd_coverage <= 0.5), BACKGROUND, IGNORED)
    labels = tf.where(is_foreground, FOREGROUND, labels)
    if is_candidate is not None:
        labels = tf.where(is_candidate, labels, IGNORED)
    return Matches(labels, gt_indices)


def gather_matched(values: tf.Tensor, gt_indices: tf.Tensor) -> tf.Tensor:
    """The ground-truth rows of each candidate: values [B, G, ...] at gt_indices [B, N] -> [B, N, ...]."""
    rank = len(values.shape)
    padded = tf.pad(values, [[0, 0], [0, 1]] + [[0, 0]] * (rank - 2))  # so that G may be 0
    return tf.gather(padded, gt_indices, batch_dims=1)


def _overlaps(
    candidates: tf.Tensor, gt_boxes: tf.Tensor, is_target: tf.Tensor, is_crowd: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """IoU of each target with each candidate, and the largest share of each candidate that one crowd region covers.

    An RPN has 200,000 candidates and this runs in every step, hence: objects come before candidates, so that the
    processor runs along the long dimension; masks are folded into [B, G] areas; both results share their
    intersections.

    Returns:
        [B, G + 1, N] IoU, with a row of zeros at the end (there is a largest one also where G is 0), and zeros for
        what is no target; [B, N] coverage, 0 to 1.
    """
    one_more = [[0, 0], [0, 1]]
    gt_boxes = tf.pad(gt_boxes, [*one_more, [0, 0]])
    is_target, is_crowd = tf.pad(is_target, one_more)[..., None], tf.pad(is_crowd, one_more)[..., None]
    candidate_areas = box_areas(candidates)[:, None, :]  # [B, 1, N]
    gt_areas = tf.where(is_target, box_areas(gt_boxes)[..., None], np.inf)  # [B, G + 1, 1]; x / infinity is 0
    intersections = pairwise_intersections(gt_boxes, candidates)
    ious = tf.math.divide_no_nan(intersections, gt_areas + candidate_areas - intersections)
    in_crowd = tf.reduce_max(intersections * tf.cast(is_crowd, tf.float32), axis=1, keepdims=True)
    return ious, tf.math.divide_no_nan(in_crowd, candidate_areas)[:, 0]
