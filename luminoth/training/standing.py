"""What the evaluations of a run have found so far: which was the best, and whether it goes on getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from luminoth.checkpoints.history import is_lower_better


@dataclass
class Standing:
    """The figure that a run is judged by, at each evaluation. All that is asked of it follows from those values.

    Attributes:
        split: what is evaluated on.
        metric: which figure, see `luminoth.checkpoints.history.read_figure`.
        values: (step, value) of each evaluation, ascending; None where the figure could not be measured.
    """

    split: str
    metric: str
    values: list[tuple[int, float | None]] = field(default_factory=list)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any] | None, *, split: str, metric: str) -> Self:
        """What a checkpoint's `state.json` says; anew when it was judged by something else."""
        saved = saved or {}
        is_same = (saved.get("split"), saved.get("metric")) == (split, metric)
        return cls(split, metric, [tuple(pair) for pair in saved["values"]] if is_same else [])

    def to_dict(self) -> dict[str, Any]:
        """For `state.json`."""
        return {"split": self.split, "metric": self.metric, "values": self.values}

    def add(self, step: int, value: float | None) -> None:
        """Takes an evaluation in; NaN and infinity count as not measured."""
        is_known = value is not None and math.isfinite(value)
        self.values.append((step, float(value) if is_known else None))

    def has(self, step: int) -> bool:
        """Whether the weights after `step` updates were evaluated."""
        return any(known == step for known, _ in self.values)

    @property
    def best(self) -> tuple[int, float] | None:
        """Step and value of the best evaluation, of equal ones the newest; None before the first one."""
        known = [(step, value) for step, value in self.values if value is not None]
        return max(known, key=lambda pair: (self._rank(pair[1]), pair[0]), default=None)

    def without_gain(self, min_delta: float = 0.0) -> int:
        """How many evaluations there were since the figure last got better by more than `min_delta`.

        Better than it was when that count last began anew, so that many small steps count together.
        """
        reference, count = -math.inf, 0
        for _, value in self.values:
            if value is not None and self._rank(value) > reference + min_delta:
                reference, count = self._rank(value), 0
            else:
                count += 1
        return count

    def is_exhausted(self, patience: int | None, min_delta: float) -> bool:
        """Whether training should stop; never without `patience`."""
        return patience is not None and self.without_gain(min_delta) >= patience

    def _rank(self, value: float) -> float:
        return -value if is_lower_better(self.metric) else value
