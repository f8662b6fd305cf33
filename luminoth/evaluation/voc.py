"""Pascal VOC's average precision at an IoU of 0.5, by the rule of 2007 and by that of 2010 to 2012.

As VOC's development kit does it: a detection looks at the object of its class that it overlaps most, and at no other,
even when that one has been found already: then it is a duplicate, which counts as wrong. A detection of a *difficult*
object counts neither way, and difficult objects are not among those to be found. The rule of 2007 takes the mean of the
best precision at the recall levels 0, 0.1, ... 1; that of 2010 the area under the curve of best precision.

Different from the kit: overlaps are of continuous boxes, as everywhere here. The kit counts whole pixels, both ends
included, so its boxes are a pixel larger and overlap a little more; most figures do not show it, those of small objects
may. Crowd regions, which VOC does not have, count neither way, as in COCO. Detections of a picture and class beyond the
limit of the matching (100) are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luminoth.evaluation.matching import IOU_50, IOU_THRESHOLDS, Matching


@dataclass(frozen=True)
class VocClass:
    """One class.

    Attributes:
        name: the class.
        objects: how many there are to be found, difficult ones not counted.
        AP50_2007, AP50_2012: by the two rules, or None when there are no objects.
    """

    name: str
    objects: int
    AP50_2007: float | None
    AP50_2012: float | None


@dataclass(frozen=True)
class VocMetrics:
    """VOC's figures.

    Attributes:
        AP50_2007, AP50_2012: the means over the classes that have objects, or None when none has.
        by_class: one entry a class, in the order of the class list.
    """

    AP50_2007: float | None
    AP50_2012: float | None
    by_class: list[VocClass]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for `json.dumps`."""
        return asdict(self)


def voc_metrics(matching: Matching, class_names: Sequence[str]) -> VocMetrics:
    """Compares what was found with what there is, as VOC does.

    Args:
        matching: of all pictures; only its overlaps are used, the matching itself is COCO's.
        class_names: K names.
    """
    is_right, is_ignored = _judge(matching)
    is_wanted = ~matching.is_crowd & ~matching.is_difficult
    objects = np.bincount(matching.truth_class_ids[is_wanted], minlength=matching.classes)
    starts = matching.class_starts
    by_class = []
    for index, name in enumerate(class_names):
        own = slice(starts[index], starts[index + 1])
        right = is_right[own][~is_ignored[own]]
        count = int(objects[index])
        if count == 0:
            by_class.append(VocClass(name, 0, None, None))
        else:
            by_class.append(VocClass(name, count, eleven_points(right, count), area(right, count)))
    return VocMetrics(
        _mean([each.AP50_2007 for each in by_class]), _mean([each.AP50_2012 for each in by_class]), by_class
    )


def eleven_points(is_right: np.ndarray, objects: int) -> float:
    """The rule of 2007. `is_right` is [N] bool, from the highest score down; `objects` is at least 1."""
    right = np.cumsum(is_right)
    best = _best_precision(right)
    # In whole numbers: a recall of 3 of 10 reaches 0.3, whatever that is in floating point.
    reached = [np.flatnonzero(right * 10 >= level * objects) for level in range(11)]
    return float(sum(best[places[0]] for places in reached if len(places)) / 11)


def area(is_right: np.ndarray, objects: int) -> float:
    """The rule of 2010 to 2012; arguments as for `eleven_points`."""
    return float(_best_precision(np.cumsum(is_right))[is_right].sum() / objects)


def _best_precision(right: np.ndarray) -> np.ndarray:
    """[N] the highest precision at that recall or above."""
    precision = right / np.arange(1, len(right) + 1)
    return np.maximum.accumulate(precision[::-1])[::-1]


def _judge(matching: Matching) -> tuple[np.ndarray, np.ndarray]:
    """[D] bool each, the detections that are right and those that count neither way; all others are wrong."""
    is_same = matching.found_class_ids[matching.pair_found] == matching.truth_class_ids[matching.pair_truth]
    pair_is_crowd = matching.is_crowd[matching.pair_truth]
    overlaps, nearest = matching.best_pairs(is_same & ~pair_is_crowd)
    within_crowd, _ = matching.best_pairs(is_same & pair_is_crowd)
    hits = overlaps >= IOU_THRESHOLDS[IOU_50]
    is_ignored = np.where(
        hits, matching.is_difficult[nearest] if len(matching.is_difficult) else False,
        within_crowd >= IOU_THRESHOLDS[IOU_50],
    )  # fmt: skip
    candidates = np.flatnonzero(hits & ~is_ignored)  # from the highest score down within each class
    _, first = np.unique(nearest[candidates], return_index=True)
    is_right = np.zeros(len(hits), bool)
    is_right[candidates[first]] = True
    return is_right, is_ignored


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
