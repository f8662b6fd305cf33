"""How well anchors fit boxes: the highest IoU that any anchor of the grid has with each box. NumPy alone.

The RPN is trained on the anchors that overlap an object enough, so an object that no anchor overlaps is hardly learnt.
The share of boxes with an overlap of at least t is called the anchors' recall at t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

_CHUNK = 1 << 16  # boxes at once: some ten arrays of half a megabyte, whatever the number of boxes


@dataclass(frozen=True)
class InputRule:
    """To which size a picture is brought for the network: the arithmetic of `luminoth.resize.ResizeRule`, in NumPy.

    Attributes:
        min_size: pixels of the shorter side; None: as it is.
        max_size: most pixels of the longer side; None: no limit.
        fixed_height, fixed_width: stretch to exactly this size; both or neither. They win over the other two.
        rounding: how a length becomes whole pixels: "nearest" (halves up) or "down".
    """

    min_size: int | None = None
    max_size: int | None = None
    fixed_height: int | None = None
    fixed_width: int | None = None
    rounding: Literal["nearest", "down"] = "nearest"

    def input_sizes(self, image_sizes: np.ndarray) -> np.ndarray:
        """The size that pictures of these sizes get.

        Args:
            image_sizes: [N, 2], (height, width), pixels.

        Returns:
            [N, 2] int32, (height, width), pixels, at least 1.
        """
        sizes = np.asarray(image_sizes, np.float64).reshape(-1, 2)
        if self.fixed_height is not None:
            return np.tile(np.asarray([self.fixed_height, self.fixed_width], np.int32), (len(sizes), 1))
        shorter, longer = sizes.min(axis=1), sizes.max(axis=1)
        if self.rounding == "nearest":
            new_shorter, new_longer = (side + 0.5 for side in self._scaled_in_turn(shorter, longer))
        else:
            new_shorter, new_longer = self._scaled_at_once(shorter, longer)
        is_wide = sizes[:, 0] < sizes[:, 1]
        scaled = np.where(is_wide, (new_shorter, new_longer), (new_longer, new_shorter)).T
        return np.maximum(np.floor(scaled), 1).astype(np.int32)

    # The order of operations in both is the twin's: it decides where a length lies on a half or a whole pixel.

    def _scaled_in_turn(self, shorter: np.ndarray, longer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.min_size is not None:
            longer = self.min_size / shorter * longer
            shorter = np.full_like(shorter, self.min_size)
        if self.max_size is not None:
            factor = np.minimum(self.max_size / np.maximum(shorter, longer), 1.0)
            shorter, longer = shorter * factor, longer * factor
        return shorter, longer

    def _scaled_at_once(self, shorter: np.ndarray, longer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        factor = np.ones_like(shorter) if self.min_size is None else self.min_size / shorter
        if self.max_size is not None:
            factor = np.minimum(factor, self.max_size / longer)
        return shorter * factor, longer * factor


@dataclass(frozen=True)
class AnchorGrid:
    """The anchors of a detector: the same shapes at every cell of each of its feature maps.

    Attributes:
        sides: of the square anchors, in pixels of the network's input; a list for each map.
        ratios: height / width; the area does not change with it.
        strides: pixels from one cell to the next, for each map.
        offset: where in its cell an anchor's centre lies, in strides.
        rounded: corners around the centre lie on whole pixels.
    """

    sides: Sequence[Sequence[float]]
    ratios: Sequence[float]
    strides: Sequence[int]
    offset: float = 0.5
    rounded: bool = False

    def shapes(self) -> np.ndarray:
        """[K, 3] float64: width, height and stride of each anchor shape, map by map, sides before ratios."""
        rows = []
        for of_map, stride in zip(self.sides, self.strides, strict=True):
            for side in of_map:
                for ratio in self.ratios:
                    width, height = side / np.sqrt(ratio), side * np.sqrt(ratio)
                    if self.rounded:
                        width, height = 2 * np.round(width / 2), 2 * np.round(height / 2)
                    rows.append((width, height, stride))
        return np.asarray(rows, np.float64)


def scale_to_input(boxes: np.ndarray, image_sizes: np.ndarray, input_sizes: np.ndarray) -> np.ndarray:
    """Boxes where they lie once their pictures have the network's size.

    Args:
        boxes: [N, 4], pixels of the pictures as they are.
        image_sizes, input_sizes: [N, 2], (height, width) of each box's picture as it is, and at the network's input.

    Returns:
        [N, 4] float32, pixels of the network's input.
    """
    factors = (np.asarray(input_sizes, np.float64) / image_sizes)[:, ::-1]  # (height, width) -> (x, y)
    return (boxes * np.concatenate([factors, factors], axis=1)).astype(np.float32)


def best_anchor_overlap(
    boxes: np.ndarray, input_sizes: np.ndarray, grid: AnchorGrid, border: float | None = None
) -> np.ndarray:
    """For each box the highest IoU with any anchor of the grid that its picture has, exactly.

    Both sides of the intersection shrink, or stay, as an anchor's centre moves away from the box's, each along its own
    axis. So of all places of a shape the one nearest to the box's centre is the best, in x and in y apart.

    Args:
        boxes: [N, 4], pixels of the network's input.
        input_sizes: [N, 2], (height, width) of each box's picture, pixels of the network's input.
        grid: the anchors. (In a batch the padding of smaller pictures has cells too; these are not counted.)
        border: anchors that reach over the picture's edge by more pixels than this do not count, as in training with
            `rpn.target.allowed_border`; None: all count.

    Returns:
        [N] float32, 0 to 1.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    input_sizes = np.asarray(input_sizes).reshape(-1, 2)
    best = np.zeros(len(boxes), np.float32)
    for start in range(0, len(boxes), _CHUNK):
        part = slice(start, start + _CHUNK)
        for shape in grid.shapes():
            overlap = shape_overlap(boxes[part], input_sizes[part], shape, grid.offset, border)
            np.maximum(best[part], overlap, out=best[part])
    return best


