"""Which detection finds which object: COCO's greedy matching, on all pictures and IoU thresholds at once.

The result is pycocotools' own, tie by tie: detections of a picture and class choose in the order of their scores,
each the object of highest overlap among those that are left (of equal ones the last), an object rather than a crowd
region. A region may be chosen any number of times; who chooses one counts neither way. The overlap with a region is
the share of the detection's area that lies within it, with an object it is the IoU.

Shape letters: P pictures, K classes, G objects and regions, D detections, N pairs, T = 10 IoU thresholds.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.types import Detections

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # COCO's, to the last bit
IOU_50 = 0  # position of 0.50 in them

# Pairs that overlap less say nothing about each other; the threshold between a bad place and none in TIDE.
LEAST_OVERLAP = 0.1

_PAIRS_AT_ONCE = 2_000_000  # bounds the memory: about 200 MiB


@dataclass(frozen=True, eq=False)
class Matching:
    """All objects and detections as columns, which of them overlap, and which were matched.

    Attributes:
        images, classes: P and K.
        truth_starts: [P + 1] int64; the objects of picture p are those from `truth_starts[p]` to before
            `truth_starts[p + 1]`, in the order of its `GroundTruth`.
        truth_images, truth_class_ids: [G] int32.
        is_crowd, is_difficult: [G] bool.
        found_images, found_class_ids, found_indices: [D] int32; the index is that in the picture's `Detections`.
            Sorted by class, then from the highest score down, ties by picture; without those beyond the limit.
        scores: [D] float64.
        pair_found, pair_truth: [N] int32, pairs of one picture, of whatever classes, that overlap by at least 0.1;
            sorted by detection, then by object.
        overlaps: [N] float64.
        matched: [T, D] int32, the object or region that each detection was matched with, or -1.
    """

    images: int
    classes: int
    truth_starts: np.ndarray
    truth_images: np.ndarray
    truth_class_ids: np.ndarray
    is_crowd: np.ndarray
    is_difficult: np.ndarray
    found_images: np.ndarray
    found_class_ids: np.ndarray
    found_indices: np.ndarray
    scores: np.ndarray
    pair_found: np.ndarray
    pair_truth: np.ndarray
    overlaps: np.ndarray
    matched: np.ndarray

    @cached_property
    def is_ignored(self) -> np.ndarray:
        """[T, D] bool, detections of crowd regions: they count neither way."""
        if not self.is_crowd.any():
            return np.zeros(self.matched.shape, bool)
        return (self.matched >= 0) & self.is_crowd[self.matched]

    @cached_property
    def is_match(self) -> np.ndarray:
        """[T, D] bool, detections that found an object."""
        return (self.matched >= 0) & ~self.is_ignored

    @cached_property
    def objects(self) -> np.ndarray:
        """[K] int64, how many there are to be found of each class, regions not counted."""
        return np.bincount(self.truth_class_ids[~self.is_crowd], minlength=self.classes)

    @cached_property
    def class_starts(self) -> np.ndarray:
        """[K + 1] int64; the detections of class k are those from `class_starts[k]` to before the next."""
        return np.searchsorted(self.found_class_ids, np.arange(self.classes + 1))

    def best_pairs(self, of_pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each detection the highest overlap among some of the pairs, and with which object (of equal ones the
        first): [D] float64, 0 where there is none, and [D] int32, -1 there.

        Args:
            of_pairs: [N] bool, the pairs that are looked at.
        """
        overlaps, truths = np.zeros(len(self.scores)), np.full(len(self.scores), -1, np.int32)
        chosen = np.flatnonzero(of_pairs)
        if len(chosen):
            found = self.pair_found[chosen]
            starts = _starts(found)
            overlaps[found[starts]] = np.maximum.reduceat(self.overlaps[chosen], starts)
            is_best = self.overlaps[chosen] == overlaps[found]
            chosen = chosen[is_best][::-1]  # the first is written last, and stays
            truths[self.pair_found[chosen]] = self.pair_truth[chosen]
        return overlaps, truths


