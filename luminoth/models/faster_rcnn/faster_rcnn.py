"""Faster R-CNN, start to end.

    pictures -> backbone -> features -> RPN -> proposals -> RoI pooling -> tail -> box head -> detections
                                         |                                            |
                                     rpn losses                                  rcnn losses

A detector is made of layers, which hold weights, and of stages, which are plain functions with their settings
bound (`functools.partial`): matching, sampling, suppression. `build.py` puts both together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from luminoth.models.base import DetectionModel
from luminoth.models.faster_rcnn.box_head import BoxHead, BoxHeadOutput
from luminoth.models.faster_rcnn.proposals import Proposals
from luminoth.models.faster_rcnn.rpn import RPN, RPNOutput
from luminoth.types import Batch, DetectorOutput


@dataclass(frozen=True)
class RPNStages:
    """The first stage's functions, settings bound.

    Attributes:
        propose_in_training: `propose` with the limits of training.
        propose: `propose` with the limits of inference.
        losses: `rpn_losses`.
        loss_weights: factors of classification and regression loss.
    """

    propose_in_training: Callable[..., Proposals]
    propose: Callable[..., Proposals]
    losses: Callable[..., tuple[tf.Tensor, tf.Tensor]]
    loss_weights: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class RoIStages:
    """The second stage's functions, settings bound.

    Attributes:
        sample: `sample_rois`.
        pool: `roi_align` or `roi_crop`.
        losses: `box_head_losses`.
        select: `select_detections`; takes `min_score`.
        min_score: lowest score of a detection where the caller does not say.
        loss_weights: factors of classification and regression loss.
    """

    sample: Callable
    pool: Callable[..., tf.Tensor]
    losses: Callable[..., tuple[tf.Tensor, tf.Tensor]]
    select: Callable[..., DetectorOutput]
    min_score: float = 0.5
    loss_weights: tuple[float, float] = (1.0, 1.0)


class RPNDetector(DetectionModel):
    """The first stage alone (`with_rcnn: false`): finds objects without telling their class, which is always 0.

    Args:
        backbone: a layer with `normalise`, `stride` and `out_channels`.
        rpn: the region proposal network.
        stages: see `RPNStages`.
    """

    num_classes = 1

    def __init__(self, *, backbone: keras.layers.Layer, rpn: RPN, stages: RPNStages, name: str = "rpn_detector"):
        super().__init__(name=name)
        self.backbone, self.rpn = backbone, rpn
        self._stages = stages
        self.built = True

    def compute_losses(self, batch: Batch, *, training: bool, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        features = extract_features(self.backbone, batch.images, batch.image_sizes, training)
        losses = first_stage_losses(self._stages, self.rpn(features), batch, seed)
        return {**losses, "regularization_loss": self.regularization_loss()}

    def detect(self, images, image_sizes, *, min_score=None) -> DetectorOutput:
        features = extract_features(self.backbone, images, image_sizes, training=False)
        boxes, scores, is_valid = self._stages.propose(self.rpn(features), image_sizes)
        is_valid &= scores >= (0.0 if min_score is None else min_score)
        boxes, scores = tf.where(is_valid[..., None], boxes, 0.0), tf.where(is_valid, scores, 0.0)
        return DetectorOutput(boxes, scores, tf.zeros_like(scores, tf.int32), is_valid)


class FasterRCNN(DetectionModel):
    """Both stages on one feature map, the detector of the paper ("C4").

    Args:
        backbone: a layer with `normalise`, `stride` and `out_channels`, and perhaps a `tail` that each pooled RoI
            goes through.
        rpn: the region proposal network.
        box_head: the second stage's outputs.
        num_classes: C, without the background.
        rpn_stages, roi_stages: see `RPNStages` and `RoIStages`.
        use_mean: whether each RoI's grid is averaged to one vector (else it is flattened).
    """

    def __init__(
        self,
        *,
        backbone: keras.layers.Layer,
        rpn: RPN,
        box_head: BoxHead,
        num_classes: int,
        rpn_stages: RPNStages,
        roi_stages: RoIStages,
        use_mean: bool = True,
        name: str = "faster_rcnn",
    ) -> None:
        super().__init__(name=name)
        self.num_classes = num_classes
        self.backbone, self.rpn, self.box_head = backbone, rpn, box_head
        self._rpn_stages, self._roi_stages, self._use_mean = rpn_stages, roi_stages, use_mean
        self.built = True

    def compute_losses(self, batch: Batch, *, training: bool, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        seed_anchors, seed_rois, seed_dropout = tf.unstack(tf.random.split(seed, 3))
        features = extract_features(self.backbone, batch.images, batch.image_sizes, training)
        rpn_output = self.rpn(features)
        losses = first_stage_losses(self._rpn_stages, rpn_output, batch, seed_anchors)

        proposals = self._rpn_stages.propose_in_training(rpn_output, batch.image_sizes)
        targets = self._roi_stages.sample(proposals, batch, self.num_classes, seed_rois)
        output = self.classify(features, targets.rois, training=training, seed=seed_dropout)
        class_loss, box_loss = self._roi_stages.losses(output, targets)
        class_weight, box_weight = self._roi_stages.loss_weights
        losses["rcnn_cls_loss"], losses["rcnn_reg_loss"] = class_weight * class_loss, box_weight * box_loss
        return {**losses, "regularization_loss": self.regularization_loss()}

    def detect(self, images, image_sizes, *, min_score=None) -> DetectorOutput:
        features = extract_features(self.backbone, images, image_sizes, training=False)
        proposals = self._rpn_stages.propose(self.rpn(features), image_sizes)
        output = self.classify(features, proposals.boxes)
        min_score = self._roi_stages.min_score if min_score is None else min_score
        return self._roi_stages.select(output, proposals, image_sizes, min_score=min_score)

    def classify(
        self, features: tf.Tensor, rois: tf.Tensor, *, training: bool = False, seed: tf.Tensor | None = None
    ) -> BoxHeadOutput:
        """Pools the features under each RoI [B, R, 4] and runs tail and box head on them."""
        pooled = self._roi_stages.pool(features, rois, stride=self.backbone.stride)  # [B, R, rows, columns, C]
        shape = tf.shape(pooled)
        if self.backbone.tail is not None:
            grids = tf.reshape(pooled, (-1, *pooled.shape[2:]))  # [B, R, ...] -> [B * R, rows, columns, C]
            grids = self.backbone.tail(grids, training=training)
            pooled = tf.reshape(grids, (shape[0], shape[1], *grids.shape[1:]))
        if self._use_mean:
            vectors = tf.reduce_mean(pooled, axis=(2, 3))
        else:
            vectors = tf.reshape(pooled, (shape[0], shape[1], pooled.shape[2] * pooled.shape[3] * pooled.shape[4]))
        return self.box_head(vectors, training=training, seed=seed)


def extract_features(
    backbone: keras.layers.Layer, images: tf.Tensor, image_sizes: tf.Tensor, training: bool
) -> tf.Tensor:
    """Normalises pictures [B, H, W, 3], sets their padding back to zero and runs the backbone."""
    shape = tf.shape(images)
    rows = tf.sequence_mask(image_sizes[:, 0], shape[1])[:, :, None, None]  # [B, H, 1, 1]
    columns = tf.sequence_mask(image_sizes[:, 1], shape[2])[:, None, :, None]  # [B, 1, W, 1]
    pixels = tf.where(rows & columns, backbone.normalise(images), 0.0)
    return backbone(tf.cast(pixels, backbone.compute_dtype), training=training)


def first_stage_losses(stages: RPNStages, output: RPNOutput, batch: Batch, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    """The RPN's two losses, weighted, under Luminoth's names."""
    class_loss, box_loss = stages.losses(output, batch, seed)
    class_weight, box_weight = stages.loss_weights
    return {"rpn_cls_loss": class_weight * class_loss, "rpn_reg_loss": box_weight * box_loss}
