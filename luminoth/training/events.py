"""What training tells whoever watches it: `train(config, on_event=...)` calls back with one of these.

The library itself prints nothing. Imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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
    """

    folder: Path | None
    device: str
    images: int
    classes: Sequence[str]
    checkpoint: Path | None
    start_step: int
    total_steps: int
    seed: int


@dataclass(frozen=True)
class BackboneLoaded:
    """A training from the beginning got its backbone's weights; `source` says in words which."""

    source: str


@dataclass(frozen=True)
class WeightsTransferred:
    """A training from the beginning took weights from another checkpoint.

    Attributes:
        source: that checkpoint's folder.
        taken: names of the tensors that fitted.
        new: names of the model's tensors that start anew.
    """

    source: Path
    taken: tuple[str, ...]
    new: tuple[str, ...]


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
class Interrupted:
    """SIGINT or SIGTERM came in; after `step` updates training saves, if it saves at all, and stops."""

    step: int


@dataclass(frozen=True)
class CheckpointSaved:
    """A whole checkpoint of step `step` is at `folder`."""

    step: int
    folder: Path


Event = RunOpened | BackboneLoaded | WeightsTransferred | StepDone | Interrupted | CheckpointSaved
OnEvent = Callable[[Event], None]


def ignore_events(event: Event) -> None:
    """For a training that nobody watches."""