def match_detections(
    ground_truths: Sequence[GroundTruth], detections: Sequence[Detections], classes: int, *, max_detections: int = 100
) -> Matching:
    """Matches what was found with what there is.

    Args:
        ground_truths: one entry a picture.
        detections: one entry a picture, in the same order; boxes in the same pixels.
        classes: how many there are.
        max_detections: the most detections of a picture and class that are looked at, the best first.

    Raises:
        ValueError: there are not as many entries of the one as of the other.
    """
    if len(ground_truths) != len(detections):
        raise ValueError(f"{len(ground_truths)} ground truths cannot be compared with {len(detections)} detections")
    images = len(ground_truths)
    truth_counts = np.array([len(each.class_ids) for each in ground_truths], np.int64)
    truth_starts = np.concatenate([[0], np.cumsum(truth_counts)])
    truth_boxes = _joined([each.boxes for each in ground_truths], (4,), np.float64)
    truth_class_ids = _joined([each.class_ids for each in ground_truths], (), np.int32)
    is_crowd = _joined([each.is_crowd for each in ground_truths], (), np.bool_)

    counts = np.array([len(each) for each in detections], np.int64)
    found_images = np.repeat(np.arange(images, dtype=np.int32), counts)
    found_class_ids = _joined([each.class_ids for each in detections], (), np.int32)
    scores = _joined([each.scores for each in detections], (), np.float64)
    order = np.lexsort((-scores, found_class_ids))  # stable: ties stay in the order of pictures
    order = order[_turns(found_class_ids[order], found_images[order]) < max_detections]
    found_images, found_class_ids, scores = found_images[order], found_class_ids[order], scores[order]
    found_indices = (order - np.repeat(np.cumsum(counts) - counts, counts)[order]).astype(np.int32)
    boxes = _joined([each.boxes for each in detections], (4,), np.float64)[order]

    pairs = [*_overlapping(boxes, found_images, truth_boxes, truth_starts, is_crowd)]
    pair_found, pair_truth, overlaps = (np.concatenate(column) for column in zip(*pairs, strict=True))
    is_candidate = (found_class_ids[pair_found] == truth_class_ids[pair_truth]) & (overlaps >= IOU_THRESHOLDS[0])
    matched = np.full((len(IOU_THRESHOLDS), len(scores)), -1, np.int32)
    _match(matched, pair_found[is_candidate], pair_truth[is_candidate], overlaps[is_candidate], is_crowd,
           found_class_ids, found_images)  # fmt: skip
    return Matching(
        images=images,
        classes=classes,
        truth_starts=truth_starts,
        truth_images=np.repeat(np.arange(images, dtype=np.int32), truth_counts),
        truth_class_ids=truth_class_ids,
        is_crowd=is_crowd,
        is_difficult=_joined([each.is_difficult for each in ground_truths], (), np.bool_),
        found_images=found_images,
        found_class_ids=found_class_ids,
        found_indices=found_indices,
        scores=scores,
        pair_found=pair_found,
        pair_truth=pair_truth,
        overlaps=overlaps,
        matched=matched,
    )


def _joined(arrays: list[np.ndarray], row_shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return np.concatenate([np.empty((0, *row_shape), dtype), *arrays], dtype=dtype, casting="unsafe")


def _turns(class_ids: np.ndarray, images: np.ndarray) -> np.ndarray:
    """[D] int64, how many of the same class and picture come before each."""
    order = np.lexsort((images, class_ids))
    starts = _starts(class_ids[order], images[order])
    turns = np.empty(len(order), np.int64)
    lengths = np.diff(np.append(starts, len(order)))
    turns[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return turns


def _starts(*columns: np.ndarray) -> np.ndarray:
    """Where runs of equal rows begin."""
    if not len(columns[0]):
        return np.empty(0, np.int64)
    changes = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])


