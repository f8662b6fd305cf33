"""When something is due again, and how fast training goes."""

from __future__ import annotations

import math
import time


class Every:
    """Tells when something is due again: every so many steps or seconds, whichever comes first.

    Args:
        steps: due at multiples of it; None or 0 for never.
        seconds: due so long after it was due last (or after the start); None or 0 for never.
    """

    def __init__(self, steps: int | None, seconds: float | None) -> None:
        self._steps, self._seconds = steps, seconds
        self._last = time.monotonic()

    def __call__(self, step: int) -> bool:
        by_steps = bool(self._steps) and step % self._steps == 0
        by_time = bool(self._seconds) and time.monotonic() - self._last >= self._seconds
        if by_steps or by_time:
            self._last = time.monotonic()
        return by_steps or by_time


class Speed:
    """Images a second, as an average that forgets; what happens between `stop` and `start` does not count."""

    # The share of a new step in the average: about the last 20 steps matter.
    _SHARE = 0.1

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._steps = 0
        self._seconds_a_step = math.nan
        self._started = 0.0

    def start(self) -> None:
        self._started = time.monotonic()

    def stop(self) -> None:
        seconds = time.monotonic() - self._started
        self._steps += 1
        if self._steps == 2:  # the first one traces and fills the pipeline
            self._seconds_a_step = seconds
        elif self._steps > 2:
            self._seconds_a_step += self._SHARE * (seconds - self._seconds_a_step)

    @property
    def images_per_second(self) -> float:
        """0.0 while it is unknown."""
        return 0.0 if math.isnan(self._seconds_a_step) else self._batch_size / max(self._seconds_a_step, 1e-9)

    def seconds_for(self, steps: int) -> float | None:
        """How long so many steps will take; None while it is unknown."""
        return None if math.isnan(self._seconds_a_step) else steps * self._seconds_a_step
