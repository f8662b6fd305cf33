"""What training changes, and so what a checkpoint of a run holds."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from luminoth.training.update.loss_scale import LossScale
from luminoth.training.update.moving_average import MovingAverage


@dataclass(frozen=True)
class TrainingState:
    """All that an update changes; nothing else of a step outlives it.

    Attributes:
        model: a `DetectionModel`; its weights and batch-norm statistics.
        optimizer: built on the model's trainable weights; its slots.
        average: averages of the weights over time; None when none are kept.
        loss_scale: what keeps float16's gradients in range; None in other types.
    """

    model: Any
    optimizer: keras.optimizers.Optimizer
    average: MovingAverage | None = None
    loss_scale: LossScale | None = None

    @property
    def extra(self) -> dict[str, tf.Variable]:
        """What a checkpoint holds beside model and optimizer, by its name there."""
        parts = (part for part in (self.average, self.loss_scale) if part is not None)
        return {name: variable for part in parts for name, variable in part.variables.items()}

    def averaged(self) -> AbstractContextManager[None]:
        """While the block runs, the model has the weights that are used after training: averages, where there are any.

        Nothing may be trained or saved inside.
        """
        return nullcontext() if self.average is None else self.average.swapped()


def count_parameters(model: Any) -> tuple[int, int]:
    """Numbers in the weights of a model, the statistics of batch norms left out; and how many of them are trained."""
    statistics = ("moving_mean", "moving_variance")
    weights = [variable for variable in model.variables if variable.name not in statistics]
    return sum(math.prod(weight.shape) for weight in weights), sum(
        math.prod(weight.shape) for weight in model.trainable_variables
    )


def checkpoint_bytes(state: TrainingState) -> int:
    """About how large a checkpoint is: all that it holds of numbers."""
    variables = [*state.model.variables, *state.optimizer.variables, *state.extra.values()]
    return sum(math.prod(each.shape) * tf.as_dtype(each.dtype).size for each in variables)
