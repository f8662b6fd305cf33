"""Faster R-CNN, start to end.

    pictures -> feature maps -> RPN -> proposals -> RoI pooling -> box head -> detections
                                 |                                   |
                             rpn losses                         rcnn losses

The paper's detector works on one map (`FasterRCNNC4`), today's on a pyramid of maps (`FasterRCNNFPN`); they differ in
how RoIs are pooled, and in nothing else.

A detector is made of layers, which hold weights, and of stages, which are plain functions with their settings
bound (`functools.partial`): matching, sampling, suppression. `build.py` puts both together.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from luminoth.backbones.fpn import FeaturePyramid
from luminoth.backbones.layers import Layer
from luminoth.boxes.sampling import picture_seeds, split_seeds
from luminoth.models.base import DetectionModel, Examination, Observed
from luminoth.models.faster_rcnn.box_head import BoxHead, BoxHeadOutput
from luminoth.models.faster_rcnn.proposals import Proposals
from luminoth.models.faster_rcnn.roi_targets import RoITargets, with_ground_truth
from luminoth.models.faster_rcnn.rpn import RPN, RPNLosses, RPNOutput, joined
from luminoth.types import Batch, DetectorOutput


@dataclass(frozen=True)
class RPNStages:
    """The first stage's functions, settings bound.

    Attributes:
        propose_in_training: `propose` with the limits of training.
        propose: `propose` with the limits of inference; takes `post_nms_top_n`.
        num_proposals: how many there are in inference.
        losses: `rpn_losses`.
        loss_weights: factors of classification and regression loss.
    """

    propose_in_training: Callable[..., Proposals]
    propose: Callable[..., Proposals]
    num_proposals: int
    losses: Callable[..., RPNLosses]
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


class _ProposalModel(DetectionModel):
    """What all detectors here share: feature maps and the first stage.

    Args:
        backbone: gives the maps; see `luminoth.backbones`.
        fpn: makes a pyramid of them; None: they are used as they are.
        rpn: the region proposal network.
        rpn_stages: see `RPNStages`.
        compute_type: see `DetectionModel`.
    """

    def __init__(
        self,
        *,
        backbone: Layer,
        fpn: FeaturePyramid | None = None,
        rpn: RPN,
        rpn_stages: RPNStages,
        compute_type: tf.DType = tf.float32,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.backbone, self.fpn, self.rpn = backbone, fpn, rpn
        self._rpn_stages, self.compute_type = rpn_stages, compute_type
        # A pyramid wants every coarser map to be half the finer one.
        self.size_multiple = 1 if fpn is None else backbone.strides[-1]
        self.built = True

    def network_input(self, images: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
        """Normalised pixels [B, H', W', 3] of pictures [B, H, W, 3]; what lies outside of each picture is zero.

        H' and W' are H and W rounded up to multiples of `size_multiple`.
        """
        shape = tf.shape(images)
        pixels = self.backbone.pixels(images)
        rows = tf.sequence_mask(image_sizes[:, 0], shape[1])[:, :, None, None]  # [B, H, 1, 1]
        columns = tf.sequence_mask(image_sizes[:, 1], shape[2])[:, None, :, None]  # [B, 1, W, 1]
        pixels = tf.cast(tf.where(rows & columns, pixels, 0.0), self.compute_type)
        below, right = -shape[1] % self.size_multiple, -shape[2] % self.size_multiple
        return pixels if self.size_multiple == 1 else tf.pad(pixels, [[0, 0], [0, below], [0, right], [0, 0]])

    def compute_losses(self, batch: Batch, *, training: bool, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.observe(batch, training=training, seed=seed).losses

    def extract(self, pixels: tf.Tensor, training: bool) -> tuple[tf.Tensor, ...]:
        """The feature maps, finest first, of normalised pixels."""
        maps = self.backbone(pixels, training=training)
        return maps if self.fpn is None else self.fpn(maps, training=training)

    def first_stage(self, pixels: tf.Tensor, maps: tuple[tf.Tensor, ...]) -> list[RPNOutput]:
        """The RPN on all maps of `pixels`."""
        shape = tf.shape(pixels)
        return self.rpn(maps, (shape[1], shape[2]))

    def first_stage_losses(self, outputs: list[RPNOutput], batch: Batch, seed: tf.Tensor) -> Observed:
        """The RPN's two losses, weighted, under Luminoth's names."""
        found = self._rpn_stages.losses(outputs, batch, seed)
        class_weight, box_weight = self._rpn_stages.loss_weights
        return Observed(
            {"rpn_cls_loss": class_weight * found.classification, "rpn_reg_loss": box_weight * found.regression},
            {"positive_anchors": _share(found.is_foreground, found.is_sampled)},
        )

    def sampled_anchors(self, outputs: list[RPNOutput], batch: Batch, seed: tf.Tensor) -> dict[str, DetectorOutput]:
        """The anchors that stand for an object in `first_stage_losses`; see `samples`."""
        is_foreground = self._rpn_stages.losses(outputs, batch, seed).is_foreground
        anchors = tf.broadcast_to(joined(outputs).anchors, (*tf.unstack(tf.shape(is_foreground)), 4))
        return {"positive anchors": _as_samples(anchors, is_foreground, is_foreground)}

    def propose(self, outputs: list[RPNOutput], image_sizes: tf.Tensor, at_least: int = 0) -> Proposals:
        """The proposals of inference, or more of the kind; the first ones do not depend on how many are asked for."""
        count = max(self._rpn_stages.num_proposals, at_least)
        return self._rpn_stages.propose(outputs, image_sizes, post_nms_top_n=count)

    def proposals_of_inference(self, proposals: Proposals) -> Proposals:
        """Those that go on, of what `propose` gave."""
        return Proposals(*(each[:, : self._rpn_stages.num_proposals] for each in proposals))


class RPNDetector(_ProposalModel):
    """The first stage alone (`with_rcnn: false`): finds objects without telling their class, which is always 0.

    Args: see `_ProposalModel`.
    """

    num_classes = 1

    def observe(self, batch: Batch, *, training: bool, seed: tf.Tensor) -> Observed:
        pixels = self.network_input(batch.images, batch.image_sizes)
        outputs = self.first_stage(pixels, self.extract(pixels, training))
        losses, gauges = self.first_stage_losses(outputs, batch, seed)
        return Observed({**losses, "regularization_loss": self.regularization_loss()}, gauges)

    def samples(self, batch: Batch, *, seed: tf.Tensor) -> dict[str, DetectorOutput]:
        pixels = self.network_input(batch.images, batch.image_sizes)
        return self.sampled_anchors(self.first_stage(pixels, self.extract(pixels, training=False)), batch, seed)

    def detect(self, images, image_sizes, *, min_score=None) -> DetectorOutput:
        pixels = self.network_input(images, image_sizes)
        outputs = self.first_stage(pixels, self.extract(pixels, training=False))
        return _as_detections(self.propose(outputs, image_sizes), 0.0 if min_score is None else min_score)

    def examine(
        self, batch: Batch, *, seed: tf.Tensor, min_score: tf.Tensor | float, max_proposals: int
    ) -> Examination:
        pixels = self.network_input(batch.images, batch.image_sizes)
        outputs = self.first_stage(pixels, self.extract(pixels, training=False))
        proposals = self.propose(outputs, batch.image_sizes, at_least=max_proposals)
        return Examination(
            {
                **self.first_stage_losses(outputs, batch, seed).losses,
                "regularization_loss": self.regularization_loss(),
            },
            _as_detections(self.proposals_of_inference(proposals), min_score),
            _as_detections(proposals),
        )


class _FasterRCNN(_ProposalModel):
    """Both stages.

    Args:
        box_head: the second stage's layers.
        num_classes: C, without the background.
        roi_stages: see `RoIStages`.
        For the rest see `_ProposalModel`.
    """

    def __init__(
        self, *, box_head: BoxHead, num_classes: int, roi_stages: RoIStages, name: str = "faster_rcnn", **first_stage
    ) -> None:
        super().__init__(name=name, **first_stage)
        self.box_head, self.num_classes, self._roi_stages = box_head, num_classes, roi_stages

    @abstractmethod
    def pool(self, maps: tuple[tf.Tensor, ...], rois: tf.Tensor, training: bool) -> tf.Tensor:
        """What the box head sees of RoIs [B, R, 4]: [B, R, rows, columns, channels]."""

    def observe(self, batch: Batch, *, training: bool, seed: tf.Tensor) -> Observed:
        seed_anchors, seed_rois, seed_dropout = _stage_seeds(seed, batch)
        pixels = self.network_input(batch.images, batch.image_sizes)
        maps = self.extract(pixels, training)
        rpn_outputs = self.first_stage(pixels, maps)
        losses, gauges = self.first_stage_losses(rpn_outputs, batch, seed_anchors)

        proposals = self._rpn_stages.propose_in_training(rpn_outputs, batch.image_sizes)
        candidates = with_ground_truth(proposals, batch)
        targets = self._roi_stages.sample(candidates, batch, self.num_classes, seed_rois)
        output = self.second_stage(maps, targets.rois, training=training, seed=seed_dropout)
        losses |= self.second_stage_losses(output, targets)
        gauges |= {
            "positive_rois": _share(targets.is_foreground, targets.is_sampled),
            "proposals": _count(proposals.is_valid) / _count(tf.ones_like(proposals.is_valid[:, 0])),
        }
        return Observed({**losses, "regularization_loss": self.regularization_loss()}, gauges)

    def samples(self, batch: Batch, *, seed: tf.Tensor) -> dict[str, DetectorOutput]:
        seed_anchors, seed_rois, _ = _stage_seeds(seed, batch)
        pixels = self.network_input(batch.images, batch.image_sizes)
        outputs = self.first_stage(pixels, self.extract(pixels, training=False))
        proposals = self._rpn_stages.propose_in_training(outputs, batch.image_sizes)
        targets = self._roi_stages.sample(with_ground_truth(proposals, batch), batch, self.num_classes, seed_rois)
        rois = _as_samples(targets.rois, targets.is_sampled, targets.is_foreground)
        return {**self.sampled_anchors(outputs, batch, seed_anchors), "RoIs": rois}

    def examine(
        self, batch: Batch, *, seed: tf.Tensor, min_score: tf.Tensor | float, max_proposals: int
    ) -> Examination:
        """In one pass. The second stage's losses are of RoIs drawn from what detections come from, as in Luminoth;
        training's own draw, from more proposals and the ground truth, would have to be pooled beside them."""
        seed_anchors, seed_rois, _ = _stage_seeds(seed, batch)
        pixels = self.network_input(batch.images, batch.image_sizes)
        maps = self.extract(pixels, training=False)
        rpn_outputs = self.first_stage(pixels, maps)
        all_proposals = self.propose(rpn_outputs, batch.image_sizes, at_least=max_proposals)
        proposals = self.proposals_of_inference(all_proposals)
        output = self.second_stage(maps, proposals.boxes)

        targets = self._roi_stages.sample(proposals, batch, self.num_classes, seed_rois)
        of_targets = BoxHeadOutput(*(tf.gather(each, targets.indices, batch_dims=1) for each in output))
        losses = {
            **self.first_stage_losses(rpn_outputs, batch, seed_anchors).losses,
            **self.second_stage_losses(of_targets, targets),
            "regularization_loss": self.regularization_loss(),
        }
        detections = self._roi_stages.select(output, proposals, batch.image_sizes, min_score=min_score)
        return Examination(losses, detections, _as_detections(all_proposals))

    def second_stage_losses(self, output: BoxHeadOutput, targets: RoITargets) -> dict[str, tf.Tensor]:
        """The box head's two losses, weighted, under Luminoth's names."""
        class_loss, box_loss = self._roi_stages.losses(output, targets)
        class_weight, box_weight = self._roi_stages.loss_weights
        return {"rcnn_cls_loss": class_weight * class_loss, "rcnn_reg_loss": box_weight * box_loss}

    def detect(self, images, image_sizes, *, min_score=None) -> DetectorOutput:
        pixels = self.network_input(images, image_sizes)
        maps = self.extract(pixels, training=False)
        return self.detect_in(maps, self.propose(self.first_stage(pixels, maps), image_sizes), image_sizes, min_score)

    def detect_in(
        self,
        maps: tuple[tf.Tensor, ...],
        proposals: Proposals,
        image_sizes: tf.Tensor,
        min_score: tf.Tensor | float | None = None,
    ) -> DetectorOutput:
        """What the second stage makes of proposals."""
        output = self.second_stage(maps, proposals.boxes)
        min_score = self._roi_stages.min_score if min_score is None else min_score
        return self._roi_stages.select(output, proposals, image_sizes, min_score=min_score)

    def second_stage(
        self, maps: tuple[tf.Tensor, ...], rois: tf.Tensor, *, training: bool = False, seed: tf.Tensor | None = None
    ) -> BoxHeadOutput:
        """The box head on the features under RoIs [B, R, 4]; `seed` of its dropout."""
        return self.box_head(self.pool(maps, rois, training), training=training, seed=seed)


