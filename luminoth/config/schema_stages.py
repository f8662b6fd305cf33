"""The sections `model.rpn` and `model.rcnn`: the two stages of Faster R-CNN."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from luminoth.config.fields import (
    Accepts,
    Fraction,
    List,
    NonEmptyList,
    NonNegativeInt,
    NonNegativeNumber,
    Number,
    OpenFraction,
    Pair,
    PositiveFraction,
    PositiveInt,
    PositiveNumber,
    Section,
    Seed,
    Text,
    choose_by,
    key,
    section,
)

_CLS_LOSS = "The loss."

Activation = Literal["relu6", "relu", "elu", "selu", "leaky_relu", "gelu", "swish", "softplus", "sigmoid", "tanh"]


class RandomNormal(Section):
    """Normal distribution."""

    type: Literal["random_normal_initializer"] = key("random_normal_initializer", "The distribution.")
    mean: Number = key(0.0, "Mean.")
    stddev: NonNegativeNumber = key(..., "Standard deviation.")


class TruncatedNormal(Section):
    """Normal distribution, values further than two deviations from the mean drawn again."""

    type: Literal["truncated_normal_initializer"] = key("truncated_normal_initializer", "The distribution.")
    mean: Number = key(0.0, "Mean.")
    stddev: NonNegativeNumber = key(..., "Standard deviation.")


class VarianceScaling(Section):
    """Variance `factor` over the number of inputs or outputs (He et al. 2015 with the defaults)."""

    type: Literal["variance_scaling_initializer"] = key("variance_scaling_initializer", "The distribution.")
    factor: PositiveNumber = key(2.0, "Variance times the number that `mode` chooses.")
    mode: Literal["FAN_IN", "FAN_OUT", "FAN_AVG"] = key("FAN_IN", "Divide by inputs, outputs or their mean.")
    uniform: bool = key(False, "Uniform rather than truncated normal.")


class Xavier(Section):
    """Glorot and Bengio 2010."""

    type: Literal["xavier_initializer"] = key("xavier_initializer", "The distribution.")
    uniform: bool = key(True, "Uniform rather than normal.")


Initializer = Annotated[
    Annotated[RandomNormal, Tag("<random_normal_initializer>")]
    | Annotated[TruncatedNormal, Tag("<truncated_normal_initializer>")]
    | Annotated[VarianceScaling, Tag("<variance_scaling_initializer>")]
    | Annotated[Xavier, Tag("<xavier_initializer>")],
    choose_by("type", "random_normal_initializer"),
    Accepts("a mapping"),
]


def _initializer(default: Section, what: str) -> Any:
    return key(default, f"First weights of {what}; replaced as a whole.")


class RpnProposals(Section):
    """Which of the RPN's boxes go on to the second stage."""

    pre_nms_top_n: PositiveInt = key(12000, "Best boxes kept before NMS, in training.")
    post_nms_top_n: PositiveInt = key(2000, "Best boxes kept after NMS, in training.")
    test_pre_nms_top_n: PositiveInt = key(
        6000, "The same in evaluation and prediction; follows a stated `pre_nms_top_n`."
    )
    test_post_nms_top_n: PositiveInt = key(
        300, "The same in evaluation and prediction; follows a stated `post_nms_top_n`."
    )
    apply_nms: bool = key(True, "Suppress boxes that overlap a better one.")
    nms_threshold: Fraction = key(0.7, "IoU above which a box is suppressed.")
    min_size: NonNegativeNumber = key(
        0.0, "Drop boxes with a shorter side than this, in pixels of the network's input."
    )
    clip_after_nms: bool = key(False, "Clip boxes to the picture after NMS rather than before.")
    filter_outside_anchors: bool = key(False, "Drop boxes of anchors that reach out of the picture.")
    min_prob_threshold: Fraction = key(0.0, "Drop boxes with a lower objectness.")


def _check_thresholds(target: RpnTarget | RcnnTarget) -> None:
    """Foreground, background and what lies between them must not overlap."""
    low, high, foreground = (
        target.background_threshold_low,
        target.background_threshold_high,
        target.foreground_threshold,
    )
    if not low <= high <= foreground:
        raise PydanticCustomError(
            "order",
            "has background_threshold_low {low}, background_threshold_high {high} and foreground_threshold "
            "{foreground}; accepted: each at most the next",
            {"low": low, "high": high, "foreground": foreground},
        )


