"""Whatever the annotation files hold: every reader gives pictures and findings as promised, or one error for people."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luminoth.data.readers import open_reader
from luminoth.data.readers.base import AnnotatedBox, AnnotatedImage
from luminoth.data.report import Finding
from luminoth.errors import DataError
from tests.data.source_sets import CAR, FORMATS, OPTIONS, Object, Picture, picture_bytes, write_set

ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
# A whole annotation, of which one part is replaced by anything.
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "iscrowd": 0, "segmentation": []}],
    "categories": [{"id": 2, "name": "car", "supercategory": "vehicle"}],
}
FLAT = {"rects": [{"x1": 1, "y1": 2, "x2": 3, "y2": 4, "label": "car"}]}
TAGGERINE = [{"filename": "a.jpg", "gt_boxes": [{"label": "car", "x": 0.1, "y": 0.1, "width": 0.5, "height": 0.5}]}]


def paths_into(content):
    """The places in nested lists and mappings, the whole included."""
    yield ()
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from ((key, *rest) for rest in paths_into(value))


def replaced(content, path, value):
    if not path:
        return value
    copy = content.copy()
    copy[path[0]] = replaced(content[path[0]], path[1:], value)
    return copy


def put(folder, name, text):
    (folder / "train").mkdir(parents=True, exist_ok=True)
    (folder / "train" / "a.jpg").touch()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text, "utf-8", errors="surrogatepass")


def read_all(format, folder):
    """Reads all of a set; the readers' own promises hold for what comes out."""
    try:
        reader = open_reader(format, folder, OPTIONS.get(format))
        splits = reader.splits()
        items = [item for split in splits for item in reader.images(split)]
        names = reader.classes(splits)
    except DataError:
        return
    assert all(isinstance(name, str) and name for name in names)
    for item in items:
        assert isinstance(item, (AnnotatedImage, Finding))
        assert isinstance(item.image_id, str)
        for box in item.boxes if isinstance(item, AnnotatedImage) else ():
            assert isinstance(box, AnnotatedBox)
            assert isinstance(box.label, str)
            assert np.asarray(box.corners, float).shape == (4,)
            assert {type(flag) for flag in (box.is_crowd, box.is_difficult, box.is_truncated)} == {bool}


@pytest.mark.parametrize(
    ("format", "content", "file"),
    [("coco", COCO, "instances_train.json"), ("flat", FLAT, "train/a.json"), ("taggerine", TAGGERINE, "train.json")],
    ids=["coco", "flat", "taggerine"],
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_json_of_any_content(format, content, file, tmp_path, data):
    path = data.draw(st.sampled_from(list(paths_into(content))))
    put(tmp_path, file, json.dumps(replaced(content, path, data.draw(ANY_VALUE))))
    read_all(format, tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(text=st.text(st.sampled_from(',;"\n0123456789.-enaif \u00e9'), max_size=60))
def test_csv_of_any_content(tmp_path, text):
    put(tmp_path, "train.csv", f"image_id,xmin,ymin,xmax,ymax,label\n{text}")
    read_all("csv", tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(text=st.text(st.sampled_from("[]{}:,-\"' \n\t0123names&*!|>#"), max_size=60))
def test_descriptions_of_any_content(tmp_path, text):
    put(tmp_path, "data.yaml", f"train: train\nnames: {text}")
    read_all("yolo", tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(text=st.text(st.sampled_from("<>/&;=\"'! \nobjectnamebndbox0123"), max_size=60))
def test_xml_of_any_content(tmp_path, text):
    put(tmp_path, "Annotations/a.xml", f"<annotation><object><name>car</name>{text}</object></annotation>")
    read_all("pascal", tmp_path)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x01", b"{", b"\x00" * 10])
def test_files_that_are_damaged(format, content, tmp_path):
    """Every annotation file of the format is replaced in turn."""
    pictures = [Picture("a.jpg", picture_bytes(), [CAR, Object("person", (1.0, 1.0, 5.0, 5.0))])]
    folder = write_set(format, tmp_path, train=pictures)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".jpg"):
        before = path.read_bytes()
        path.write_bytes(content)
        read_all(format, folder)
        path.write_bytes(before)
    read_all(format, folder)
