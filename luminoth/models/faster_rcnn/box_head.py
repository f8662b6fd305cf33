"""The second stage: which class is in each RoI, and where exactly?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from luminoth.backbones.layers import Dense
from luminoth.boxes.deltas import encode
from luminoth.models.faster_rcnn.roi_targets import RoITargets
from luminoth.models.losses import masked_mean, smooth_l1


class BoxHeadOutput(NamedTuple):
    """What the head says of R RoIs of each picture.

    Attributes:
        class_logits: [B, R, C + 1] float32; background is the last column.
        deltas: [B, R, C, 4] float32, from the RoI to the object if it were of that class.
    """

    class_logits: tf.Tensor
    deltas: tf.Tensor


class BoxHead(keras.layers.Layer):
    """Fully connected layers, then C + 1 class logits and 4 C deltas.

    Args:
        in_features: size of one RoI's vector.
        num_classes: C.
        layer_sizes: of the fully connected layers before the outputs; may be empty.
        activation: of those layers.
        dropout_rate: share of their outputs dropped in training.
        initializers: of hidden, class and delta kernels.
        weight_decay: factor of the L2 loss on kernels.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        layer_sizes: Sequence[int] = (),
        activation: str = "relu6",
        dropout_rate: float = 0.0,
        initializers: tuple = ("he_normal", "he_normal", "he_normal"),
        weight_decay: float = 0.0,
        name: str = "box_head",
    ) -> None:
        super().__init__(name=name)
        self._num_classes, self._dropout_rate = num_classes, dropout_rate
        hidden, classes, deltas = initializers
        self.hidden = []
        for index, size in enumerate(layer_sizes):
            self.hidden.append(
                Dense(
                    in_features,
                    size,
                    activation=activation,
                    kernel_initializer=hidden,
                    weight_decay=weight_decay,
                    name=f"fc{index + 1}",
                )
            )
            in_features = size
        self.classes = Dense(
            in_features,
            num_classes + 1,
            kernel_initializer=classes,
            weight_decay=weight_decay,
            name="classes",
        )
        self.deltas = Dense(
            in_features, 4 * num_classes, kernel_initializer=deltas, weight_decay=weight_decay, name="deltas"
        )
        self.built = True

    def call(self, features: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> BoxHeadOutput:
        """features: [B, R, in_features]; seed: [2] int32, of the dropout, needed in training."""
        for index, layer in enumerate(self.hidden):
            features = layer(features)
            if training and self._dropout_rate:
                features = tf.nn.experimental.stateless_dropout(features, self._dropout_rate, seed + index)
        deltas = tf.cast(self.deltas(features), tf.float32)
        shape = tf.shape(features)
        return BoxHeadOutput(
            class_logits=tf.cast(self.classes(features), tf.float32),
            deltas=tf.reshape(deltas, (shape[0], shape[1], self._num_classes, 4)),  # [B, R, 4C] -> [B, R, C, 4]
        )


def box_head_losses(
    output: BoxHeadOutput, targets: RoITargets, *, variances: tuple[float, float], l1_sigma: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Classification and regression loss of the sampled RoIs (Fast R-CNN, equation 1).

    Both are divided by the number of sampled RoIs of the whole batch.

    Args:
        output: of the head for `targets.rois`.
        targets: from `sample_rois`.
        variances: of the deltas, see `encode`.
        l1_sigma: of `smooth_l1`.

    Returns:
        Two float32 scalars.
    """
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(targets.class_ids, output.class_logits)
    own_class = tf.where(targets.is_foreground, targets.class_ids, 0)
    own_deltas = tf.gather(output.deltas, own_class, axis=2, batch_dims=2)  # [B, S, C, 4] -> [B, S, 4]
    # Padding rows may be empty boxes; a unit box in their place keeps the logarithm finite.
    unit = tf.constant([0.0, 0.0, 1.0, 1.0])
    foreground = targets.is_foreground[..., None]
    true_deltas = encode(tf.where(foreground, targets.rois, unit), tf.where(foreground, targets.boxes, unit), variances)
    regression = smooth_l1(own_deltas, true_deltas, l1_sigma)
    count = tf.reduce_sum(tf.cast(targets.is_sampled, tf.float32))
    return masked_mean(cross_entropy, targets.is_sampled), masked_mean(regression, targets.is_foreground, count)
