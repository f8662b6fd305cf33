"""Looks for the anchors that fit boxes best, among friendly numbers.

What is looked for is a list of sides for each feature map and one list of ratios, as many of each as are configured.
One number is changed at a time, for as long as that helps; then numbers are left out, for as long as that costs next
to nothing. The search starts from the configured numbers, among others, so it does not end below them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from luminoth.data.stats.anchor_fit import AnchorGrid, shape_overlap

_STEPS = (8, 10, 12, 14)  # friendly sides: these times powers of two
_RATIOS = (0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0, 5.0)
_SIDES_IN_STRIDES = (1, 16)  # of one map of a pyramid; others have the other sides
_NEXT_TO_NOTHING = 0.004  # of the score, for which a list may become shorter

# A choice of anchors: a list of sides for each map, and the list of ratios last.
_Choice = tuple[tuple[float, ...], ...]


def search_anchors(
    boxes: np.ndarray, input_sizes: np.ndarray, grid: AnchorGrid, border: float | None = None, foreground: float = 0.7
) -> AnchorGrid:
    """Sides and ratios that fit the boxes, at most as many as `grid` has of each.

    Args:
        boxes: [N, 4], pixels of the network's input; at least one. Some thousands are enough.
        input_sizes: [N, 2], (height, width) of each box's picture.
        grid: as configured; what is found has its maps, strides and offset.
        border: see `best_anchor_overlap`.
        foreground: the IoU from which the RPN takes an anchor for an object's.
    """
    search = _Search(boxes, input_sizes, grid, border, foreground)
    best = search.shorten(max((search.improve(start) for start in search.starts()), key=search.score))
    return replace(grid, sides=[sorted(of_map) for of_map in best[:-1]], ratios=sorted(best[-1]))


def fit_score(overlaps: np.ndarray, foreground: float) -> float:
    """How well anchors fit, 0 to 1: the mean of their recall at 0.5, at `foreground`, and of the overlaps themselves.

    Recall alone does not see whether a box is missed by little or by far; the mean alone does not see that training
    has a threshold.
    """
    parts = (overlaps >= 0.5).mean(), (overlaps >= foreground).mean(), overlaps.mean(dtype=np.float64)
    return float(sum(parts)) / len(parts)


class _Search:
    """Looks for the lists with the highest score."""

    def __init__(
        self, boxes: np.ndarray, input_sizes: np.ndarray, grid: AnchorGrid, border: float | None, foreground: float
    ) -> None:
        self._boxes, self._input_sizes, self._grid = boxes, input_sizes, grid
        self._border, self._foreground = border, foreground
        self._candidates = [*self._side_candidates(), tuple(sorted({*_RATIOS, *map(float, grid.ratios)}))]
        self._overlaps: dict[tuple[int, float, float], np.ndarray] = {}
        self._scores: dict[_Choice, float] = {}

    def _side_candidates(self) -> Iterator[tuple[float, ...]]:
        """For each map: friendly sides, about as large as boxes are, and those that are configured."""
        sizes = np.sqrt(np.prod(np.maximum(self._boxes[:, 2:] - self._boxes[:, :2], 1e-3), axis=1))
        least, most = sizes.min() / 1.2, sizes.max() * 1.2
        friendly = [float(step * 2**power) for power in range(-2, 9) for step in _STEPS]
        for sides, stride in zip(self._grid.sides, self._grid.strides, strict=True):
            low, high = (
                (stride * factor for factor in _SIDES_IN_STRIDES) if len(self._grid.strides) > 1 else (0, np.inf)
            )
            fitting = {side for side in friendly if least <= side <= most and low <= side <= high}
            yield tuple(sorted(fitting | set(map(float, sides))))

    def starts(self) -> Iterator[_Choice]:
        """Where to start from: the configured lists, and what the boxes' own sizes and ratios suggest."""
        yield _sorted((*self._grid.sides, self._grid.ratios))
        sides = self._boxes[:, 2:] - self._boxes[:, :2]
        sides = sides[(sides > 0).all(axis=1)]
        if len(sides):
            sizes, ratios = np.sqrt(sides[:, 0] * sides[:, 1]), sides[:, 1] / sides[:, 0]
            yield _sorted(
                (
                    *(
                        _nearest(candidates, _quantiles(sizes, len(of_map)))
                        for candidates, of_map in zip(self._candidates[:-1], self._grid.sides, strict=True)
                    ),
                    _nearest(self._candidates[-1], _quantiles(ratios, len(self._grid.ratios))),
                )
            )

    def improve(self, choice: _Choice) -> _Choice:
        """Changes one number at a time, the best change of each list's each number, until none helps."""
        while True:
            before = choice
            for position, numbers in enumerate(choice):
                for index in range(len(numbers)):
                    choice = max(self._with_other(choice, position, index), key=self.score)
            if self.score(choice) <= self.score(before) + 1e-9:
                return before

    def shorten(self, choice: _Choice) -> _Choice:
        """Leaves out one ratio, or one side of every map, at a time, for as long as that costs next to nothing."""
        allowed = self.score(choice) - _NEXT_TO_NOTHING
        while True:
            shorter = [self.improve(max(each, key=self.score)) for each in self._shorter(choice)]
            best = max(shorter, key=self.score, default=None)
            if best is None or self.score(best) < allowed:
                return choice
            choice = best

    def score(self, choice: _Choice) -> float:
        """`fit_score` of a choice."""
        if choice not in self._scores:
            best = np.zeros(len(self._boxes), np.float32)
            for position, sides in enumerate(choice[:-1]):
                for side, ratio in itertools.product(sides, choice[-1]):
                    np.maximum(best, self._overlap(position, side, ratio), out=best)
            self._scores[choice] = fit_score(best, self._foreground)
        return self._scores[choice]

    def _overlap(self, position: int, side: float, ratio: float) -> np.ndarray:
        key = position, side, ratio
        if key not in self._overlaps:
            one = replace(self._grid, sides=[[side]], ratios=[ratio], strides=[self._grid.strides[position]])
            self._overlaps[key] = shape_overlap(
                self._boxes, self._input_sizes, one.shapes()[0], self._grid.offset, self._border
            )
        return self._overlaps[key]

    def _with_other(self, choice: _Choice, position: int, index: int) -> Iterator[_Choice]:
        """The choice itself first, so that it stays where nothing is better, then each with another number there."""
        yield choice
        numbers = choice[position]
        for candidate in self._candidates[position]:
            if candidate not in numbers:
                changed = (*numbers[:index], candidate, *numbers[index + 1 :])
                other = (*choice[:position], changed, *choice[position + 1 :])
                if _is_ascending(other[:-1]):
                    yield other

    def _shorter(self, choice: _Choice) -> Iterator[list[_Choice]]:
        *sides, ratios = choice
        if len(ratios) > 1:
            yield [(*sides, _without(ratios, index)) for index in range(len(ratios))]
        if len(sides[0]) > 1:  # the lists of all maps are of equal length
            yield [(*(_without(of_map, index) for of_map in sides), ratios) for index in range(min(map(len, sides)))]


def _sorted(lists: Sequence[Sequence[float]]) -> _Choice:
    return tuple(tuple(sorted(map(float, numbers))) for numbers in lists)


def _is_ascending(sides: Sequence[tuple[float, ...]]) -> bool:
    """Whether coarser maps have the larger anchors."""
    return all(
        min(finer) <= min(coarser) and max(finer) <= max(coarser) for finer, coarser in itertools.pairwise(sides)
    )


def _without(numbers: tuple[float, ...], index: int) -> tuple[float, ...]:
    return (*numbers[:index], *numbers[index + 1 :])


def _quantiles(values: np.ndarray, count: int) -> np.ndarray:
    """The middles of `count` equal shares of the values."""
    return np.quantile(values, (np.arange(count) + 0.5) / count)


def _nearest(candidates: Sequence[float], values: np.ndarray) -> list[float]:
    """Different candidates, each near to one of the values (as factors); fewer where candidates run out."""
    left, found = list(candidates), []
    for value in values:
        nearest = min(left, key=lambda candidate: abs(np.log(candidate / value)))
        found.append(nearest)
        if len(left) > 1:
            left.remove(nearest)
    return found
