"""What training tells whoever watches it: `train(config, on_event=...)` calls back with one of these.

The library itself prints nothing. Imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luminoth.checkpoints.transfer import Transfer


@dataclass(frozen=True)
class RunOpened:
    """Everything was checked, nothing is built yet.

    Attributes:
        folder: the run's folder; None when nothing is saved (`train.no_log`).
        device: what the model will run on, in words.
        images: pictures in the data set's split.
        classes: the class names.
        checkpoint: what training goes on from, or None for a start from the beginning.
        start_step, total_steps: updates done, and updates when the run will be finished.
        seed: of this run.
        stopped_early: nothing is left to do, since evaluations no longer got better (`train.patience`).
        images_per_epoch: more than `images` where some are repeated (`train.sampling`).
    """

    folder: Path | None
    device: str
    images: int
    classes: Sequence[str]
    checkpoint: Path | None
    start_step: int
    total_steps: int
    seed: int
    stopped_early: bool = False
    images_per_epoch: int | None = None


@dataclass(frozen=True)
class Doubted:
    """Something in the configuration or the data looks wrong, which does not keep the training from going on.

    Attributes:
        message: one line, with the keys and what to do.
    """

    message: str


@dataclass(frozen=True)
class BatchSizeChosen:
    """`train.batch_size: auto` was decided; `reason` says in words why."""

    batch_size: int
    reason: str


@dataclass(frozen=True)
class ClassWeightsChosen:
    """The class loss is weighted (`model.rcnn.class_weights`), by these numbers for the classes."""

    weights: Mapping[str, float]


@dataclass(frozen=True)
class RateScaled:
    """All learning rates are multiplied by `factor`, since they were stated for another batch size."""

    factor: float
    batch_size: int
    base_batch_size: int


@dataclass(frozen=True)
class ModelBuilt:
    """The model is there, its weights are not loaded yet.

    Attributes:
        parameters: numbers in its weights, the statistics of batch norms left out.
        trained: how many of them are trained.
    """

    parameters: int
    trained: int


@dataclass(frozen=True)
class BackboneLoaded:
    """A training from the beginning got its backbone's weights; `source` says in words which."""

    source: str


@dataclass(frozen=True)
class WeightsTransferred:
    """A training from the beginning took weights from another checkpoint.

    Attributes:
        transfer: what was taken, see `luminoth.checkpoints.transfer.Transfer`.
        disagreements: what in the configuration does not suit these weights, a line each.
    """

    transfer: Transfer
    disagreements: tuple[str, ...]


@dataclass(frozen=True)
class StepDone:
    """One update was applied.

    Attributes:
        step: updates done, this one included.
        total_steps: updates of the whole run.
        losses: each loss by name, with `total_loss` and `no_reg_loss`.
        learning_rate: of this update.
        gradient_norm: global norm before clipping.
        images_per_second: over the last steps; 0.0 while it is unknown.
        seconds_left: at this rate; None while it is unknown.
    """

    step: int
    total_steps: int
    losses: Mapping[str, float]
    learning_rate: float
    gradient_norm: float
    images_per_second: float
    seconds_left: float | None


@dataclass(frozen=True)
class ProfileWritten:
    """The steps of `train.profile_steps` are done, `step` the last of them; their profile is in `folder`."""

    step: int
    folder: Path


@dataclass(frozen=True)
class SettingsChanged:
    """A run goes on otherwise than it was saved; `changes` says in a line each what holds from here on."""

    changes: tuple[str, ...]


@dataclass(frozen=True)
class EvaluationStarted:
    """The weights after `step` updates are evaluated on the `images` pictures of `split`."""

    step: int
    split: str
    images: int


@dataclass(frozen=True)
class Evaluated:
    """That is done.

    Attributes:
        step: updates done.
        split: what it was evaluated on.
        figures: COCO's figures and the losses by name; None where there was nothing to measure.
        metric: the one that the run is judged by (`train.best_metric`), also in `figures`.
        value: what it is.
        best: step and value of the best evaluation of the run; None when nothing could be measured so far.
        without_gain: how many evaluations ago it last got better by more than `train.min_delta`.
        seconds: how long it took.
    """

    step: int
    split: str
    figures: Mapping[str, float | None]
    metric: str
    value: float | None
    best: tuple[int, float] | None
    without_gain: int
    seconds: float


@dataclass(frozen=True)
class WorkerJoined:
    """This process is worker `index` of `count`; the chief at address `chief` tells of all that follows."""

    index: int
    count: int
    chief: str


@dataclass(frozen=True)
class Interrupted:
    """SIGINT or SIGTERM came in; after `step` updates training saves, if it saves at all, and stops."""

    step: int


@dataclass(frozen=True)
class CheckpointSaved:
    """A whole checkpoint of step `step` is at `folder`."""

    step: int
    folder: Path


Event = (
    RunOpened
    | Doubted
    | BatchSizeChosen
    | ClassWeightsChosen
    | RateScaled
    | ModelBuilt
    | BackboneLoaded
    | WeightsTransferred
    | StepDone
    | ProfileWritten
    | SettingsChanged
    | WorkerJoined
    | EvaluationStarted
    | Evaluated
    | Interrupted
    | CheckpointSaved
)
OnEvent = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """For a training that nobody watches."""
