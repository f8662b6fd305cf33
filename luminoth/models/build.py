"""From a configuration to a detector: the one place of this package that sees a `Config`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import keras

from luminoth.backbones.resnet import RESNET_SHAPES, ResNet, thin_resnet_shape
from luminoth.backbones.vgg import VGG, VGG_UNITS
from luminoth.backbones.weights import IMAGENET_WEIGHTS, fetch, load_keras_weights
from luminoth.boxes.anchors import anchor_shapes
from luminoth.config.schema import Config
from luminoth.errors import ConfigError
from luminoth.models.base import DetectionModel
from luminoth.models.faster_rcnn.box_head import BoxHead, box_head_losses
from luminoth.models.faster_rcnn.detections import select_detections
from luminoth.models.faster_rcnn.faster_rcnn import FasterRCNN, RoIStages, RPNDetector, RPNStages
from luminoth.models.faster_rcnn.proposals import propose
from luminoth.models.faster_rcnn.roi_align import roi_align, roi_crop
from luminoth.models.faster_rcnn.roi_targets import sample_rois
from luminoth.models.faster_rcnn.rpn import RPN, rpn_losses

# thin_resnet has no published weights, hence no preprocessing to follow: pixels become -1 to 1.
_PLAIN_PIXELS = {"channel_means": (127.5, 127.5, 127.5), "channel_scale": 127.5, "bgr": False}


def build_model(config: Config, num_classes: int) -> DetectionModel:
    """The configured detector with freshly initialised weights; frozen parts are frozen.

    Args:
        config: the resolved configuration.
        num_classes: C, without the background.

    Raises:
        ConfigError: keys that exclude each other.
    """
    backbone = _build_backbone(config)
    _freeze(backbone, config)
    rpn = _build_rpn(config, backbone.out_channels)
    if not config.model.network.with_rcnn:
        return RPNDetector(backbone=backbone, rpn=rpn, stages=_rpn_stages(config))
    return FasterRCNN(
        backbone=backbone,
        rpn=rpn,
        box_head=_build_box_head(config, backbone, num_classes),
        num_classes=num_classes,
        rpn_stages=_rpn_stages(config),
        roi_stages=_roi_stages(config),
        use_mean=config.model.rcnn.use_mean,
    )


def load_pretrained_backbone(model: DetectionModel, config: Config) -> str:
    """Gives the backbone the weights that a new training starts from, as `model.base_network` says.

    Returns:
        What was loaded, for the log.

    Raises:
        ConfigError: no weights are named and none are published, or random weights would stay frozen.
        CheckpointError: the weights cannot be had or do not fit.
    """
    base = config.model.base_network
    if base.weights == "random":
        _refuse_frozen_random_weights(config)
        return "random weights"
    if base.weights is not None:
        count = load_keras_weights(model.backbone, base.weights)
        return f"{base.weights} ({count} tensors)"
    if base.architecture not in IMAGENET_WEIGHTS or not base.download:
        raise ConfigError(
            f"model.base_network: where should {base.architecture} start from? Set `weights` to a file, or to "
            "`random` to train from scratch"
            + (", or `download: true` for ImageNet weights" if base.architecture in IMAGENET_WEIGHTS else "")
        )
    published = IMAGENET_WEIGHTS[base.architecture]
    home = Path(os.environ.get("LUMI_HOME") or "~/.luminoth").expanduser()
    count = load_keras_weights(model.backbone, fetch(published, home / "weights"))
    return f"ImageNet weights {published.file_name} ({count} tensors)"


def _refuse_frozen_random_weights(config: Config) -> None:
    base = config.model.base_network
    stuck = []
    if not base.trainable or (base.fine_tune_from is not None and base.fine_tune_from != "conv1"):
        stuck.append("trainable: true, fine_tune_from: null")
    if not base.train_batch_norm and not base.architecture.startswith("vgg"):
        stuck.append("train_batch_norm: true")
    if stuck:
        raise ConfigError(
            "model.base_network.weights is `random`, but parts of the backbone would stay frozen at random values; set "
            f"also {', '.join(stuck)} there, or start from pretrained weights"
        )


def _build_backbone(config: Config) -> keras.layers.Layer:
    base = config.model.base_network
    settings = {"weight_decay": base.arg_scope.weight_decay}
    if base.architecture in VGG_UNITS:
        if base.output_stride != VGG.stride:
            raise ConfigError(
                f"model.base_network.output_stride is {base.output_stride}; {base.architecture} only has {VGG.stride}"
            )
        backbone = VGG(VGG_UNITS[base.architecture], **settings)
    else:
        settings |= {
            "output_stride": base.output_stride,
            "with_tail": base.use_tail and config.model.network.with_rcnn,
            "tail_stride": base.tail_stride,
            "train_norm": base.train_batch_norm,
        }
        if base.architecture == "thin_resnet":
            backbone = ResNet(thin_resnet_shape(base.width), **settings, **_PLAIN_PIXELS)
        else:
            backbone = ResNet(RESNET_SHAPES[base.architecture], **settings)
    endpoint = "conv5" if isinstance(backbone, VGG) else "block3"
    if base.endpoint not in (None, endpoint):
        raise ConfigError(
            f"model.base_network.endpoint is {base.endpoint!r}; the features of {base.architecture} come from "
            f"{endpoint!r}: leave the key out"
        )
    return backbone


def _freeze(backbone: keras.layers.Layer, config: Config) -> None:
    base = config.model.base_network
    groups = list(backbone.groups)
    # Luminoth's default, block2, names no group of a VGG; conv3 is the same depth there.
    start = base.fine_tune_from
    if isinstance(backbone, VGG) and start == "block2":
        start = "conv3"
    if start is not None and start not in groups:
        raise ConfigError(
            f"model.base_network.fine_tune_from is {start!r}; {base.architecture} has: {', '.join(groups)}"
        )
    frozen = groups[: groups.index(start)] if start else []
    if not base.trainable:  # the tail belongs to the second stage: `freeze_tail` is its own key
        frozen = [name for name in groups if backbone.group(name) is not backbone.tail]
    if base.freeze_tail:
        frozen = [*frozen, "block4"] if backbone.tail is not None else frozen
    for name in frozen:
        if backbone.group(name) is not None:
            backbone.group(name).trainable = False


def _build_rpn(config: Config, in_channels: int) -> RPN:
    anchors, rpn = config.model.anchors, config.model.rpn
    return RPN(
        in_channels,
        anchor_shapes(anchors.base_size, anchors.scales, anchors.ratios),
        stride=anchors.stride,
        offset=anchors.offset,
        channels=rpn.num_channels,
        kernel_size=tuple(rpn.kernel_shape),
        activation=rpn.activation_function,
        initializers=tuple(map(_initializer, (rpn.rpn_initializer, rpn.cls_initializer, rpn.bbox_initializer))),
        weight_decay=rpn.l2_regularization_scale,
    )


def _build_box_head(config: Config, backbone: keras.layers.Layer, num_classes: int) -> BoxHead:
    rcnn = config.model.rcnn
    if backbone.tail is None:
        channels, rows, columns = backbone.out_channels, rcnn.roi.pooled_height, rcnn.roi.pooled_width
    else:
        channels, stride = backbone.tail.out_channels, backbone.tail.stride
        rows, columns = -(-rcnn.roi.pooled_height // stride), -(-rcnn.roi.pooled_width // stride)
    return BoxHead(
        channels if rcnn.use_mean else rows * columns * channels,
        num_classes,
        layer_sizes=rcnn.layer_sizes,
        activation=rcnn.activation_function,
        dropout_rate=1.0 - rcnn.dropout_keep_prob,
        initializers=tuple(map(_initializer, (rcnn.rcnn_initializer, rcnn.cls_initializer, rcnn.bbox_initializer))),
        weight_decay=rcnn.l2_regularization_scale,
    )


def _rpn_stages(config: Config) -> RPNStages:
    proposals, target = config.model.rpn.proposals, config.model.rpn.target
    common = partial(
        propose,
        nms_threshold=proposals.nms_threshold,
        apply_nms=proposals.apply_nms,
        min_size=proposals.min_size,
        clip_after_nms=proposals.clip_after_nms,
        filter_outside_anchors=proposals.filter_outside_anchors,
        min_prob_threshold=proposals.min_prob_threshold,
    )
    return RPNStages(
        propose_in_training=partial(
            common, pre_nms_top_n=proposals.pre_nms_top_n, post_nms_top_n=proposals.post_nms_top_n
        ),
        propose=partial(
            common, pre_nms_top_n=proposals.test_pre_nms_top_n, post_nms_top_n=proposals.test_post_nms_top_n
        ),
        losses=partial(
            rpn_losses,
            **target.model_dump(),
            l1_sigma=config.model.rpn.l1_sigma,
        ),
        loss_weights=(config.model.loss.rpn_cls_loss_weight, config.model.loss.rpn_reg_loss_weights),
    )


def _roi_stages(config: Config) -> RoIStages:
    rcnn = config.model.rcnn
    output_size = (rcnn.roi.pooled_height, rcnn.roi.pooled_width)
    if rcnn.roi.pooling_mode == "align":
        pool = partial(roi_align, output_size=output_size, sampling_ratio=rcnn.roi.sampling_ratio)
    else:
        pool = partial(roi_crop, output_size=output_size, padding=rcnn.roi.padding)
    variances = tuple(rcnn.target_normalization_variances)
    return RoIStages(
        sample=partial(sample_rois, **rcnn.target.model_dump()),
        pool=pool,
        losses=partial(box_head_losses, variances=variances, l1_sigma=rcnn.l1_sigma),
        select=partial(
            select_detections,
            nms_threshold=rcnn.proposals.class_nms_threshold,
            class_max_detections=rcnn.proposals.class_max_detections,
            total_max_detections=rcnn.proposals.total_max_detections,
            variances=variances,
        ),
        min_score=rcnn.proposals.min_prob_threshold,
        loss_weights=(config.model.loss.rcnn_cls_loss_weight, config.model.loss.rcnn_reg_loss_weights),
    )


def _initializer(section) -> keras.initializers.Initializer:
    """Keras' initializer for Luminoth's (TensorFlow 1) name and arguments."""
    match section.type:
        case "random_normal_initializer":
            return keras.initializers.RandomNormal(section.mean, section.stddev)
        case "truncated_normal_initializer":
            return keras.initializers.TruncatedNormal(section.mean, section.stddev)
        case "variance_scaling_initializer":
            distribution = "uniform" if section.uniform else "truncated_normal"
            return keras.initializers.VarianceScaling(section.factor, section.mode.lower(), distribution)
    return keras.initializers.GlorotUniform() if section.uniform else keras.initializers.GlorotNormal()
