"""Tiles: objects on every seam are reported once, whole, and only once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.errors import ConfigError
from luminoth.inference.tiling import TiledDetector, tile_views
from luminoth.types import Detections

NAMES = ["red", "green"]


class ColourDetector:
    """Finds the bounding box of each object's own colour, as far as it is in the picture that it is given.

    An object's colour is (its number, class, 255). Objects that are smaller than `least` pixels are overlooked, as
    small ones are in a picture that was shrunk.
    """

    class_names = NAMES

    def __init__(self, least: int = 4) -> None:
        self.least, self.shapes = least, []

    def detect(self, images: list[np.ndarray], *, min_score: float | None = None) -> list[Detections]:
        return [self._find(pixels) for pixels in images]

    def _find(self, pixels: np.ndarray) -> Detections:
        self.shapes.append(pixels.shape)
        boxes, scores, class_ids = [], [], []
        for number, class_id in {tuple(colour[:2]) for colour in pixels[pixels[..., 2] == 255].tolist()}:
            is_object = (pixels[..., 0] == number) & (pixels[..., 1] == class_id) & (pixels[..., 2] == 255)
            rows, columns = np.flatnonzero(is_object.any(axis=1)), np.flatnonzero(is_object.any(axis=0))
            if min(len(rows), len(columns)) >= self.least:
                boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                scores.append(min(1.0, is_object.sum() / 10_000))
                class_ids.append(class_id)
        order = np.argsort(scores)[::-1]
        return Detections(
            np.array(boxes, np.float32).reshape(-1, 4)[order],
            np.array(scores, np.float32)[order],
            np.array(class_ids, np.int32)[order],
            NAMES,
            pixels.shape[:2],
        )


def picture(height: int, width: int, boxes: list[list[int]], classes: list[int] | None = None) -> np.ndarray:
    pixels = np.zeros((height, width, 3), np.uint8)
    for number, (x_min, y_min, x_max, y_max) in enumerate(boxes):
        pixels[y_min:y_max, x_min:x_max] = (number, (classes or [0] * len(boxes))[number], 255)
    return pixels


def found_in(pixels: np.ndarray, tile: int, overlap: float, least: int = 4) -> list[list[float]]:
    return sorted(TiledDetector(ColourDetector(least), tile, overlap).detect(pixels).boxes.tolist())


@given(st.integers(1, 300), st.integers(1, 300), st.integers(20, 120), st.floats(0, 0.9))
@settings(max_examples=50, deadline=None)
def test_tiles_cover_the_picture_and_overlap_enough(height, width, tile, overlap):
    views = tile_views(height, width, tile, overlap)
    assert {view.x_max - view.x_min for view in views} == {min(tile, width)}
    assert {view.y_max - view.y_min for view in views} == {min(tile, height)}
    for low, high, length in (("x_min", "x_max", width), ("y_min", "y_max", height)):
        spans = sorted({(getattr(view, low), getattr(view, high)) for view in views})
        assert (spans[0][0], spans[-1][1]) == (0, length)
        shared = [before[1] - after[0] for before, after in pairwise(spans)]
        assert all(pixels >= int(overlap * tile) for pixels in shared)


def test_one_object_on_each_place_of_each_seam():
    """A grid of steps of 3 pixels across two seams in both directions, larger than the overlap and smaller."""
    for size in (12, 30):
        for x in range(0, 170, 11):
            for y in range(0, 170, 57):
                box = [x, y, x + size, y + size + 5]
                # The whole picture shows nothing here: only tiles do.
                assert found_in(picture(210, 210, [box]), 100, 0.2, least=4) == [box], (x, y, size)


def test_what_only_tiles_see_is_joined_at_the_seams():
    class TilesOnly(ColourDetector):
        def _find(self, pixels):
            found = super()._find(pixels)
            return found.select(np.zeros(0, int)) if pixels.shape[0] > 100 else found

    for x in range(40, 130, 5):
        box = [x, 60, x + 45, 100]  # wider than the overlap of 20: cut by one seam or the other
        found = TiledDetector(TilesOnly(), 100, 0.2).detect(picture(210, 210, [box]))
        assert found.boxes.tolist() == [box], x


def test_a_part_that_ends_a_little_before_the_seam_is_no_whole_object():
    class Inexact(ColourDetector):
        """Its boxes are 4 % too narrow, as a network's may be."""

        def _find(self, pixels):
            found = super()._find(pixels)
            margin = 0.02 * (found.boxes[:, 2] - found.boxes[:, 0])
            found.boxes[:, 0] += margin
            found.boxes[:, 2] -= margin
            return found

    # 195 pixels wide: 180 of them are in one tile, where the box ends 3.6 pixels before the seam at 200.
    found = TiledDetector(Inexact(), 200, 0.1).detect(picture(150, 380, [[20, 20, 215, 120]]))
    np.testing.assert_allclose(found.boxes, [[23.9, 20, 211.1, 120]], atol=0.1)


def test_an_object_larger_than_a_tile_is_the_whole_pictures():
    assert found_in(picture(300, 300, [[20, 30, 260, 250]]), 100, 0.2) == [[20, 30, 260, 250]]


def test_neighbours_stay_apart_and_classes_too():
    boxes = [[70, 40, 95, 80], [95, 40, 120, 80], [70, 80, 120, 100]]
    assert found_in(picture(200, 200, boxes), 100, 0.25) == sorted(boxes)
    merged = TiledDetector(ColourDetector(), 100, 0.25).detect(picture(200, 200, boxes, [0, 1, 1]))
    assert sorted(zip(merged.boxes.tolist(), merged.class_ids.tolist(), strict=True)) == sorted(
        zip(boxes, [0, 1, 1], strict=True)
    )
    assert merged.scores.tolist() == sorted(merged.scores.tolist(), reverse=True)


def test_a_picture_that_fits_a_tile_is_looked_at_once():
    detector = ColourDetector()
    TiledDetector(detector, 100).detect(picture(80, 100, []))
    assert detector.shapes == [(80, 100, 3)]


def test_a_huge_picture_is_shrunk_for_the_look_at_the_whole(monkeypatch):
    monkeypatch.setattr("luminoth.inference.tiling._WHOLE_PIXELS", 10_000)
    detector = ColourDetector()
    box = [30, 60, 240, 270]
    found = TiledDetector(detector, 100).detect(picture(301, 299, [box]))
    assert detector.shapes[0] == (100, 99, 3)  # a third; the odd pixels at the rim are left to the tiles
    (seen,) = found.boxes.tolist()
    np.testing.assert_allclose(seen, box, atol=4)


def test_nothing_found_and_lists():
    detector = TiledDetector(ColourDetector(), 50)
    assert detector.predict(picture(120, 120, [])) == []
    both = detector.predict([picture(120, 120, [[3, 4, 20, 30]]), picture(60, 90, [])])
    assert [[found["bbox"] for found in objects] for objects in both] == [[[3, 4, 20, 30]], []]


@pytest.mark.parametrize(("tile", "overlap", "message"), [(0, 0.2, "at least 1"), (10, 1.0, "below 1"), (10, -1, "0 ")])
def test_impossible_tiles(tile, overlap, message):
    with pytest.raises(ConfigError, match=message):
        TiledDetector(ColourDetector(), tile, overlap)
