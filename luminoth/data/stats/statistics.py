"""What a data set is made of, in figures: pictures, objects by class, sizes, shapes, places."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luminoth.data.stats.anchor_fit import InputRule, scale_to_input
from luminoth.data.stats.columns import Columns

# COCO's groups: areas below 32^2, below 96^2, and the rest, in pixels of the picture as it is.
SMALL_SIDE, MEDIUM_SIDE = 32.0, 96.0
SIZE_GROUPS = ("small", "medium", "large")

_PERCENTILES = (5, 25, 50, 75, 95)
_COMMON_SIZES = 5  # of pictures, listed
_CENTRE_CELLS = 24  # of the map of centres, across and down
_BINS_AN_OCTAVE = 2
_MOST_COUNTS = 30  # bars of a histogram of whole numbers


@dataclass(frozen=True)
class Distribution:
    """How values spread; `p5` is the one that 5 % of them are not above."""

    minimum: float
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    maximum: float
    mean: float


@dataclass(frozen=True)
class Histogram:
    """How many values lie in each bin: counts[i] of them in [edges[i], edges[i + 1]); the last bin has its end too."""

    edges: list[float]
    counts: list[int]


@dataclass(frozen=True)
class ClassStatistics:
    """One class: its boxes, the pictures that have one, the shares of COCO's sizes, the median of sqrt(area)."""

    name: str
    boxes: int
    pictures: int
    size_shares: dict[str, float] | None
    median_size: float | None


@dataclass(frozen=True)
class Statistics:
    """All figures of one split, or of all together.

    A box's size is the square root of its area. Distributions and histograms are None where there is nothing to count.

    Attributes:
        pictures, pictures_without_objects, pictures_dropped: counts; dropped ones are in no other figure.
        boxes, crowds, boxes_dropped: counts; crowd regions are in no other figure.
        classes: in the order of the class list.
        heights, widths: of pictures, in pixels.
        common_sizes: the most frequent (height, width), with how many pictures have it.
        distinct_sizes: how many different ones there are.
        image_aspects: width / height of pictures.
        objects_per_picture: with pictures that have none.
        box_sizes: in pixels of the pictures as they are.
        input_box_sizes: in pixels of the network's input.
        input_short_sides: the shorter side of boxes, in pixels of the network's input.
        box_ratios: height / width of boxes at the network's input, as the ratios of anchors are.
        size_shares: the share of COCO's small, medium and large boxes.
        centres: [24, 24], how many boxes have their centre in each part of their picture, rows from the top.
        histograms: of some of the above, under the same names.
    """

    pictures: int
    pictures_without_objects: int
    pictures_dropped: int
    boxes: int
    crowds: int
    boxes_dropped: int
    classes: list[ClassStatistics]
    heights: Distribution | None
    widths: Distribution | None
    common_sizes: list[tuple[tuple[int, int], int]]
    distinct_sizes: int
    image_aspects: Distribution | None
    objects_per_picture: Distribution | None
    box_sizes: Distribution | None
    input_box_sizes: Distribution | None
    input_short_sides: Distribution | None
    box_ratios: Distribution | None
    size_shares: dict[str, float] | None
    centres: list[list[int]]
    histograms: dict[str, Histogram]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def describe(columns: Columns, class_names: Sequence[str], rule: InputRule) -> Statistics:
    """The figures of a split.

    Args:
        columns: its pictures and boxes.
        class_names: of the class ids.
        rule: how pictures are resized for the network.
    """
    boxes, image_of_box = columns.boxes, columns.image_of_box
    heights, widths = columns.image_sizes.T
    own_sizes = columns.image_sizes[image_of_box]
    at_input = scale_to_input(boxes, own_sizes, rule.input_sizes(own_sizes))
    box_sizes, input_sides = box_size(boxes), at_input[:, 2:] - at_input[:, :2]
    # A box without area has no ratio; records of other tools may hold some.
    has_area = (input_sides > 0).all(axis=1)
    ratios = input_sides[has_area, 1] / input_sides[has_area, 0]
    common, distinct = _common_sizes(columns.image_sizes)
    return Statistics(
        pictures=len(columns.objects),
        pictures_without_objects=int((columns.objects == 0).sum()),
        pictures_dropped=columns.dropped,
        boxes=len(boxes),
        crowds=columns.crowds,
        boxes_dropped=columns.boxes_dropped,
        classes=_by_class(columns, class_names, box_sizes),
        heights=_distribution(heights),
        widths=_distribution(widths),
        common_sizes=common,
        distinct_sizes=distinct,
        image_aspects=_distribution(widths / heights),
        objects_per_picture=_distribution(columns.objects),
        box_sizes=_distribution(box_sizes),
        input_box_sizes=_distribution(box_size(at_input)),
        input_short_sides=_distribution(input_sides.min(axis=1)) if len(boxes) else None,
        box_ratios=_distribution(ratios),
        size_shares=_size_shares(box_sizes),
        centres=_centres(boxes, own_sizes),
        histograms={
            "objects_per_picture": _count_histogram(columns.objects),
            "box_sizes": octave_histogram(box_sizes),
            "input_box_sizes": octave_histogram(box_size(at_input)),
            "box_ratios": octave_histogram(ratios),
        },
    )


