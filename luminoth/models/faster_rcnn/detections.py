"""From the head's output to the final, fixed number of detections."""

from __future__ import annotations

import tensorflow as tf

from luminoth.boxes.deltas import decode
from luminoth.boxes.geometry import clip_boxes
from luminoth.boxes.nms import class_nms, gather_kept
from luminoth.models.faster_rcnn.box_head import BoxHeadOutput
from luminoth.models.faster_rcnn.proposals import Proposals
from luminoth.types import DetectorOutput

# Most (RoI, class) pairs that enter suppression, by score. At the usual thresholds there are a few dozen; the limit
# bounds the time where a threshold near zero lets all R * C through, as evaluation does.
_MAX_CANDIDATES = 4096


def select_detections(
    output: BoxHeadOutput,
    proposals: Proposals,
    image_sizes: tf.Tensor,
    *,
    min_score: tf.Tensor | float,
    nms_threshold: float = 0.5,
    class_max_detections: int = 100,
    total_max_detections: int = 300,
    variances: tuple[float, float] = (0.1, 0.2),
) -> DetectorOutput:
    """Softmax, boxes of each class, suppression within each class, the best over all classes.

    Args:
        output: of the head for the proposals, R a picture.
        proposals: what was pooled.
        image_sizes: [B, 2], (height, width) in pixels.
        min_score: lowest score of a detection.
        nms_threshold: highest IoU of two detections of one class.
        class_max_detections: most of one class in a picture.
        total_max_detections: D, most in a picture.
        variances: of the deltas, see `encode`.
    """
    scores = tf.nn.softmax(output.class_logits)[..., :-1]  # [B, R, C], without the background
    shape = tf.shape(scores)
    batch_size, num_rois, num_classes = shape[0], shape[1], shape[2]
    scores = tf.where(proposals.is_valid[..., None], scores, 0.0)

    pairs = num_rois * num_classes
    flat_scores = tf.reshape(scores, (batch_size, pairs))  # [B, R, C] -> [B, R * C]
    top_scores, top_pairs = tf.math.top_k(flat_scores, tf.minimum(_MAX_CANDIDATES, pairs))  # [B, K] each
    class_ids = top_pairs % num_classes
    rois = tf.gather(proposals.boxes, top_pairs // num_classes, batch_dims=1)
    deltas = tf.gather(tf.reshape(output.deltas, (batch_size, pairs, 4)), top_pairs, batch_dims=1)
    boxes = clip_boxes(decode(rois, deltas, variances), image_sizes)  # [B, K, 4]
    has_area = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    is_valid = has_area & (top_scores >= min_score) & (top_scores > 0.0)

    # A class may have more survivors than `class_max_detections`; then the total must be cut after counting.
    limit = total_max_detections if class_max_detections >= total_max_detections else _MAX_CANDIDATES
    kept = class_nms(boxes, top_scores, class_ids, is_valid, max_outputs=limit, iou_threshold=nms_threshold)
    if limit > total_max_detections:
        kept = _cap_classes(kept, tf.gather(class_ids, kept.indices, batch_dims=1), num_classes, class_max_detections)
        kept = type(kept)(kept.indices[:, :total_max_detections], kept.is_valid[:, :total_max_detections])
    return DetectorOutput(
        gather_kept(boxes, kept), gather_kept(top_scores, kept), gather_kept(class_ids, kept), kept.is_valid
    )


def _cap_classes(kept, class_ids: tf.Tensor, num_classes: tf.Tensor, class_max: int):
    """Drops what comes after the first `class_max` of its class, and moves the rest up.

    kept: [B, K]; class_ids: [B, K].
    """
    of_class = tf.one_hot(class_ids, num_classes, dtype=tf.int32) * tf.cast(kept.is_valid[..., None], tf.int32)
    rank = tf.gather(tf.cumsum(of_class, axis=1), class_ids, batch_dims=2)  # [B, K], from 1
    is_valid = kept.is_valid & (rank <= class_max)
    order = tf.argsort(tf.cast(~is_valid, tf.int32), axis=1, stable=True)
    return type(kept)(tf.gather(kept.indices, order, batch_dims=1), tf.gather(is_valid, order, batch_dims=1))
