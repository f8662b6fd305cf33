"""What is written is read back: boxes, classes, flags and the pictures' bytes, for every format."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from luminoth.data.readers import open_reader
from luminoth.data.readers.checks import make_example
from luminoth.data.report import Finding
from luminoth.data.source import unique_pictures
from luminoth.data.writers import WRITERS, writer_class
from luminoth.data.writers.names import PictureNames
from luminoth.errors import DataError
from tests.data.record_sets import example
from tests.data.source_sets import picture_bytes

CLASSES = ["truck", "straßenbahn", "traffic light", "never seen"]
TOLERANCE = 0.01  # pixels


def write(format, folder, classes=CLASSES, **splits):
    """Writes the splits; gives their accounts."""
    folder.mkdir(exist_ok=True)
    writer = writer_class(format)(folder, classes)
    written = {split: writer.write_split(split, iter(examples)) for split, examples in splits.items()}
    writer.finish(list(splits))
    return written


def read(format, folder, split="train", classes=CLASSES):
    """Picture's name without extension -> what the reader gives; nothing may be odd about it."""
    reader = open_reader(format, folder)
    examples = {}
    for image in unique_pictures(reader, split):
        assert not isinstance(image, Finding), image
        checked = make_example(image, {name: index for index, name in enumerate(classes)})
        assert checked.findings == []
        name = image.image_id if format != "coco" else image.path.relative_to(folder / f"{split}2017").as_posix()
        examples[name.removesuffix(".jpg").removesuffix(".png")] = checked.example
    return examples


def assert_same(got, expected):
    np.testing.assert_allclose(got.boxes, expected.boxes, atol=TOLERANCE, rtol=0)
    for name in ("class_ids", "is_crowd", "is_difficult", "is_truncated"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), name)
    assert got.image_size == expected.image_size
    assert got.encoded == expected.encoded


def some_examples():
    boxes = [(4, 5, 20.5, 25.25), (0, 0, 40, 30), (1.23456, 0.1, 2.34567, 29.999)]
    flagged = example("first", boxes, [2, 0, 1], difficult=[0], truncated=[0, 2])
    png = picture_bytes("PNG", size=(20, 50))
    return [
        flagged,
        example("Straße 東京", [(30, 2, 50, 20)], [0], size=(20, 50), encoded=png),
        example("empty street"),
    ]


# --- Round trips ------------------------------------------------------------


@pytest.mark.parametrize("format", ["coco", "pascal", "csv"])
def test_flags_are_kept(tmp_path, format):
    boxes = [(0, 0, 10, 10)] * 8
    of = example("a", boxes, [0] * 8, crowd=[1, 3, 5, 7], difficult=[2, 3, 6, 7], truncated=[4, 5, 6, 7])
    written = write(format, tmp_path, train=[of])["train"]
    assert_same(read(format, tmp_path)["a"], of)
    assert (written.crowd_boxes_left_out, written.flags_lost.total()) == (0, 0)


@pytest.mark.parametrize("format", WRITERS)
def test_pictures_boxes_and_classes_are_kept(tmp_path, format):
    examples = some_examples()
    written = write(format, tmp_path, train=examples, val=examples[1:])
    if format == "yolo":  # which knows no flags
        assert written["train"].flags_lost == {"difficult": 1, "truncated": 2}
        examples[0] = example("first", examples[0].boxes, examples[0].class_ids)
    got = read(format, tmp_path)
    assert set(got) == {"first", "Straße 東京", "empty street"}
    for expected in examples:
        assert_same(got[expected.image_id], expected)
    assert set(read(format, tmp_path, "val")) == {"Straße 東京", "empty street"}
    assert (written["train"].images, written["train"].images_empty, written["val"].images) == (3, 1, 2)
    assert written["train"].boxes_per_class == {"truck": 2, "straßenbahn": 1, "traffic light": 1}


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_the_class_list_is_kept(tmp_path, format):
    write(format, tmp_path, train=some_examples()[1:])
    assert open_reader(format, tmp_path).classes(["train"]) == CLASSES


