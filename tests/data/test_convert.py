"""From records to every format and back; and what is left when it goes wrong."""

import os
import tracemalloc

import numpy as np
import pytest

from luminoth.data import convert as convert_module
from luminoth.data.convert import convert
from luminoth.data.readers import open_reader
from luminoth.data.record_files import read_classes, write_classes
from luminoth.data.transform.run import transform
from luminoth.data.writers import WRITERS
from luminoth.data.writers.coco import CocoWriter
from luminoth.errors import DataError, OutputError
from tests.data.record_sets import example, luminoth_record, read_folder, write_folder
from tests.data.source_sets import FORMATS, OPTIONS, Object, good_pictures, write_set

CLASSES = ["truck", "car", "never seen"]
BOX = (4.25, 5, 20, 25)


def back_to_records(report, folder):
    """What the command that is printed does."""
    option = {"classes": ",".join(report.classes)} if report.class_option_needed else {}
    transform(open_reader(report.format, report.output_dir, option), folder)
    return folder


def by_name(folder, split="train"):
    return {each.filename: each for each in read_folder(folder, split)}


def assert_same_records(got, expected):
    assert set(got) == set(expected)
    for name, one in expected.items():
        np.testing.assert_allclose(got[name].boxes, one.boxes, atol=0.01, rtol=0)
        for column in ("class_ids", "is_crowd", "is_difficult", "is_truncated"):
            np.testing.assert_array_equal(getattr(got[name], column), getattr(one, column), column)
        assert (got[name].image_size, got[name].encoded) == (one.image_size, one.encoded)


@pytest.mark.parametrize("to", WRITERS)
@pytest.mark.parametrize("source", FORMATS)
def test_any_to_any(tmp_path, source, to):
    pictures = good_pictures()
    pictures[1].objects.append(Object("person", (1.5, 2, 9, 9.5), difficult=True))
    data = write_set(source, tmp_path / "data", train=pictures, val=pictures[:1])
    transform(open_reader(source, data, OPTIONS.get(source)), tmp_path / "tf")
    report = convert(tmp_path / "tf", tmp_path / to, to)
    again = back_to_records(report, tmp_path / "again")
    assert read_classes(again) == read_classes(tmp_path / "tf")
    for split in ("train", "val"):
        expected = by_name(tmp_path / "tf", split)
        if to == "yolo":
            for each in expected.values():
                each.is_difficult[:] = False
        assert_same_records(by_name(again, split), expected)


@pytest.mark.parametrize("to", ["coco", "pascal", "csv"])  # YOLO's decimals are finer than what records hold
def test_from_format_to_format_and_on(tmp_path, to):
    """Once through a format, twice through it: the records are the same, and so is every file."""
    boxes = np.random.default_rng(3).uniform(0, 1, (20, 4)) * [20, 15, 20, 15] + [0, 0, 20, 15]
    first = write_folder(tmp_path / "tf", CLASSES, train=[example("a", boxes, [0, 1] * 10, crowd=[3]), example("b")])
    report = convert(first, tmp_path / "1", to)
    second = back_to_records(report, tmp_path / "tf1")
    report = convert(second, tmp_path / "2", to)
    assert read_classes(second) == CLASSES
    files = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "1", tmp_path / "2")
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("to", WRITERS)
def test_records_of_luminoth(tmp_path, to):
    old = [luminoth_record("000001", [(1, 4, 5, 20, 25), (0, 0, 0, 40, 30)]), luminoth_record("000002")]
    report = convert(write_folder(tmp_path / "tf", CLASSES, train=old), tmp_path / to, to)
    again = by_name(back_to_records(report, tmp_path / "again"))
    assert set(again) == {"000001.jpg", "000002.jpg"}
    np.testing.assert_allclose(again["000001.jpg"].boxes, [(4, 5, 20, 25), (0, 0, 40, 30)], atol=0.001)
    assert again["000001.jpg"].class_ids.tolist() == [1, 0]


