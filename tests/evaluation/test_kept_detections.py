"""Detections kept beside an evaluation, and what a comparison says when they do not fit."""

import json

import numpy as np
import pytest

from luminoth.errors import DataError
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.kept_detections import kept_path, read_earlier, read_kept, write_kept
from luminoth.types import Detections

CLASSES = ["car", "bus"]


def truth(image_id):
    return GroundTruth(np.zeros((0, 4)), np.zeros(0, np.int32), np.zeros(0, bool), (40, 60), image_id)


def found(count, seed):
    random = np.random.default_rng(seed)
    scores = -np.sort(-random.random(count).astype(np.float32))
    boxes = random.uniform(0, 40, (count, 4)).astype(np.float32)
    return Detections(boxes, scores, random.integers(0, 2, count).astype(np.int32), CLASSES, (40, 60))


TRUTHS = [truth("a"), truth("ü b"), truth("c")]
FOUND = [found(3, 0), found(0, 1), found(2, 2)]


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "val-5.detections.npz"
    write_kept(path, TRUTHS, FOUND)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    return path


def assert_same(these, those):
    for one, other in zip(these, those, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)
        assert [one.class_names[k] for k in one.class_ids] == [other.class_names[k] for k in other.class_ids]
        assert one.image_size == other.image_size


def test_read_as_written_to_the_last_bit(kept):
    assert_same(read_kept(kept, TRUTHS, CLASSES), FOUND)


def test_pictures_and_classes_in_another_order(kept):
    read = read_kept(kept, [TRUTHS[2], TRUTHS[0], TRUTHS[1]], ["bus", "car"])
    assert_same(read, [FOUND[2], FOUND[0], FOUND[1]])
    assert read[0].class_names == ["bus", "car"]


def test_nothing_found_at_all(tmp_path):
    write_kept(tmp_path / "x.npz", TRUTHS, [found(0, 0)] * 3)
    assert [len(each) for each in read_kept(tmp_path / "x.npz", TRUTHS, CLASSES)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("truths", "classes", "message"),
    [
        (TRUTHS, ["car", "tram"], "its classes are car, bus; those of the data are car, tram"),
        (TRUTHS[:2], CLASSES, "has detections of 3 pictures, the data has 2"),
        ([*TRUTHS[:2], truth("d")], CLASSES, "1 of the data's are not among them, such as d"),
    ],
)
def test_of_something_else(kept, truths, classes, message):
    with pytest.raises(DataError, match=message):
        read_kept(kept, truths, classes)


def test_damaged(kept):
    kept.write_bytes(kept.read_bytes()[:200])
    with pytest.raises(DataError, match=r"val-5\.detections\.npz: cannot be read"):
        read_kept(kept, TRUTHS, CLASSES)


def test_earlier_evaluation(kept):
    evaluation = kept.with_name("val-5.json")
    evaluation.write_text(json.dumps({"split": "val", "metrics": {}, "checkpoint": "jobs/x/ckpt-5"}))
    assert kept_path(evaluation) == kept
    assert_same(read_earlier(evaluation, "val", TRUTHS, CLASSES), FOUND)
    with pytest.raises(DataError, match="is of the split 'val', this evaluation is of 'test'"):
        read_earlier(evaluation, "test", TRUTHS, CLASSES)
    kept.unlink()
    with pytest.raises(DataError, match=r"npz: no such file; .* again with `lumi eval --checkpoint jobs/x/ckpt-5 --s"):
        read_earlier(evaluation, "val", TRUTHS, CLASSES)


def test_file_of_detections_instead(tmp_path):
    path = tmp_path / "theirs.json"
    path.write_text('[{"image_id": "c", "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]')
    read = read_earlier(path, "val", TRUTHS, CLASSES)
    assert [len(each) for each in read] == [0, 0, 1]
    assert read[2].boxes.tolist() == [[1, 2, 4, 6]]
    with pytest.raises(DataError, match=r"none\.json: no such file"):
        read_earlier(tmp_path / "none.json", "val", TRUTHS, CLASSES)
    path.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        read_earlier(path, "val", TRUTHS, CLASSES)
