"""How each picture fared, and what in it went wrong: which are the worst, and why.

All at an IoU of 0.5 and a score threshold a class, as `thresholds.py` finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luminoth.evaluation.matching import IOU_50, Matching


@dataclass(frozen=True, eq=False)
class PictureScores:
    """The figures of each picture.

    Attributes:
        right, wrong, missed: [P] int64, detections that found an object, that found none, and objects not found.
    """

    right: np.ndarray
    wrong: np.ndarray
    missed: np.ndarray

    @property
    def errors(self) -> np.ndarray:
        """[P] int64, wrong detections and missed objects."""
        return self.wrong + self.missed

    @property
    def f1(self) -> np.ndarray:
        """[P] float64; 1 where there was nothing to find and nothing was found."""
        return 1 - self.errors / np.maximum(2 * self.right + self.errors, 1)

    def worst(self, count: int) -> list[int]:
        """The pictures with the most errors, the lower F1 first among equals; none that has no error."""
        order = np.lexsort((self.f1, -self.errors))[:count]
        return order[self.errors[order] > 0].tolist()


@dataclass(frozen=True, eq=False)
class PictureFindings:
    """What came of one picture.

    Attributes:
        found: [N] int32, the detections that were looked at, as indices into the picture's `Detections`, from the
            highest score down.
        kinds: [N] int8, the kind of error of each (an index into `tide.KINDS`), or -1.
        is_ignored: [N] bool, those of crowd regions; their kind is -1.
        matched: [N] int32, the object that each found, as an index into the picture's `GroundTruth`, or -1.
        is_missed: [M] bool, for each object of the `GroundTruth`; crowd regions are never missed.
    """

    found: np.ndarray
    kinds: np.ndarray
    is_ignored: np.ndarray
    matched: np.ndarray
    is_missed: np.ndarray


def score_pictures(matching: Matching, limits: np.ndarray | float) -> PictureScores:
    """Counts what is right, wrong and missed in each picture.

    Args:
        matching: of all pictures.
        limits: the least score that counts, for each class [K] (`Thresholds.limits()`) or one for all.
    """
    is_looked_at = _is_looked_at(matching, limits)
    is_right = is_looked_at & matching.is_match[IOU_50]
    is_wrong = is_looked_at & (matching.matched[IOU_50] < 0)
    right, wrong = (
        np.bincount(matching.found_images[each], minlength=matching.images) for each in (is_right, is_wrong)
    )
    objects = np.bincount(matching.truth_images[~matching.is_crowd], minlength=matching.images)
    return PictureScores(right, wrong, objects - right)


def explain_picture(
    matching: Matching, of_found: np.ndarray, limits: np.ndarray | float, image: int
) -> PictureFindings:
    """What is right, wrong and missed in one picture.

    Args:
        matching: of all pictures.
        of_found: [D] int8, the kinds of errors, as in `ErrorAnalysis`.
        limits: as for `score_pictures`.
        image: number of the picture.
    """
    own = np.flatnonzero((matching.found_images == image) & _is_looked_at(matching, limits))
    own = own[np.lexsort((matching.found_indices[own], -matching.scores[own]))]
    begin, end = matching.truth_starts[image], matching.truth_starts[image + 1]
    matched = np.where(matching.is_match[IOU_50, own], matching.matched[IOU_50, own] - begin, -1).astype(np.int32)
    is_missed = ~matching.is_crowd[begin:end]
    is_missed[matched[matched >= 0]] = False
    return PictureFindings(
        matching.found_indices[own], of_found[own], matching.is_ignored[IOU_50, own], matched, is_missed
    )


def _is_looked_at(matching: Matching, limits: np.ndarray | float) -> np.ndarray:
    limits = np.broadcast_to(np.asarray(limits, np.float64), (matching.classes,))
    return matching.scores >= limits[matching.found_class_ids]
