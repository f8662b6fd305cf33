"""Detections as files: of our own and of other programs, and what is said of those that do not fit."""

import json

import numpy as np
import pytest

from luminoth.errors import DataError, OutputError
from luminoth.evaluation.coco_results import read_coco_results, write_coco_results
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.metrics import coco_metrics
from tests.evaluation.cases import CLASSES, SIZE, found, random_case

ENTRY = {"image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5}


def picture(image_id, filename=""):
    return GroundTruth(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool), SIZE, image_id, filename=filename)


def read(tmp_path, entries, pictures=None, classes=CLASSES):
    pictures = pictures or [picture("1"), picture("2")]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return read_coco_results(path, pictures, classes)


def places(tmp_path, *said, pictures):
    """The picture that each detection came to, by its score."""
    entries = [{**ENTRY, "score": (index + 1) / 100, **each} for index, each in enumerate(said)]
    for entry in entries:
        if entry["image_id"] is None:
            del entry["image_id"]
    result = read(tmp_path, entries, pictures)
    by_score = {round(float(score) * 100): image for image, each in enumerate(result) for score in each.scores}
    return [by_score[index + 1] for index in range(len(said))]


def test_what_is_written(tmp_path):
    path = tmp_path / "out" / "detections.json"
    detections = [found([[1, 2, 11, 22.5]], [0.5], [2]), found(), found([[0, 0, 4, 4]], [0.25], [0])]
    assert write_coco_results(path, ["139", "007", "b.jpg"], detections) == 2
    assert json.loads(path.read_text()) == [
        {"image_id": 139, "category_id": 3, "bbox": [1.0, 2.0, 10.0, 20.5], "score": 0.5},
        {"image_id": "b.jpg", "category_id": 1, "bbox": [0.0, 0.0, 4.0, 4.0], "score": 0.25},
    ]
    assert [each.name for each in path.parent.iterdir()] == ["detections.json"]


def test_no_detections(tmp_path):
    assert write_coco_results(tmp_path / "none.json", ["1"], [found()]) == 0
    assert [len(each) for each in read_coco_results(tmp_path / "none.json", [picture("1")], CLASSES)] == [0]


@pytest.mark.parametrize("ids", ["{}", "{:06}", "street {}.jpg", "a/{}"])
def test_round_trip_keeps_every_figure(tmp_path, ids):
    truths, detections = random_case(7)
    names = [ids.format(number) for number in range(len(truths))]
    truths = [
        GroundTruth(each.boxes, each.class_ids, each.is_crowd, SIZE, name)
        for each, name in zip(truths, names, strict=True)
    ]
    write_coco_results(tmp_path / "all.json", names, detections)
    back = read_coco_results(tmp_path / "all.json", truths, CLASSES)
    for one, other in zip(detections, back, strict=True):
        order = np.argsort(-one.scores, kind="stable")
        np.testing.assert_allclose(other.boxes, one.boxes[order], atol=2e-6)
        np.testing.assert_array_equal(other.scores, one.scores[order])
        np.testing.assert_array_equal(other.class_ids, one.class_ids[order])
    assert coco_metrics(truths, back, CLASSES).figures == coco_metrics(truths, detections, CLASSES).figures


def test_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file.out\.json: cannot be written"):
        write_coco_results(tmp_path / "file" / "out.json", ["1"], [found()])


def test_a_detection(tmp_path):
    first, second = read(tmp_path, [ENTRY, {**ENTRY, "score": 0.75, "category_id": 3}])
    assert first.boxes.tolist() == [[10, 20, 40, 60]] * 2
    assert first.scores.tolist() == [0.75, 0.5]
    assert first.class_ids.tolist() == [2, 0]
    assert (first.image_size, list(first.class_names)) == (SIZE, CLASSES)
    assert (first.boxes.dtype, first.scores.dtype, first.class_ids.dtype) == (np.float32, np.float32, np.int32)
    assert len(second) == 0


def test_pictures_by_id(tmp_path):
    said = [{"image_id": 139}, {"image_id": "139"}, {"image_id": 139.0}, {"image_id": 7}, {"image_id": "000007.jpg"}]
    assert places(tmp_path, *said, pictures=[picture("000007"), picture("139")]) == [1, 1, 1, 0, 0]