@pytest.mark.parametrize("format", ["pascal", "csv"])
def test_the_class_list_is_sorted_without_the_option(tmp_path, format):
    write(format, tmp_path, train=some_examples())
    assert open_reader(format, tmp_path).classes(["train"]) == ["straßenbahn", "traffic light", "truck"]
    option = {"classes": ",".join(CLASSES)}
    assert open_reader(format, tmp_path, option).classes(["train"]) == CLASSES


@st.composite
def sizes_and_boxes(draw):
    """A picture's size and float32 boxes inside it, at least an eighth of a pixel wide."""
    size = draw(st.tuples(*[st.integers(1, 20_000)] * 2))
    boxes = []
    for _ in range(draw(st.integers(0, 4))):
        sides = []
        for length in reversed(size):
            low = draw(st.floats(0, length - 0.125, width=32))
            sides.append(
                (low, draw(st.floats(low, length, width=32).filter(lambda high, low=low: high - low >= 0.125)))
            )
        (x_min, x_max), (y_min, y_max) = sides
        boxes.append((x_min, y_min, x_max, y_max))
    return size, boxes


@pytest.mark.parametrize("format", WRITERS)
@given(drawn=sizes_and_boxes())
def test_any_box_is_kept(tmp_path_factory, format, drawn):
    (height, width), boxes = drawn
    folder = tmp_path_factory.mktemp("set")
    write(format, folder, ["car"], train=[example("a", boxes, [0] * len(boxes), size=(height, width))])
    (image,) = open_reader(format, folder, {"classes": "car"}).images("train")
    scale = np.asarray([width, height, width, height] if image.relative else 1)
    corners = np.asarray([box.corners for box in image.boxes]).reshape(-1, 4) * scale
    np.testing.assert_allclose(corners, np.asarray(boxes).reshape(-1, 4), atol=TOLERANCE, rtol=0)
    assert image.stated_size in (None, (height, width))


@pytest.mark.parametrize("format", WRITERS)
def test_the_thinnest_box_keeps_an_area(tmp_path, format):
    boxes = [(10, 10, np.nextafter(np.float32(10), np.float32(11)), 10.0002), (19999.998, 0, 20000, 0.0001)]
    write(format, tmp_path, ["car"], train=[example("a", boxes, [0, 0], size=(20_000, 20_000))])
    (image,) = open_reader(format, tmp_path).images("train")
    for x_min, y_min, x_max, y_max in (box.corners for box in image.boxes):
        assert x_max > x_min
        assert y_max > y_min


# --- What the files look like ------------------------------------------------------------


def test_pascal_is_voc(tmp_path):
    of = example("a", [(4, 5, 20, 25), (0.5, 0, 1.2345678, 30)], [0, 2], crowd=[1], difficult=[1], truncated=[0])
    write("pascal", tmp_path, train=[of])
    assert (tmp_path / "ImageSets/Main/train.txt").read_text() == "a\n"
    root = ElementTree.parse(tmp_path / "Annotations/a.xml").getroot()
    assert [root.findtext(name) for name in ("filename", "size/width", "size/height", "size/depth")] == [
        "a.jpg", "40", "30", "3",
    ]  # fmt: skip
    first, second = root.findall("object")
    sides = ("xmin", "ymin", "xmax", "ymax")
    assert [first.findtext(f"bndbox/{side}") for side in sides] == ["5", "6", "20", "25"]
    assert [second.findtext(f"bndbox/{side}") for side in sides] == ["1.5", "1", "1.235", "30"]
    flags = ("name", "difficult", "truncated", "crowd")
    assert [first.findtext(name) for name in flags] == ["truck", "0", "1", None]
    assert [second.findtext(name) for name in flags] == ["traffic light", "1", "0", "1"]


