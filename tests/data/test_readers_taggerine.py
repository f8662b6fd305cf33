import json
import math

import pytest

from luminoth.data.readers import open_reader
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from tests.data.source_sets import good_pictures, picture_bytes, write_set

BOX = {"label": "car", "x": 0.1, "y": 0.2, "width": 0.5, "height": 0.25}


def one_picture(folder, content, file="train.json", picture="train/a.jpg"):
    for name in (file, picture):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / picture).write_bytes(picture_bytes())
    (folder / file).write_text(json.dumps(content))
    return folder


def images(folder, split="train", **options):
    return list(open_reader("taggerine", folder, options).images(split))


def test_values(tmp_path):
    folder = write_set("taggerine", tmp_path, train=good_pictures(), val=good_pictures()[:1])
    first, second, third = images(folder)
    assert first.relative
    assert first.boxes[0].corners == pytest.approx((4 / 40, 5 / 30, 20 / 40, 25 / 30))
    assert [box.label for box in first.boxes] == ["car", "traffic light"]
    assert [box.where for box in first.boxes] == ["train.json first.jpg box 1", "train.json first.jpg box 2"]
    assert second.boxes[0].corners == pytest.approx((30 / 50, 2 / 20, 1, 1))
    assert third.boxes == ()
    reader = open_reader("taggerine", folder)
    assert reader.classes(["val"]) == ["car", "person", "traffic light"]


@pytest.mark.parametrize(
    "box", [BOX, {"label": "car", "x_min": 0.1, "y_min": 0.2, "x_max": 0.6, "y_max": 0.45}], ids=["size", "corners"]
)
@pytest.mark.parametrize(
    "content",
    [
        lambda box: [{"image_id": "a.jpg", "gt_boxes": [box]}],
        lambda box: [{"filename": "a.jpg", "gt_boxes": [box]}],
        lambda box: [{"image_id": "a", "gt_boxes": [box]}],
        lambda box: [{"filename": "pictures/a.jpg", "image_id": 7, "gt_boxes": [box]}],
        lambda box: {"a.jpg": [box]},  # as Taggerine itself writes it
    ],
)
def test_forms_of_a_file(tmp_path, box, content):
    (image,) = images(one_picture(tmp_path, content(box)))
    assert image.boxes[0].corners == pytest.approx((0.1, 0.2, 0.6, 0.45))
    assert image.path == tmp_path / "train" / "a.jpg"
    assert image.image_id in ("a", "a.jpg", "7")


@pytest.mark.parametrize(
    ("file", "picture", "split"),
    [
        ("train.json", "train/a.jpg", "train"),
        ("train/tags.json", "train/a.jpg", "train"),
        ("tags.json", "images/a.jpg", "all"),
        ("tags.json", "a.jpg", "all"),
    ],
)
def test_places(tmp_path, file, picture, split):
    folder = one_picture(tmp_path, [{"filename": "a.jpg", "gt_boxes": []}], file, picture)
    assert open_reader("taggerine", folder).splits() == [split]
    (image,) = images(folder, split)
    assert (image.path, image.findings) == (tmp_path / picture, ())


def test_splits_that_share_their_pictures(tmp_path):
    for split in ("train", "val"):
        one_picture(tmp_path, [{"filename": f"{split}.jpg", "gt_boxes": []}], f"{split}.json", f"images/{split}.jpg")
    assert open_reader("taggerine", tmp_path).splits() == ["train", "val"]
    assert [image.path for image in images(tmp_path, "val")] == [tmp_path / "images" / "val.jpg"]


def test_entries_that_cannot_be_read(tmp_path):
    content = [
        {"gt_boxes": []},
        {"filename": "b.jpg"},
        7,
        {"filename": "a.jpg", "gt_boxes": [7, {"x": 0.1}, {"label": "car", "x": "?", "y": 0, "width": 1, "height": 1}]},
    ]
    *findings, image = images(one_picture(tmp_path, content))
    assert findings == [
        Finding(Kind.DAMAGED_ANNOTATION, "", "train.json picture 1", "has no `filename` or `image_id`"),
        Finding(Kind.DAMAGED_ANNOTATION, "b.jpg", "train.json b.jpg", "has no `gt_boxes`"),
        Finding(Kind.DAMAGED_ANNOTATION, "", "train.json picture 3", "has no `filename` or `image_id`"),
        Finding(Kind.UNREADABLE_BOX, "a.jpg", "train.json a.jpg box 1", "is no mapping"),
    ]
    assert all(math.isnan(box.corners[0]) for box in image.boxes)
    assert [box.label for box in image.boxes] == ["", "car"]


def test_sets_that_name_no_class(tmp_path):
    folder = one_picture(tmp_path, {"a.jpg": [{"x": 0, "y": 0, "width": 1, "height": 1}]})
    with pytest.raises(DataError, match=r"no box has a 'label'; name their class: -o default_class=car"):
        open_reader("taggerine", folder).classes(["train"])
    assert open_reader("taggerine", folder, {"default_class": "face"}).classes(["train"]) == ["face"]


def test_files_of_another_kind(tmp_path):
    folder = one_picture(tmp_path, "text")
    with pytest.raises(DataError, match=r"train\.json: must be a list of pictures; found a str"):
        images(folder)
    (folder / "train.json").write_text("[")
    with pytest.raises(DataError, match=r"train\.json: cannot be read as JSON"):
        images(folder)


def test_layout_that_does_not_fit(tmp_path):
    with pytest.raises(
        DataError, match=r"looked for <split>\.json or <split>/\*\.json, found an empty folder; the layout"
    ):
        open_reader("taggerine", tmp_path).splits()