def test_pictures_by_file_name(tmp_path):
    pictures = [picture("x", "street.jpg"), picture("val/house.png")]
    said = [
        {"image_id": None, "file_name": "street.jpg"},
        {"image_id": None, "filename": "C:\\data\\house.jpg"},
        {"image_id": "street"},
        {"image_id": "/data/val/house.png"},
        {"image_id": 55, "file_name": "street.jpg"},
    ]
    assert places(tmp_path, *said, pictures=pictures) == [0, 1, 0, 1, 0]


def test_pictures_by_number_where_ids_are_names(tmp_path):
    assert places(tmp_path, {"image_id": 2}, {"image_id": 1}, pictures=[picture("b"), picture("a")]) == [1, 0]
    with pytest.raises(DataError, match=r"1 detections are of pictures that are not there: 2; the data has '1', 'a'$"):
        read(tmp_path, [{**ENTRY, "image_id": 2}], [picture("1"), picture("a")])


def test_a_name_of_two_pictures_is_of_none(tmp_path):
    pictures = [picture("a/1.jpg"), picture("b/1.jpg")]
    assert places(tmp_path, {"image_id": "b/1.jpg"}, pictures=pictures) == [1]
    with pytest.raises(DataError, match=r"not there: '1\.jpg'; the data has 'a/1\.jpg', 'b/1\.jpg'"):
        read(tmp_path, [{**ENTRY, "image_id": "1.jpg"}], pictures)


@pytest.mark.parametrize("key", ["category", "label", "category_name", "category_id"])
def test_classes_by_name(tmp_path, key):
    entry = {name: value for name, value in ENTRY.items() if name != "category_id"}
    assert read(tmp_path, [{**entry, key: "person"}])[0].class_ids.tolist() == [2]


def test_a_whole_coco_file_says_what_its_ids_are(tmp_path):
    content = {
        "images": [{"id": 2, "file_name": "1.jpg"}, {"id": 1, "file_name": "2.jpg"}],
        "categories": [{"id": 90, "name": "bus"}, {"id": 1, "name": "person"}],
        "annotations": [{**ENTRY, "category_id": 90}, {**ENTRY, "image_id": 2}],
    }
    first, second = read(tmp_path, content)
    assert first.class_ids.tolist() == [2]
    assert second.class_ids.tolist() == [1]


def test_unknown_pictures_and_classes_in_one_line(tmp_path):
    entries = [{**ENTRY, "image_id": number} for number in (5, 6, 7, 7, 8)] + [{**ENTRY, "category_id": 4}]
    with pytest.raises(DataError) as caught:
        read(tmp_path, entries)
    message = str(caught.value).removeprefix(f"{tmp_path}/results.json: ")
    assert message == (
        "5 detections are of pictures that are not there: 5, 6, 7 and 1 more; the data has '1', '2'; "
        "1 detections are of classes that are not there: 4; the classes, numbered from 1, are 'car', 'bus', 'person'"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"entry 1 has the bbox \[1, 2, 3\]; accepted is \[x_min, y_min, width, height\]"),
        ({"bbox": [1, 2, -3, 4]}, "has the bbox"),
        ({"bbox": [1, 2, "3", 4]}, "has the bbox"),
        ({"bbox": [1, 2, float("nan"), 4]}, "has the bbox"),
        ({"bbox": None}, "has the bbox None"),
        ({"score": 87.5}, r"has the score 87\.5; accepted is a number from 0 to 1"),
        ({"score": None}, "has the score None"),
        ({"image_id": None}, "not there: no image_id"),
        ({"category_id": None}, "not there: no category_id"),
        ({"category_id": 0}, "of classes that are not there: 0"),
        ({"category_id": "tram"}, "not there: 'tram'"),
    ],
)
def test_damaged_entries(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, [{**ENTRY, **change}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "not in COCO's result form"),
        ("[1]", "entry 1 is 1, not a detection"),
        ("[", "not JSON"),
        ("", "not JSON"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_coco_results(path, [picture("1")], CLASSES)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_coco_results(tmp_path / "none.json", [picture("1")], CLASSES)