def _overlapping(
    boxes: np.ndarray, images: np.ndarray, truth_boxes: np.ndarray, truth_starts: np.ndarray, is_crowd: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The pairs of a picture that overlap enough, a part of the detections after the other; at least one part."""
    found_columns, truth_columns = _columns(boxes), _columns(truth_boxes)
    counts = np.diff(truth_starts)[images]  # objects that each detection meets
    ends = np.cumsum(counts)
    begin = 0
    while True:
        met = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, met + _PAIRS_AT_ONCE)))
        part = counts[begin:end]
        found = np.repeat(np.arange(begin, begin + len(part), dtype=np.int32), part)
        within = np.arange(len(found)) - np.repeat(np.cumsum(part) - part, part)
        truths = (np.repeat(truth_starts[images[begin:end]], part) + within).astype(np.int32)
        overlaps = _overlaps(found_columns, found, truth_columns, truths, is_crowd)
        keep = overlaps >= LEAST_OVERLAP
        yield found[keep], truths[keep], overlaps[keep]
        begin = end
        if begin >= len(images):
            return


def _columns(boxes: np.ndarray) -> np.ndarray:
    """[5, N] float64: x_min, y_min, x_max, y_max, area, by COCO's arithmetic, which adds the width to the corner."""
    x, y, width, height = boxes[:, 0], boxes[:, 1], boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return np.stack([x, y, x + width, y + height, width * height])


def _overlaps(
    found_columns: np.ndarray, found: np.ndarray, truth_columns: np.ndarray, truths: np.ndarray, is_crowd: np.ndarray
) -> np.ndarray:
    """[N] float64, step by step as pycocotools computes it, since thresholds are met to the last bit."""
    a, b = found_columns, truth_columns
    width = np.minimum(a[2, found], b[2, truths]) - np.maximum(a[0, found], b[0, truths])
    height = np.minimum(a[3, found], b[3, truths]) - np.maximum(a[1, found], b[1, truths])
    both = np.where((width > 0) & (height > 0), width * height, 0.0)
    either = np.where(is_crowd[truths], a[4, found], a[4, found] + b[4, truths] - both)
    return np.divide(both, either, out=np.zeros_like(both), where=both > 0)


def _match(
    matched: np.ndarray,
    found: np.ndarray,
    truths: np.ndarray,
    overlaps: np.ndarray,
    is_crowd: np.ndarray,
    class_ids: np.ndarray,
    images: np.ndarray,
) -> None:
    """Fills `matched` [T, D]. First all detections choose that are the first of their picture and class, then all
    that are the second, and so on: those of one round never want the same object."""
    # The one to choose is the last that is free: objects after regions, then by overlap, then by place.
    order = np.lexsort((truths, overlaps, ~is_crowd[truths], found))
    candidates = found[_starts(found)]  # detections with any pair
    turn = np.zeros(matched.shape[1], np.int64)
    turn[candidates] = _turns(class_ids[candidates], images[candidates])
    order = order[np.argsort(turn[found[order]], kind="stable")]
    found, truths, overlaps = found[order], truths[order], overlaps[order]
    rounds = np.searchsorted(turn[found], np.arange(turn.max(initial=-1) + 2))
    is_taken = np.zeros((len(matched), len(is_crowd)), bool)
    thresholds = np.minimum(IOU_THRESHOLDS, 1 - 1e-10)[:, None]
    for begin, end in itertools.pairwise(rounds):
        choice = truths[begin:end]
        is_free = (is_crowd[choice] | ~is_taken[:, choice]) & (overlaps[begin:end] >= thresholds)
        starts = _starts(found[begin:end])
        best = np.maximum.reduceat(np.where(is_free, np.arange(end - begin), -1), starts, axis=1)
        row, column = np.nonzero(best >= 0)
        chosen = choice[best[row, column]]
        matched[row, found[begin:end][starts][column]] = chosen
        is_taken[row, chosen] = True
