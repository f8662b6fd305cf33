"""The section `model`: which detector, its backbone, its anchors, the weights of its losses."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator
from pydantic_core import PydanticCustomError

from luminoth.config.fields import (
    Fraction,
    NonEmptyList,
    NonNegativeNumber,
    Number,
    PositiveInt,
    PositiveNumber,
    Section,
    Text,
    Triple,
    key,
    section,
)
from luminoth.config.schema_stages import RcnnConfig, RpnConfig

# Luminoth's values that are on their way: refused by name, with what to take meanwhile.
_NOT_YET = {
    "ssd": "fasterrcnn",
    "resnet_v2_50": "resnet_v1_50",
    "resnet_v2_101": "resnet_v1_101",
    "resnet_v2_152": "resnet_v1_152",
    "truncated_vgg_16": "vgg_16",
}


def _refuse_not_yet(value: Any) -> Any:
    if isinstance(value, str) and value in _NOT_YET:
        raise PydanticCustomError(
            "not_yet",
            "is {value}, which is not available yet; use {instead}",
            {"value": value, "instead": _NOT_YET[value]},
        )
    return value


Architecture = Annotated[
    Literal[
        "resnet_v1_50",
        "resnet_v1_101",
        "resnet_v1_152",
        "resnext_101_32x8d",
        "mobilenet_v3_large",
        "vgg_16",
        "vgg_19",
        "thin_resnet",
    ],
    BeforeValidator(_refuse_not_yet),
]


class Network(Section):
    """The detector as a whole."""

    num_classes: PositiveInt | None = key(None, "Number of classes; empty: as many as `classes.json` names.")
    with_rcnn: bool = key(True, "With the second stage; false: the region proposals alone.")
    features: Literal["c4", "dc5", "fpn"] = key(
        "c4", "One map of stride 16 before the last block, one after it (dilated), or a pyramid of maps."
    )


class ArgScope(Section):
    """Settings of all layers of the backbone."""

    weight_decay: NonNegativeNumber = key(0.0005, "L2 penalty on the backbone's weights; 0: none.")


class BaseNetwork(Section):
    """The backbone: the network that turns pictures into features."""

    architecture: Architecture = key("resnet_v1_101", "Which network.")
    trainable: bool = key(True, "Train the backbone, from `fine_tune_from` on.")
    weights: Text | None = key(None, "A file of weights, or `random`; empty: ImageNet weights, see `download`.")
    download: bool = key(True, "Fetch ImageNet weights when no file is given.")
    endpoint: Text | None = key(None, "Layer whose output is the feature map; empty: the architecture's own.")
    fine_tune_from: Text | None = key(
        "block2", "First block that is trained, those before stay as they are; empty: all."
    )
    train_batch_norm: bool = key(False, "Update batch-norm statistics in training.")
    use_tail: bool = key(True, "Use the network's last block in the second stage (ResNets, `features: c4` only).")
    freeze_tail: bool = key(False, "Do not train that block.")
    output_stride: Literal[8, 16] = key(16, "Pixels from one feature to the next (`features: c4` only).")
    tail_stride: Literal[1, 2] = key(1, "Stride of the last block in the second stage.")
    stride_in_3x3: bool = key(
        False, "Residual units stride in their 3 x 3 convolution (torchvision, Detectron2's X101), not the first 1 x 1."
    )
    norm_epsilon: NonNegativeNumber = key(
        1.001e-5,
        "Added to batch norm's variance; the default is that of Keras' ResNets; torchvision and Detectron2 have 1e-5, "
        "torchvision's first COCO weights 0.",
    )
    channel_order: Literal["rgb", "bgr"] | None = key(
        None, "Order of the channels that the weights expect; empty: that of the published ImageNet weights."
    )
    channel_means: Triple[Number] | None = key(
        None, "Subtracted from the channels, 0 to 255, in that order; empty: likewise."
    )
    channel_stds: Triple[PositiveNumber] | None = key(
        None, "What the channels are divided by afterwards; empty: likewise."
    )
    width: PositiveInt = key(24, "Channels of the first block (`thin_resnet` only).")
    arg_scope: ArgScope = section(ArgScope, "Settings of all layers.")


class Fpn(Section):
    """The feature pyramid (`network.features: fpn`)."""

    channels: PositiveInt = key(256, "Channels of every map.")
    batch_norm: bool = key(False, "Batch norm instead of biases (torchvision's v2).")


class Loss(Section):
    """How much each loss counts in the total."""

    rpn_cls_loss_weight: NonNegativeNumber = key(1.0, "Weight of the RPN's objectness loss.")
    rpn_reg_loss_weights: NonNegativeNumber = key(1.0, "Weight of the RPN's box loss.")
    rcnn_cls_loss_weight: NonNegativeNumber = key(1.0, "Weight of the second stage's class loss.")
    rcnn_reg_loss_weights: NonNegativeNumber = key(1.0, "Weight of the second stage's box loss.")


class Anchors(Section):
    """The fixed boxes at every place of the feature map."""

    base_size: PositiveNumber = key(
        256.0, "Side of the anchor of scale 1 and ratio 1, in pixels of the network's input."
    )
    scales: NonEmptyList[PositiveNumber] = key((0.25, 0.5, 1.0, 2.0), "Sides, in `base_size`.")
    sizes: NonEmptyList[NonEmptyList[PositiveNumber]] | None = key(
        None, "Sides in pixels, a list for each map, finest first; empty: `base_size` and `scales` on every map."
    )
    ratios: NonEmptyList[PositiveNumber] = key((0.5, 1.0, 2.0), "Heights over widths; the area stays.")
    stride: PositiveInt = key(
        16, "Pixels between anchors (`features: c4` only); follows a stated `base_network.output_stride`."
    )
    offset: Fraction = key(0.5, "Centre of the first anchor, in strides; Luminoth, torchvision and Detectron2 use 0.")
    spacing: Literal["stride", "measured"] = key(
        "stride", "Pixels between anchors: the map's stride, or the padded picture's size // the map's (torchvision)."
    )
    order: Literal["ratio_major", "size_major"] = key(
        "ratio_major",
        "Of a cell's anchors: all sizes of the first ratio first, or all ratios of the first size (Detectron2).",
    )
    rounded: bool = key(False, "Corners of a cell's anchors on whole pixels (torchvision).")


class ModelConfig(Section):
    """The detector."""

    type: Annotated[Literal["fasterrcnn"], BeforeValidator(_refuse_not_yet)] = key("fasterrcnn", "Which detector.")
    network: Network = section(Network, "The detector as a whole.")
    base_network: BaseNetwork = section(BaseNetwork, "The backbone.")
    fpn: Fpn = section(Fpn, "The feature pyramid.")
    loss: Loss = section(Loss, "How much each loss counts.")
    anchors: Anchors = section(Anchors, "The fixed boxes.")
    rpn: RpnConfig = section(RpnConfig, "The first stage.")
    rcnn: RcnnConfig = section(RcnnConfig, "The second stage.")

    @model_validator(mode="after")
    def _check_stride(self) -> Self:
        if self.network.features == "c4" and self.anchors.stride != self.base_network.output_stride:
            raise PydanticCustomError(
                "stride",
                "has anchors.stride {anchors} but base_network.output_stride {features}; accepted: the same for both",
                {"anchors": self.anchors.stride, "features": self.base_network.output_stride},
            )
        return self
