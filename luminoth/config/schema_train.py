"""The sections `train` and `eval`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from luminoth.config.fields import (
    Accepts,
    Fraction,
    NonEmptyList,
    NonNegativeInt,
    NonNegativeNumber,
    OpenFraction,
    Pair,
    Place,
    PositiveFraction,
    PositiveInt,
    PositiveNumber,
    Section,
    Seed,
    Text,
    choose_by,
    key,
)

_SAMPLING = "How pictures are drawn."
_DECAY_METHOD = "How the learning rate falls over the run."


def _none_from_empty(value: object) -> object:
    return "none" if value is None else value


class ConstantRate(Section):
    """The learning rate never changes (after the warm-up)."""

    decay_method: Annotated[Literal["none"], BeforeValidator(lambda value: "none" if value is None else value)] = key(
        "none", _DECAY_METHOD
    )
    learning_rate: PositiveNumber = key(0.0003, "The learning rate.")


Boundary = Annotated[
    PositiveInt | OpenFraction, Accepts("a whole number of at least 1, or a share of the run above 0 and below 1")
]


class PiecewiseRate(Section):
    """`values[i]` holds until step `boundaries[i]`, the last value from there on."""

    decay_method: Literal["piecewise_constant"] = key("piecewise_constant", _DECAY_METHOD)
    boundaries: NonEmptyList[Boundary] = key(
        ..., "Steps after which the next value holds, ascending; or shares of the run, such as 0.75."
    )
    values: NonEmptyList[PositiveNumber] = key(..., "Learning rates, one more than there are boundaries.")

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if len(self.values) != len(self.boundaries) + 1:
            raise PydanticCustomError(
                "lengths",
                "has {values} values for {boundaries} boundaries; accepted: one value more than boundaries",
                {"values": len(self.values), "boundaries": len(self.boundaries)},
            )
        if len({boundary < 1 for boundary in self.boundaries}) > 1:
            raise PydanticCustomError(
                "units",
                "has boundaries {boundaries}; accepted: steps only, or shares of the run only",
                {"boundaries": list(self.boundaries)},
            )
        if any(later <= earlier for earlier, later in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise PydanticCustomError(
                "order",
                "has boundaries {boundaries}; accepted: ascending steps",
                {"boundaries": list(self.boundaries)},
            )
        return self


class ExponentialRate(Section):
    """`learning_rate * decay_rate ** (step / decay_steps)`."""

    decay_method: Literal["exponential_decay"] = key("exponential_decay", _DECAY_METHOD)
    learning_rate: PositiveNumber = key(0.0003, "The learning rate at the start.")
    decay_steps: PositiveInt = key(..., "Steps in which the rate falls by `decay_rate` once.")
    decay_rate: PositiveFraction = key(..., "The factor.")
    staircase: bool = key(False, "Fall only at whole multiples of `decay_steps`.")


class PolynomialRate(Section):
    """From `learning_rate` to `end_learning_rate` in `decay_steps`, along a polynomial."""

    decay_method: Literal["polynomial_decay"] = key("polynomial_decay", _DECAY_METHOD)
    learning_rate: PositiveNumber = key(0.0003, "The learning rate at the start.")
    decay_steps: PositiveInt | None = key(
        None, "Steps until `end_learning_rate` is reached; empty: all steps of the run."
    )
    end_learning_rate: NonNegativeNumber = key(0.0001, "The rate from `decay_steps` on.")
    power: PositiveNumber = key(1.0, "1 falls along a straight line.")


class CosineRate(Section):
    """From `learning_rate` to `end_learning_rate` along half a cosine."""

    decay_method: Literal["cosine_decay"] = key("cosine_decay", _DECAY_METHOD)
    learning_rate: PositiveNumber = key(0.0003, "The learning rate at the start.")
    decay_steps: PositiveInt | None = key(None, "Steps until the end; empty: all steps of the run.")
    end_learning_rate: NonNegativeNumber = key(0.0, "The rate at the end.")


class MomentumOptimizer(Section):
    """Stochastic gradient descent with momentum."""

    type: Literal["momentum"] = key("momentum", "The optimizer.")
    momentum: Fraction = key(0.9, "How much of the last update goes on.")
    nesterov: bool = key(False, "Nesterov's form.")


class AdamOptimizer(Section):
    """Adam (Kingma and Ba 2015)."""

    type: Literal["adam"] = key("adam", "The optimizer.")
    beta1: Fraction = key(0.9, "Decay of the mean of the gradients.")
    beta2: Fraction = key(0.999, "Decay of the mean of their squares.")
    epsilon: PositiveNumber = key(1e-8, "Keeps the division finite.")


class AdamWOptimizer(Section):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    type: Literal["adamw"] = key("adamw", "The optimizer.")
    weight_decay: NonNegativeNumber = key(
        0.0001, "Share of a kernel, times the learning rate, that each step takes away; not of biases and batch norms."
    )
    beta1: Fraction = key(0.9, "Decay of the mean of the gradients.")
    beta2: Fraction = key(0.999, "Decay of the mean of their squares.")
    epsilon: PositiveNumber = key(1e-8, "Keeps the division finite.")


class GradientDescentOptimizer(Section):
    """Plain stochastic gradient descent."""

    type: Literal["gradient_descent"] = key("gradient_descent", "The optimizer.")


class RMSPropOptimizer(Section):
    """RMSProp."""

    type: Literal["rmsprop"] = key("rmsprop", "The optimizer.")
    decay: Fraction = key(0.9, "Decay of the mean of the squared gradients.")
    momentum: Fraction = key(0.0, "How much of the last update goes on.")
    epsilon: PositiveNumber = key(1e-10, "Keeps the division finite.")
    centered: bool = key(False, "Divide by the estimated variance, not by the second moment.")


LearningRate = Annotated[
    Annotated[ConstantRate, Tag("<none>")]
    | Annotated[PiecewiseRate, Tag("<piecewise_constant>")]
    | Annotated[ExponentialRate, Tag("<exponential_decay>")]
    | Annotated[PolynomialRate, Tag("<polynomial_decay>")]
    | Annotated[CosineRate, Tag("<cosine_decay>")],
    choose_by("decay_method", "none"),
    Accepts("a mapping"),
]
Optimizer = Annotated[
    Annotated[MomentumOptimizer, Tag("<momentum>")]
    | Annotated[AdamOptimizer, Tag("<adam>")]
    | Annotated[AdamWOptimizer, Tag("<adamw>")]
    | Annotated[GradientDescentOptimizer, Tag("<gradient_descent>")]
    | Annotated[RMSPropOptimizer, Tag("<rmsprop>")],
    choose_by("type", "momentum"),
    Accepts("a mapping"),
]


class UniformSampling(Section):
    """Every picture once an epoch."""

    type: Literal["uniform"] = key("uniform", _SAMPLING)


class RepeatFactorSampling(Section):
    """Pictures with rare classes several times an epoch (LVIS, Gupta et al. 2019, appendix B.2)."""

    type: Literal["repeat_factor"] = key("repeat_factor", _SAMPLING)
    threshold: PositiveFraction = key(0.001, "Share of the pictures below which a class is rare: t of sqrt(t / f).")


Sampling = Annotated[
    Annotated[UniformSampling, Tag("<uniform>")] | Annotated[RepeatFactorSampling, Tag("<repeat_factor>")],
    choose_by("type", "uniform"),
    Accepts("a mapping"),
]

MAX_GRADIENT_NORM = 10.0  # Luminoth's only choice, when clipping was on

ClipByNorm = Annotated[
    bool | PositiveNumber,
    Accepts(f"true (which is {MAX_GRADIENT_NORM:g}), false or a number above 0"),
]


BatchSize = Annotated[PositiveInt | Literal["auto"], Accepts("a whole number of at least 1 or auto")]

Precision = Literal["float32", "bfloat16", "float16"]
Multipliers = Annotated[
    dict[Text, NonNegativeNumber], Accepts("a mapping from patterns of weight names to numbers of at least 0")
]
PRECISION = "Type the network computes in; weights, boxes and losses stay float32; float16 for GPUs only."
XLA = "Compile with XLA: faster on GPUs, slower on CPUs."


# Of an evaluation; luminoth/evaluation/metrics.py measures the former, models name the losses.
_FIGURES = "AP, AP50, AP75, AP_small, AP_medium, AP_large, AR_1, AR_10, AR_100, AR_small, AR_medium, AR_large"


def _check_metric(value: str) -> str:
    if value not in _FIGURES.split(", ") and not value.endswith("_loss"):
        raise PydanticCustomError(
            "not_measured",
            "is {value}; accepted: {figures}, or the name of a loss, such as total_loss",
            {"value": value, "figures": _FIGURES},
        )
    return value


BestMetric = Annotated[
    str,
    AfterValidator(_check_metric),
    Accepts("a figure of an evaluation, such as AP50, or the name of a loss, such as total_loss"),
]


def _check_ascending(steps: tuple[int, int]) -> tuple[int, int]:
    if steps[1] < steps[0]:
        raise PydanticCustomError("order", "ends before it begins; accepted: the first and the last step")
    return steps


ProfileSteps = Annotated[
    Pair[PositiveInt], AfterValidator(_check_ascending), Accepts("a first and a last step, from 1")
]


class TrainConfig(Section):
    """How to train: how long, how fast, what to keep and what to show."""

    debug: bool = key(False, "Log more.")
    seed: Seed | None = key(None, "Seed of everything random; empty: another run differs.")
    batch_size: BatchSize = key(
        1, "Images in a step, over all devices; `auto`: as many as the memory holds, at most 64."
    )
    batch_size_per: Literal["global", "replica"] = key(
        "global", "Whether `batch_size` is over all devices of all machines, or for each device."
    )
    accumulate_steps: PositiveInt = key(
        1, "Batches whose gradients are averaged before the weights change; together they are one step."
    )
    strategy: Literal["auto", "one_device", "mirrored", "multi_worker"] = key(
        "auto",
        "Devices that train: one, all GPUs of this machine (`mirrored`), or the machines that TF_CONFIG names "
        "(`multi_worker`); `auto`: those machines, else the GPUs if they can share the batch, else one.",
    )
    wait_for_workers_secs: PositiveNumber = key(600.0, "How long to wait for the other machines at the start.")
    from_checkpoint: Text | None = key(
        None,
        "Detector to start from: alias, id or folder of a checkpoint, or a file of published weights; what fits by "
        "name and shape is taken, and its model and size of pictures before the defaults.",
    )
    precision: Precision = key("float32", PRECISION)
    xla: bool = key(False, XLA)
    job_dir: Place = key("jobs/", "Folder that holds the runs, or the `gs://` address of one in a bucket.")
    run_name: Text | None = key(None, "Name of this run, a folder in `job_dir`.")
    no_log: bool = key(False, "Write neither checkpoints nor TensorBoard events.")
    num_epochs: PositiveInt = key(1000, "Times to go over the split.")
    max_steps: PositiveInt | None = key(None, "Stop after this step, if `num_epochs` does not end the run before.")
    random_shuffle: bool = key(True, "Shuffle the split anew in every epoch.")
    shuffle_buffer: PositiveInt = key(2000, "Encoded images held in memory to shuffle among.")
    group_by_aspect_ratio: bool = key(False, "Batches of pictures of about the same shape, so that little is padded.")
    sampling: Sampling = Field(
        default_factory=UniformSampling, description="How often each picture is shown; replaced as a whole."
    )
    learning_rate: LearningRate = Field(default_factory=ConstantRate, description="The schedule; replaced as a whole.")
    base_batch_size: PositiveInt | None = key(
        None, "Images a step that `learning_rate` is meant for: rates are times those of a step / this; empty: do not."
    )
    learning_rate_multipliers: Multipliers | None = key(
        None,
        "Multipliers of the rate by patterns of weight names, such as `backbone/*: 0.1`; 0 freezes; of several that "
        "match a weight the last one holds; empty: none.",
    )
    warmup_steps: NonNegativeInt = key(500, "Steps in which the rate rises to the schedule's; 0: none.")
    warmup_factor: PositiveFraction = key(0.001, "Share of the schedule's rate at the first step of the warm-up.")
    warmup_method: Literal["linear", "constant"] = key(
        "linear", "How it rises: along a line, or not until the warm-up is over."
    )
    optimizer: Optimizer = Field(default_factory=MomentumOptimizer, description="The optimizer; replaced as a whole.")
    moving_average_decay: OpenFraction | None = key(
        None, "Decay of a moving average of the weights, such as 0.9998, which evaluation uses; empty: none."
    )
    clip_by_global_norm: PositiveNumber | None = key(
        10.0, "Scale all gradients together to at most this norm; empty: do not."
    )
    clip_by_norm: ClipByNorm = key(False, "Clip the gradient of each variable to this norm; true is 10.")
    display_every_steps: PositiveInt | None = key(None, "Print the losses every N steps.")
    display_every_secs: PositiveNumber | None = key(
        30.0, "Print the losses every N seconds, where there is no terminal to draw a progress line on."
    )
    save_checkpoint_steps: PositiveInt | None = key(None, "Save a checkpoint every N steps.")
    save_checkpoint_secs: PositiveNumber | None = key(600.0, "Save a checkpoint every N seconds.")
    checkpoints_max_keep: PositiveInt = key(3, "The newest checkpoints that are kept, beside the best.")
    eval_every_steps: PositiveInt | None = key(
        None, "Evaluate on `eval_split` every N steps and after the last, and save; empty: never."
    )
    eval_split: Text = key("val", "The split that these evaluations are on.")
    best_metric: BestMetric = key(
        "AP", "Which figure makes a checkpoint the best: AP, AP50, AR_100, ... or a loss, such as `total_loss`."
    )
    patience: PositiveInt | None = key(
        None, "Stop when `best_metric` has not got better for so many evaluations; empty: never."
    )
    min_delta: NonNegativeNumber = key(0.0, "What `best_metric` has to gain to count as better for `patience`.")
    save_summaries_steps: PositiveInt | None = key(None, "Write TensorBoard scalars every N steps.")
    save_summaries_secs: PositiveNumber | None = key(30.0, "Write TensorBoard scalars every N seconds.")
    image_vis: Literal["train", "eval", "debug"] | None = key("train", "Pictures shown in TensorBoard; empty: none.")
    profile_steps: ProfileSteps | None = key(
        None, "First and last step, from 1, that are profiled for TensorBoard; empty: none."
    )
    var_vis: Literal["full", "reduced"] | None = key(
        None, "Histograms in TensorBoard: of all weights, or of the trained ones (`reduced`)."
    )

    @property
    def images_in_step(self) -> int:
        """Images that one update of the weights is made from, over all devices and micro-batches."""
        return self.batch_size * self.accumulate_steps


class EvalConfig(Section):
    """How to evaluate and predict."""

    precision: Precision = key("float32", PRECISION)
    xla: bool = key(False, XLA)
    image_vis: Literal["train", "eval", "debug"] | None = key(
        "eval", "The worst pictures of an evaluation in TensorBoard, ground truth beside detections; empty: none."
    )
