import numpy as np
import pytest
from PIL import Image

from luminoth.data.show.contact_sheet import Cell, choose_layout, cut_text, draw_sheet, fit, fitted_size
from luminoth.fonts import font_for

RED, WHITE, CELL = (255, 0, 0), (255, 255, 255), (236, 238, 241)


def plain(height, width, colour=RED):
    return np.full((height, width, 3), colour, np.uint8)


def where_is(sheet, colour):
    """[x_min, y_min, x_max, y_max] of the pixels of a colour."""
    rows, columns = np.nonzero((np.asarray(sheet) == colour).all(axis=2))
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize(
    ("sizes", "height"),
    [([(300, 400)], 240), ([(300, 400)] * 2 + [(900, 10)], 240), ([(100, 1000)], 160), ([(1000, 100)], 576), ([], 240)],
)
def test_cells_have_the_usual_shape(sizes, height):
    assert choose_layout(sizes, 4, 320).cell_size == (height, 320)


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((480, 640), (240, 320)),
        ((1000, 100), (240, 24)),
        ((100, 1000), (32, 320)),
        ((10, 20), (80, 160)),
        ((1, 5000), (1, 320)),
    ],
)
def test_pictures_fit_their_cells(size, fitted):
    assert fitted_size(size, (240, 320)) == fitted
    assert fit(plain(*size), (240, 320)).shape == (*fitted, 3)


def test_a_picture_stands_in_the_middle_of_its_cell():
    layout = choose_layout([(100, 200)], 1, 200)
    sheet = draw_sheet([Cell(plain(100, 50), "a", "b")], layout)
    # a margin of 20 all around, a cell of 200 x 100
    assert where_is(sheet, RED) == [20 + 75, 20, 20 + 125, 120]
    assert where_is(sheet, CELL) == [20, 20, 220, 120]
    assert sheet.width == 20 + 200 + 20


def test_cells_go_row_by_row():
    layout = choose_layout([(100, 100)], 2, 100)
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    sheet = draw_sheet([Cell(plain(100, 100, colour), "x") for colour in colours], layout)
    places = [where_is(sheet, colour) for colour in colours]
    assert [place[0] for place in places] == [20, 130, 20]
    assert places[0][1] == places[1][1] == 20
    assert places[2][1] > places[0][3] + 2 * layout.font_size  # two lines of text between
    assert sheet.width == 20 + 100 + 10 + 100 + 20


def test_a_sheet_is_no_wider_than_its_cells():
    layout = choose_layout([(100, 100)], 6, 100)
    assert draw_sheet([Cell(plain(100, 100), "x")], layout).width == 140


def test_the_legend_has_the_colours_in_as_many_lines_as_needed():
    layout = choose_layout([(100, 300)], 1, 300)
    cells = [Cell(plain(1, 1, (1, 2, 3)), "x")]
    green = (0, 200, 0)
    one_line = draw_sheet(cells, layout, "heading", [("car: 3", RED), ("bus: 2", green)])
    assert where_is(one_line, RED)[1] == where_is(one_line, green)[1]
    assert where_is(one_line, RED)[0] == 22
    more_lines = draw_sheet(cells, layout, "heading", [("a long name of a class: 3", RED)] * 3 + [("bus: 2", green)])
    assert where_is(more_lines, green)[1] > where_is(more_lines, RED)[1]
    assert more_lines.height > one_line.height


def test_text_is_written_below():
    layout = choose_layout([(100, 300)], 1, 300)
    without = np.asarray(draw_sheet([Cell(plain(100, 300), "")], layout))
    named = np.asarray(draw_sheet([Cell(plain(100, 300), "street.jpg")], layout))
    changed = np.nonzero((without != named).any(axis=(1, 2)))[0]
    bottom = 22 + 150  # a flat picture's cell has half the width's height
    assert changed.min() > bottom
    assert changed.max() < bottom + 2 * layout.font_size


def test_long_text_is_cut_in_the_middle():
    text = "a_street_in_the_rain_000000123.jpg"
    cut = cut_text(text, 13, 120)
    start, end = cut.split("...")
    assert text.startswith(start)
    assert text.endswith(end)
    assert len(end) in (len(start), len(start) + 1)
    assert font_for(cut, 13).getlength(cut) <= 120
    assert cut_text(text, 13, 1000) == text
    assert cut_text("", 13, 10) == ""


@pytest.mark.parametrize("letter", "ßéжα")
def test_letters_of_other_alphabets_are_drawn(letter):
    def drawn(text):
        return bytes(font_for(letter, 20).getmask(text))

    assert drawn(letter) != drawn("\uffff")  # which no font has


def test_sheets_are_pictures(tmp_path):
    draw_sheet([Cell(plain(10, 10), "x")], choose_layout([(10, 10)], 1, 100)).save(tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").mode == "RGB"
    assert Image.open(tmp_path / "sheet.png").getpixel((0, 0)) == WHITE
