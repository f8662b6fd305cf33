"""Draws boxes with labels on pictures and video frames.

Works on uint8 arrays: edges and fills are slices, and the rendered text of a label is kept for the next frame
(100 boxes on a 1080p frame take a few milliseconds).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from luminoth.fonts import font_for
from luminoth.image import read_image
from luminoth.types import Detections

Colour = tuple[int, int, int]

# 20 bright colours, each the one farthest from those before it in the OKLab colour space.
_PALETTE = (
    *("ff3c3c", "00ff00", "0f87ff", "e100ff", "ffd25a", "1effff", "ffa5f0", "00a55a", "ff0fa5", "c37800"),
    *("a569e1", "a5ff96", "4bc3ff", "d26996", "a5b400", "ff69f0", "ff8778", "00c300", "00e1a5", "e1f000"),
)
# Chosen so that the classes of street scenes and the most common pets get colours far from each other.
_PALETTE_SEED = 9682


class _Rectangle(NamedTuple):
    """Whole pixels, [x_min, x_max) by [y_min, y_max)."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int


def class_colour(name: str) -> Colour:
    """The colour of a class: the same in every picture, every video and every run."""
    code = _PALETTE[zlib.crc32(name.encode(), _PALETTE_SEED) % len(_PALETTE)]
    return int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)


def vis_objects(
    image: Any,
    objects: Detections | Sequence[Mapping[str, Any]] | Mapping[str, Any],
    colormap: Callable[[str], Colour] | Mapping[str, Colour] | None = None,
    labels: bool = True,
    scale: float = 1,
    fill: int = 30,
) -> Image.Image:
    """A copy of a picture with boxes drawn on it.

    Args:
        image: anything `read_image` takes: an array, a PIL image, a path.
        objects: what `Detector.predict` or `Detector.detect` returned for it; `prob` may be missing (ground truth).
            `note` is written behind the name; `is_crowd` draws the box dashed.
        colormap: the colour (red, green, blue; 0 to 255) of a class name; by default `class_colour`.
        labels: whether the boxes carry name and probability.
        scale: widens lines and text, which suit the picture's size at 1.
        fill: how opaque the inside of a box is coloured, 0 (not at all) to 255.
    """
    pixels = np.array(read_image(image))
    draw_objects(pixels, objects, colormap=colormap, labels=labels, scale=scale, fill=fill)
    return Image.fromarray(pixels)


def draw_objects(
    pixels: np.ndarray,
    objects: Detections | Sequence[Mapping[str, Any]] | Mapping[str, Any],
    *,
    colormap: Callable[[str], Colour] | Mapping[str, Colour] | None = None,
    labels: bool = True,
    scale: float = 1,
    fill: int = 0,
    line_width: int | None = None,
    font_scale: float = 1,
) -> None:
    """As `vis_objects`, in place, on uint8 RGB [H, W, 3].

    Args:
        line_width: in pixels, in place of what suits the picture's size.
        font_scale: widens the text alone, beside `scale`.
    """
    if isinstance(objects, Detections):
        objects = objects.to_dicts()
    elif isinstance(objects, Mapping):
        objects = [objects]
    colour_of = colormap.__getitem__ if isinstance(colormap, Mapping) else colormap or class_colour
    suitable_width, font_size = _sizes(pixels.shape[0], pixels.shape[1], scale)
    line_width, font_size = line_width or suitable_width, max(6, round(font_size * font_scale))
    # The surest object is drawn last, over the others.
    drawn = sorted(objects, key=lambda found: found.get("prob", 1.0))
    boxes = [_on_picture(found["bbox"], pixels.shape) for found in drawn]
    colours = [tuple(colour_of(found["label"])) for found in drawn]
    if fill:
        for box, colour in zip(boxes, colours, strict=True):
            _tint(pixels[box.y_min : box.y_max, box.x_min : box.x_max], colour, fill)
    for found, box, colour in zip(drawn, boxes, colours, strict=True):
        draw_line = _dashed_outline if found.get("is_crowd") else _outline
        draw_line(pixels, box, colour, line_width)
    if labels:
        texts = [_label(found) for found in drawn]
        _draw_tags(pixels, boxes, texts, colours, font_size)


def draw_line(
    pixels: np.ndarray,
    start: tuple[float, float],
    end: tuple[float, float],
    *,
    colour: Colour = (255, 255, 255),
    line_width: int | None = None,
) -> None:
    """A straight line on uint8 RGB [H, W, 3], in place, with a dark rim that shows it on any picture.

    Args:
        start, end: (x, y) in pixels; may lie outside.
        line_width: in pixels; None: what suits the picture's size.
    """
    width = line_width or _sizes(pixels.shape[0], pixels.shape[1], 1)[0]
    along = np.subtract(end, start, dtype=float)
    length = float(np.hypot(*along))
    across = np.array([-along[1], along[0]]) / max(length, 1e-9)
    for half, value in ((width / 2 + 1, (0, 0, 0)), (width / 2, colour)):
        # Two points a pixel in both directions leave no gaps.
        places = np.linspace(0, 1, int(2 * length) + 2)[:, None, None] * along + np.asarray(start, float)
        beside = np.arange(-half + 0.25, half, 0.5)[:, None] * across
        columns, rows = np.rint(places + beside - 0.5).astype(int).T
        inside = (columns >= 0) & (columns < pixels.shape[1]) & (rows >= 0) & (rows < pixels.shape[0])
        pixels[rows[inside], columns[inside]] = value


