"""The second stage: which class is in each RoI, and where exactly?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from luminoth.backbones.layers import Conv, Dense, Layer, mean_of_cells
from luminoth.boxes.deltas import encode
from luminoth.boxes.sampling import picture_seeds
from luminoth.models.faster_rcnn.roi_targets import RoITargets
from luminoth.models.losses import masked_mean, smooth_l1

# (labels [...] int32, logits [..., C + 1]) -> losses [...]; the last column is background.
ClassLoss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class BoxHeadOutput(NamedTuple):
    """What the head says of R RoIs of each picture.

    Attributes:
        class_logits: [B, R, C + 1] float32; background is the last column.
        deltas: [B, R, C, 4] float32, from the RoI to the object if it were of that class.
    """

    class_logits: tf.Tensor
    deltas: tf.Tensor


class BoxHead(Layer):
    """Convolutions, then fully connected layers, then C + 1 class logits and 4 C deltas.

    With two fully connected layers it is the head of Fast R-CNN and of the feature pyramid; with four convolutions
    and one fully connected layer that of torchvision's v2 ("4conv1fc", Wu and He 2018); with neither the head of C4,
    whose tail has done the work.

    Args:
        in_shape: (rows, columns, channels) of one pooled RoI.
        num_classes: C.
        conv_channels: of the 3 x 3 convolutions with batch norm and ReLU; may be empty.
        use_mean: whether the grid is averaged to one vector; flattened otherwise.
        layer_sizes: of the fully connected layers before the outputs; may be empty.
        activation: of those layers.
        dropout_rate: share of their outputs dropped in training.
        train_norm: whether the convolutions' batch norm is trained.
        initializers: of hidden, class and delta kernels.
        weight_decay: factor of the L2 loss on kernels.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int],
        num_classes: int,
        *,
        conv_channels: Sequence[int] = (),
        use_mean: bool = False,
        layer_sizes: Sequence[int] = (),
        activation: str | None = "relu6",
        dropout_rate: float = 0.0,
        train_norm: bool = False,
        initializers: tuple = ("he_normal", "he_normal", "he_normal"),
        weight_decay: float = 0.0,
        name: str = "box_head",
    ) -> None:
        super().__init__(name=name)
        self._num_classes, self._use_mean, self._dropout_rate = num_classes, use_mean, dropout_rate
        hidden, classes, deltas = initializers
        decay = {"weight_decay": weight_decay}
        rows, columns, channels = in_shape
        self.convs = []
        for index, filters in enumerate(conv_channels, start=1):
            norm = {"norm": True, "train_norm": train_norm, "activation": "relu"}
            self.convs.append(Conv(channels, filters, 3, name=f"conv{index}", **norm, **decay))
            channels = filters
        size = channels if use_mean else rows * columns * channels
        self.hidden = []
        for index, next_size in enumerate(layer_sizes, start=1):
            layer = Dense(size, next_size, activation=activation, kernel_initializer=hidden, name=f"fc{index}", **decay)
            self.hidden.append(layer)
            size = next_size
        self.classes = Dense(size, num_classes + 1, kernel_initializer=classes, name="classes", **decay)
        self.deltas = Dense(size, 4 * num_classes, kernel_initializer=deltas, name="deltas", **decay)

    def call(self, grids: tf.Tensor, training: bool = False, seed: tf.Tensor | None = None) -> BoxHeadOutput:
        """grids: [B, R, rows, columns, channels]; seed: of the dropout, see `picture_seeds`; needed in training."""
        shape = tf.shape(grids)
        features = tf.reshape(grids, (-1, *grids.shape[2:]))  # [B, R, ...] -> [B * R, rows, columns, channels]
        for conv in self.convs:
            features = conv(features, training=training)
        if self._use_mean:
            features = mean_of_cells(features)
        else:
            _, rows, columns, channels = features.shape
            features = tf.reshape(features, (-1, rows * columns * channels))
        for index, layer in enumerate(self.hidden):
            features = layer(features)
            if training and self._dropout_rate:
                by_picture = tf.reshape(features, (shape[0], -1))  # [B * R, F] -> [B, R * F]
                dropped = _drop(by_picture, self._dropout_rate, picture_seeds(seed, shape[0]) + index)
                features = tf.reshape(dropped, (-1, features.shape[-1]))  # [B, R * F] -> [B * R, F]
        logits, deltas = self.classes(features), self.deltas(features)
        return BoxHeadOutput(  # [B * R, ...] -> [B, R, ...]
            class_logits=tf.reshape(tf.cast(logits, tf.float32), (shape[0], shape[1], self._num_classes + 1)),
            deltas=tf.reshape(tf.cast(deltas, tf.float32), (shape[0], shape[1], self._num_classes, 4)),
        )


def _drop(features: tf.Tensor, rate: float, seeds: tf.Tensor) -> tf.Tensor:
    """Dropout of features [B, N] with a seed [B, 2] for each picture."""
    return tf.map_fn(
        lambda picture: tf.nn.experimental.stateless_dropout(picture[0], rate, picture[1]),
        (features, seeds),
        fn_output_signature=features.dtype,
    )


def box_head_losses(
    output: BoxHeadOutput,
    targets: RoITargets,
    *,
    variances: tuple[float, float],
    beta: float,
    class_loss: ClassLoss = tf.nn.sparse_softmax_cross_entropy_with_logits,
    class_weights: Sequence[float] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Classification and regression loss of the sampled RoIs (Fast R-CNN, equation 1).

    Both are divided by the number of sampled RoIs, weighted or not, picture by picture; see `masked_mean`.

    Args:
        output: of the head for `targets.rois`.
        targets: from `sample_rois`.
        variances: of the deltas, see `encode`.
        beta: of `smooth_l1`.
        class_loss: cross-entropy, or `softmax_focal_loss` with its settings bound.
        class_weights: C factors of the classification loss, by what a RoI shows; background's is 1. None: all 1.

    Returns:
        Two float32 scalars.
    """
    class_losses = class_loss(targets.class_ids, output.class_logits)
    if class_weights is not None:
        class_losses *= tf.gather(tf.constant([*class_weights, 1.0], tf.float32), targets.class_ids)
    own_class = tf.where(targets.is_foreground, targets.class_ids, 0)
    own_deltas = tf.gather(output.deltas, own_class, axis=2, batch_dims=2)  # [B, S, C, 4] -> [B, S, 4]
    # Padding rows may be empty boxes; a unit box in their place keeps the logarithm finite.
    unit = tf.constant([0.0, 0.0, 1.0, 1.0])
    foreground = targets.is_foreground[..., None]
    true_deltas = encode(tf.where(foreground, targets.rois, unit), tf.where(foreground, targets.boxes, unit), variances)
    regression = smooth_l1(own_deltas, true_deltas, beta)
    count = tf.reduce_sum(tf.cast(targets.is_sampled, tf.float32), axis=1)  # [B]
    return masked_mean(class_losses, targets.is_sampled), masked_mean(regression, targets.is_foreground, count)
