"""What is taken for what: the confusion matrix of a detector, with background.

At an IoU of 0.5 and a score threshold a class. Objects go first to detections of their own class, as COCO matches
them, so the diagonal is what precision and recall at these thresholds count as right. What is left of detections and
objects is then matched across classes, the best detection first. A detection that finds no object at all was
background; an object that no detection finds was taken for background. Detections of crowd regions are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from luminoth.evaluation.matching import IOU_50, IOU_THRESHOLDS, Matching

BACKGROUND = "background"


@dataclass(frozen=True, eq=False)
class Confusion:
    """A confusion matrix.

    Attributes:
        names: K class names, then `background`.
        counts: [K + 1, K + 1] int64; rows are what there is, columns what was said, in the order of `names`.
        limits: [K] float64, the least score of detections that were looked at, by the class that they say; infinite
            where none was.
    """

    names: list[str]
    counts: np.ndarray
    limits: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for `json.dumps`."""
        limits = [float(limit) if np.isfinite(limit) else None for limit in self.limits]
        return {"names": self.names, "counts": self.counts.tolist(), "thresholds": limits}


def confuse(matching: Matching, class_names: Sequence[str], limits: np.ndarray | float) -> Confusion:
    """Counts what was taken for what.

    Args:
        matching: of all pictures.
        class_names: K names.
        limits: the least score that counts, for each class [K] (`Thresholds.limits()`) or one for all.
    """
    classes = matching.classes
    limits = np.broadcast_to(np.asarray(limits, np.float64), (classes,))
    is_looked_at = (matching.scores >= limits[matching.found_class_ids]) & ~matching.is_ignored[IOU_50]
    taken_for = np.full(len(matching.truth_class_ids), classes)  # [G] the class that was said of each object
    truly = np.full(len(matching.scores), classes)  # [D] the class of what each detection found

    right = np.flatnonzero(matching.is_match[IOU_50] & is_looked_at)
    truly[right] = taken_for[matching.matched[IOU_50, right]] = matching.found_class_ids[right]
    is_open = is_looked_at.copy()
    is_open[right] = False
    for found, truth in _across_classes(matching, is_open, (taken_for == classes) & ~matching.is_crowd):
        truly[found] = matching.truth_class_ids[truth]
        taken_for[truth] = matching.found_class_ids[found]

    counts = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(counts, (truly[is_looked_at], matching.found_class_ids[is_looked_at]), 1)
    missed = (taken_for == classes) & ~matching.is_crowd
    counts[:classes, classes] = np.bincount(matching.truth_class_ids[missed], minlength=classes)
    return Confusion([*class_names, BACKGROUND], counts, limits)


def _across_classes(matching: Matching, is_open: np.ndarray, is_left: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of open detections and objects that are left, each of them once; the best score chooses first, and of the
    objects that overlap enough the nearest."""
    found, truths, overlaps = matching.pair_found, matching.pair_truth, matching.overlaps
    chosen = np.flatnonzero(is_open[found] & is_left[truths] & (overlaps >= IOU_THRESHOLDS[IOU_50]))
    chosen = chosen[np.lexsort((-overlaps[chosen], found[chosen], -matching.scores[found[chosen]]))]
    used_found: set[int] = set()
    used_truths: set[int] = set()
    pairs = []
    for pair in zip(found[chosen].tolist(), truths[chosen].tolist(), strict=True):
        if pair[0] not in used_found and pair[1] not in used_truths:
            used_found.add(pair[0])
            used_truths.add(pair[1])
            pairs.append(pair)
    return pairs
