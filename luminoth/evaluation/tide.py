"""What kinds of errors there are and how much AP50 each costs: TIDE (Bolya et al., ECCV 2020).

A wrong detection is of the first kind that fits, by its overlap with objects of its class and of others:

* localisation: 0.1 to 0.5 with an object of its class;
* classification: 0.5 or more with an object of another class;
* duplicate: 0.5 or more with an object of its class, which a better one has found;
* background: at most 0.1 with any object;
* both: the rest, at a bad place and of another class.

An object is *missed* when nothing found it and no error of localisation or classification could be mended to find it.

The cost of a kind is what AP50 would gain if it did not occur: duplicates, both and background taken away; those of
localisation and classification mended where they are the best of those on an object that nothing found, else taken
away; missed objects taken off those to be found, where a class of which none is left counts 1. Costs are not additive:
mending one kind changes what others cost.

Own code, since hotcoco's takes detections on the rim of a crowd region for errors of localisation; without regions
both are equal in every figure (a test). From the authors' own program, tidecv, it differs in these: detections that
COCO ignores, within regions, are no errors; recall levels are COCO's, as rounded there; ties in score stay in the order
of pictures, where tidecv puts errors first; a class of which all objects are missed counts 0 there even when they are
taken off, as in hotcoco, so that missing them all costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luminoth.evaluation.average_precision import PrecisionCurves, mean_over_classes
from luminoth.evaluation.matching import IOU_50, LEAST_OVERLAP, Matching

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
CLASSIFICATION, LOCALISATION, BOTH, DUPLICATE, BACKGROUND, MISSED = range(len(KINDS))
NO_ERROR = -1

_FOUND = 0.5  # the least overlap of a detection that found an object


@dataclass(frozen=True)
class ErrorKind:
    """One kind of error.

    Attributes:
        name: one of `KINDS`.
        count: wrong detections, or missed objects.
        cost: what AP50 would gain without them, 0 to 1; None when AP50 cannot be measured.
        by_class: how many are of each class: that which was said, of missed objects their own.
    """

    name: str
    count: int
    cost: float | None
    by_class: list[int]


@dataclass(frozen=True, eq=False)
class ErrorAnalysis:
    """The errors of one set of detections.

    Attributes:
        AP50: COCO's, to which costs add; or None.
        kinds: one entry for each of `KINDS`, in their order.
        of_found: [D] int8, the kind of each detection of the matching, or `NO_ERROR`.
        is_missed: [G] bool, objects that nothing found and no error could be mended to find.
    """

    AP50: float | None
    kinds: list[ErrorKind]
    of_found: np.ndarray
    is_missed: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Counts and costs as plain values, ready for `json.dumps`; the same by class only in the counts."""
        return {"AP50": self.AP50, "kinds": {each.name: _without_name(each) for each in self.kinds}}


def analyse_errors(matching: Matching, class_names: Sequence[str]) -> ErrorAnalysis:
    """Tells the kind of each wrong detection, and what each kind costs.

    Args:
        matching: of all pictures.
        class_names: K names.
    """
    is_object = ~matching.is_crowd
    pair_is_object = is_object[matching.pair_truth]
    is_same = matching.found_class_ids[matching.pair_found] == matching.truth_class_ids[matching.pair_truth]
    same, same_truth = matching.best_pairs(pair_is_object & is_same)
    other, other_truth = matching.best_pairs(pair_is_object & ~is_same)
    kinds = _kinds_of(matching, same, other)

    is_found = np.zeros(len(is_object), bool)
    is_found[matching.matched[IOU_50][matching.is_match[IOU_50]]] = True
    target = np.select([kinds == LOCALISATION, kinds == CLASSIFICATION], [same_truth, other_truth], -1)
    aimed = np.flatnonzero(target >= 0)
    target[aimed[is_found[target[aimed]]]] = -1
    is_mendable = np.zeros(len(is_object), bool)
    is_mendable[target[target >= 0]] = True
    is_missed = is_object & ~is_found & ~is_mendable
    is_mended = _best_on_each(target, matching)

    costs = _Costs(matching, kinds, target, is_mended, is_missed)
    base = costs.base()
    counts = [np.bincount(matching.found_class_ids[kinds == kind], minlength=matching.classes) for kind in range(5)]
    counts.append(np.bincount(matching.truth_class_ids[is_missed], minlength=matching.classes))
    return ErrorAnalysis(
        base,
        [
            ErrorKind(name, int(by_class.sum()), None if base is None else costs.of(kind), by_class.tolist())
            for kind, (name, by_class) in enumerate(zip(KINDS, counts, strict=True))
        ],
        kinds,
        is_missed,
    )


