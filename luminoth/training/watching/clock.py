"""Where the time of a training goes, without a gap."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

# Of a step: waiting for its batch, the update itself, all else (events, curves).
INPUT, MODEL, HOST = "input", "model", "host"
# Between steps: evaluations, checkpoints, pictures and histograms; and what is done before the first step is over.
VALIDATION, SAVING, PICTURES, START = "validation", "saving", "pictures", "start"
_PHASES = (INPUT, MODEL, HOST, VALIDATION, SAVING, PICTURES, START)


@dataclass(frozen=True)
class Spent:
    """Seconds by what they were spent on.

    Attributes:
        seconds: of each phase.
        steps: updates in them, those of `START` not counted.
    """

    seconds: Mapping[str, float]
    steps: int

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds.values())

    @property
    def outside_model(self) -> float | None:
        """The share of the steps' time that the model was not at work, 0 to 1: input and host. What is done between
        steps does not count. None before there was a step."""
        steps = self.seconds[INPUT] + self.seconds[HOST] + self.seconds[MODEL]
        return None if self.steps == 0 else (steps - self.seconds[MODEL]) / max(steps, 1e-9)

    def milliseconds_a_step(self, *phases: str) -> float | None:
        """Of these phases together; None before there was a step."""
        return None if self.steps == 0 else 1000 * sum(self.seconds[phase] for phase in phases) / self.steps


class Clock:
    """Splits time into phases: all since the last phase ended belongs to the one that ends now.

    The first update prepares everything (tracing, filling the pipeline); until it is done all is `START`.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._seconds, self._steps = dict.fromkeys(_PHASES, 0.0), 0
        self._before, self._steps_before = dict(self._seconds), 0
        self._started = False

    def ends(self, phase: str) -> None:
        """The phase ends now; with `MODEL` a step does."""
        now = time.monotonic()
        self._seconds[phase if self._started else START] += now - self._last
        self._last = now
        if phase == MODEL:
            self._steps += self._started
            self._started = True

    def total(self) -> Spent:
        """All so far."""
        return Spent(dict(self._seconds), self._steps)

    def lap(self) -> Spent:
        """What came since the last lap."""
        before, steps_before = self._before, self._steps_before
        self._before, self._steps_before = dict(self._seconds), self._steps
        return Spent(
            {phase: seconds - before[phase] for phase, seconds in self._seconds.items()}, self._steps - steps_before
        )
