"""Which score to ask for: precision, recall and F1 of each class at every score threshold, at an IoU of 0.5.

A detection counts at a threshold when its score is at least that. The best threshold is that of the highest F1; of
equal ones the highest. Every threshold from just above the next lower score up to there gives the same figures, and the
one in the middle is stated: on the upper end, which is the score of a detection that was right, the next right one with
a hair less would be lost. It was chosen on the pictures it is reported for, so F1 on others will be a little lower, the
more so the fewer objects a class has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luminoth.evaluation.matching import IOU_50, Matching

ALL_CLASSES = "all"
_LONGEST_CURVE = 200


@dataclass(frozen=True, eq=False)
class Curve:
    """What comes of each score threshold, from the highest down; at most about 200 points of all there are.

    Attributes:
        scores, precision, recall, f1: [N] float64.
    """

    scores: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    def to_dict(self) -> dict[str, list[float]]:
        """Columns, rounded to 4 digits."""
        return {name: np.round(getattr(self, name), 4).tolist() for name in ("scores", "precision", "recall", "f1")}


@dataclass(frozen=True, eq=False)
class ClassThreshold:
    """The best threshold of a class, or of all together.

    Attributes:
        name: the class, or `all`.
        objects: how many there are to be found.
        threshold: the score to ask for, or None when no detection is right.
        f1, precision, recall: what comes of it, 0 to 1; 0 when no detection is right (precision: None when there is
            no detection either), None when there are no objects.
        curve: at all thresholds; empty without objects or detections.
    """

    name: str
    objects: int
    threshold: float | None
    f1: float | None
    precision: float | None
    recall: float | None
    curve: Curve


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The best thresholds.

    Attributes:
        by_class: one entry a class, in the order of the class list.
        overall: one threshold for all classes: detections and objects of all are counted together.
    """

    by_class: list[ClassThreshold]
    overall: ClassThreshold

    def limits(self) -> np.ndarray:
        """[K] float64, each class's threshold; that of all where it has none; infinite where there is none either."""
        otherwise = np.inf if self.overall.threshold is None else self.overall.threshold
        return np.array([otherwise if each.threshold is None else each.threshold for each in self.by_class], float)

    def to_dict(self) -> dict[str, dict[str, float | None]]:
        """`{"car": {"threshold": 0.4, "f1": 0.8, "precision": 0.9, "recall": 0.7}, ...}`."""
        return {each.name: best_to_dict(each) for each in self.by_class}


def best_to_dict(best: ClassThreshold) -> dict[str, float | None]:
    """Threshold, F1, precision and recall as plain values."""
    return {name: getattr(best, name) for name in ("threshold", "f1", "precision", "recall")}


def find_thresholds(matching: Matching, class_names: Sequence[str]) -> Thresholds:
    """The best threshold of each class and that of all together.

    Args:
        matching: of all pictures.
        class_names: K names.
    """
    is_match, is_counted = matching.is_match[IOU_50], ~matching.is_ignored[IOU_50]
    starts = matching.class_starts
    by_class = []
    for index, name in enumerate(class_names):
        own = np.arange(starts[index], starts[index + 1])
        own = own[is_counted[own]]
        by_class.append(_best(name, int(matching.objects[index]), matching.scores[own], is_match[own]))
    order = np.argsort(-matching.scores, kind="stable")
    order = order[is_counted[order]]
    overall = _best(ALL_CLASSES, int(matching.objects.sum()), matching.scores[order], is_match[order])
    return Thresholds(by_class, overall)


def _best(name: str, objects: int, scores: np.ndarray, is_match: np.ndarray) -> ClassThreshold:
    """From detections sorted by score."""
    if objects == 0:
        return ClassThreshold(name, 0, None, None, None, None, _curve_at([], scores, scores, objects))
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)) if len(scores) else np.empty(0, np.int64)
    right = np.cumsum(is_match)
    curve = _curve_at(ends, scores, right, objects)
    if not len(ends) or right[-1] == 0:
        return ClassThreshold(name, objects, None, 0.0, 0.0 if len(ends) else None, 0.0, curve)
    best = int(np.argmax(curve.f1))  # of equal ones the first, which has the highest score
    is_last = best == len(ends) - 1  # nothing is known of lower scores: they may have been cut off
    return ClassThreshold(
        name,
        objects,
        float(curve.scores[best] if is_last else (curve.scores[best] + curve.scores[best + 1]) / 2),
        float(curve.f1[best]),
        float(curve.precision[best]),
        float(curve.recall[best]),
        _thinned(curve, best),
    )


def _curve_at(ends: np.ndarray | list, scores: np.ndarray, right: np.ndarray, objects: int) -> Curve:
    """The curve at the last detection of each distinct score."""
    ends = np.asarray(ends, np.int64)
    right, found = right[ends], ends + 1
    return Curve(scores[ends], right / found, right / max(objects, 1), 2 * right / (found + objects))


def _thinned(curve: Curve, best: int) -> Curve:
    """Points evenly spread over recall, for the curve of precision over recall, and over scores, for that of F1."""
    count = len(curve.scores)
    if count <= _LONGEST_CURVE:
        return curve
    levels = np.linspace(0, 1, _LONGEST_CURVE // 2 - 1)
    by_recall = np.searchsorted(curve.recall, curve.recall[-1] * levels)
    by_score = np.searchsorted(-curve.scores, -(curve.scores[0] + (curve.scores[-1] - curve.scores[0]) * levels))
    chosen = np.unique(
        np.concatenate([[0, best, count - 1], np.minimum(np.concatenate([by_recall, by_score]), count - 1)])
    )
    return Curve(*(column[chosen] for column in (curve.scores, curve.precision, curve.recall, curve.f1)))
