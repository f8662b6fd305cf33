"""Suggests anchors and the size of pictures for a data set, and says what they gain over the configured ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from luminoth.data.stats.anchor_fit import AnchorGrid, InputRule, best_anchor_overlap, recall, scale_to_input
from luminoth.data.stats.anchor_search import fit_score, search_anchors

_SEARCHED_BOXES = 10_000  # drawn evenly; the figures that are shown are of all boxes
_WORTH_IT = 0.01  # of the score, from which a change is suggested


@dataclass(frozen=True)
class Fit:
    """How configured or suggested anchors fit.

    Attributes:
        anchors: shapes at each cell, of all maps together.
        recall_half: the share of boxes that some anchor overlaps by 0.5.
        recall_foreground: the same at the RPN's foreground threshold.
        mean_overlap: of the best anchors, over all boxes.
        small_side: the shorter side of boxes, in pixels of the network's input, that 5 % of them are not above.
        score: what the search makes as large as it can, see `fit_score`.
    """

    anchors: int
    recall_half: float
    recall_foreground: float
    mean_overlap: float
    small_side: float
    score: float


@dataclass(frozen=True)
class Suggestion:
    """Anchors and size of pictures as configured, and as suggested; equal where nothing is worth a change."""

    configured_rule: InputRule
    configured_grid: AnchorGrid
    configured: Fit
    rule: InputRule
    grid: AnchorGrid
    suggested: Fit

    @property
    def changes(self) -> bool:
        """Whether anything is suggested."""
        return (self.rule, self.grid) != (self.configured_rule, self.configured_grid)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"changes": self.changes}


@dataclass(frozen=True)
class Objects:
    """The boxes of a data set, and the picture sizes they were seen in.

    Attributes:
        boxes: [N, 4] float32, pixels of the pictures as they are.
        image_sizes: [N, 2], (height, width) of each box's picture.
    """

    boxes: np.ndarray
    image_sizes: np.ndarray

    def at_input(self, rule: InputRule) -> tuple[np.ndarray, np.ndarray]:
        """[N, 4] float32 and [N, 2]: the boxes, and the sizes of their pictures, in pixels of the network's input."""
        input_sizes = rule.input_sizes(self.image_sizes)
        return scale_to_input(self.boxes, self.image_sizes, input_sizes), input_sizes

    def sample(self, count: int) -> Objects:
        """About `count` of them, evenly spaced."""
        step = max(1, round(len(self.boxes) / count))
        return Objects(self.boxes[::step], self.image_sizes[::step])


def suggest(
    objects: Objects,
    rule: InputRule,
    grid: AnchorGrid,
    *,
    border: float | None = None,
    foreground: float = 0.7,
) -> Suggestion:
    """Suggests anchors and the size of pictures.

    Args:
        objects: at least one box.
        rule, grid: as they are configured.
        border: see `best_anchor_overlap`.
        foreground: the IoU from which the RPN takes an anchor for an object's.
    """
    configured = measure_fit(objects, rule, grid, border, foreground)
    for new_rule in (suggest_input(objects, rule, min(grid.strides)), rule):
        new_grid = search_anchors(*objects.sample(_SEARCHED_BOXES).at_input(new_rule), grid, border, foreground)
        suggested = measure_fit(objects, new_rule, new_grid, border, foreground)
        if suggested.score >= configured.score:
            break
    is_shorter = suggested.anchors < configured.anchors
    if new_rule == rule and not is_shorter and suggested.score < configured.score + _WORTH_IT:
        new_grid, suggested = grid, configured
    return Suggestion(rule, grid, configured, new_rule, new_grid, suggested)


def measure_fit(
    objects: Objects, rule: InputRule, grid: AnchorGrid, border: float | None = None, foreground: float = 0.7
) -> Fit:
    """How anchors fit the boxes at a size of pictures."""
    boxes, input_sizes = objects.at_input(rule)
    overlaps = best_anchor_overlap(boxes, input_sizes, grid, border)
    return Fit(
        anchors=len(grid.shapes()),
        recall_half=recall(overlaps, 0.5),
        recall_foreground=recall(overlaps, foreground),
        mean_overlap=float(overlaps.mean(dtype=np.float64)),
        small_side=_small_side(boxes),
        score=fit_score(overlaps, foreground),
    )