def recall(overlaps: np.ndarray, threshold: float) -> float | None:
    """The share of boxes whose best anchor overlaps them by at least `threshold`; None without boxes."""
    return float(np.mean(overlaps >= threshold)) if len(overlaps) else None


def shape_overlap(
    boxes: np.ndarray, input_sizes: np.ndarray, shape: Sequence[float], offset: float, border: float | None
) -> np.ndarray:
    """As `best_anchor_overlap`, with anchors of one shape: (width, height, stride). All boxes at once."""
    width, height, stride = shape
    x_min, y_min, x_max, y_max = boxes.T.astype(np.float64)
    heights, widths = input_sizes.T.astype(np.float64)
    across = _nearest_overlap(x_min, x_max, widths, width, stride, offset, border)
    down = _nearest_overlap(y_min, y_max, heights, height, stride, offset, border)
    shared = across * down
    return (shared / ((x_max - x_min) * (y_max - y_min) + width * height - shared)).astype(np.float32)


def _nearest_overlap(
    low: np.ndarray,
    high: np.ndarray,
    image_side: np.ndarray,
    length: float,
    stride: float,
    offset: float,
    border: float | None,
) -> np.ndarray:
    """Along one axis: what the nearest anchor of this length shares with each box [low, high]; 0 without an anchor."""
    first = np.zeros_like(image_side)
    last = np.ceil(image_side / stride) - 1
    if border is not None:
        first = np.maximum(first, np.ceil((length / 2 - border) / stride - offset))
        last = np.minimum(last, np.floor((image_side + border - length / 2) / stride - offset))
    cell = np.clip(np.round((low + high) / 2 / stride - offset), first, last)  # `last` where first > last
    centre = (cell + offset) * stride
    shared = np.minimum(high, centre + length / 2) - np.maximum(low, centre - length / 2)
    return np.where(first <= last, np.maximum(shared, 0.0), 0.0)
