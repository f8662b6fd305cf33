"""Contact sheets: many small pictures on one, with a line or two about each. Pillow only.

 heading
 ■ car 12   ■ bus 3                 legend
┌────────┐ ┌────────┐ ┌────────┐
│        │ │        │ │        │    cells: the picture in the middle
└────────┘ └────────┘ └────────┘
 name       name       name         captions, cut where they are too long
 480 x 320  480 x 320  480 x 320
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from luminoth.fonts import font_for

Colour = tuple[int, int, int]

_PAPER, _CELL, _INK, _FAINT_INK = (255, 255, 255), (236, 238, 241), (32, 36, 42), (108, 115, 125)
_LARGEST_ZOOM = 8.0  # of a picture smaller than its cell
_FLATTEST, _TALLEST = 0.5, 1.8  # height of a cell by its width
_ELLIPSIS = "..."


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture of a sheet.

    Attributes:
        pixels: uint8 RGB [h, w, 3], no larger than the sheet's cells (see `fitted_size`).
        name: the first line below it.
        note: the second, fainter.
    """

    pixels: np.ndarray
    name: str
    note: str = ""


@dataclass(frozen=True)
class Layout:
    """Where everything goes, in pixels.

    Attributes:
        columns: cells side by side.
        cell_size: (height, width) of a cell.
    """

    columns: int
    cell_size: tuple[int, int]

    @property
    def font_size(self) -> int:
        """Of captions; the heading's is larger."""
        return min(max(10, self.cell_size[1] // 24), max(13, self.cell_size[1] // 32))

    @property
    def gap(self) -> int:
        """Between cells, and half the margin."""
        return max(10, self.cell_size[1] // 26)


def choose_layout(sizes: Sequence[tuple[int, int]], columns: int, width: int) -> Layout:
    """Cells of the usual shape of the pictures.

    Args:
        sizes: their (height, width).
        columns: cells side by side.
        width: of a cell.
    """
    shape = float(np.median([height / width for height, width in sizes])) if sizes else 0.75
    return Layout(columns, (round(width * min(max(shape, _FLATTEST), _TALLEST)), width))


def fitted_size(size: tuple[int, int], cell_size: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) at which a picture of `size` fits a cell; small ones grow, at most eightfold."""
    factor = min(cell_size[0] / size[0], cell_size[1] / size[1], _LARGEST_ZOOM)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def fit(pixels: np.ndarray, cell_size: tuple[int, int]) -> np.ndarray:
    """A picture, uint8 RGB [H, W, 3], at its `fitted_size`."""
    height, width = fitted_size(pixels.shape[:2], cell_size)
    kind = Image.Resampling.LANCZOS if width < pixels.shape[1] else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(pixels).resize((width, height), kind, reducing_gap=3.0))


def draw_sheet(
    cells: Sequence[Cell], layout: Layout, heading: str = "", legend: Sequence[tuple[str, Colour]] = ()
) -> Image.Image:
    """Puts cells on a sheet, row by row.

    Args:
        cells: one or more.
        layout: how.
        heading: a line above them.
        legend: texts and their colours, below the heading, in as many lines as they need.
    """
    gap, margin = layout.gap, 2 * layout.gap
    height, width = layout.cell_size
    line = _line_height(layout.font_size)
    used_columns = min(layout.columns, max(1, len(cells)))
    sheet_width = 2 * margin + used_columns * width + (used_columns - 1) * gap
    chips = _place_legend(legend, layout.font_size, sheet_width - 2 * margin)
    heading_size = round(layout.font_size * 1.4)
    top = margin + (_line_height(heading_size) + gap // 2 if heading else 0)
    cells_top = top + (chips[-1].y + line + gap if chips else 0)
    caption = 2 * line + gap // 2
    rows = -(-len(cells) // used_columns)
    sheet = Image.new("RGB", (sheet_width, cells_top + rows * (height + caption + gap) - gap + margin), _PAPER)
    draw = ImageDraw.Draw(sheet)
    if heading:
        text = cut_text(heading, heading_size, sheet_width - 2 * margin)
        draw.text((margin, margin), text, _INK, font_for(text, heading_size))
    for chip in chips:
        _draw_chip(draw, chip, (margin, top), layout.font_size)
    for number, cell in enumerate(cells):
        row, column = divmod(number, used_columns)
        left, upper = margin + column * (width + gap), cells_top + row * (height + caption + gap)
        _draw_cell(sheet, draw, cell, (left, upper), layout)
    return sheet


def _draw_cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, corner: tuple[int, int], layout: Layout
) -> None:
    (left, upper), (height, width) = corner, layout.cell_size
    draw.rectangle((left, upper, left + width - 1, upper + height - 1), _CELL)
    picture_height, picture_width = cell.pixels.shape[:2]
    place = left + (width - picture_width) // 2, upper + (height - picture_height) // 2
    sheet.paste(Image.fromarray(cell.pixels), place)
    size = layout.font_size
    below = upper + height + max(2, size // 4)
    for text, colour in ((cell.name, _INK), (cell.note, _FAINT_INK)):
        text = cut_text(text, size, width)
        draw.text((left, below), text, colour, font_for(text, size))
        below += _line_height(size)


def cut_text(text: str, font_size: int, width: int) -> str:
    """The text, with dots in place of its middle where it is wider than `width` pixels."""
    font = font_for(text, font_size)
    if font.getlength(text) <= width:
        return text
    low, high = 0, len(text)  # how many letters stay
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(_shortened(text, middle)) <= width else (low, middle - 1)
    return _shortened(text, low)


def _shortened(text: str, letters: int) -> str:
    """Its beginning and its end, `letters` in all; of a file's name the end tells more."""
    end = (letters + 1) // 2
    return text[: letters - end] + _ELLIPSIS + text[len(text) - end :]


# --- Legend ------------------------------------------------------------


@dataclass(frozen=True)
class _Chip:
    """A square of colour and a text, `x` and `y` from the legend's corner."""

    text: str
    colour: Colour
    x: int
    y: int


def _place_legend(legend: Sequence[tuple[str, Colour]], font_size: int, width: int) -> list[_Chip]:
    chips: list[_Chip] = []
    x, y = 0, 0
    for text, colour in legend:
        text = cut_text(text, font_size, width - 2 * font_size)
        needed = round(font_size * 1.4 + font_for(text, font_size).getlength(text))
        if x and x + needed > width:
            x, y = 0, y + _line_height(font_size)
        chips.append(_Chip(text, colour, x, y))
        x += needed + round(font_size * 1.2)
    return chips


def _draw_chip(draw: ImageDraw.ImageDraw, chip: _Chip, corner: tuple[int, int], font_size: int) -> None:
    x, y = corner[0] + chip.x, corner[1] + chip.y
    font = font_for(chip.text, font_size)
    ascent = font.getmetrics()[0]
    side = round(font_size * 0.8)
    draw.rectangle((x, y + ascent - side, x + side, y + ascent), chip.colour)
    draw.text((x + round(font_size * 1.4), y), chip.text, _INK, font)


def _line_height(font_size: int) -> int:
    return round(font_size * 1.35)
