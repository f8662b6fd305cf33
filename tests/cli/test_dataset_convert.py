"""`lumi dataset convert` as typed: what is printed, and that what is printed can be run."""

import shlex

import pytest

from luminoth.cli.dataset_convert import _FORMATS
from luminoth.data.record_files import read_classes
from luminoth.data.writers import WRITERS
from tests.data.record_sets import example, read_folder, write_folder

CLASSES = ["truck", "traffic light", "never seen"]
BOX = (4, 5, 20, 25)


@pytest.fixture
def records(tmp_path):
    flagged = example("a", [BOX] * 3, [0, 1, 1], crowd=[0], difficult=[1], truncated=[1, 2])
    return write_folder(tmp_path / "tf", CLASSES, train=[flagged, example("b")], val=[flagged])


def test_the_formats_are_those_of_the_writers():
    assert tuple(WRITERS) == _FORMATS


@pytest.mark.parametrize("format", _FORMATS)
def test_the_printed_command_reads_it_again(lumi, records, tmp_path, format):
    status, out, _ = lumi("dataset", "convert", records, tmp_path / "a set", "--to", format)
    assert status == 0
    command = shlex.split(out.splitlines()[-1])
    assert command[:5] == ["lumi", "dataset", "transform", "--type", format]
    status, _, _ = lumi(*command[1:])
    assert status == 0
    assert read_classes(tmp_path / "a set-tf") == CLASSES
    assert [len(each.boxes) for each in read_folder(tmp_path / "a set-tf", "train")] == [
        2 if format == "yolo" else 3,
        0,
    ]


def test_what_a_format_cannot_hold_is_said(lumi, records, tmp_path):
    status, out, err = lumi("dataset", "convert", records, tmp_path / "yolo", "--to", "yolo", "--split", "train")
    assert status == 0
    assert out.splitlines() == [
        f"train: 2 pictures, 1 of them without objects, 2 boxes -> {tmp_path}/yolo",
        f"  lumi dataset transform --type yolo --data-dir {tmp_path}/yolo --output-dir {tmp_path}/yolo-tf",
    ]
    assert err.splitlines() == [
        "train: 1 crowd boxes left out: yolo knows single objects only",
        "train: lost, since yolo cannot say it: difficult of 1 boxes, truncated of 2 boxes",
        "Next, it can be read again:",
    ]


def test_a_comma_in_a_class_name(lumi, tmp_path):
    records = write_folder(tmp_path / "tf", ["truck", "car, parked"], train=[example("a", [BOX] * 2, [0, 1])])
    _, out, err = lumi("dataset", "convert", records, tmp_path / "csv", "--to", "csv")
    assert "classes=" not in out
    assert err.endswith(
        "Warning: a class name has a comma, which -o classes=... cannot say: the order of the classes is lost\n"
    )


def test_wrong_use(lumi, records, tmp_path):
    status, out, err = lumi("dataset", "convert", records, records, "--to", "coco")
    assert (status, out) == (1, "")
    assert err == f"Error: {records}: is not empty; a data set is written into a new folder only\n"
    assert lumi("dataset", "convert", records, tmp_path / "out")[0] == 2
    assert not (tmp_path / "out").exists()