# --- The size of pictures ------------------------------------------------------------

_SMALL_PERCENTILE = 5
_LEAST_SIDE = 8.0  # pixels of the network's input that small boxes need, whatever the stride
_AMPLE_SIDE = 16.0  # pixels beyond which enlarging pictures gains small boxes little
_MOST_GROWTH = 1.5  # times the configured size: 2.25 times the time
_MOST_ENLARGING = 2.0  # times the pictures as they are: beyond that there is nothing more to see
_FRIENDLY_SIZE = 20  # sizes are multiples of this


def suggest_input(objects: Objects, rule: InputRule, stride: float) -> InputRule:
    """A larger `min_size` where small boxes need it, a smaller one where pictures are enlarged more than they need.

    The shorter side of small boxes (of 5 % it is not longer) should reach the stride of the finest map, and at least 8
    pixels: the least size at which it does, up to 1.5 times the configured one and to twice the pictures' own. Where
    it is above 16 pixels in pictures that are enlarged: the least size, from the pictures' own on, at which it still
    is. `max_size` keeps its proportion. A rule that stretches, or leaves pictures as they are, stays.

    Args:
        objects: at least one box.
        rule: as configured.
        stride: pixels from one cell of the finest feature map to the next.
    """
    if rule.fixed_height is not None or rule.min_size is None:
        return rule
    sample = objects.sample(_SEARCHED_BOXES)
    least_side, ample_side = max(stride, _LEAST_SIDE), max(stride, _AMPLE_SIDE)
    configured = rule.min_size
    own = float(np.median(objects.image_sizes.min(axis=1)))
    side = _small_side(sample.at_input(rule)[0])
    if side < least_side:
        wanted, sizes = least_side, _sizes_between(configured, min(_MOST_GROWTH * configured, _MOST_ENLARGING * own))
    elif side > ample_side and configured > own:
        wanted, sizes = ample_side, _sizes_between(own, configured)
    else:
        return rule
    found = rule
    for size in sizes:
        found = _with_min_size(rule, size)
        if _small_side(sample.at_input(found)[0]) >= wanted:
            break
    return found


def _sizes_between(low: float, high: float) -> list[int]:
    """Friendly sizes, ascending, both ends included."""
    first, last = -int(-low // _FRIENDLY_SIZE), int(high // _FRIENDLY_SIZE)
    return [step * _FRIENDLY_SIZE for step in range(first, last + 1)]


def _with_min_size(rule: InputRule, min_size: int) -> InputRule:
    if rule.max_size is None:
        return replace(rule, min_size=min_size)
    max_size = round(rule.max_size * min_size / rule.min_size / _FRIENDLY_SIZE) * _FRIENDLY_SIZE
    return replace(rule, min_size=min_size, max_size=max(max_size, min_size))


def _small_side(boxes: np.ndarray) -> float:
    return float(np.percentile((boxes[:, 2:] - boxes[:, :2]).min(axis=1), _SMALL_PERCENTILE))


# --- As a configuration ------------------------------------------------------------

_BASE_SIZES = (256.0, 128.0, 64.0, 32.0, 16.0)


def as_yaml(suggestion: Suggestion, *, sizes: bool) -> str:
    """The suggested values as lines of a configuration file.

    Args:
        suggestion: what to write; the pictures' size is left out when it is to stay.
        sizes: write `anchors.sizes`, a list for each map, rather than `base_size` and `scales`.
    """
    grid, ratios = suggestion.grid, _numbers(suggestion.grid.ratios)
    if sizes:
        lists = ", ".join(_numbers(of_map) for of_map in grid.sides)
        lines = [f"model:\n  anchors: {{sizes: [{lists}], ratios: {ratios}}}"]
    else:
        base, scales = min(
            ((base, _numbers([side / base for side in grid.sides[0]])) for base in _BASE_SIZES),
            key=lambda written: len(written[1]),
        )
        lines = [f"model:\n  anchors: {{base_size: {base:g}, scales: {scales}, ratios: {ratios}}}"]
    rule = suggestion.rule
    if rule != suggestion.configured_rule:
        most = "null" if rule.max_size is None else rule.max_size
        lines.append(f"dataset:\n  image_preprocessing: {{min_size: {rule.min_size}, max_size: {most}}}")
    return "\n".join(lines) + "\n"


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values) + "]"