class FasterRCNNC4(_FasterRCNN):
    """On one map, the detector of the paper. The backbone's last block may follow the pooling, as its `tail` ("C4")."""

    def pool(self, maps: tuple[tf.Tensor, ...], rois: tf.Tensor, training: bool) -> tf.Tensor:
        pooled = self._roi_stages.pool(maps, rois, strides=self.backbone.strides)
        if self.backbone.tail is None:
            return pooled
        shape = tf.shape(pooled)
        grids = tf.reshape(pooled, (-1, *pooled.shape[2:]))  # [B, R, ...] -> [B * R, rows, columns, channels]
        grids = self.backbone.tail(grids, training=training)
        return tf.reshape(grids, (shape[0], shape[1], *grids.shape[1:]))


class FasterRCNNFPN(_FasterRCNN):
    """On a feature pyramid (Lin et al. 2017): each RoI is pooled from the map that suits its size.

    The RPN sees all maps; RoIs are pooled from those at the backbone's own strides.
    """

    def pool(self, maps: tuple[tf.Tensor, ...], rois: tf.Tensor, training: bool) -> tf.Tensor:
        # Of two maps of one stride, as MobileNet's, the first is pooled from, as in torchvision.
        strides = sorted(set(self.backbone.strides))
        return self._roi_stages.pool(
            [maps[self.fpn.strides.index(stride)] for stride in strides], rois, strides=strides
        )


