"""COCO's average precision of all classes and IoU thresholds at once, with a weight a picture.

With all weights 1 it is pycocotools' figure; with whole numbers it is the figure of a data set that holds each picture
that many times. That is what resampling needs, thousands of times: everything that does not depend on the weights is
prepared once.

Letters: T thresholds, K classes, D detections, P pictures.
"""

from __future__ import annotations

import numpy as np

from luminoth.evaluation.matching import Matching

_RECALL_LEVELS = np.linspace(0, 1, 101)  # COCO's, to the last bit
_NEXT_LEVELS = np.append(_RECALL_LEVELS[1:], np.inf)
_COCO_EPSILON = np.spacing(1)  # pycocotools adds it to the number of detections


class PrecisionCurves:
    """The order of detections and which of them are right, ready for `average_precision`."""

    def __init__(
        self,
        *,
        class_ids: np.ndarray,
        images: np.ndarray,
        is_match: np.ndarray,
        is_ignored: np.ndarray,
        object_class_ids: np.ndarray,
        object_images: np.ndarray,
        classes: int,
    ) -> None:
        """
        Args:
            class_ids, images: [D] of the detections, sorted by class, then from the highest score down.
            is_match, is_ignored: [T, D] bool, which found an object, and which count neither way.
            object_class_ids, object_images: of the objects there are to be found.
            classes: K.
        """
        self._thresholds, self._classes = len(is_match), classes
        self._object_class_ids, self._object_images = _as_index(object_class_ids), _as_index(object_images)
        row, match = np.nonzero(is_match)  # [M] by threshold, then by place
        # What comes after a class's last right one, at any threshold, has no effect.
        last = np.full(classes, -1, np.int64)
        right_anywhere = np.flatnonzero(is_match.any(axis=0))
        last[class_ids[right_anywhere]] = right_anywhere  # the last of each class is written last, and stays
        keep = np.arange(len(class_ids)) <= last[class_ids]
        self._images = _as_index(images[keep])
        self._match_images = _as_index(images[match])
        self._match_ends = np.cumsum(keep)[match]  # how many of those kept there are up to each right one
        # Runs of one threshold and class: how long each is, and what lies before it.
        self._run_lengths = np.bincount(row * classes + class_ids[match], minlength=len(is_match) * classes)
        self._run_starts = np.cumsum(self._run_lengths) - self._run_lengths
        self._class_starts = np.tile(np.searchsorted(class_ids[keep], np.arange(classes)), len(is_match))
        self._first_cells = np.repeat(np.arange(len(self._run_lengths)) * len(_RECALL_LEVELS), self._run_lengths)
        ignored_row, ignored = np.nonzero(is_ignored & keep)
        ignored_places = ignored_row * len(class_ids) + ignored
        run_places = np.arange(len(is_match))[:, None] * len(class_ids) + np.searchsorted(class_ids, np.arange(classes))
        self._ignored_images = _as_index(images[ignored])
        self._ignored_ends = np.searchsorted(ignored_places, row * len(class_ids) + match)
        self._ignored_starts = np.searchsorted(ignored_places, run_places.ravel())

    @classmethod
    def of(cls, matching: Matching, thresholds: slice = slice(None)) -> PrecisionCurves:
        """Those of a matching, at all its thresholds or some of them."""
        is_object = ~matching.is_crowd
        return cls(
            class_ids=matching.found_class_ids,
            images=matching.found_images,
            is_match=matching.is_match[thresholds],
            is_ignored=matching.is_ignored[thresholds],
            object_class_ids=matching.truth_class_ids[is_object],
            object_images=matching.truth_images[is_object],
            classes=matching.classes,
        )

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """[T, K] float64, NaN for classes without objects.

        Args:
            weights: [P] int32, how often each picture counts.
        """
        objects = np.bincount(self._object_class_ids, weights[self._object_images], self._classes).astype(np.int64)
        best = np.zeros(self._thresholds * self._classes * len(_RECALL_LEVELS))
        if len(self._match_images):
            right, total = self._counts(weights)
            cells = self._first_cells + self._levels(right, objects)
            starts = _run_starts(cells)
            best[cells[starts]] = np.maximum.reduceat(right / (total + _COCO_EPSILON), starts)
        best = best.reshape(self._thresholds, self._classes, len(_RECALL_LEVELS))
        best = np.maximum.accumulate(best[..., ::-1], axis=-1)  # the highest precision at that recall or above
        result = best.mean(axis=-1)
        result[:, objects == 0] = np.nan
        return result

    def _counts(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[M] each, up to each right detection: how many of its run are right, and how many there are."""
        all_right = _running_sum(weights[self._match_images])
        everything = _running_sum(weights[self._images])
        before = everything[self._class_starts]
        right = all_right[1:] - np.repeat(all_right[self._run_starts], self._run_lengths)
        total = everything[self._match_ends]
        if len(self._ignored_images):
            ignored = _running_sum(weights[self._ignored_images])
            total -= ignored[self._ignored_ends]
            before = before - ignored[self._ignored_starts]
        total -= np.repeat(before, self._run_lengths)
        return right, total

    def _levels(self, right: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """[M] the highest recall level that is reached with so many right ones. Looked up for each class and number,
        of which there are far fewer than detections."""
        sizes = objects + 1  # 0 to all of them
        table_starts = np.cumsum(sizes) - sizes
        numbers = np.arange(sizes.sum()) - np.repeat(table_starts, sizes)
        table = _recall_levels(numbers / np.repeat(np.maximum(objects, 1), sizes))
        return table[right + np.repeat(np.tile(table_starts, self._thresholds), self._run_lengths)]


def mean_over_classes(average_precision: np.ndarray) -> float | None:
    """The mean of [..., K] over what could be measured, or None when nothing could."""
    measured = average_precision[~np.isnan(average_precision)]
    return float(measured.mean()) if len(measured) else None


def _as_index(values: np.ndarray) -> np.ndarray:
    return values.astype(np.intp)  # any other integer would be converted each time it is indexed with


def _running_sum(values: np.ndarray) -> np.ndarray:
    """[N + 1] int32, the sum of what comes before each place."""
    sums = np.zeros(len(values) + 1, np.int32)
    np.cumsum(values, out=sums[1:])
    return sums


def _run_starts(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])


def _recall_levels(recall: np.ndarray) -> np.ndarray:
    """The highest of the 101 recall levels that each reaches, by the comparison of floats that COCO makes."""
    level = (recall * 100).astype(np.intp)
    level += recall >= _NEXT_LEVELS[level]
    level -= recall < _RECALL_LEVELS[level]
    return level