def test_the_account(tmp_path):
    first = example("a", [BOX] * 4, [0, 1, 1, 1], crowd=[0], difficult=[0, 1], truncated=[2])
    folder = write_folder(tmp_path / "tf", CLASSES, train=[first, example("b")], val=[example("c", [BOX], [0])])
    seen = []
    report = convert(folder, tmp_path / "yolo", "yolo", ["train"], on_picture=lambda: seen.append(1))
    assert len(seen) == 2
    assert (report.classes, report.class_option_needed) == (CLASSES, False)
    (train,) = report.splits
    assert (train.split, train.images, train.images_empty) == ("train", 2, 1)
    assert (train.boxes_per_class, train.crowd_boxes_left_out) == ({"car": 3}, 1)
    assert train.flags_lost == {"difficult": 1, "truncated": 1}
    assert convert(folder, tmp_path / "csv", "csv").class_option_needed
    assert sorted(os.listdir(tmp_path)) == ["csv", "tf", "yolo"]


def test_an_empty_folder_is_filled(tmp_path):
    folder = write_folder(tmp_path / "tf", CLASSES, train=[example("a")])
    (tmp_path / "out").mkdir()
    convert(folder, tmp_path / "out", "csv")
    assert sorted(os.listdir(tmp_path / "out")) == ["train", "train.csv"]


def test_memory_does_not_grow_with_the_pictures(tmp_path):
    """COCO is one file for all of them; an id and a name of each are all that is kept."""
    boxes = np.tile(np.float32(BOX), (100, 1))
    one = example("0", boxes, [0] * 100)

    def pictures(count):
        for number in range(count):
            yield example(str(number), one.boxes, one.class_ids)

    def peak(count):
        folder = tmp_path / str(count)
        folder.mkdir()
        tracemalloc.start()
        CocoWriter(folder, CLASSES).write_split("train", pictures(count))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(10)  # what is loaded once
    few, many = peak(20), peak(50)
    assert many - few < 30 * 1000  # of each picture its JSON alone has 10,000 bytes


# --- What is refused ------------------------------------------------------------


def test_a_class_outside_the_list_is_refused(tmp_path):
    folder = write_folder(tmp_path / "tf", CLASSES, train=[example("a", [BOX], [0]), example("b", [BOX], [2])])
    write_classes(folder, CLASSES[:2])
    with pytest.raises(DataError, match=r"tf/train.tfrecords: image 'b' has a box of class number 2, .* names only 2"):
        convert(folder, tmp_path / "deep" / "out", "coco")
    assert os.listdir(tmp_path) == ["tf"]


def test_damaged_records_leave_nothing(tmp_path):
    folder = write_folder(tmp_path / "tf", CLASSES, train=[example("a"), example("b")])
    path = folder / "train.tfrecords"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train.tfrecords: damaged or cut off after 1 records"):
        convert(folder, tmp_path / "out", "pascal")
    assert os.listdir(tmp_path) == ["tf"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_nothing_is_left_of_an_interrupted_run(tmp_path, error):
    folder = write_folder(tmp_path / "tf", CLASSES, train=[example("a"), example("b")])

    def stop():
        raise error

    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else OutputError):
        convert(folder, tmp_path / "out", "yolo", on_picture=stop)
    assert os.listdir(tmp_path) == ["tf"]


def test_wrong_use(tmp_path):
    folder = write_folder(tmp_path / "tf", CLASSES, train=[example("a")])
    with pytest.raises(DataError, match="tf: is not empty"):
        convert(folder, folder, "coco")
    with pytest.raises(DataError, match=r"classes.json: is a file"):
        convert(folder, folder / "classes.json", "coco")
    with pytest.raises(DataError, match=r"looked for test.tfrecords .* there are records of: train"):
        convert(folder, tmp_path / "out", "coco", ["test"])
    with pytest.raises(DataError, match="there is no such folder"):
        convert(tmp_path / "nowhere", tmp_path / "out", "coco")
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match=r"void: there is no .tfrecords file in it; make records first"):
        convert(tmp_path / "void", tmp_path / "out", "coco")
    assert convert_module.find_splits(folder) == {"train": [str(folder / "train.tfrecords")]}
