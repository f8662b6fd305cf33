"""`lumi dataset merge` as typed: what is printed, the exit status, and what is left on disk."""

import os

import pytest

from luminoth.data.record_files import read_classes
from tests.data.record_sets import example, write_folder

BOX = (4, 5, 20, 25)


@pytest.fixture
def folders(tmp_path):
    day = write_folder(tmp_path / "day", ["car", "bus"], train=[example("a", [BOX] * 2, [0, 1])], val=[example("b")])
    night = write_folder(tmp_path / "night", ["lorry", "Car"], train=[example("a", [BOX] * 2, [0, 1])])
    return day, night


def test_files_of_one_folder(lumi, folders, tmp_path):
    day, _ = folders
    output = tmp_path / "both.tfrecords"
    status, out, err = lumi("dataset", "merge", day / "train.tfrecords", day / "val.tfrecords", output)
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{output}: 2 records", "2 classes: car, bus"]


def test_classes_are_mapped_and_that_is_said(lumi, folders, tmp_path):
    day, night = folders
    both = tmp_path / "both"
    status, out, err = lumi("dataset", "merge", day, night, both, "--rename", "Car=car", "--rename", "lorry = truck")
    assert status == 0
    assert out.splitlines() == [
        f"{both}/train.tfrecords: 2 records",
        f"{both}/val.tfrecords: 1 records",
        "3 classes: car, bus, truck",
    ]
    assert err.splitlines() == [
        f"{night}: labels changed: lorry (0) is truck (2), Car (1) is car (0)",
        "Warning: 1 picture ids occur more than once, such as a",
    ]
    assert read_classes(both) == ["car", "bus", "truck"]


def test_what_to_type_is_said(lumi, folders, tmp_path):
    status, out, err = lumi("dataset", "merge", *folders, tmp_path / "both")
    assert (status, out) == (1, "")
    assert err.count("\n") == 1
    assert err.endswith("if they mean the same: --rename Car=car\n")
    assert sorted(os.listdir(tmp_path)) == ["day", "night"]


@pytest.mark.parametrize(
    ("renames", "message"),
    [
        (["car"], "--rename car: must be old=new"),
        (["car="], "--rename car=: must be old=new"),
        (["car=bus", "car=tram"], "--rename car=tram: car is already renamed to bus"),
    ],
)
def test_wrong_usage(lumi, folders, tmp_path, renames, message):
    typed = [part for rename in renames for part in ("--rename", rename)]
    status, out, err = lumi("dataset", "merge", *folders, tmp_path / "both", *typed)
    assert (status, out) == (2, "")
    assert message in err
