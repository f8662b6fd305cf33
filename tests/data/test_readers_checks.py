"""The rules for bad input, one by one; `test_readers_damage.py` has them through whole data sets."""

from pathlib import Path

import numpy as np
import pytest

from luminoth.data.readers.base import AnnotatedBox, AnnotatedImage
from luminoth.data.readers.checks import make_example
from luminoth.data.report import Kind
from tests.data.source_sets import picture_bytes


@pytest.fixture
def check(tmp_path):
    """Checks one box [x_min, y_min, x_max, y_max] on a picture of 40 x 30 (width x height)."""

    def run(corners, encoded=None, **image):
        path = tmp_path / "a.jpg"
        path.write_bytes(encoded or picture_bytes())
        box = AnnotatedBox(tuple(map(float, corners)), image.pop("label", "car"), "a.xml line 3")
        checked = make_example(AnnotatedImage("a", path, (box,), "a.xml", **image), {"bus": 0, "car": 1})
        return checked.example, checked.findings

    return run


def kinds(findings):
    return [finding.kind for finding in findings]


def test_good_box(check):
    example, findings = check([4, 5, 20, 25])
    np.testing.assert_array_equal(example.boxes, np.float32([[4, 5, 20, 25]]))
    assert example.boxes.dtype == np.float32
    assert example.class_ids.tolist() == [1]
    assert example.image_size == (30, 40)
    assert (example.filename, findings) == ("a.jpg", [])


def test_relative_boxes_become_pixels(check):
    example, findings = check([0.25, 0.5, 1.0, 1.0], relative=True)
    np.testing.assert_allclose(example.boxes, [[10, 15, 40, 30]])
    assert findings == []


@pytest.mark.parametrize(
    ("corners", "kind"),
    [
        ([np.nan, 0, 1, 1], Kind.NOT_A_NUMBER),
        ([0, 0, np.inf, 1], Kind.NOT_A_NUMBER),
        ([0, 9, 5, 8], Kind.INVERTED),
        ([0, 9, 5, 9], Kind.NO_AREA),
        ([40, 0, 50, 10], Kind.OUTSIDE),
        ([-9, -9, 0, 10], Kind.OUTSIDE),
        ([39.99999999, 0, 50, 10], Kind.OUTSIDE),  # an area of zero as float32, in which it would be stored
    ],
)
def test_boxes_that_are_dropped(check, corners, kind):
    example, findings = check(corners)
    assert example.boxes.shape == (0, 4)
    assert kinds(findings) == [kind]
    assert findings[0].where == "a.xml line 3"


def test_clipping_is_noted_but_rounding_is_not(check):
    example, findings = check([-1e300, 5, 40.5, 25])
    np.testing.assert_array_equal(example.boxes, np.float32([[0, 5, 40, 25]]))
    assert kinds(findings) == [Kind.CLIPPED]
    example, findings = check([-0.001, 5, 40.001, 25])
    np.testing.assert_array_equal(example.boxes, np.float32([[0, 5, 40, 25]]))
    assert findings == []


@pytest.mark.parametrize(("label", "detail"), [("lorry", "'lorry'"), ("", "no class is named")])
def test_unknown_class(check, label, detail):
    example, findings = check([4, 5, 20, 25], label=label)
    assert len(example.boxes) == 0
    assert (kinds(findings), findings[0].detail) == ([Kind.UNKNOWN_CLASS], detail)


def test_size_of_the_picture_before_its_rotation(check):
    example, findings = check([1, 2, 30, 40], encoded=picture_bytes(orientation=8), stated_size=(30, 40))
    assert example.image_size == (40, 30)
    assert kinds(findings) == [Kind.REENCODED, Kind.SIZE_DIFFERS]
    assert findings[0].detail == "EXIF rotation; now JPEG"
    assert "were the boxes drawn on the picture before its rotation?" in findings[1].detail


def test_broken_data_within_a_png(check):
    broken = bytearray(picture_bytes("PNG"))
    broken[len(broken) // 2] ^= 0xFF
    example, findings = check([4, 5, 20, 25], encoded=bytes(broken))
    assert example is None
    assert kinds(findings) == [Kind.DAMAGED_IMAGE]


def test_a_folder_in_place_of_a_picture(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    checked = make_example(AnnotatedImage("a", tmp_path / "a.jpg", (), "a.xml"), {"car": 0})
    assert kinds(checked.findings) == [Kind.MISSING_IMAGE]
    assert checked.findings[0].detail == "Is a directory"


def test_a_name_that_no_file_can_have():
    checked = make_example(AnnotatedImage("a", Path("a\0.jpg"), (), "a.csv line 1"), {"car": 0})
    assert checked.example is None
    assert kinds(checked.findings) == [Kind.MISSING_IMAGE]
