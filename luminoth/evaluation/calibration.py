"""Whether scores can be taken at their word: of detections with a score of 0.8, are 80 % right?

Right means that it found an object at an IoU of 0.5. Detections of crowd regions are left out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luminoth.evaluation.matching import IOU_50, Matching

BINS = 10


@dataclass(frozen=True)
class ScoreBin:
    """Detections with a score from `low` to below `high`; the last bin has its end too.

    Attributes:
        low, high: 0 to 1.
        count: how many there are.
        score: their mean score, or None when there are none.
        precision: the share of them that is right, or None.
    """

    low: float
    high: float
    count: int
    score: float | None
    precision: float | None


@dataclass(frozen=True)
class Calibration:
    """How scores and precision go together.

    Attributes:
        bins: from the lowest scores to the highest.
        expected_error: the expected calibration error: the mean over detections of the difference between mean score
            and precision of their bin; None when there are no detections. Most detections have low scores, so low
            bins weigh most.
    """

    bins: list[ScoreBin]
    expected_error: float | None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for `json.dumps`."""
        return asdict(self)


def calibrate(matching: Matching, *, bins: int = BINS) -> Calibration:
    """Compares scores with the share of right detections.

    Args:
        matching: of all pictures; scores are 0 to 1.
        bins: how many, of equal width.
    """
    is_counted = ~matching.is_ignored[IOU_50]
    scores, is_match = matching.scores[is_counted], matching.is_match[IOU_50][is_counted]
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    score_sums = np.bincount(place, weights=scores, minlength=bins)
    right = np.bincount(place, weights=is_match, minlength=bins)
    some = [
        ScoreBin(
            float(edges[index]),
            float(edges[index + 1]),
            int(count),
            float(score_sums[index] / count) if count else None,
            float(right[index] / count) if count else None,
        )
        for index, count in enumerate(counts)
    ]
    return Calibration(some, float(np.abs(score_sums - right).sum() / len(scores)) if len(scores) else None)
