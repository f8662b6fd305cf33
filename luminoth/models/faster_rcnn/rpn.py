"""The region proposal network: where might there be an object, of whatever class?

Faster R-CNN, section 3.1. Shape letters: B pictures, h x w cells of the feature map, k anchors a cell,
N = h * w * k anchors, P proposals.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from luminoth.backbones.layers import Conv
from luminoth.boxes.anchors import grid_anchors
from luminoth.boxes.deltas import encode
from luminoth.boxes.geometry import inside_image
from luminoth.boxes.matching import FOREGROUND, gather_matched, match
from luminoth.boxes.sampling import sample_labels
from luminoth.models.losses import masked_mean, smooth_l1
from luminoth.types import Batch


class RPNOutput(NamedTuple):
    """What the RPN says of every anchor.

    Attributes:
        anchors: [N, 4] float32, pixels of the network's input.
        objectness_logits: [B, N] float32; the sigmoid is the probability of an object.
        deltas: [B, N, 4] float32, from anchor to object.
    """

    anchors: tf.Tensor
    objectness_logits: tf.Tensor
    deltas: tf.Tensor


class RPN(keras.layers.Layer):
    """A 3 x 3 convolution, then 1 x 1 convolutions to two class logits and four deltas for each anchor.

    Args:
        in_channels: of the feature map.
        shapes: [k, 4], the anchors of one cell, from `anchor_shapes`.
        stride, offset: of the anchors' grid, see `grid_anchors`.
        channels, kernel_size: of the first convolution.
        activation: of the first convolution.
        initializers: of the three kernels.
        weight_decay: factor of the L2 loss on kernels.
    """

    def __init__(
        self,
        in_channels: int,
        shapes: np.ndarray,
        *,
        stride: int,
        offset: float = 0.5,
        channels: int = 512,
        kernel_size: int = 3,
        activation: str = "relu6",
        initializers: tuple = ("he_normal", "he_normal", "he_normal"),
        weight_decay: float = 0.0,
        name: str = "rpn",
    ) -> None:
        super().__init__(name=name)
        self._shapes, self._stride, self._offset = shapes, stride, offset
        conv, objectness, deltas = initializers
        self.conv = Conv(
            in_channels,
            channels,
            kernel_size,
            activation=activation,
            kernel_initializer=conv,
            weight_decay=weight_decay,
            name="conv",
        )
        self.objectness = Conv(
            channels,
            2 * len(shapes),
            kernel_initializer=objectness,
            weight_decay=weight_decay,
            name="objectness",
        )
        self.deltas = Conv(
            channels, 4 * len(shapes), kernel_initializer=deltas, weight_decay=weight_decay, name="deltas"
        )
        self.built = True

    def call(self, features: tf.Tensor) -> RPNOutput:
        """features: [B, h, w, in_channels]."""
        shape = tf.shape(features)
        hidden = self.conv(features)
        logits = tf.cast(self.objectness(hidden), tf.float32)
        logits = tf.reshape(logits, (shape[0], -1, 2))  # [B, h, w, 2k] -> [B, N, 2]: background, object
        deltas = tf.cast(self.deltas(hidden), tf.float32)
        return RPNOutput(
            anchors=grid_anchors(self._shapes, (shape[1], shape[2]), self._stride, self._offset),
            # The softmax of two logits is the sigmoid of their difference.
            objectness_logits=logits[..., 1] - logits[..., 0],
            deltas=tf.reshape(deltas, (shape[0], -1, 4)),  # [B, h, w, 4k] -> [B, N, 4]
        )


def rpn_losses(
    output: RPNOutput,
    batch: Batch,
    seed: tf.Tensor,
    *,
    foreground_threshold: float = 0.7,
    background_threshold_high: float = 0.3,
    background_threshold_low: float = 0.0,
    foreground_fraction: float = 0.5,
    minibatch_size: int = 256,
    allowed_border: float = 0.0,
    clobber_positives: bool = False,
    l1_sigma: float = 3.0,
    random_seed: int | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Classification and regression loss over a random sample of anchors (Faster R-CNN, equation 1).

    Both are divided by the number of sampled anchors of the whole batch.

    Args:
        output: of the RPN for `batch.images`.
        seed: [2] int32.
        allowed_border: anchors that reach over the picture's edge by more pixels than this are left out.
        l1_sigma: of `smooth_l1`.
        random_seed: mixed into `seed`, to draw other samples in an otherwise equal run.
        For the rest see `match` and `sample_labels`.

    Returns:
        Two float32 scalars.
    """
    if random_seed is not None:
        seed = tf.random.fold_in(seed, random_seed)
    batch_size = tf.shape(batch.images)[0]
    anchors = tf.broadcast_to(output.anchors, (batch_size, tf.shape(output.anchors)[0], 4))  # [N, 4] -> [B, N, 4]
    matches = match(
        anchors,
        batch.gt_boxes,
        batch.is_object,
        batch.is_crowd,
        foreground_threshold=foreground_threshold,
        background_threshold_high=background_threshold_high,
        background_threshold_low=background_threshold_low,
        is_candidate=inside_image(anchors, batch.image_sizes, allowed_border),
        keep_best_per_object=True,
        clobber_positives=clobber_positives,
    )
    sampled = sample_labels(matches.labels, minibatch_size, foreground_fraction, seed)
    is_foreground = sampled & (matches.labels == FOREGROUND)
    # Anchors without an object get themselves as target, which encodes without a logarithm of zero.
    targets = tf.where(is_foreground[..., None], gather_matched(batch.gt_boxes, matches.gt_indices), anchors)

    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(is_foreground, tf.float32), logits=output.objectness_logits
    )
    regression = smooth_l1(output.deltas, encode(anchors, targets), l1_sigma)
    sampled_count = tf.reduce_sum(tf.cast(sampled, tf.float32))
    return masked_mean(cross_entropy, sampled), masked_mean(regression, is_foreground, sampled_count)