def test_coco_is_coco(tmp_path):
    of = example("12", [(4, 5, 20, 25.5), (0.1, 0, 0.4, 30)], [2, 0], crowd=[1], difficult=[1], filename="street.jpg")
    write("coco", tmp_path, train=[of, example("00007")])
    content = json.loads((tmp_path / "annotations/instances_train2017.json").read_text())
    assert content["categories"] == [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    assert content["images"] == [
        {"id": 12, "file_name": "street.jpg", "height": 30, "width": 40},
        {"id": 7, "file_name": "00007.jpg", "height": 30, "width": 40},
    ]
    assert content["annotations"] == [
        {"id": 1, "image_id": 12, "category_id": 3, "bbox": [4, 5, 16, 20.5], "area": 328, "iscrowd": 0},
        {"id": 2, "image_id": 12, "category_id": 1, "bbox": [0.1, 0, 0.3, 30], "area": 9, "iscrowd": 1, "difficult": 1},
    ]


@pytest.mark.parametrize("ids", [["3", "a"], ["3", "3"], ["3", "03"], ["3", "-4"], ["3", "9" * 19], ["3", "²"]])
def test_coco_numbers_pictures_when_an_id_is_no_unique_number(tmp_path, ids):
    examples = [example(image_id, [(0, 0, 9, 9)], [0]) for image_id in ids]
    write("coco", tmp_path, train=examples)
    content = json.loads((tmp_path / "annotations/instances_train2017.json").read_text())
    assert [image["id"] for image in content["images"]] == [1, 2]
    assert [annotation["image_id"] for annotation in content["annotations"]] == [1, 2]


def test_csv_is_csv(tmp_path):
    of = example("a", [(4, 5, 20, 25), (0.5, 0, 1.2345678, 30)], [0, 2], crowd=[1], difficult=[1], truncated=[0])
    write("csv", tmp_path, train=[of, example("b, c")])
    with (tmp_path / "train.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["image_id", "xmin", "ymin", "xmax", "ymax", "label", "is_crowd", "is_difficult", "is_truncated"],
            ["a.jpg", "4", "5", "20", "25", "truck", "0", "0", "1"],
            ["a.jpg", "0.5", "0", "1.235", "30", "traffic light", "1", "1", "0"],
            ["b, c.jpg", "", "", "", "", "", "", "", ""],
        ]


def test_yolo_is_yolo(tmp_path):
    of = example("a", [(4, 6, 20, 24), (0, 0, 40, 30), (1, 0, 2, 10)], [2, 0, 1], crowd=[1], difficult=[2])
    written = write("yolo", tmp_path, ["no", "1", "on: off"], train=[of, example("none")], val=[])
    assert (tmp_path / "labels/train/a.txt").read_text() == (
        "2 0.30000000 0.50000000 0.40000000 0.60000000\n1 0.03750000 0.16666667 0.02500000 0.33333333\n"
    )
    assert (tmp_path / "labels/train/none.txt").read_text() == ""
    assert yaml.safe_load((tmp_path / "data.yaml").read_text()) == {
        "train": "images/train",
        "val": "images/val",
        "names": {0: "no", 1: "1", 2: "on: off"},
    }
    assert written["train"].crowd_boxes_left_out == 1
    assert written["train"].boxes_per_class == {"on: off": 1, "1": 1}
    assert written["train"].flags_lost == {"difficult": 1, "truncated": 0}


def test_pascal_lists_a_picture_of_two_splits_twice(tmp_path):
    same, other = example("a", [(0, 0, 9, 9)], [0]), example("a", [(0, 0, 9, 9)], [1])
    write("pascal", tmp_path, train=[same], trainval=[same, other])
    assert (tmp_path / "ImageSets/Main/trainval.txt").read_text() == "a\na-2\n"
    assert sorted(path.name for path in tmp_path.glob("JPEGImages/*")) == ["a-2.jpg", "a.jpg"]


def test_pascal_ids_are_not_taken_for_a_list_of_one_class(tmp_path):
    write("pascal", tmp_path, train=[example("photo 1", [(0, 0, 9, 9)], [0]), example("photo 1 2")])
    assert open_reader("pascal", tmp_path).splits() == ["train"]
    assert set(read("pascal", tmp_path)) == {"photo_1", "photo 1 2"}


def test_xml_cannot_hold_everything(tmp_path):
    with pytest.raises(DataError, match="class 'a\\\\x01': XML cannot hold its control character"):
        write("pascal", tmp_path, ["a\x01"])


def test_unknown_format():
    with pytest.raises(DataError, match="unknown format 'voc': there are coco, pascal, yolo, csv"):
        writer_class("voc")


# --- Names ------------------------------------------------------------

PNG = picture_bytes("PNG")


@pytest.mark.parametrize(
    ("image_id", "filename", "encoded", "name"),
    [
        ("1", "street.jpg", None, "street.jpg"),
        ("1", "street.JPEG", None, "street.jpeg"),
        ("1", "street.bmp", PNG, "street.png"),
        ("1", "v1.2", None, "v1.2.jpg"),
        ("Straße 東京", "Straße 東京.png", PNG, "Straße 東京.png"),
        ("day/1", "1.jpg", None, "day/1.jpg"),
        ("day/1.JPG", "1.JPG", None, "day/1.jpg"),
        ("day/2", "1.jpg", None, "1.jpg"),
        ("1", "day\\1.jpg", None, "day/1.jpg"),
        ("1", "../../etc/1.jpg", None, "etc/1.jpg"),
        ("1", "/data/me/1.jpg", None, "1.jpg"),
        ("1", "C:\\me\\1.jpg", None, "1.jpg"),
        ("1", "https://example.com/a/1.jpg", None, "1.jpg"),
        ("a\nb", " a\nb .jpg", None, "a_b .jpg"),
        ("..", "..", None, "picture.jpg"),
        (".jpg", ".jpg", None, ".jpg.jpg"),
    ],
)
def test_names(image_id, filename, encoded, name):
    of = example(image_id, filename=filename, **({"encoded": encoded} if encoded else {}))
    assert PictureNames().claim(of) == name


def test_names_do_not_collide():
    names = PictureNames()
    files = ["1.jpg", "1.jpg", "1-2.jpg", "1.png", "A.jpg", "a.jpg", "é.jpg", "e\u0301.jpg", "1.jpg"]
    claimed = [names.claim(example(str(number), filename=name)) for number, name in enumerate(files)]
    assert claimed == [
        "1.jpg",
        "1-2.jpg",
        "1-2-2.jpg",
        "1-3.jpg",
        "A.jpg",
        "a-2.jpg",
        "é.jpg",
        "e\u0301-2.jpg",
        "1-4.jpg",
    ]


@given(st.lists(st.text("aA1-2/", min_size=1, max_size=6), max_size=12))
def test_names_never_collide(stems):
    names = PictureNames()
    claimed = [names.claim(example(stem, filename=stem + ".jpg")) for stem in stems]
    assert len({name.casefold() for name in claimed}) == len(stems)
    assert all(name == Path(name).as_posix() and not Path(name).is_absolute() for name in claimed)


@pytest.mark.parametrize("format", WRITERS)
def test_pictures_of_one_name_in_two_folders(tmp_path, format):
    examples = [
        example("day/1", [(0, 0, 9, 9)], [0], filename="1.jpg"),
        example("night/1", [(0, 0, 8, 8)], [1], filename="1.jpg"),
        example("Night/1", [(0, 0, 7, 7)], [2], filename="1.jpg"),
        example("1", [(0, 0, 6, 6)], [0], filename="1.jpg", encoded=PNG),
    ]
    write(format, tmp_path, train=examples)
    got = read(format, tmp_path)
    assert set(got) == {"day/1", "night/1", "Night/1-2", "1"}
    for name, expected in zip(("day/1", "night/1", "Night/1-2", "1"), examples, strict=True):
        assert_same(got[name], expected)


def test_a_record_without_a_picture(tmp_path):
    with pytest.raises(DataError, match="record 'a' holds no picture"):
        write("csv", tmp_path, train=[example("a", encoded=b"nothing")])
