"""Small objects and huge pictures: the picture is looked at in tiles that overlap, and once as a whole.

Each tile is seen at its own size, so that what is small stays visible; the whole picture shows what is larger than a
tile. An object that several views saw is reported once: two detections are of one object when, within the part of the
picture that both views show, they are of one class and cover the same. So the halves of an object that a seam cuts
are joined, and two objects that stand close together are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from luminoth.boxes.host import overlaps, suppress
from luminoth.errors import ConfigError
from luminoth.image import read_image
from luminoth.types import Detections

# How alike two detections of one object are where both views show it. Two objects that overlap as much would be
# taken for one by non-maximum suppression, too.
_SAME_IOU = 0.5
# An edge so near to its tile's rim, in pixels and as a share of the box's side, was cut off there: boxes are the less
# exact the larger they are.
_RIM_PIXELS, _RIM_SHARE = 3.0, 0.1
# The whole picture is shrunk before it goes to the detector when it has more pixels: the copies of a huge one would
# take several times its memory, and networks see far less anyway.
_WHOLE_PIXELS = 16_000_000
_TILES_AT_ONCE = 16


class _Detects(Protocol):
    class_names: list[str]

    def detect(self, images: list[Any], *, min_score: float | None = None) -> list[Detections]: ...


@dataclass(frozen=True)
class View:
    """A part of a picture, in whole pixels: [x_min, x_max) by [y_min, y_max)."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int


@dataclass(frozen=True)
class _Seen:
    """What one view saw: `Detections`' arrays in pixels of the whole picture, and which of them the view cut off."""

    view: View
    boxes: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray
    is_cut: np.ndarray


def tile_views(height: int, width: int, tile: int, overlap: float) -> list[View]:
    """The tiles that cover a picture, row by row.

    Args:
        height, width: of the picture.
        tile: side of the tiles in pixels; they are smaller only where the picture is.
        overlap: least share of a tile that its neighbour shows as well, from 0 to below 1.

    Raises:
        ConfigError: `tile` or `overlap` is out of range.
    """
    if tile < 1:
        raise ConfigError(f"a tile's side must be at least 1 pixel; got {tile}")
    if not 0 <= overlap < 1:
        raise ConfigError(f"the overlap of tiles must lie from 0 to below 1; got {overlap}")
    return [
        View(x, y, min(x + tile, width), min(y + tile, height))
        for y in _starts(height, tile, overlap)
        for x in _starts(width, tile, overlap)
    ]


class TiledDetector:
    """A detector that looks at pictures in tiles; asked as a `Detector` is.

    A picture is held in memory once, whatever its size, and so are the tiles of one batch.

    Args:
        detector: a `Detector`.
        tile: side of the tiles, in pixels of the picture; objects should fit into one.
        overlap: least share of a tile that its neighbour shows as well; objects that fit into it are never cut.
        agnostic_nms: as of a `Detector`, over the seams as well.

    Raises:
        ConfigError: see `tile_views`.
    """

    def __init__(
        self, detector: _Detects, tile: int, overlap: float = 0.2, *, agnostic_nms: float | None = None
    ) -> None:
        tile_views(1, 1, tile, overlap)  # refuses what is out of range
        self.class_names = detector.class_names
        self._detector, self._tile, self._overlap, self._agnostic_nms = detector, tile, overlap, agnostic_nms

    def predict(
        self, images: Any, *, min_score: float | None = None
    ) -> list[dict[str, Any]] | list[list[dict[str, Any]]]:
        """As `Detector.predict`, of one picture or a list or tuple of them."""
        if isinstance(images, (list, tuple)):
            return [found.to_dicts() for found in self.detect(images, min_score=min_score)]
        return self.detect(images, min_score=min_score).to_dicts()

    def detect(self, images: Any, *, min_score: float | None = None) -> Detections | list[Detections]:
        """As `Detector.detect`, of one picture or a list or tuple of them."""
        if isinstance(images, (list, tuple)):
            return [self.detect(image, min_score=min_score) for image in images]
        pixels = read_image(images)
        height, width = pixels.shape[:2]
        views = tile_views(height, width, self._tile, self._overlap)
        if len(views) == 1:
            return self._detector.detect([pixels], min_score=min_score)[0]
        seen = [self._look_at_whole(pixels, min_score)]
        for start in range(0, len(views), _TILES_AT_ONCE):
            group = views[start : start + _TILES_AT_ONCE]
            tiles = [pixels[view.y_min : view.y_max, view.x_min : view.x_max] for view in group]
            found = self._detector.detect(tiles, min_score=min_score)
            seen += [_seen(view, each, (height, width)) for view, each in zip(group, found, strict=True)]
        merged = _merged(seen, self.class_names, (height, width))
        if self._agnostic_nms is not None:
            merged = merged.select(suppress(merged.boxes, merged.scores, self._agnostic_nms))
        return merged

    def _look_at_whole(self, pixels: np.ndarray, min_score: float | None) -> _Seen:
        height, width = pixels.shape[:2]
        factor = max(1, int(np.ceil((height * width / _WHOLE_PIXELS) ** 0.5)))
        found = self._detector.detect([_shrunk(pixels, factor)], min_score=min_score)[0]
        return _Seen(
            View(0, 0, width, height),
            found.boxes * np.float32(factor),
            found.scores,
            found.class_ids,
            np.zeros(len(found), bool),
        )


