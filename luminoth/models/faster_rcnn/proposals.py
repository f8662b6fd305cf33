"""From the RPN's output to a fixed number of proposals (Faster R-CNN, section 3.3).

Each feature map sends its best boxes, suppression works within a map, and the best over all maps are the proposals
(Feature Pyramid Networks, section 4.1; torchvision and Detectron2 alike).
"""

from __future__ import annotations

from collections.abc import Sequence
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
    outputs: Sequence[RPNOutput],
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
        outputs: of the RPN, one for each feature map.
        image_sizes: [B, 2], (height, width) of each picture in pixels.
        pre_nms_top_n: boxes of each map that enter suppression.
        post_nms_top_n: P, boxes of all maps that leave it.
        nms_threshold: highest IoU of two proposals of one map.
        apply_nms: False keeps the best `post_nms_top_n` as they are.
        min_size: boxes of smaller width or height, in pixels, are dropped; empty ones always are.
        clip_after_nms: suppress first, clip to the picture afterwards.
        filter_outside_anchors: leave out anchors that reach over the picture's edge.
        min_prob_threshold: lowest probability of a proposal.
    """
    of_maps = []
    for output in outputs:
        boxes, logits, is_valid = _best_boxes(
            output,
            image_sizes,
            pre_nms_top_n,
            min_size=min_size,
            clip=not clip_after_nms,
            filter_outside_anchors=filter_outside_anchors,
            min_prob_threshold=min_prob_threshold,
        )
        if apply_nms:
            kept = nms(boxes, logits, is_valid, max_outputs=post_nms_top_n, iou_threshold=nms_threshold)
            boxes, logits, is_valid = gather_kept(boxes, kept), gather_kept(logits, kept), kept.is_valid
        of_maps.append((boxes, tf.where(is_valid, logits, _NEVER)))
    return _best_of_maps(of_maps, image_sizes, post_nms_top_n)


def _best_boxes(
    output: RPNOutput,
    image_sizes: tf.Tensor,
    count: int,
    *,
    min_size: float,
    clip: bool,
    filter_outside_anchors: bool,
    min_prob_threshold: float,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Boxes [B, K, 4], logits [B, K] and validity [B, K] of the best K <= `count` anchors of one map."""
    # Proposals are constants to the second stage: its losses do not move them (the paper's approximate joint training).
    logits, deltas = tf.stop_gradient(output.objectness_logits), tf.stop_gradient(output.deltas)
    if filter_outside_anchors:
        batch_size = tf.shape(logits)[0]
        anchors = tf.broadcast_to(output.anchors, (batch_size, tf.shape(output.anchors)[0], 4))
        logits = tf.where(inside_image(anchors, image_sizes), logits, _NEVER)
    # Only the best are decoded: it is cheaper than decoding all and choosing then.
    logits, indices = tf.math.top_k(logits, tf.minimum(count, tf.shape(logits)[1]))
    boxes = decode(tf.gather(output.anchors, indices), tf.gather(deltas, indices, batch_dims=1))
    clipped = clip_boxes(boxes, image_sizes)
    sizes = clipped[..., 2:] - clipped[..., :2]
    is_valid = tf.reduce_all((sizes > 0.0) & (sizes >= min_size), axis=-1) & (logits > _NEVER)
    is_valid &= tf.sigmoid(logits) >= min_prob_threshold
    return clipped if clip else boxes, logits, is_valid


def _best_of_maps(of_maps: Sequence[tuple], image_sizes: tf.Tensor, count: int) -> Proposals:
    """The best `count` of the (boxes [B, K_l, 4], logits [B, K_l]) of all maps; a map's own are sorted."""
    boxes, logits = (tf.concat(parts, axis=1) for parts in zip(*of_maps, strict=True))
    missing = tf.maximum(count - tf.shape(logits)[1], 0)
    boxes = tf.pad(boxes, [[0, 0], [0, missing], [0, 0]])
    logits = tf.pad(logits, [[0, 0], [0, missing]], constant_values=_NEVER)
    logits, indices = tf.math.top_k(logits, count)
    is_valid = logits > _NEVER
    boxes = tf.where(is_valid[..., None], tf.gather(boxes, indices, batch_dims=1), 0.0)
    return Proposals(clip_boxes(boxes, image_sizes), tf.where(is_valid, tf.sigmoid(logits), 0.0), is_valid)


_NEVER = -1e30  # the logit of an anchor that takes no part
