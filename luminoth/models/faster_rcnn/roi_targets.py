"""What the second stage learns from: RoIs sampled from the proposals, with class and box of their object."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from luminoth.boxes.matching import FOREGROUND, gather_matched, match
from luminoth.boxes.sampling import sample_labels
from luminoth.models.faster_rcnn.proposals import Proposals
from luminoth.types import Batch


class RoITargets(NamedTuple):
    """S sampled RoIs of each picture.

    Attributes:
        rois: [B, S, 4] float32, pixels of the network's input.
        class_ids: [B, S] int32, the object's class, or `num_classes` for background.
        boxes: [B, S, 4] float32, the object's box; the RoI itself for background.
        is_foreground: [B, S] bool.
        is_sampled: [B, S] bool; the other rows are padding.
        indices: [B, S] int32, which of the candidates each was.
    """

    rois: tf.Tensor
    class_ids: tf.Tensor
    boxes: tf.Tensor
    is_foreground: tf.Tensor
    is_sampled: tf.Tensor
    indices: tf.Tensor


def with_ground_truth(proposals: Proposals, batch: Batch) -> Proposals:
    """Proposals and, after them, the ground-truth boxes: the candidates of training.

    So the head sees foreground from the first step on, when the RPN's proposals are still random.
    """
    is_object = batch.is_object & ~batch.is_crowd
    return Proposals(
        tf.concat([proposals.boxes, batch.gt_boxes], axis=1),  # [B, P + G, 4]
        tf.concat([proposals.scores, tf.cast(is_object, tf.float32)], axis=1),
        tf.concat([proposals.is_valid, is_object], axis=1),
    )


def sample_rois(
    candidates: Proposals,
    batch: Batch,
    num_classes: int,
    seed: tf.Tensor,
    *,
    minibatch_size: int = 256,
    foreground_fraction: float = 0.25,
    foreground_threshold: float = 0.5,
    background_threshold_high: float = 0.5,
    background_threshold_low: float = 0.0,
) -> RoITargets:
    """Draws S = `minibatch_size` RoIs of each picture (Fast R-CNN, section 2.3).

    Args:
        candidates: what is drawn from, P a picture.
        batch: with the ground truth, G boxes a picture.
        num_classes: C; stands for background in `class_ids`.
        seed: see `picture_seeds`.
        For the rest see `match` and `sample_labels`.
    """
    matches = match(
        candidates.boxes,
        batch.gt_boxes,
        batch.is_object,
        batch.is_crowd,
        foreground_threshold=foreground_threshold,
        background_threshold_high=background_threshold_high,
        background_threshold_low=background_threshold_low,
        is_candidate=candidates.is_valid,
    )
    sampled = sample_labels(matches.labels, minibatch_size, foreground_fraction, seed)
    # top_k of zeros and ones: the sampled ones first, in order, then padding.
    padded = tf.pad(tf.cast(sampled, tf.int32), [[0, 0], [0, minibatch_size]])
    is_sampled, indices = tf.math.top_k(padded, minibatch_size)  # [B, S] each
    indices = tf.minimum(indices, tf.shape(candidates.boxes)[1] - 1)
    is_sampled = is_sampled > 0

    def chosen(values: tf.Tensor) -> tf.Tensor:
        return tf.gather(values, indices, batch_dims=1)

    is_foreground = is_sampled & (chosen(matches.labels) == FOREGROUND)
    gt_indices = chosen(matches.gt_indices)
    rois = chosen(candidates.boxes)
    return RoITargets(
        rois=rois,
        class_ids=tf.where(is_foreground, gather_matched(batch.gt_class_ids, gt_indices), num_classes),
        boxes=tf.where(is_foreground[..., None], gather_matched(batch.gt_boxes, gt_indices), rois),
        is_foreground=is_foreground,
        is_sampled=is_sampled,
        indices=indices,
    )
