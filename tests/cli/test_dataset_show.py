"""`lumi dataset show` as typed: the files it names, and what is to be seen on them."""

import os

import numpy as np
import pytest
from PIL import Image

from luminoth.image import encode_png
from luminoth.inference.draw import class_colour
from tests.data.record_sets import example, write_folder
from tests.data.source_sets import damaged_pictures, good_pictures, write_set

CLASSES = ["car", "bus"]
GREY = encode_png(np.full((200, 400, 3), 128, np.uint8))


def grey_example(name, *more, **flags):
    return example(name, *more, size=(200, 400), encoded=GREY, **flags)


@pytest.fixture
def records(tmp_path):
    boxes = [(80, 100, 200, 160), (240, 60, 380, 180)]
    of = grey_example("a", boxes, [0, 1], crowd=[1])
    return write_folder(tmp_path / "tf", CLASSES, train=[of, grey_example("b"), grey_example("c")], val=[of])


def is_colour(pixels, name):
    return (pixels == class_colour(name)).all(axis=-1)


def first_cell(file, size=400):
    """The pixels of the first picture of a sheet; cells are `size` wide, and these pictures half as high."""
    sheet = np.asarray(Image.open(file))
    margin = 2 * max(10, size // 26)
    is_grey = (sheet == 128).all(axis=2)
    top = int(np.nonzero(is_grey[:, margin])[0][0])
    return sheet[top : top + size // 2, margin : margin + size]


def test_boxes_are_where_they_belong(lumi, records, tmp_path):
    file = tmp_path / "sheet.png"
    status, out, _ = lumi("dataset", "show", records, "--split", "val", "-f", file, "--size", 400)
    assert (status, out) == (0, f"{file}\n")
    cell = first_cell(file)
    car, bus = is_colour(cell, "car"), is_colour(cell, "bus")
    # The line lies inside the box, and the tag above its left end.
    assert car[100:160, 80].all()
    assert car[100:160, 199].all()
    assert not car[:, :80].any()
    assert not car[:, 200:].any()
    assert car[159, 80:200].all()
    assert not car[160:].any()
    # A crowd's edge is dashed.
    edge = bus[179, 240:380]
    assert edge[0]
    assert 0.4 < edge.mean() < 0.6
    assert tuple(cell[10, 10]) == (128, 128, 128)


def test_half_the_size_half_the_boxes(lumi, records, tmp_path):
    lumi("dataset", "show", records, "--split", "val", "-f", tmp_path / "sheet.png", "--size", 200)
    car = is_colour(first_cell(tmp_path / "sheet.png", 200), "car")
    assert car[50:80, 40].all()
    assert not car[:, :40].any()
    assert not car[80:].any()


def test_a_sheet_for_each_split(lumi, records, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = lumi("dataset", "show", records)
    assert (status, out.splitlines()) == (0, ["tf-train.png", "tf-val.png"])
    status, out, _ = lumi("dataset", "show", records, "-d", "deep/sheets", "--split", "val")
    assert out.splitlines() == ["deep/sheets/tf-val.png"]
    assert os.listdir("deep/sheets") == ["tf-val.png"]


def test_many_pictures_take_several_sheets(lumi, tmp_path):
    folder = write_folder(tmp_path / "tf", CLASSES, train=[grey_example(str(number)) for number in range(40)])
    arguments = ("dataset", "show", folder, "-n", 100, "--size", 64)
    _, out, _ = lumi(*arguments, "-d", tmp_path)
    assert out.splitlines() == [f"{tmp_path}/tf-train-1.png", f"{tmp_path}/tf-train-2.png"]
    first, second = (Image.open(line) for line in out.splitlines())
    assert first.width == 2 * 20 + 6 * 64 + 5 * 10
    assert second.width == 2 * 20 + 4 * 64 + 3 * 10
    _, out, _ = lumi(*arguments, "-d", tmp_path / "more", "--columns", 10)
    assert Image.open(out.splitlines()[0]).width == 2 * 20 + 10 * 64 + 9 * 10
    status, _, err = lumi(*arguments, "-f", tmp_path / "sheet.png")
    assert status == 2
    assert "is one sheet, but there are 2, of train" in err


def test_only_pictures_with_a_class(lumi, records, tmp_path):
    status, _, _ = lumi("dataset", "show", records, "-k", "bus", "--split", "train", "-f", tmp_path / "sheet.png")
    assert status == 0
    assert Image.open(tmp_path / "sheet.png").width == 2 * 24 + 320  # one of three
    status, _, err = lumi("dataset", "show", records, "-k", "tram")
    assert (status, err) == (1, "Error: -k tram: there is no such class; there are: car, bus\n")


def test_a_data_set_in_its_own_layout(lumi, tmp_path):
    folder = write_set("csv", tmp_path / "set", train=good_pictures())
    status, out, _ = lumi("dataset", "show", folder, "--type", "csv", "-d", tmp_path)
    assert (status, out) == (0, f"{tmp_path}/set-train.png\n")


def test_pictures_that_cannot_be_shown_are_told(lumi, tmp_path):
    folder = write_set("csv", tmp_path / "set", train=damaged_pictures())
    status, _, err = lumi("dataset", "show", folder, "--type", "csv", "-n", 50, "-d", tmp_path)
    assert status == 0
    assert f"Warning: {folder}/train/missing.jpg: picture missing (named in train.csv line 3)" in err.splitlines()
    assert err.count("Warning: ") == 5


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yml"
    path.write_text(
        "model:\n  type: fasterrcnn\ndataset:\n"
        "  image_preprocessing: {fixed_height: 400, fixed_width: 400}\n"
        "  data_augmentation:\n    - flip: {left_right: true, prob: 1.0}\n"
    )
    return path


def test_as_the_network_sees_them(lumi, records, config, tmp_path):
    """The picture is stretched to a square; its cell keeps the shape of the pictures as they are stored."""
    file = tmp_path / "sheet.png"
    status, _, _ = lumi("dataset", "show", records, "--split", "val", "-f", file, "--size", 400, "-c", config)
    assert status == 0
    car = is_colour(first_cell_letterboxed(file), "car")
    assert car[100:160, 40].all()
    assert not car[:, :40].any()
    assert not car[:, 100:].any()


def first_cell_letterboxed(file):
    """The 200 x 200 pixels that a square picture takes in a cell 400 wide and 200 high."""
    sheet = np.asarray(Image.open(file))
    column = (sheet[:, 30 + 101] == 128).all(axis=1)
    top = int(np.nonzero(column)[0][0])
    return sheet[top : top + 200, 30 + 100 : 30 + 300]


def test_augmented_rows(lumi, records, config, tmp_path):
    file = tmp_path / "sheet.png"
    command = ("dataset", "show", records, "--split", "val", "-f", file, "--size", 400, "-c", config, "--augmented")
    status, _, _ = lumi(*command, "--variants", 1)
    assert status == 0
    sheet = np.asarray(Image.open(file))
    assert sheet.shape[1] == 2 * 30 + 2 * 400 + 15
    left = is_colour(first_cell(file), "car")
    assert left[100:160, 80].all()
    # Flipped, and stretched to a square in the middle of the second cell: 400 - 200 to 400 - 80, halved.
    right = is_colour(sheet[:, 30 + 400 + 15 + 100 :], "car")
    assert right[:, 100].sum() >= 60
    assert not right[:, :100].any()
    assert right[:, 159].sum() >= 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--augmented",), "--augmented needs a configuration that says how: -c config.yml"),
        (("--variants", 3), "--variants is of no use without --augmented."),
        (("--augmented", "-c", "x.yml", "--columns", 3), "--columns is of no use with --augmented"),
        (("-f", "a.png", "-d", "b"), "give -f or -d, not both."),
        (("-f", "a.jpg"), "-f a.jpg: sheets are PNG files; the name must end in .png"),
        (("-f", "a.png"), "-f a.png is one sheet, but there are 2, of train, val"),
    ],
)
def test_wrong_usage(lumi, records, arguments, message):
    status, out, err = lumi("dataset", "show", records, *arguments)
    assert (status, out) == (2, "")
    assert message in err


def test_unknown_split(lumi, records):
    status, _, err = lumi("dataset", "show", records, "--split", "test")
    assert (status, err) == (1, f"Error: {records}: no split test; there are: train, val\n")
