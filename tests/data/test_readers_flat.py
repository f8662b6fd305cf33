import json
import math

import pytest

from luminoth.data.readers import open_reader
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from tests.data.source_sets import good_pictures, picture_bytes, write_set


@pytest.fixture
def folder(tmp_path):
    return write_set("flat", tmp_path / "flat", train=good_pictures(), val=good_pictures()[:1])


def one_picture(folder, content, name="a.json", picture="a.jpg"):
    (folder / "train").mkdir(parents=True)
    (folder / "train" / picture).write_bytes(picture_bytes())
    (folder / "train" / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def images(folder, **options):
    return list(open_reader("flat", folder, options).images("train"))


def test_values(folder):
    found = {image.image_id: image for image in images(folder)}
    assert list(found) == ["empty street", "first", "second"]  # by name
    assert [box.corners for box in found["first"].boxes] == [(4, 5, 20, 25), (0, 0, 8, 12)]
    assert [box.label for box in found["first"].boxes] == ["car", "traffic light"]
    assert [box.where for box in found["first"].boxes] == ["train/first.json object 1", "train/first.json object 2"]
    assert found["empty street"].boxes == ()
    reader = open_reader("flat", folder)
    assert reader.splits() == ["train", "val"]
    assert reader.classes(["val"]) == ["car", "person", "traffic light"]  # of all splits
    assert [reader.image_count(split) for split in reader.splits()] == [3, 1]


def test_keys_may_have_other_names(tmp_path):
    objects = [{"left": 1, "top": 2, "right": 3, "bottom": 4, "kind": "bus"}, {"left": "5", "label": "car"}]
    folder = one_picture(tmp_path, {"objects": objects}, name="a.ann")
    sides = {"x_min_key": "left", "y_min_key": "top", "x_max_key": "right", "y_max_key": "bottom"}
    keys = {"annotation_type": "ann", "objects_key": "objects", "label_key": "kind", "default_class": "thing"}
    (image,) = images(folder, **sides, **keys)
    assert [(box.corners[0], box.label) for box in image.boxes] == [(1, "bus"), (5, "thing")]
    assert image.boxes[0].corners == (1, 2, 3, 4)
    assert math.isnan(image.boxes[1].corners[3])
    assert open_reader("flat", folder, {**sides, **keys}).classes(["train"]) == ["bus", "thing"]


def test_sets_that_name_no_class(tmp_path):
    folder = one_picture(tmp_path, {"rects": [{"x1": 1, "y1": 2, "x2": 3, "y2": 4}]})
    with pytest.raises(DataError, match=r"no object has a 'label'; name their class: -o default_class=car"):
        open_reader("flat", folder).classes(["train"])
    assert open_reader("flat", folder, {"default_class": "face"}).classes(["train"]) == ["face"]
    assert images(folder, default_class="face")[0].boxes[0].label == "face"
    assert images(folder)[0].boxes[0].label == ""


def test_pictures_without_json_are_kept_as_empty(folder):
    (folder / "train" / "z.png").write_bytes(picture_bytes("PNG"))
    kept = images(folder)[-1]
    assert (kept.image_id, kept.boxes, [finding.kind for finding in kept.findings]) == ("z.png", (), [Kind.UNLISTED])
    assert len(images(folder, unlisted="skip")) == 3


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "has no list 'rects'; found a list"),
        ({"shapes": [], "version": 1}, "has no list 'rects'; found shapes, version (see -o objects_key=)"),
        ({"rects": None}, "has no list 'rects'; found rects"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, content, detail):
    folder = one_picture(tmp_path, content)
    (finding,) = images(folder)  # the picture is not taken for an empty one
    assert (finding.kind, finding.image_id, finding.where) == (Kind.DAMAGED_ANNOTATION, "a", "train/a.json")
    assert detail in finding.detail


def test_objects_that_are_none(tmp_path):
    finding, image = images(one_picture(tmp_path, {"rects": [7, {"x1": 1, "label": 3}]}))
    assert finding == Finding(Kind.UNREADABLE_BOX, "a", "train/a.json object 1", "is no mapping")
    assert [box.label for box in image.boxes] == ["3"]
    assert image.boxes[0].where == "train/a.json object 2"


def test_ids_with_dots_and_extensions(tmp_path):
    folder = one_picture(tmp_path, {"rects": []}, name="a.b.jpg.json", picture="a.b.jpg")
    (image,) = images(folder)
    assert (image.image_id, image.path.name, image.findings) == ("a.b.jpg", "a.b.jpg", ())


def test_layout_that_does_not_fit(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"looked for <split>/<id>\.json beside the pictures, found train/; the layout"):
        open_reader("flat", tmp_path).splits()