def box_size(boxes: np.ndarray) -> np.ndarray:
    """[N]: the square roots of the areas of boxes [N, 4]."""
    return np.sqrt(np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 0.0))


def octave_histogram(values: np.ndarray) -> Histogram:
    """Bins that grow with the values: two for each doubling, on powers of the square root of 2."""
    values = values[values > 0]
    if not len(values):
        return Histogram([], [])
    logs = np.log2(values) * _BINS_AN_OCTAVE
    first, last = math.floor(logs.min()), math.floor(logs.max()) + 1
    counts, edges = np.histogram(logs, bins=last - first, range=(first, last))
    return Histogram((2 ** (edges / _BINS_AN_OCTAVE)).tolist(), counts.tolist())


def _by_class(columns: Columns, names: Sequence[str], box_sizes: np.ndarray) -> list[ClassStatistics]:
    count, class_ids = len(names), columns.class_ids
    boxes = np.bincount(class_ids, minlength=count)
    in_picture = np.unique(columns.image_of_box * count + class_ids) % count  # each class of a picture once
    pictures = np.bincount(in_picture, minlength=count)
    statistics = []
    for class_id, name in enumerate(names):
        of_class = box_sizes[class_ids == class_id]
        median = float(np.median(of_class)) if len(of_class) else None
        shares = _size_shares(of_class)
        statistics.append(ClassStatistics(name, int(boxes[class_id]), int(pictures[class_id]), shares, median))
    return statistics


def _size_shares(box_sizes: np.ndarray) -> dict[str, float] | None:
    if not len(box_sizes):
        return None
    groups = np.searchsorted([SMALL_SIDE, MEDIUM_SIDE], box_sizes, side="right")
    shares = np.bincount(groups, minlength=len(SIZE_GROUPS)) / len(box_sizes)
    return dict(zip(SIZE_GROUPS, shares.tolist(), strict=True))


def _common_sizes(image_sizes: np.ndarray) -> tuple[list[tuple[tuple[int, int], int]], int]:
    """The most frequent sizes, and how many there are."""
    sizes, counts = np.unique(image_sizes, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_COMMON_SIZES]
    return [(tuple(sizes[index].tolist()), int(counts[index])) for index in order], len(sizes)


def _centres(boxes: np.ndarray, image_sizes: np.ndarray) -> list[list[int]]:
    relative = (boxes[:, :2] + boxes[:, 2:]) / 2 / image_sizes[:, ::-1]  # [N, 2], x and y, 0 to 1
    columns, rows = np.clip((relative * _CENTRE_CELLS).astype(int), 0, _CENTRE_CELLS - 1).T
    counts = np.bincount(rows * _CENTRE_CELLS + columns, minlength=_CENTRE_CELLS**2)
    return counts.reshape(_CENTRE_CELLS, _CENTRE_CELLS).tolist()


def _distribution(values: np.ndarray) -> Distribution | None:
    if not len(values):
        return None
    values = np.asarray(values, np.float64)
    percentiles = np.percentile(values, _PERCENTILES)
    return Distribution(*map(float, (values.min(), *percentiles, values.max(), values.mean())))


def _count_histogram(values: np.ndarray) -> Histogram:
    """Whole numbers: a bin for each, or for a few of them when they reach far."""
    if not len(values):
        return Histogram([], [])
    width = math.ceil((int(values.max()) + 1) / _MOST_COUNTS)
    bins = int(values.max()) // width + 1
    return Histogram([float(index * width) for index in range(bins + 1)], np.bincount(values // width).tolist())
