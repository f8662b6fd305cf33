"""What a training came to: the figures that stand at its end."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from luminoth.training.watching.clock import HOST, INPUT, MODEL, PICTURES, SAVING, START, VALIDATION, Spent

LOSS_STEPS = 50  # a step's loss says little: losses are told as means over so many steps

_NAMES = {
    MODEL: "model",
    INPUT: "input wait",
    HOST: "host",
    VALIDATION: "validation",
    SAVING: "saving",
    PICTURES: "pictures",
    START: "first step",
}


@dataclass(frozen=True)
class TrainingFigures:
    """Of one call of `train`: a resumed training counts from where it went on.

    Attributes:
        steps: updates made.
        epochs: times that the split was gone over, in all of the run.
        images_per_second: over all steps but the first, which prepares everything; waiting for input included. None
            where there was no second step.
        spent: where the time went.
        loss: mean of `total_loss` over the last `LOSS_STEPS` steps; NaN where there was no step.
        lowest_loss, lowest_loss_step: the lowest such mean, and the step it ended with.
        host_peak, gpu_peak: the most memory held, in bytes; None where it cannot be seen.
    """

    steps: int
    epochs: float
    images_per_second: float | None
    spent: Spent
    loss: float
    lowest_loss: float
    lowest_loss_step: int
    host_peak: int | None
    gpu_peak: int | None

    def lines(self) -> list[tuple[str, str]]:
        """Name and value of each figure, in words for a person."""
        found = {
            "steps": f"{self.steps:,} made; {self.epochs:,.4g} epochs of the run are done",
            "time": _duration(self.spent.total),
            "spent": self._shares(),
            "speed": None if self.images_per_second is None else f"{self.images_per_second:.2f} images/s",
            "not model": self._outside_model(),
            "loss": f"{self.loss:.4g}, the mean of {min(self.steps, LOSS_STEPS)} steps; lowest {self.lowest_loss:.4g} "
            f"at step {self.lowest_loss_step:,}",
            "memory": self._memory(),
        }
        return [(name, text) for name, text in found.items() if text]

    def _shares(self) -> str:
        """As in `model 91%, validation 6%, saving 2%`: what took a hundredth of the time or more, the most first."""
        total = max(self.spent.total, 1e-9)
        ordered = sorted(_NAMES, key=self.spent.seconds.__getitem__, reverse=True)
        shares = [
            f"{_NAMES[phase]} {self.spent.seconds[phase] / total:.0%}"
            for phase in ordered
            if self.spent.seconds[phase] >= 0.01 * total
        ]
        return ", ".join(shares)

    def _outside_model(self) -> str | None:
        """As in `1.3% of a step's time (input wait 1.1%, host 0.2%)`."""
        outside, seconds = self.spent.outside_model, self.spent.seconds
        if outside is None:
            return None
        total = max(seconds[INPUT] + seconds[MODEL] + seconds[HOST], 1e-9)
        parts = ", ".join(f"{_NAMES[phase]} {seconds[phase] / total:.1%}" for phase in (INPUT, HOST))
        return f"{outside:.1%} of a step's time ({parts})"

    def _memory(self) -> str:
        host = None if self.host_peak is None else f"{self.host_peak / 1e9:.2f} GB at most"
        gpu = None if self.gpu_peak is None else f"{self.gpu_peak / 1e9:.2f} GB of the GPU's"
        return ", ".join(filter(None, (host, gpu)))


class LossMeans:
    """The mean loss of the last `LOSS_STEPS` steps, and the lowest that it has been."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=LOSS_STEPS)
        self.lowest, self.lowest_step = math.inf, 0

    def add(self, step: int, loss: float) -> None:
        """A step's loss."""
        is_of_a_few = len(self._last) < LOSS_STEPS
        self._last.append(loss)
        # Until there are so many, the mean of all; a mean of a few that was low by chance does not stay.
        if is_of_a_few or self.mean < self.lowest:
            self.lowest, self.lowest_step = self.mean, step

    @property
    def mean(self) -> float:
        """NaN before there was a step."""
        return sum(self._last) / len(self._last) if self._last else math.nan


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