def _as_detections(proposals: Proposals, min_score: tf.Tensor | float = 0.0) -> DetectorOutput:
    """Proposals with at least that score, as objects of one class, 0."""
    is_valid = proposals.is_valid & (proposals.scores >= min_score)
    boxes, scores = tf.where(is_valid[..., None], proposals.boxes, 0.0), tf.where(is_valid, proposals.scores, 0.0)
    return DetectorOutput(boxes, scores, tf.zeros_like(scores, tf.int32), is_valid)


def _as_samples(boxes: tf.Tensor, is_sampled: tf.Tensor, is_foreground: tf.Tensor) -> DetectorOutput:
    """Boxes [B, N, 4] that a loss counts, as `DetectionModel.samples` gives them."""
    class_ids = tf.where(is_foreground, 0, 1)
    return DetectorOutput(boxes, tf.cast(is_sampled, tf.float32), class_ids, is_sampled)


def _stage_seeds(seed: tf.Tensor, batch: Batch) -> list[tf.Tensor]:
    """Seeds [B, 2] of the choice of anchors, that of RoIs and the dropout; see `DetectionModel.compute_losses`."""
    return split_seeds(picture_seeds(seed, tf.shape(batch.images)[0]), 3)


def _share(some: tf.Tensor, of_all: tf.Tensor) -> tf.Tensor:
    """How many of `of_all` are in `some`, 0 to 1; two masks."""
    return _count(some & of_all) / tf.maximum(_count(of_all), 1.0)


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.float32))
