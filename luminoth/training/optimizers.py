"""Optimizers, learning rates as a function of the step, and gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from luminoth.errors import ConfigError

LearningRate = Callable[[int], float]


def make_optimizer(settings: Any, variables: Sequence[keras.Variable]) -> keras.optimizers.Optimizer:
    """The optimizer `train.optimizer` asks for, built: all of its variables exist.

    Its learning rate is set at each step by the training loop. Weight decay (adamw) leaves alone what has
    fewer than two dimensions: biases and batch norm's scale and offset.

    Args:
        settings: `config.train.optimizer`.
        variables: the weights to train.
    """
    initial_rate = 0.0  # assigned before each update
    match settings.type:
        case "momentum":
            optimizer = keras.optimizers.SGD(initial_rate, momentum=settings.momentum, nesterov=settings.nesterov)
        case "gradient_descent":
            optimizer = keras.optimizers.SGD(initial_rate)
        case "adam":
            optimizer = keras.optimizers.Adam(initial_rate, settings.beta1, settings.beta2, settings.epsilon)
        case "adamw":
            optimizer = keras.optimizers.AdamW(
                initial_rate, settings.weight_decay, settings.beta1, settings.beta2, settings.epsilon
            )
            optimizer.exclude_from_weight_decay([variable for variable in variables if len(variable.shape) < 2])
        case "rmsprop":
            optimizer = keras.optimizers.RMSprop(
                initial_rate, settings.decay, settings.momentum, settings.epsilon, settings.centered
            )
        case other:
            raise ConfigError(
                f"train.optimizer.type: {other!r} is not one of momentum, adam, adamw, gradient_descent, rmsprop"
            )
    optimizer.build(list(variables))
    return optimizer


def make_learning_rate(
    settings: Any, *, total_steps: int, warmup_steps: int = 0, warmup_factor: float = 0.0
) -> LearningRate:
    """The learning rate as a function of the number of updates already done (0 for the first).

    Args:
        settings: `config.train.learning_rate`.
        total_steps: updates of the whole run; the length of a cosine decay that states none.
        warmup_steps: the rate grows linearly over so many steps, from `warmup_factor` times its value.
        warmup_factor: 0 to 1.
    """
    decayed = _decay(settings, total_steps)

    def learning_rate(step: int) -> float:
        rate = decayed(step)
        if step >= warmup_steps:
            return rate
        return rate * (warmup_factor + (1.0 - warmup_factor) * step / warmup_steps)

    return learning_rate


def _decay(settings: Any, total_steps: int) -> LearningRate:
    match settings.decay_method:
        case None | "none":
            return lambda step: settings.learning_rate
        case "piecewise_constant":
            return lambda step: piecewise_constant(step, settings.boundaries, settings.values)
        case "exponential_decay":
            return lambda step: exponential_decay(
                step, settings.learning_rate, settings.decay_steps, settings.decay_rate, settings.staircase
            )
        case "polynomial_decay":
            return lambda step: polynomial_decay(
                step, settings.learning_rate, settings.decay_steps, settings.end_learning_rate, settings.power
            )
        case "cosine_decay":
            decay_steps = settings.decay_steps or total_steps
            return lambda step: cosine_decay(step, settings.learning_rate, decay_steps, settings.end_learning_rate)
        case other:
            raise ConfigError(
                f"train.learning_rate.decay_method: {other!r} is not one of none, piecewise_constant, "
                "exponential_decay, polynomial_decay, cosine_decay"
            )


def piecewise_constant(step: int, boundaries: Sequence[int], values: Sequence[float]) -> float:
    """`values[0]` up to and including step `boundaries[0]`, then `values[1]`, and so on; one value more."""
    return values[sum(step > boundary for boundary in boundaries)]


def exponential_decay(step: int, start: float, decay_steps: int, decay_rate: float, staircase: bool) -> float:
    """`start * decay_rate ** (step / decay_steps)`; with `staircase` the exponent is rounded down."""
    exponent = step // decay_steps if staircase else step / decay_steps
    return start * decay_rate**exponent


def polynomial_decay(step: int, start: float, decay_steps: int, end: float, power: float) -> float:
    """From `start` to `end` over `decay_steps` along `(1 - progress) ** power`, then `end`."""
    progress = min(step / decay_steps, 1.0)
    return (start - end) * (1.0 - progress) ** power + end


def cosine_decay(step: int, start: float, decay_steps: int, end: float) -> float:
    """From `start` to `end` over `decay_steps` along half a cosine (SGDR, equation 5), then `end`."""
    progress = min(step / decay_steps, 1.0)
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * progress))


def clip_gradients(
    gradients: Sequence[tf.Tensor], *, by_norm: float | None, by_global_norm: float | None
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Shortens gradients that are too long, first each by itself, then all together.

    Args:
        gradients: one tensor a variable.
        by_norm: the longest any one may be (L2 norm); None leaves them.
        by_global_norm: the longest all of them as one vector may be; None leaves them.

    Returns:
        The gradients and, as a scalar, their global norm before any clipping.
    """
    norm = tf.linalg.global_norm(gradients)
    clipped = list(gradients)
    if by_norm is not None:
        clipped = [tf.clip_by_norm(gradient, by_norm) for gradient in clipped]
    if by_global_norm is not None:
        clipped, _ = tf.clip_by_global_norm(clipped, by_global_norm)
    return clipped, norm
