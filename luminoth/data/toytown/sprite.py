"""A small drawing surface measured in metres, from which every thing in toytown is made.

Edges are hard here: scenes are drawn `SUPERSAMPLING` times too large and shrunk at the end, which
smooths them, and which leaves every pixel of a sprite either the object's or not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

SUPERSAMPLING = 2
_CORNER_STEPS = 5
_CACHED = ("alpha", "area", "foot")


def shade(colour: Colour, factor: float) -> Colour:
    """Darker for a factor below 1, nearer to white above 1 (2 is white)."""
    if factor <= 1:
        return tuple(round(channel * factor) for channel in colour)  # type: ignore[return-value]
    return mix(colour, (255, 255, 255), factor - 1)


def mix(first: Colour, second: Colour, amount: float) -> Colour:
    """`first` at amount 0, `second` at amount 1."""
    return tuple(round(a + (b - a) * amount) for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


class Sprite:
    """One thing seen from the side: colours, and the light it gives off by itself.

    Coordinates are metres, x to the right from the left edge, y up from the ground.

    Attributes:
        colour: RGBA; alpha is 255 where the thing is and 0 elsewhere.
        glow: RGB of the same size; black where the thing does not shine.
    """

    def __init__(self, width: float, height: float, scale: float) -> None:
        """An empty sprite of `width` x `height` metres at `scale` pixels a metre."""
        self.width, self.height, self.scale = width, height, scale
        size = (math.ceil(width * scale) + 1, math.ceil(height * scale) + 1)
        self.colour = Image.new("RGBA", size)
        self.glow = Image.new("RGB", size)
        self._ground = size[1] - 1
        self._pens = ImageDraw.Draw(self.colour), ImageDraw.Draw(self.glow)

    def polygon(self, points: Sequence[Point], fill: Colour, *, radius: float = 0, glow: Colour | None = None) -> None:
        """Fills a polygon, its corners rounded by about `radius` metres."""
        if radius:
            points = _rounded(points, radius)
        pixels = [self._pixel(point) for point in points]
        for pen, ink in zip(self._pens, (fill, glow or (0, 0, 0)), strict=True):
            pen.polygon(pixels, fill=ink)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour, *, radius: float = 0, glow=None) -> None:
        """Fills the rectangle between two opposite corners."""
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, radius=radius, glow=glow)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour, glow: Colour | None = None) -> None:
        """Fills an ellipse around (x, y)."""
        (left, top), (right, bottom) = self._pixel((x - rx, y + ry)), self._pixel((x + rx, y - ry))
        for pen, ink in zip(self._pens, (fill, glow or (0, 0, 0)), strict=True):
            pen.ellipse((left, top, right, bottom), fill=ink)

    def disc(self, x: float, y: float, radius: float, fill: Colour, glow: Colour | None = None) -> None:
        """Fills a circle around (x, y)."""
        self.ellipse(x, y, radius, radius, fill, glow)

    def ring(self, x: float, y: float, radius: float, width: float, fill: Colour) -> None:
        """Draws a circle's line, leaving its inside as it is; `radius` is the outer one."""
        (left, top), (right, bottom) = self._pixel((x - radius, y + radius)), self._pixel((x + radius, y - radius))
        for pen, ink in zip(self._pens, (fill, (0, 0, 0)), strict=True):
            pen.ellipse((left, top, right, bottom), outline=ink, width=self._line_width(width))

    def line(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draws connected lines with round ends and joints."""
        pixels = [self._pixel(point) for point in points]
        thickness = self._line_width(width)
        radius = (thickness - 1) / 2
        for pen, ink in zip(self._pens, (fill, (0, 0, 0)), strict=True):
            pen.line(pixels, fill=ink, width=thickness)
            if thickness > 2:
                for x, y in pixels:
                    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)

    @cached_property
    def alpha(self) -> np.ndarray:
        """[h, w] bool: where the thing is. To be asked for once it is drawn."""
        return np.asarray(self.colour.getchannel("A")) > 0

    @cached_property
    def area(self) -> int:
        """How many pixels the thing has."""
        return int(np.count_nonzero(self.alpha))

    @cached_property
    def foot(self) -> tuple[int, int]:
        """The first column of what touches the ground and the one after the last, in pixels of the sprite."""
        columns = np.flatnonzero(self.alpha[-max(3, round(0.1 * self.scale)) :].any(0))
        return (int(columns[0]), int(columns[-1]) + 1) if len(columns) else (0, self.alpha.shape[1])

    def flipped(self) -> Sprite:
        """The same thing looking the other way."""
        other = Sprite.__new__(Sprite)
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name not in _CACHED})
        other.colour = self.colour.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        other.glow = self.glow.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        other._pens = ImageDraw.Draw(other.colour), ImageDraw.Draw(other.glow)
        return other

    def _pixel(self, point: Point) -> Point:
        return point[0] * self.scale, self._ground - point[1] * self.scale

    def _line_width(self, width: float) -> int:
        return max(1, round(width * self.scale))


def _rounded(points: Sequence[Point], radius: float) -> list[Point]:
    """Replaces each corner by a quadratic curve that leaves both edges `radius` before the corner."""
    curve = []
    for index, corner in enumerate(points):
        start = _towards(corner, points[index - 1], radius)
        end = _towards(corner, points[(index + 1) % len(points)], radius)
        for step in range(_CORNER_STEPS + 1):
            t = step / _CORNER_STEPS
            a, b, c = (1 - t) ** 2, 2 * t * (1 - t), t * t
            curve.append((a * start[0] + b * corner[0] + c * end[0], a * start[1] + b * corner[1] + c * end[1]))
    return curve


def _towards(start: Point, goal: Point, distance: float) -> Point:
    length = math.dist(start, goal)
    share = min(distance / length, 0.5) if length else 0
    return start[0] + (goal[0] - start[0]) * share, start[1] + (goal[1] - start[1]) * share