def _starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles begin along one side: evenly, the first at the start and the last at the end."""
    if length <= tile:
        return [0]
    step = max(1, int(tile * (1.0 - overlap)))
    count = -(-(length - tile) // step) + 1
    return [round(index * (length - tile) / (count - 1)) for index in range(count)]


def _shrunk(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Each block of `factor` x `factor` pixels as one, its mean; an incomplete one at the rim is left out."""
    if factor == 1:
        return pixels
    rows, columns = pixels.shape[0] // factor, pixels.shape[1] // factor
    smaller = np.empty((rows, columns, 3), np.uint8)
    for row in range(rows):  # row by row: the sums of the whole picture would take four times its memory
        block = pixels[row * factor : (row + 1) * factor, : columns * factor]
        # [factor, columns * factor, 3] -> [factor, columns, factor, 3]
        block = block.reshape(factor, columns, factor, 3)
        smaller[row] = np.rint(block.mean(axis=(0, 2), dtype=np.float32))
    return smaller


def _seen(view: View, found: Detections, size: tuple[int, int]) -> _Seen:
    boxes = found.boxes + np.array([view.x_min, view.y_min] * 2, np.float32)
    beside, below = np.maximum(_RIM_PIXELS, _RIM_SHARE * (boxes[:, 2:] - boxes[:, :2])).T  # [N] each
    is_cut = (
        ((boxes[:, 0] <= view.x_min + beside) & (view.x_min > 0))
        | ((boxes[:, 1] <= view.y_min + below) & (view.y_min > 0))
        | ((boxes[:, 2] >= view.x_max - beside) & (view.x_max < size[1]))
        | ((boxes[:, 3] >= view.y_max - below) & (view.y_max < size[0]))
    )
    return _Seen(view, boxes, found.scores, found.class_ids, is_cut)


def _merged(seen: list[_Seen], class_names: list[str], size: tuple[int, int]) -> Detections:
    """One detection an object, by descending score."""
    boxes, scores, class_ids, is_cut = (
        np.concatenate([getattr(each, name) for each in seen]) for name in ("boxes", "scores", "class_ids", "is_cut")
    )
    of_whole = np.arange(len(scores)) < len(seen[0].scores)
    merged_boxes, merged_scores, merged_ids = [], [], []
    for group in _groups(seen, len(scores)):
        merged_boxes.append(_box_of(boxes[group], scores[group], is_cut[group], of_whole[group]))
        merged_scores.append(scores[group].max())
        merged_ids.append(class_ids[group[0]])
    order = np.argsort(-np.array(merged_scores, np.float32), kind="stable")
    return Detections(
        np.array(merged_boxes, np.float32).reshape(-1, 4)[order],
        np.array(merged_scores, np.float32)[order],
        np.array(merged_ids, np.int32)[order],
        class_names,
        size,
    )


def _box_of(boxes: np.ndarray, scores: np.ndarray, is_cut: np.ndarray, of_whole: np.ndarray) -> np.ndarray:
    """The box of an object from all its detections: the surest that no seam cut, the tiles' before the whole picture's,
    which is coarser; where every one was cut, what they cover together."""
    for usable in (~is_cut & ~of_whole, ~is_cut):
        if usable.any():
            return boxes[usable][np.argmax(scores[usable])]
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _groups(seen: list[_Seen], count: int) -> list[np.ndarray]:
    """The indices of the detections of each object."""
    parents = np.arange(count)

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for one, other in _pairs(seen):
        low, high = sorted((root(one), root(other)))
        parents[high] = low
    roots = np.array([root(index) for index in range(count)], int)
    order = np.argsort(roots, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(roots[order])) + 1) if count else []


def _pairs(seen: list[_Seen]) -> Iterator[tuple[int, int]]:
    """Indices of two detections of one object, over all pairs of views that overlap."""
    starts = np.cumsum([0, *(len(each.scores) for each in seen)])
    views = np.array([[view.x_min, view.y_min, view.x_max, view.y_max] for view in (each.view for each in seen)])
    filled = [number for number, each in enumerate(seen) if len(each.scores)]
    for position, number in enumerate(filled):
        later = np.array(filled[position + 1 :], int)
        common = np.concatenate(
            [np.maximum(views[number, :2], views[later, :2]), np.minimum(views[number, 2:], views[later, 2:])], axis=1
        )
        is_shared = (common[:, 2] > common[:, 0]) & (common[:, 3] > common[:, 1])
        for other, window in zip(later[is_shared], common[is_shared], strict=True):
            for row, column in _matches(seen[number], seen[other], window):
                yield int(starts[number] + row), int(starts[other] + column)


def _matches(one: _Seen, other: _Seen, window: np.ndarray) -> np.ndarray:
    """[M, 2]: which detections of two views cover the same within a window that both show, each at most once."""
    shared = overlaps(_clipped(one.boxes, window), _clipped(other.boxes, window))
    shared = np.where(one.class_ids[:, None] == other.class_ids[None], shared, 0.0)
    # The best partner of each, where the liking is mutual: neighbours of one class do not melt into one.
    is_best = (shared == shared.max(axis=1, keepdims=True)) & (shared == shared.max(axis=0, keepdims=True))
    return np.argwhere(is_best & (shared >= _SAME_IOU))


def _clipped(boxes: np.ndarray, window: np.ndarray) -> np.ndarray:
    return np.concatenate([np.maximum(boxes[:, :2], window[:2]), np.minimum(boxes[:, 2:], window[2:])], axis=1)
