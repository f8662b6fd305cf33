import json

import pytest

from luminoth.data.readers import open_reader
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from tests.data.source_sets import Object, Picture, good_pictures, picture_bytes, write_set


@pytest.fixture
def folder(tmp_path):
    return write_set("coco", tmp_path / "coco", train=good_pictures(), val=good_pictures()[:1])


def change(folder, split, **changes):
    """Replaces lists in a split's JSON."""
    path = folder / "annotations" / f"instances_{split}2017.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def minimal(path, file_name="a.jpg", bbox=(4, 5, 16, 20), **image):
    """A JSON with one picture and one box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [{"id": 7, "file_name": file_name, **image}],
        "annotations": [{"image_id": 7, "category_id": 3, "bbox": list(bbox)}],
        "categories": [{"id": 3, "name": "car"}],
    }
    path.write_text(json.dumps(content))


def test_boxes_are_corners_and_sizes(folder):
    images = list(open_reader("coco", folder).images("train"))
    assert [image.image_id for image in images] == ["0", "1", "2"]
    assert images[0].boxes[0].corners == (4, 5, 20, 25)
    assert images[0].stated_size == (30, 40)
    assert images[1].path == folder / "train2017" / "second.jpg"
    assert images[2].boxes == ()


def test_crowds_are_kept(tmp_path):
    objects = [Object("person", (0.0, 0.0, 5.0, 5.0), crowd=True), Object("person", (1.0, 1.0, 3.0, 3.0))]
    folder = write_set("coco", tmp_path, train=[Picture("a.jpg", picture_bytes(), objects)])
    (image,) = open_reader("coco", folder).images("train")
    assert [box.is_crowd for box in image.boxes] == [True, False]


def test_category_ids_may_have_gaps_and_any_order(folder):
    categories = [
        {"id": 90, "name": "car", "supercategory": "vehicle"},
        {"id": 4, "name": "traffic light", "supercategory": "outdoor"},
        {"id": 18, "name": "person", "supercategory": "person"},
        {"id": 91, "name": "bus", "supercategory": "vehicle"},
    ]
    annotations = [{"id": 1, "image_id": 0, "category_id": 90, "bbox": [1, 2, 3, 4]}]
    change(folder, "train", categories=categories, annotations=annotations)
    reader = open_reader("coco", folder)
    assert reader.classes(["train"]) == ["traffic light", "person", "car", "bus"]
    assert next(reader.images("train")).boxes[0].label == "car"
    reader = open_reader("coco", folder, {"use_supercategory": "true"})
    assert reader.classes(["train"]) == ["outdoor", "person", "vehicle"]
    assert next(reader.images("train")).boxes[0].label == "vehicle"


def test_one_class_list_serves_splits_with_other_category_ids(folder):
    change(folder, "val", categories=[{"id": 1, "name": "person"}, {"id": 5, "name": "car"}, {"id": 8, "name": "bus"}])
    assert open_reader("coco", folder).classes(["train", "val"]) == ["car", "person", "traffic light", "bus"]


def test_damaged_entries_are_found(folder):
    change(
        folder,
        "train",
        images=[{"id": 0, "file_name": "first.jpg"}, {"id": 1}],
        annotations=[
            {"id": 10, "image_id": 0, "category_id": 1, "bbox": [1, 2, 3]},
            {"id": 11, "image_id": 0, "category_id": 1000, "bbox": [1, 2, 3, 4]},
            {"id": 12, "image_id": 55, "category_id": 1, "bbox": [1, 2, 3, 4]},
        ],
    )
    image, nameless, orphan = open_reader("coco", folder).images("train")
    assert [str(value) for value in image.boxes[0].corners] == ["nan"] * 4
    assert image.boxes[1].label == "category 1000"
    assert nameless.kind is Kind.DAMAGED_ANNOTATION
    where = "annotations/instances_train2017.json annotation 12"
    assert orphan == Finding(Kind.ORPHAN_BOX, "55", where, "image_id 55")


def test_export_of_labelling_tools(tmp_path):
    minimal(tmp_path / "valid" / "_annotations.coco.json")
    (tmp_path / "valid" / "a.jpg").write_bytes(picture_bytes())
    reader = open_reader("coco", tmp_path)
    assert reader.splits() == ["valid"]
    (image,) = reader.images("valid")
    assert image.path == tmp_path / "valid" / "a.jpg"
    assert image.boxes[0].corners == (4, 5, 20, 25)


def test_absolute_file_names_of_another_machine(tmp_path):
    minimal(tmp_path / "instances_train.json", file_name="C:\\pictures\\a.jpg", height=30, width=40)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.jpg").write_bytes(picture_bytes())
    (image,) = open_reader("coco", tmp_path).images("train")
    assert image.path == tmp_path / "train" / "a.jpg"
    assert [finding.kind for finding in image.findings] == [Kind.OTHER_NAME]


def test_year(tmp_path):
    for year in ("2014", "2017"):
        minimal(tmp_path / "annotations" / f"instances_val{year}.json", file_name=f"{year}.jpg")
        (tmp_path / f"val{year}").mkdir()
        (tmp_path / f"val{year}" / f"{year}.jpg").write_bytes(picture_bytes())
    names = {
        year: next(open_reader("coco", tmp_path, {"year": year} if year else {}).images("val")).path.name
        for year in ("", "2014", "2017")
    }
    assert names == {"": "2017.jpg", "2014": "2014.jpg", "2017": "2017.jpg"}
    with pytest.raises(DataError, match=r"instances_<split>2015\.json"):
        open_reader("coco", tmp_path, {"year": "2015"})
    (tmp_path / "annotations" / "instances_val2017.json").rename(tmp_path / "annotations" / "instances_val2016.json")
    with pytest.raises(DataError, match=r"val is there for 2014, 2016; choose with -o year="):
        open_reader("coco", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "cannot be read as JSON"), ("[]", "found a list"), ('{"images": [], "x": 1}', "found images, x")],
)
def test_wrong_json(folder, content, message):
    (folder / "annotations" / "instances_train2017.json").write_text(content)
    with pytest.raises(DataError, match=rf"instances_train2017\.json: .*{message}"):
        open_reader("coco", folder).classes(["train"])


def test_layout_that_does_not_fit(tmp_path):
    with pytest.raises(DataError, match=r"looked for annotations/instances_.* found an empty folder; the layout must"):
        open_reader("coco", tmp_path)


def test_flags_that_records_are_converted_to(folder):
    flags = [{"difficult": 1}, {"truncated": True}, {"iscrowd": "1"}, {"iscrowd": 0, "difficult": "0"}]
    common = {"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4]}
    change(folder, "train", annotations=[{**common, **each} for each in flags])
    image = next(open_reader("coco", folder).images("train"))
    assert [(box.is_crowd, box.is_difficult, box.is_truncated) for box in image.boxes] == [
        (False, True, False), (False, False, True), (True, False, False), (False, False, False),
    ]  # fmt: skip


def test_crowds_of_run_lengths_need_no_box(folder):
    runs = {"counts": [1, 2, 3], "size": [30, 40]}
    crowd = {"id": 5, "image_id": 0, "category_id": 1, "iscrowd": 1, "segmentation": runs}
    change(folder, "train", annotations=[crowd, {**crowd, "bbox": None}, {**crowd, "bbox": [1, 2, 3, 4]}])
    image = next(open_reader("coco", folder).images("train"))
    assert [str(box.corners[0]) for box in image.boxes] == ["nan", "nan", "1.0"]


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, "0", 1.5, True])
def test_ids_of_any_kind_do_no_harm(folder, value):
    images = [{"id": value, "file_name": "first.jpg"}]
    annotations = [{"id": value, "image_id": value, "category_id": value, "bbox": [1, 2, 3, 4]}]
    change(folder, "train", images=images, annotations=annotations, categories=[{"id": value, "name": "car"}])
    (item,) = open_reader("coco", folder).images("train")
    if value is None:
        assert (item.kind, item.boxes) == (Kind.DAMAGED_ANNOTATION, 1)
    else:
        assert [box.label for box in item.boxes] == ["car"]


def test_file_names_that_no_file_can_have(folder):
    change(folder, "train", images=[{"id": 0, "file_name": "a" * 300}, {"id": 1, "file_name": "a\0b"}])
    first, second, *_ = open_reader("coco", folder).images("train")
    assert not first.path.name.endswith(".jpg")
    assert second.path.name == "a\0b"


def test_file_names_relative_to_the_set_are_no_news(tmp_path):
    minimal(tmp_path / "result.json", file_name="images/a.jpg")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(picture_bytes())
    (image,) = open_reader("coco", tmp_path).images("all")
    assert (image.path, image.findings) == (tmp_path / "images" / "a.jpg", ())


def test_two_files_without_a_split_in_their_names_are_none(tmp_path):
    for name in ("one", "two"):
        minimal(tmp_path / f"{name}.json")
    with pytest.raises(DataError, match=r"looked for .*found one\.json, two\.json; the layout"):
        open_reader("coco", tmp_path)
