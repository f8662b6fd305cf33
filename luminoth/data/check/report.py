"""What a check says at last: figures, concerns by severity, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luminoth.data.check.concerns import Concern, Severity


@dataclass(frozen=True)
class SplitFigures:
    """One split in numbers: pictures that can be used, those of them without objects, those that cannot; objects."""

    split: str
    pictures: int
    empty: int
    dropped: int
    objects: int


@dataclass(frozen=True, eq=False)
class CheckReport:
    """The outcome of a check.

    Attributes:
        name: the data set, for people.
        classes: the class list, and behind it labels that are beyond it.
        splits: the figures of each split.
        objects, pictures: [S, C] int64: objects of each class in each split, and pictures that have one.
        concerns: worst first.
    """

    name: str
    classes: Sequence[str]
    splits: Sequence[SplitFigures]
    objects: np.ndarray
    pictures: np.ndarray
    concerns: Sequence[Concern]

    def of(self, severity: Severity) -> list[Concern]:
        """The concerns of a severity."""
        return [concern for concern in self.concerns if concern.severity is severity]

    @property
    def is_fit(self) -> bool:
        """Whether training would run, and learn something."""
        return not self.of(Severity.BREAKS) and not self.of(Severity.FUTILE)

    @property
    def verdict(self) -> str:
        """One line."""
        for severity in (Severity.BREAKS, Severity.FUTILE):
            if concerns := self.of(severity):
                more = len(self.concerns_that_forbid) - 1
                also = f" (and {more} more, see above)" if more else ""
                return f"{severity.value.capitalize()}: {concerns[0].text}{also}"
        if count := len(self.of(Severity.LOOK)):
            return f"Trains, with {count} thing{'s' if count > 1 else ''} worth a look"
        return "Good to train"

    @property
    def concerns_that_forbid(self) -> list[Concern]:
        """Those for which the verdict is no."""
        return [*self.of(Severity.BREAKS), *self.of(Severity.FUTILE)]

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        by_class = {
            name: {
                split.split: {"objects": int(self.objects[row, column]), "pictures": int(self.pictures[row, column])}
                for row, split in enumerate(self.splits)
            }
            for column, name in enumerate(self.classes)
        }
        return {
            "dataset": self.name,
            "verdict": self.verdict,
            "fit_for_training": self.is_fit,
            "splits": [vars(split) for split in self.splits],
            "classes": by_class,
            "concerns": [concern.to_dict() for concern in self.concerns],
        }
