"""The region proposal network: where might there be an object, of whatever class?

Faster R-CNN, section 3.1; on several maps, Feature Pyramid Networks, section 4.1. Shape letters: B pictures, h x w
cells of a feature map, k anchors a cell, N_l = h * w * k anchors of a map, N anchors of all maps, P proposals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from luminoth.backbones.layers import Conv, Layer
from luminoth.boxes.anchors import grid_anchors
from luminoth.boxes.deltas import encode
from luminoth.boxes.geometry import inside_image
from luminoth.boxes.matching import FOREGROUND, IGNORED, gather_matched, match
from luminoth.boxes.sampling import picture_seeds, sample_labels
from luminoth.models.losses import masked_mean, smooth_l1
from luminoth.types import Batch

# (labels [...] float32, logits [...]) -> losses [...]
FocalLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class RPNOutput(NamedTuple):
    """What the RPN says of the N_l anchors of one feature map.

    Attributes:
        anchors: [N_l, 4] float32, pixels of the network's input.
        objectness_logits: [B, N_l] float32; the sigmoid is the probability of an object.
        deltas: [B, N_l, 4] float32, from anchor to object.
    """

    anchors: tf.Tensor
    objectness_logits: tf.Tensor
    deltas: tf.Tensor


class RPNLosses(NamedTuple):
    """The first stage's losses, and the anchors that they were measured on.

    Attributes:
        classification, regression: float32 scalars.
        is_sampled: [B, N] bool, anchors that the classification loss counts.
        is_foreground: [B, N] bool, those of them that stand for an object; the regression loss counts these.
    """

    classification: tf.Tensor
    regression: tf.Tensor
    is_sampled: tf.Tensor
    is_foreground: tf.Tensor


class RPN(Layer):
    """k x k convolutions, then 1 x 1 convolutions to an objectness logit and four deltas for each anchor.

    The same weights serve all feature maps.

    Args:
        in_channels: of the feature maps.
        shapes: for each map [k, 4], the anchors of one cell, from `anchor_shapes`; k is the same for all.
        strides: of the maps.
        measured_strides: the anchors of a map of h x w cells stand `input height // h` and `input width // w` pixels
            apart, as torchvision places them, rather than `strides`.
        offset: of the anchors' grid, see `grid_anchors`.
        num_convs, channels, kernel_size, activation: of the first convolutions.
        initializers: of their kernels, of the objectness kernel and of the delta kernel.
        prior: objectness of every anchor at the start, through the bias. A loss of all anchors would begin with that of
            a hundred thousand half-believed ones otherwise (Lin et al. 2017, section 3.3). None: a bias of 0.
        weight_decay: factor of the L2 loss on kernels.
    """

    def __init__(
        self,
        in_channels: int,
        shapes: Sequence[np.ndarray],
        *,
        strides: Sequence[int],
        measured_strides: bool = False,
        offset: float = 0.5,
        num_convs: int = 1,
        channels: int = 512,
        kernel_size: int | tuple[int, int] = 3,
        activation: str | None = "relu6",
        initializers: tuple = ("he_normal", "he_normal", "he_normal"),
        prior: float | None = None,
        weight_decay: float = 0.0,
        name: str = "rpn",
    ) -> None:
        super().__init__(name=name)
        self._shapes, self._strides = tuple(shapes), tuple(strides)
        self._measured_strides, self._offset = measured_strides, offset
        conv, objectness, deltas = initializers
        self.convs = [
            Conv(
                in_channels if index == 0 else channels,
                channels,
                kernel_size,
                activation=activation,
                kernel_initializer=conv,
                weight_decay=weight_decay,
                name="conv" if index == 0 else f"conv{index + 1}",
            )
            for index in range(num_convs)
        ]
        num_anchors, decay = len(self._shapes[0]), {"weight_decay": weight_decay}
        self.objectness = Conv(channels, num_anchors, kernel_initializer=objectness, name="objectness", **decay)
        if prior is not None:
            self.objectness.bias.assign([math.log(prior / (1.0 - prior))] * num_anchors)
        self.deltas = Conv(channels, 4 * num_anchors, kernel_initializer=deltas, name="deltas", **decay)

    def call(self, maps: Sequence[tf.Tensor], input_size: tuple) -> list[RPNOutput]:
        """maps: one [B, h, w, in_channels] for each of `shapes`; input_size: (height, width) of the padded pictures."""
        return [
            self._on_map(features, shapes, stride, input_size)
            for features, shapes, stride in zip(maps, self._shapes, self._strides, strict=True)
        ]

    def _on_map(self, features: tf.Tensor, shapes: np.ndarray, stride: int, input_size: tuple) -> RPNOutput:
        shape = tf.shape(features)
        grid_size = (shape[1], shape[2])
        strides = (input_size[0] // shape[1], input_size[1] // shape[2]) if self._measured_strides else stride
        for conv in self.convs:
            features = conv(features)
        logits = tf.cast(self.objectness(features), tf.float32)
        deltas = tf.cast(self.deltas(features), tf.float32)
        return RPNOutput(
            anchors=grid_anchors(shapes, grid_size, strides, self._offset),
            objectness_logits=tf.reshape(logits, (shape[0], -1)),  # [B, h, w, k] -> [B, N_l]
            deltas=tf.reshape(deltas, (shape[0], -1, 4)),  # [B, h, w, 4k] -> [B, N_l, 4]
        )


def joined(outputs: Sequence[RPNOutput]) -> RPNOutput:
    """The anchors of all maps behind one another, N of them."""
    if len(outputs) == 1:
        return outputs[0]
    anchors, logits, deltas = zip(*outputs, strict=True)
    return RPNOutput(tf.concat(anchors, axis=0), tf.concat(logits, axis=1), tf.concat(deltas, axis=1))


def rpn_losses(
    outputs: Sequence[RPNOutput],
    batch: Batch,
    seed: tf.Tensor,
    *,
    foreground_threshold: float = 0.7,
    background_threshold_high: float = 0.3,
    background_threshold_low: float = 0.0,
    foreground_fraction: float = 0.5,
    minibatch_size: int = 256,
    allowed_border: float | None = 0.0,
    clobber_positives: bool = False,
    beta: float = 1.0 / 9,
    normalizer: str = "sampled",
    focal_loss: FocalLoss | None = None,
    random_seed: int | None = None,
) -> RPNLosses:
    """Classification and regression loss over a random sample of anchors (Faster R-CNN, equation 1).

    Args:
        outputs: of the RPN for `batch.images`.
        seed: see `picture_seeds`.
        allowed_border: anchors that reach over the picture's edge by more pixels than this are left out; None: none
            is (torchvision, Detectron2).
        beta: of `smooth_l1`.
        normalizer: a picture's losses are divided by the number of anchors "sampled" in it (torchvision), or by the
            most there could be, the "minibatch" size (Detectron2); see `masked_mean`.
        focal_loss: `sigmoid_focal_loss` with its settings bound: of all foreground and background anchors, not of a
            sample, divided by the number of foreground ones, picture by picture (Lin et al. 2017, section 4.1). The
            regression loss stays as it is. None: cross-entropy.
        random_seed: mixed into `seed`, to draw other samples in an otherwise equal run.
        For the rest see `match` and `sample_labels`.
    """
    if random_seed is not None:
        seeds = picture_seeds(seed, tf.shape(batch.images)[0])
        seed = tf.map_fn(lambda picture: tf.random.fold_in(picture, random_seed), seeds)
    output = joined(outputs)
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
        is_candidate=None if allowed_border is None else inside_image(anchors, batch.image_sizes, allowed_border),
        keep_best_per_object=True,
        clobber_positives=clobber_positives,
    )
    sampled = sample_labels(matches.labels, minibatch_size, foreground_fraction, seed)
    is_foreground = sampled & (matches.labels == FOREGROUND)
    # Of 200,000 anchors only the foreground in the sample has something to regress to, F <= `limit` in each picture.
    limit = int(minibatch_size * foreground_fraction)
    limit = min(limit, anchors.shape[1]) if anchors.shape[1] is not None else tf.minimum(limit, tf.shape(anchors)[1])
    is_regressed, places = tf.math.top_k(tf.cast(is_foreground, tf.int32), limit)  # [B, F] each
    is_regressed = is_regressed > 0
    own_anchors, own_deltas = (tf.gather(each, places, batch_dims=1) for each in (anchors, output.deltas))
    boxes = gather_matched(batch.gt_boxes, tf.gather(matches.gt_indices, places, batch_dims=1))
    # The others get their anchor as target, which encodes without a logarithm of zero.
    targets = tf.where(is_regressed[..., None], boxes, own_anchors)
    regression = smooth_l1(own_deltas, encode(own_anchors, targets), beta)
    count = tf.reduce_sum(tf.cast(sampled, tf.float32), axis=1)  # [B]
    if normalizer == "minibatch":
        count = minibatch_size
    box_loss = masked_mean(regression, is_regressed, count)
    if focal_loss is not None:
        is_counted, is_foreground = matches.labels != IGNORED, matches.labels == FOREGROUND
        losses = focal_loss(tf.cast(is_foreground, tf.float32), output.objectness_logits)
        foreground_count = tf.reduce_sum(tf.cast(is_foreground, tf.float32), axis=1)  # [B]
        return RPNLosses(masked_mean(losses, is_counted, foreground_count), box_loss, is_counted, is_foreground)
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(is_foreground, tf.float32), logits=output.objectness_logits
    )
    return RPNLosses(masked_mean(cross_entropy, sampled, count), box_loss, sampled, is_foreground)
