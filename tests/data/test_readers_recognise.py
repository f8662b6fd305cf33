"""`--type auto`: each layout is recognised by its own reader and by no other; sets without splits are one split."""

import json

import numpy as np
import pytest

from luminoth.data.readers import READERS, open_reader, reader_class, recognise_type
from luminoth.data.readers.base import AnnotatedImage
from luminoth.data.toytown import write_toytown
from luminoth.errors import DataError
from tests.data.source_sets import (
    FORMATS,
    LAYOUTS_WITHOUT_SPLITS,
    OPTIONS,
    good_pictures,
    picture_bytes,
    write_set,
    write_set_without_splits,
)


def recognised(folder):
    """Which readers take the folder for theirs."""
    return {name for name in READERS if reader_class(name).recognise(folder) is not None}


def boxes_by_file(images):
    """file name -> (boxes in pixels, labels)"""
    found = {}
    for image in images:
        assert isinstance(image, AnnotatedImage), image
        assert image.findings == ()
        assert image.path.is_file()
        height, width = {picture.name: picture.size for picture in good_pictures()}[image.path.name]
        unit = (width, height) * 2 if image.relative else (1,) * 4
        boxes = [np.round(np.multiply(box.corners, unit), 6).tolist() for box in image.boxes]
        found[image.path.name] = (boxes, [box.label for box in image.boxes])
    return found


EXPECTED = {
    "first.jpg": ([[4, 5, 20, 25], [0, 0, 8, 12]], ["car", "traffic light"]),
    "second.jpg": ([[30, 2, 50, 20]], ["person"]),
    "empty street.jpg": ([], []),
}


def test_every_reader_is_tested():
    assert set(FORMATS) == set(READERS)


@pytest.mark.parametrize("format", FORMATS)
def test_layouts_are_recognised_by_their_own_reader_only(format, tmp_path):
    folder = write_set(format, tmp_path / "set", train=good_pictures(), val=good_pictures()[:1])
    assert recognised(folder) == {format}
    name, what = recognise_type(folder)
    assert name == format
    assert what
    reader = open_reader(name, folder, OPTIONS.get(name))
    assert reader.splits() == ["train", "val"]
    assert boxes_by_file(reader.images("train")) == EXPECTED


@pytest.mark.parametrize("layout", LAYOUTS_WITHOUT_SPLITS)
def test_sets_without_splits_are_one_split(layout, tmp_path):
    folder = write_set_without_splits(layout, tmp_path / "set", good_pictures())
    assert recognised(folder) == {LAYOUTS_WITHOUT_SPLITS[layout]}
    name, what = recognise_type(folder)
    assert what
    reader = open_reader(name, folder)
    assert reader.splits() == ["all"]
    assert reader.classes(["all"]) == ["car", "person", "traffic light"]
    assert boxes_by_file(reader.images("all")) == EXPECTED


@pytest.mark.parametrize("format", ["pascal", "coco", "csv"])
def test_toytown_is_recognised(format, tmp_path):
    write_toytown(tmp_path / "toytown", images=2, format=format, image_size=(64, 96))
    assert recognised(tmp_path / "toytown") == {format}


def yolo_export(folder):
    """As Roboflow lays it out."""
    for part in ("images", "labels"):
        (folder / "train" / part).mkdir(parents=True)
    (folder / "train" / "images" / "a.jpg").write_bytes(picture_bytes())
    (folder / "train" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (folder / "data.yaml").write_text("train: ../train/images\nnames: ['car']\n")


def coco_export(folder):
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "a.jpg").write_bytes(picture_bytes())
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []}
    (folder / "train" / "_annotations.coco.json").write_text(json.dumps(content))


def taggerine_own(folder):
    """As Taggerine itself writes it."""
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "a.jpg").write_bytes(picture_bytes())
    (folder / "train" / "tags.json").write_text(json.dumps({"a.jpg": [{"label": "car"}]}))


def pascal_lower_case(folder):
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    (folder / "images" / "a.png").write_bytes(picture_bytes("PNG"))
    (folder / "annotations" / "a.xml").write_text("<annotation/>")


def pascal_in_root(folder):
    folder.mkdir()
    (folder / "a.png").write_bytes(picture_bytes("PNG"))
    (folder / "a.xml").write_text("<annotation/>")


def yolo_of_folders(folder):
    yolo_export(folder)
    (folder / "data.yaml").unlink()


@pytest.mark.parametrize(
    ("write", "format", "splits"),
    [
        (yolo_export, "yolo", ["train"]),
        (yolo_of_folders, "yolo", ["train"]),
        (coco_export, "coco", ["train"]),
        (taggerine_own, "taggerine", ["train"]),
        (pascal_lower_case, "pascal", ["all"]),
        (pascal_in_root, "pascal", ["all"]),
    ],
)
def test_other_layouts_that_tools_write(write, format, splits, tmp_path):
    write(tmp_path / "set")
    assert recognised(tmp_path / "set") == {format}
    reader = open_reader(format, tmp_path / "set")
    assert reader.splits() == splits
    (image,) = reader.images(splits[0])
    assert image.path.is_file()


@pytest.mark.parametrize(
    "names",
    [
        ["a.jpg", "b.jpg"],
        ["images/a.jpg"],
        ["notes.txt", "a.jpg"],
        ["train.csv", "a.jpg"],
        ["classes.json", "train.tfrecords"],
        ["train/a.jpg", "val/b.jpg"],
        [],
    ],
)
def test_folders_that_are_no_data_set(names, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('["car"]' if name.endswith(".json") else "x")
    with pytest.raises(DataError) as raised:
        recognise_type(tmp_path)
    first, *looked_for = str(raised.value).splitlines()
    assert first.startswith(f"{tmp_path}: no known layout, found ")
    assert [line.split()[0] for line in looked_for] == list(READERS)


def test_folders_that_fit_several_layouts_are_asked_about(tmp_path):
    write_set("coco", tmp_path, train=good_pictures())
    write_set("csv", tmp_path, train=good_pictures())
    with pytest.raises(DataError, match=r"fits several layouts: coco \(.*\); csv \(.*\); say which: --type coco or -"):
        recognise_type(tmp_path)


def test_folders_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        recognise_type(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is not a folder"):
        recognise_type(tmp_path / "file")
