"""From the RPN's output to a fixed number of proposals (Faster R-CNN, section 3.3)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from luminoth.boxes.deltas import decode
from luminoth.boxes.geometry import clip_boxes, inside_image
from luminoth.boxes.nms import gather_kept, nms
from luminoth.models.faster_rcnn.rpn import RPNOutput


class Proposals(NamedTuple):
    """The P most promising boxes of each picture, by descending score.

    Attributes:
        boxes: [B, P, 4] float32, pixels of the network's input; zeros where not valid.
        scores: [B, P] float32, probability of an object; zeros where not valid.
        is_valid: [B, P] bool.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    is_valid: tf.Tensor


def propose(
    output: RPNOutput,
    image_sizes: tf.Tensor,
    *,
    pre_nms_top_n: int,
    post_nms_top_n: int,
    nms_threshold: float = 0.7,
    apply_nms: bool = True,
    min_size: float = 0.0,
    clip_after_nms: bool = False,
    filter_outside_anchors: bool = False,
    min_prob_threshold: float = 0.0,
) -> Proposals:
    """Takes the best anchors, moves them by their deltas, clips them to the picture and thins them out.

    Args:
        output: of the RPN.
        image_sizes: [B, 2], (height, width) of each picture in pixels.
        pre_nms_top_n: boxes that enter suppression.
        post_nms_top_n: P, boxes that leave it.
        nms_threshold: highest IoU of two proposals.
        apply_nms: False keeps the best `post_nms_top_n` as they are.
        min_size: boxes of smaller width or height, in pixels, are dropped; empty ones always are.
        clip_after_nms: suppress first, clip to the picture afterwards.
        filter_outside_anchors: leave out anchors that reach over the picture's edge.
        min_prob_threshold: lowest probability of a proposal.
    """
    # Proposals are constants to the second stage: its losses do not move them (the paper's approximate joint training).
    logits, deltas = tf.stop_gradient(output.objectness_logits), tf.stop_gradient(output.deltas)
    if filter_outside_anchors:
        batch_size = tf.shape(logits)[0]
        anchors = tf.broadcast_to(output.anchors, (batch_size, tf.shape(output.anchors)[0], 4))
        logits = tf.where(inside_image(anchors, image_sizes), logits, _NEVER)

    # Only the best are decoded: it is cheaper than decoding all and choosing then.
    top_logits, top_indices = tf.math.top_k(logits, tf.minimum(pre_nms_top_n, tf.shape(logits)[1]))
    boxes = decode(tf.gather(output.anchors, top_indices), tf.gather(deltas, top_indices, batch_dims=1))
    clipped = clip_boxes(boxes, image_sizes)
    sizes = clipped[..., 2:] - clipped[..., :2]
    is_valid = tf.reduce_all((sizes > 0.0) & (sizes >= min_size), axis=-1) & (top_logits > _NEVER)
    scores = tf.sigmoid(top_logits)
    is_valid &= scores >= min_prob_threshold

    boxes = boxes if clip_after_nms else clipped
    # Without suppression: a threshold that no pair of boxes exceeds.
    threshold = nms_threshold if apply_nms else 1.0
    kept = nms(boxes, top_logits, is_valid, max_outputs=post_nms_top_n, iou_threshold=threshold)
    return Proposals(clip_boxes(gather_kept(boxes, kept), image_sizes), gather_kept(scores, kept), kept.is_valid)


_NEVER = -1e30  # the logit of an anchor that takes no part
