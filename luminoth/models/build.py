"""From a configuration to a detector: the one place of this package that sees a `Config`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf

from luminoth.backbones.fpn import FeaturePyramid
from luminoth.backbones.layers import Layer, weights_follow
from luminoth.backbones.mobilenet import MobileNetV3
from luminoth.backbones.pixels import CAFFE_PIXELS, IMAGENET_PIXELS, PLAIN_PIXELS, PixelRule
from luminoth.backbones.resnet import RESNET_SHAPES, ResNet, thin_resnet_shape
from luminoth.backbones.vgg import VGG, VGG_UNITS
from luminoth.backbones.weights import IMAGENET_WEIGHTS, fetch, load_keras_weights
from luminoth.boxes.anchors import anchor_shapes
from luminoth.config.schema import Config
from luminoth.errors import ConfigError
from luminoth.models.base import DetectionModel
from luminoth.models.faster_rcnn.box_head import BoxHead, box_head_losses
from luminoth.models.faster_rcnn.detections import select_detections
from luminoth.models.faster_rcnn.faster_rcnn import FasterRCNNC4, FasterRCNNFPN, RoIStages, RPNDetector, RPNStages
from luminoth.models.faster_rcnn.proposals import propose
from luminoth.models.faster_rcnn.roi_align import roi_align, roi_crop
from luminoth.models.faster_rcnn.roi_targets import sample_rois
from luminoth.models.faster_rcnn.rpn import RPN, rpn_losses
from luminoth.models.losses import sigmoid_focal_loss, softmax_focal_loss

# How the published ImageNet weights of each architecture want their pixels; thin_resnet has none.
_PIXELS = {
    "thin_resnet": PLAIN_PIXELS,
    "mobilenet_v3_large": IMAGENET_PIXELS,
    "resnext_101_32x8d": IMAGENET_PIXELS,
}


def build_model(
    config: Config, num_classes: int, *, precision: str = "float32", xla: bool = False, initialise: bool = True
) -> DetectionModel:
    """The configured detector with freshly initialised weights; frozen parts are frozen.

    Args:
        config: the resolved configuration.
        num_classes: C, without the background.
        precision: "float32", "bfloat16" or "float16", what the layers compute in. Weights, boxes and losses are
            float32 always.
        xla: whether the model will be compiled with XLA, which lacks some of the faster operators.
        initialise: False leaves all weights at zero, for those that are loaded right afterwards.

    Raises:
        ConfigError: keys that exclude each other.
    """
    with nullcontext() if initialise else weights_follow():
        return _build(config, num_classes, tf.as_dtype(precision), xla)


def _build(config: Config, num_classes: int, compute_type: tf.DType, xla: bool) -> DetectionModel:
    backbone = _build_backbone(config)
    _freeze(backbone, config)
    fpn = _build_fpn(config, backbone)
    first_stage = {
        "backbone": backbone,
        "fpn": fpn,
        "rpn": _build_rpn(config, backbone if fpn is None else fpn),
        "rpn_stages": _rpn_stages(config),
        "compute_type": compute_type,
    }
    if not config.model.network.with_rcnn:
        return RPNDetector(name="rpn_detector", **first_stage)
    return (FasterRCNNC4 if fpn is None else FasterRCNNFPN)(
        box_head=_build_box_head(config, backbone, fpn, num_classes),
        num_classes=num_classes,
        roi_stages=_roi_stages(config, num_classes, xla),
        **first_stage,
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
    if base.stride_in_3x3:
        raise ConfigError(
            "model.base_network.stride_in_3x3 is true, but Keras' ImageNet weights stride in the first 1 x 1: training "
            "would start from wrong features. Set it to false, or start from a converted checkpoint "
            "(train.from_checkpoint)"
        )
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
    count = load_keras_weights(model.backbone, fetch(published, _imagenet_folder()))
    return f"ImageNet weights {published.file_name} ({count} tensors)"


def imagenet_file(base) -> Path | None:
    """The file of the ImageNet weights that a new training with these settings (`model.base_network`) starts from.

    It is fetched when it is not there. None: training starts from something else.
    """
    if base.weights is not None or not base.download or base.architecture not in IMAGENET_WEIGHTS:
        return None
    return _imagenet_folder() / IMAGENET_WEIGHTS[base.architecture].file_name


def _imagenet_folder() -> Path:
    return Path(os.environ.get("LUMI_HOME") or "~/.luminoth").expanduser() / "weights"


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


def _build_backbone(config: Config) -> Layer:
    base, features = config.model.base_network, config.model.network.features
    settings = {"pixels": pixel_rule(base), "weight_decay": base.arg_scope.weight_decay}
    if base.architecture in VGG_UNITS:
        if (features, base.output_stride) != ("c4", 16):
            raise ConfigError(
                f"{base.architecture} only has one map of stride 16: set model.network.features to c4 and "
                f"model.base_network.output_stride to 16; found {features} and {base.output_stride}"
            )
        backbone = VGG(VGG_UNITS[base.architecture], **settings)
    elif base.architecture == "mobilenet_v3_large":
        if features != "fpn":
            raise ConfigError(
                f"model.network.features is {features!r}; {base.architecture} is made for a pyramid: set it to fpn"
            )
        backbone = MobileNetV3(train_norm=base.train_batch_norm, norm_epsilon=base.norm_epsilon, **settings)
    else:
        thin = base.architecture == "thin_resnet"
        backbone = ResNet(
            thin_resnet_shape(base.width) if thin else RESNET_SHAPES[base.architecture],
            **_resnet_outputs(config),
            stride_in_3x3=base.stride_in_3x3,
            train_norm=base.train_batch_norm,
            norm_epsilon=base.norm_epsilon,
            **settings,
        )
    endpoint = {"VGG": "conv5", "ResNet": "block3"}.get(type(backbone).__name__) if features == "c4" else None
    if base.endpoint not in (None, endpoint):
        raise ConfigError(
            f"model.base_network.endpoint is {base.endpoint!r}; the features of {base.architecture} come from "
            f"{endpoint or features!r}: leave the key out"
        )
    return backbone


def _resnet_outputs(config: Config) -> dict:
    """Which blocks give the maps of each kind of features, and whether the last one follows the pooling instead."""
    base = config.model.base_network
    if config.model.network.features == "fpn":
        return {"outputs": (1, 2, 3, 4), "output_stride": 32, "with_tail": False}
    if config.model.network.features == "dc5":
        return {"outputs": (4,), "output_stride": 16, "with_tail": False}
    return {
        "outputs": (3,),
        "output_stride": base.output_stride,
        "with_tail": base.use_tail and config.model.network.with_rcnn,
        "tail_stride": base.tail_stride,
    }


def pixel_rule(base) -> PixelRule:
    """How a network with these settings (`model.base_network`) is given its pixels."""
    rule = _PIXELS.get(base.architecture, CAFFE_PIXELS)
    return PixelRule(
        order=base.channel_order or rule.order,
        means=base.channel_means or rule.means,
        stds=base.channel_stds or rule.stds,
    )


def _build_fpn(config: Config, backbone: Layer) -> FeaturePyramid | None:
    if config.model.network.features != "fpn":
        return None
    base, fpn = config.model.base_network, config.model.fpn
    return FeaturePyramid(
        backbone.out_channels,
        backbone.strides,
        channels=fpn.channels,
        norm=fpn.batch_norm,
        train_norm=base.train_batch_norm,
        weight_decay=base.arg_scope.weight_decay,
    )


def _freeze(backbone: Layer, config: Config) -> None:
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


def _build_rpn(config: Config, features: Layer) -> RPN:
    """`features` gives the maps: a backbone or a pyramid."""
    anchors, rpn = config.model.anchors, config.model.rpn
    sizes = anchors.sizes
    if sizes is None:
        sizes = [[anchors.base_size * scale for scale in anchors.scales]] * len(features.strides)
    if len(sizes) != len(features.strides):
        raise ConfigError(
            f"model.anchors.sizes has {len(sizes)} lists; the detector has {len(features.strides)} feature maps, of "
            f"strides {', '.join(map(str, features.strides))}: give one list for each"
        )
    if len({len(of_map) for of_map in sizes}) > 1:
        raise ConfigError("model.anchors.sizes: the lists differ in length; the RPN needs as many for every map")
    return RPN(
        features.out_channels[0],
        [anchor_shapes(of_map, anchors.ratios, order=anchors.order, rounded=anchors.rounded) for of_map in sizes],
        strides=features.strides,
        measured_strides=anchors.spacing == "measured",
        offset=anchors.offset,
        num_convs=rpn.num_convs,
        channels=rpn.num_channels,
        kernel_size=tuple(rpn.kernel_shape),
        activation=rpn.activation_function,
        initializers=tuple(map(_initializer, (rpn.rpn_initializer, rpn.cls_initializer, rpn.bbox_initializer))),
        prior=rpn.cls_loss.prior if rpn.cls_loss.type == "focal" else None,
        weight_decay=rpn.l2_regularization_scale,
    )


def _build_box_head(config: Config, backbone: Layer, fpn: FeaturePyramid | None, num_classes: int) -> BoxHead:
    rcnn = config.model.rcnn
    rows, columns = rcnn.roi.pooled_height, rcnn.roi.pooled_width
    channels = (backbone if fpn is None else fpn).out_channels[0]
    if backbone.tail is not None:
        channels, stride = backbone.tail.out_channels, backbone.tail.stride
        rows, columns = -(-rows // stride), -(-columns // stride)
    return BoxHead(
        (rows, columns, channels),
        num_classes,
        conv_channels=rcnn.conv_channels,
        use_mean=rcnn.use_mean,
        layer_sizes=rcnn.layer_sizes,
        activation=rcnn.activation_function,
        dropout_rate=1.0 - rcnn.dropout_keep_prob,
        train_norm=config.model.base_network.train_batch_norm,
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
        propose=partial(common, pre_nms_top_n=proposals.test_pre_nms_top_n),
        num_proposals=proposals.test_post_nms_top_n,
        losses=partial(
            rpn_losses,
            **target.model_dump(),
            beta=_beta(config.model.rpn),
            normalizer=config.model.rpn.loss_normalizer,
            focal_loss=_rpn_focal_loss(config.model.rpn.cls_loss),
        ),
        loss_weights=(config.model.loss.rpn_cls_loss_weight, config.model.loss.rpn_reg_loss_weights),
    )


def _rpn_focal_loss(section) -> Callable | None:
    if section.type != "focal":
        return None
    return partial(sigmoid_focal_loss, alpha=section.alpha, gamma=section.gamma)


def _roi_stages(config: Config, num_classes: int, xla: bool) -> RoIStages:
    rcnn = config.model.rcnn
    output_size = (rcnn.roi.pooled_height, rcnn.roi.pooled_width)
    if rcnn.roi.pooling_mode == "align":
        pool = partial(
            roi_align,
            output_size=output_size,
            sampling_ratio=rcnn.roi.sampling_ratio,
            aligned=rcnn.roi.aligned,
            method="gather" if xla else "sparse",
        )
    else:
        pool = partial(roi_crop, output_size=output_size, padding=rcnn.roi.padding)
    variances = tuple(rcnn.target_normalization_variances)
    return RoIStages(
        sample=partial(sample_rois, **rcnn.target.model_dump()),
        pool=pool,
        losses=partial(
            box_head_losses,
            variances=variances,
            beta=_beta(rcnn),
            class_loss=_class_loss(rcnn.cls_loss),
            class_weights=_class_weights(rcnn.class_weights, num_classes),
        ),
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


def _class_loss(section) -> Callable:
    if section.type != "focal":
        return tf.nn.sparse_softmax_cross_entropy_with_logits
    return partial(softmax_focal_loss, alpha=section.alpha, gamma=section.gamma)


def _class_weights(weights, num_classes: int) -> Sequence[float] | None:
    if isinstance(weights, (str, Mapping)):
        raise ConfigError(
            "model.rcnn.class_weights: only `lumi train` knows the classes that make numbers of it; give a list with a "
            "number for each class"
        )
    if weights is not None and len(weights) != num_classes:
        raise ConfigError(f"model.rcnn.class_weights: has {len(weights)} numbers; there are {num_classes} classes")
    return weights


def _beta(section) -> float:
    """`smooth_l1`'s beta from a section with `l1_sigma` and `l1_beta`."""
    return 1.0 / section.l1_sigma**2 if section.l1_beta is None else section.l1_beta


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
