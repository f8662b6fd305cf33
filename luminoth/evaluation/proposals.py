"""How many of the objects a first stage's proposals reach: what no second stage can make good.

Classes play no part. The matching is COCO's (see `matching.py`), so the means over IoU thresholds are what papers call
AR@100, AR@300 and AR@1000 (average recall, Hosang et al. 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.matching import IOU_50, IOU_THRESHOLDS, match_detections
from luminoth.types import Detections

COUNTS = (100, 300, 1000)  # of the best proposals of a picture that are looked at


@dataclass(frozen=True)
class ProposalRecall:
    """The share of the objects that are reached, 0 to 1, by the number of proposals a picture.

    Attributes:
        mean: over IoU thresholds 0.50 to 0.95.
        at_50: at an IoU of 0.50.
    """

    mean: dict[int, float]
    at_50: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for `json.dumps`."""
        return {
            "AR": {str(count): value for count, value in self.mean.items()},
            "recall50": {str(count): value for count, value in self.at_50.items()},
        }


class ProposalCounter:
    """Counts the objects that are reached, some pictures after the other; so no thousand boxes of each are kept."""

    def __init__(self) -> None:
        self._reached = np.zeros((len(COUNTS), len(IOU_THRESHOLDS)), np.int64)
        self._objects = 0

    def add(self, ground_truths: Sequence[GroundTruth], proposals: Sequence[Detections]) -> None:
        """Counts some pictures.

        Args:
            ground_truths: one entry a picture.
            proposals: one entry a picture, in the same order; sorted by score, of class 0.
        """
        objects = [replace(each, class_ids=np.zeros_like(each.class_ids)) for each in ground_truths]
        matching = match_detections(objects, proposals, 1, max_detections=max(COUNTS))
        self._objects += int(matching.objects[0])
        for row, count in enumerate(COUNTS):  # a better proposal's choice does not depend on those after it
            self._reached[row] += (matching.is_match & (matching.found_indices < count)).sum(axis=1)

    def result(self) -> ProposalRecall | None:
        """The shares; None when there was no object."""
        if not self._objects:
            return None
        shares = self._reached / self._objects
        return ProposalRecall(
            dict(zip(COUNTS, shares.mean(axis=1).tolist(), strict=True)),
            dict(zip(COUNTS, shares[:, IOU_50].tolist(), strict=True)),
        )