class RpnTarget(Section):
    """Which anchors the RPN is trained on, and as what."""

    allowed_border: NonNegativeNumber | None = key(
        0.0, "Pixels an anchor may reach out of the picture and still be used; empty: any (torchvision, Detectron2)."
    )
    clobber_positives: bool = key(False, "Background wins where an anchor is both.")
    foreground_threshold: Fraction = key(0.7, "IoU from which an anchor is foreground.")
    background_threshold_high: Fraction = key(0.3, "IoU below which an anchor is background ...")
    background_threshold_low: Fraction = key(0.0, "... and from which.")
    foreground_fraction: Fraction = key(0.5, "Most foreground in a minibatch.")
    minibatch_size: PositiveInt = key(256, "Anchors sampled in each picture.")
    random_seed: Seed | None = key(None, "Mixed into the seed of the sampling, which follows `train.seed`.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_thresholds(self)
        return self


class CrossEntropy(Section):
    """Cross-entropy of the sampled anchors or proposals."""

    type: Literal["cross_entropy"] = key("cross_entropy", _CLS_LOSS)


class RpnFocalLoss(Section):
    """Focal loss (Lin et al. 2017) of all anchors, sampled or not, divided by the number of foreground ones."""

    type: Literal["focal"] = key("focal", _CLS_LOSS)
    alpha: OpenFraction | None = key(0.25, "Weight of foreground, 1 - alpha being background's; empty: no weights.")
    gamma: NonNegativeNumber = key(2.0, "How much less counts what is recognised well; 0: cross-entropy.")
    prior: OpenFraction = key(0.01, "Objectness of every anchor at the start of a training, through the layer's bias.")


class RcnnFocalLoss(Section):
    """Focal loss (Lin et al. 2017) of the sampled proposals."""

    type: Literal["focal"] = key("focal", _CLS_LOSS)
    alpha: OpenFraction | None = key(None, "Weight of all classes, 1 - alpha being background's; empty: no weights.")
    gamma: NonNegativeNumber = key(2.0, "How much less counts what is recognised well; 0: cross-entropy.")


RpnClassLoss = Annotated[
    Annotated[CrossEntropy, Tag("<cross_entropy>")] | Annotated[RpnFocalLoss, Tag("<focal>")],
    choose_by("type", "cross_entropy"),
    Accepts("a mapping"),
]
RcnnClassLoss = Annotated[
    Annotated[CrossEntropy, Tag("<cross_entropy>")] | Annotated[RcnnFocalLoss, Tag("<focal>")],
    choose_by("type", "cross_entropy"),
    Accepts("a mapping"),
]
ClassWeights = Annotated[
    Literal["auto"] | dict[Text, PositiveNumber] | NonEmptyList[PositiveNumber] | None,
    Accepts("auto, a mapping from classes to numbers above 0, a list of such numbers, or empty"),
]

_L1_BETA = "The same place, stated as it is; 0: never square (Detectron2); empty: 1 / `l1_sigma`^2."


class RpnConfig(Section):
    """The region proposal network."""

    activation_function: Activation | None = key("relu6", "After the convolution; empty: none.")
    l2_regularization_scale: NonNegativeNumber = key(0.0005, "L2 penalty on the RPN's weights; 0: none.")
    l1_sigma: PositiveNumber = key(3.0, "Where smooth L1 turns from square to straight: at 1 / sigma^2.")
    l1_beta: NonNegativeNumber | None = key(None, _L1_BETA)
    loss_normalizer: Literal["sampled", "minibatch"] = key(
        "sampled", "Losses are divided by the anchors sampled, or by `minibatch_size` times the pictures (Detectron2)."
    )
    cls_loss: RpnClassLoss = Field(
        default_factory=CrossEntropy, description="The objectness loss; replaced as a whole."
    )
    num_convs: PositiveInt = key(1, "Convolutions before the outputs.")
    num_channels: PositiveInt = key(512, "Channels of the convolutions.")
    kernel_shape: Pair[PositiveInt] = key((3, 3), "Height and width of the convolution's kernel.")
    rpn_initializer: Initializer = _initializer(RandomNormal(stddev=0.01), "the convolution")
    cls_initializer: Initializer = _initializer(RandomNormal(stddev=0.01), "the objectness layer")
    bbox_initializer: Initializer = _initializer(RandomNormal(stddev=0.001), "the box layer")
    proposals: RpnProposals = section(RpnProposals, "Which boxes go on.")
    target: RpnTarget = section(RpnTarget, "Which anchors are trained on.")


class Roi(Section):
    """How features are cut out for each box."""

    pooling_mode: Literal["align", "crop"] = key("align", "RoIAlign, or Luminoth's crop and max-pool.")
    pooled_width: PositiveInt = key(7, "Cells across.")
    pooled_height: PositiveInt = key(7, "Cells down.")
    sampling_ratio: NonNegativeInt = key(
        2, "Points sampled in each direction of a cell (`align`); 0: as many as it covers features (Detectron2)."
    )
    aligned: bool = key(True, "Features lie in the middle of their pixels; false: at the corner (torchvision).")
    padding: Literal["VALID", "SAME"] = key("VALID", "Padding of the max-pool (`crop`).")


class RcnnProposals(Section):
    """Which of the second stage's boxes are detections."""

    class_max_detections: PositiveInt = key(100, "Most detections of one class in a picture.")
    class_nms_threshold: Fraction = key(0.5, "IoU above which a box of the same class is suppressed.")
    total_max_detections: PositiveInt = key(300, "Most detections in a picture.")
    min_prob_threshold: Fraction = key(0.5, "Drop detections with a lower score.")


class RcnnTarget(Section):
    """Which proposals the second stage is trained on, and as what."""

    foreground_fraction: Fraction = key(0.25, "Most foreground in a minibatch.")
    minibatch_size: PositiveInt = key(256, "Proposals sampled in each picture.")
    foreground_threshold: Fraction = key(0.5, "IoU from which a proposal is foreground.")
    background_threshold_high: Fraction = key(0.5, "IoU below which a proposal is background ...")
    background_threshold_low: Fraction = key(0.0, "... and from which.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_thresholds(self)
        return self


class RcnnConfig(Section):
    """The second stage: classes and refined boxes."""

    conv_channels: List[PositiveInt] = key(
        (),
        "3 x 3 convolutions with batch norm before the fully connected layers (torchvision's v2: four of 256).",
    )
    layer_sizes: List[PositiveInt] = key((), "Fully connected layers before the outputs, such as [4096, 4096] for VGG.")
    dropout_keep_prob: PositiveFraction = key(1.0, "Share of values kept after each of those layers in training.")
    activation_function: Activation | None = key("relu6", "After each of those layers; empty: none.")
    l2_regularization_scale: NonNegativeNumber = key(0.0005, "L2 penalty on the second stage's weights; 0: none.")
    l1_sigma: PositiveNumber = key(1.0, "Where smooth L1 turns from square to straight: at 1 / sigma^2.")
    l1_beta: NonNegativeNumber | None = key(None, _L1_BETA)
    cls_loss: RcnnClassLoss = Field(default_factory=CrossEntropy, description="The class loss; replaced as a whole.")
    class_weights: ClassWeights = key(
        None,
        "Factors of the class loss: `auto` by how rare a class is; by name, others 1; a list in the order of "
        "`classes.json`; empty: all 1. Background is 1.",
    )
    use_mean: bool = key(True, "Average the pooled cells rather than flatten them.")
    target_normalization_variances: Pair[PositiveNumber] = key(
        (0.1, 0.2), "Divisors of the box targets: for the centre, for the size."
    )
    rcnn_initializer: Initializer = _initializer(
        VarianceScaling(factor=1.0, uniform=True, mode="FAN_AVG"), "the fully connected layers"
    )
    cls_initializer: Initializer = _initializer(RandomNormal(stddev=0.01), "the class layer")
    bbox_initializer: Initializer = _initializer(RandomNormal(stddev=0.001), "the box layer")
    roi: Roi = section(Roi, "How features are cut out.")
    proposals: RcnnProposals = section(RcnnProposals, "Which boxes are detections.")
    target: RcnnTarget = section(RcnnTarget, "Which proposals are trained on.")
