"""Learning rates as functions of the number of updates done, and what scales them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from luminoth.errors import ConfigError

# Updates done before (0 for the first) -> the rate of the next one.
LearningRate = Callable[[int], float]


def make_learning_rate(
    settings: Any,
    *,
    total_steps: int,
    warmup_steps: int = 0,
    warmup_factor: float = 0.0,
    warmup_method: str = "linear",
    scale: float = 1.0,
) -> LearningRate:
    """The learning rate as a function of the number of updates already done (0 for the first).

    Args:
        settings: `config.train.learning_rate`.
        total_steps: updates of the whole run: what boundaries below 1 are shares of, and how long a polynomial or
            cosine decay takes that does not say.
        warmup_steps: updates before the schedule's own rate holds; the schedule counts them as well.
        warmup_factor: 0 to 1, the share of the schedule's rate at the first update.
        warmup_method: "linear", the share grows to 1 with each update; "constant", it stays to the end of the warm-up.
        scale: what all rates are multiplied by, see `batch_scale`.
    """
    decayed = _decay(settings, total_steps)

    def learning_rate(step: int) -> float:
        rate = scale * decayed(step)
        if step >= warmup_steps:
            return rate
        if warmup_method == "constant":
            return rate * warmup_factor
        return rate * (warmup_factor + (1.0 - warmup_factor) * step / warmup_steps)

    return learning_rate


def batch_scale(batch_size: int, base_batch_size: int | None) -> float:
    """What to multiply rates by that were stated for batches of another size (Goyal et al. 2017, section 2.1).

    Args:
        batch_size: images an update.
        base_batch_size: images that the rates were stated for; None: for `batch_size`.
    """
    return 1.0 if base_batch_size is None else batch_size / base_batch_size


def _decay(settings: Any, total_steps: int) -> LearningRate:
    match settings.decay_method:
        case None | "none":
            return lambda step: settings.learning_rate
        case "piecewise_constant":
            boundaries = _in_steps(settings.boundaries, total_steps)
            return lambda step: piecewise_constant(step, boundaries, settings.values)
        case "exponential_decay":
            return lambda step: exponential_decay(
                step, settings.learning_rate, settings.decay_steps, settings.decay_rate, settings.staircase
            )
        case "polynomial_decay":
            decay_steps = settings.decay_steps or total_steps
            return lambda step: polynomial_decay(
                step, settings.learning_rate, decay_steps, settings.end_learning_rate, settings.power
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


def _in_steps(boundaries: Sequence[float], total_steps: int) -> list[int]:
    """Boundaries as steps; those below 1 are shares of the run."""
    return [round(boundary * total_steps) if boundary < 1 else int(boundary) for boundary in boundaries]