def _kinds_of(matching: Matching, same: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[D] int8, from the highest overlap with an object of the same class and of another."""
    is_wrong = matching.matched[IOU_50] < 0
    conditions = [
        ~is_wrong,
        (same >= LEAST_OVERLAP) & (same <= _FOUND),
        other >= _FOUND,
        same > _FOUND,
        np.maximum(same, other) <= LEAST_OVERLAP,
    ]
    return np.select(conditions, [NO_ERROR, LOCALISATION, CLASSIFICATION, DUPLICATE, BACKGROUND], BOTH).astype(np.int8)


def _best_on_each(target: np.ndarray, matching: Matching) -> np.ndarray:
    """[D] bool, of the detections with the same object as target the one with the highest score."""
    aimed = np.flatnonzero(target >= 0)
    aimed = aimed[np.lexsort((matching.found_indices[aimed], -matching.scores[aimed]))]
    _, first = np.unique(target[aimed], return_index=True)
    is_best = np.zeros(len(target), bool)
    is_best[aimed[first]] = True
    return is_best


class _Costs:
    """AP50 as it is, and without one kind of error."""

    def __init__(
        self, matching: Matching, kinds: np.ndarray, target: np.ndarray, is_mended: np.ndarray, is_missed: np.ndarray
    ) -> None:
        self._matching, self._kinds, self._target = matching, kinds, target
        self._is_mended, self._is_missed = is_mended, is_missed
        self._is_match, self._is_ignored = matching.is_match[IOU_50], matching.is_ignored[IOU_50]

    def base(self) -> float | None:
        """AP50 with all errors, or None; to be called before `of`."""
        by_class = self._average_precision(self._matching.found_class_ids, self._is_match, self._is_ignored)
        self._base = mean_over_classes(by_class)
        self._is_measured = ~np.isnan(by_class)
        return self._base

    def of(self, kind: int) -> float:
        """What AP50 gains without errors of a kind."""
        class_ids, is_match, is_ignored = self._matching.found_class_ids, self._is_match, self._is_ignored
        if kind == MISSED:
            without = self._average_precision(class_ids, is_match, is_ignored, ~self._is_missed)
            without[self._is_measured & np.isnan(without)] = 1.0
        else:
            is_mended = self._is_mended & (self._kinds == kind)
            class_ids = class_ids.copy()
            class_ids[is_mended] = self._matching.truth_class_ids[self._target[is_mended]]
            is_ignored = is_ignored | ((self._kinds == kind) & ~is_mended)
            without = self._average_precision(class_ids, is_match | is_mended, is_ignored)
        return max(0.0, mean_over_classes(without) - self._base)

    def _average_precision(
        self, class_ids: np.ndarray, is_match: np.ndarray, is_ignored: np.ndarray, counts: np.ndarray | None = None
    ) -> np.ndarray:
        """[K], NaN for classes without objects; `counts` [G] are those there are to be found, None: all."""
        matching = self._matching
        is_object = ~matching.is_crowd if counts is None else ~matching.is_crowd & counts
        order = slice(None)
        if class_ids is not matching.found_class_ids:
            order = np.lexsort((-matching.scores, class_ids))
        curves = PrecisionCurves(
            class_ids=class_ids[order],
            images=matching.found_images[order],
            is_match=is_match[order][None],
            is_ignored=is_ignored[order][None],
            object_class_ids=matching.truth_class_ids[is_object],
            object_images=matching.truth_images[is_object],
            classes=matching.classes,
        )
        return curves.average_precision(np.ones(matching.images, np.int32))[0]


def _without_name(kind: ErrorKind) -> dict[str, Any]:
    return {key: value for key, value in asdict(kind).items() if key != "name"}