def _sizes(height: int, width: int, scale: float) -> tuple[int, int]:
    """Line width and font size in pixels: 4 and 23 on a 1080p frame, 2 and 12 on a thumbnail."""
    side = (height * width) ** 0.5
    return max(1, round(max(2.0, side / 380) * scale)), max(6, round(max(12.0, side / 62) * scale))


def _on_picture(bbox: Sequence[float], shape: Sequence[int]) -> _Rectangle:
    """The box in whole pixels within the picture, at least one pixel large."""
    height, width = shape[:2]
    x_min, y_min = min(max(round(bbox[0]), 0), width - 1), min(max(round(bbox[1]), 0), height - 1)
    x_max, y_max = min(max(round(bbox[2]), x_min + 1), width), min(max(round(bbox[3]), y_min + 1), height)
    return _Rectangle(x_min, y_min, x_max, y_max)


def _tint(region: np.ndarray, colour: Colour, opacity: int) -> None:
    for channel, value in enumerate(colour):
        region[..., channel] = _tint_table(value, opacity)[region[..., channel]]


@lru_cache(1024)
def _tint_table(value: int, opacity: int) -> np.ndarray:
    """[256] uint8: what each brightness becomes under `value` at that opacity."""
    return ((np.arange(256) * (255 - opacity) + value * opacity + 127) // 255).astype(np.uint8)


def _outline(pixels: np.ndarray, box: _Rectangle, colour: Colour, line_width: int) -> None:
    """The line lies inside the box, so that the box's outer edge is the object's edge."""
    width = min(line_width, max(1, (box.x_max - box.x_min) // 3), max(1, (box.y_max - box.y_min) // 3))
    region = pixels[box.y_min : box.y_max, box.x_min : box.x_max]
    region[:width] = colour
    region[-width:] = colour
    region[:, :width] = colour
    region[:, -width:] = colour


def _dashed_outline(pixels: np.ndarray, box: _Rectangle, colour: Colour, line_width: int) -> None:
    """As `_outline`, with gaps as long as the dashes."""
    inside = np.copy(pixels[box.y_min : box.y_max, box.x_min : box.x_max])
    _outline(pixels, box, colour, line_width)
    dash = 3 * line_width
    rows, columns = np.ogrid[: inside.shape[0], : inside.shape[1]]
    along_top = (rows < line_width) | (rows >= inside.shape[0] - line_width)
    is_gap = np.where(along_top, columns, rows) // dash % 2 == 1
    region = pixels[box.y_min : box.y_max, box.x_min : box.x_max]
    region[is_gap] = inside[is_gap]


def _label(found: Mapping[str, Any]) -> str:
    prob = f"{found['prob']:.2f}" if found.get("prob") is not None else ""
    return " ".join(filter(None, (str(found["label"]), prob, found.get("note"))))


def _draw_tags(
    pixels: np.ndarray,
    boxes: Sequence[_Rectangle],
    texts: Sequence[str],
    colours: Sequence[Colour],
    font_size: int,
) -> None:
    tags = [_tag(text, colour, font_size) for text, colour in zip(texts, colours, strict=True)]
    placed = np.empty((0, 4), np.int64)
    places = []
    # The surest object chooses first and is drawn last.
    for box, tag in zip(reversed(boxes), reversed(tags), strict=True):
        place = _place_for(tag, box, pixels.shape, placed)
        places.append(place)
        placed = np.concatenate([placed, [place]])
    for place, tag in zip(reversed(places), tags, strict=True):
        region = pixels[place.y_min : place.y_max, place.x_min : place.x_max]
        region[:] = tag[: region.shape[0], : region.shape[1]]


def _place_for(tag: np.ndarray, box: _Rectangle, shape: Sequence[int], placed: np.ndarray) -> _Rectangle:
    """Where a tag goes: above its box, else inside at the top, below, or inside at the bottom; the first place
    that is in the picture and free of other tags, else the first that is in the picture."""
    height, width = min(tag.shape[0], shape[0]), min(tag.shape[1], shape[1])
    left = min(box.x_min, shape[1] - width)
    fallback = None
    for top in (box.y_min - height, box.y_min, box.y_max, box.y_max - height):
        if top < 0 or top + height > shape[0]:
            continue
        place = _Rectangle(left, top, left + width, top + height)
        is_covered = (
            (placed[:, 0] < place.x_max)
            & (placed[:, 2] > place.x_min)
            & (placed[:, 1] < place.y_max)
            & (placed[:, 3] > place.y_min)
        )
        if not is_covered.any():
            return place
        fallback = fallback or place
    return fallback or _Rectangle(left, 0, left + width, height)


@lru_cache(4096)
def _tag(text: str, colour: Colour, font_size: int) -> np.ndarray:
    """[h, w, 3] uint8: text on a plate of the class's colour."""
    font = font_for(text, font_size)
    pad = max(2, round(font_size * 0.28))
    ascent, descent = font.getmetrics()
    width = round(font.getlength(text)) + 2 * pad
    plate = Image.new("RGB", (width, ascent + descent + pad), colour)
    ImageDraw.Draw(plate).text((pad, pad // 2), text, fill=_text_colour(colour), font=font)
    return np.asarray(plate)


def _text_colour(background: Colour) -> Colour:
    """Black or white, whichever contrasts more (WCAG 2.1, relative luminance)."""

    def linear(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = background
    luminance = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)
