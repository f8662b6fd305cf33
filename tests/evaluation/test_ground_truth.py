"""Ground truth from records: exact pixels, both forms of record, other class ids."""

import numpy as np
import pytest

from luminoth.data.record_files import write_classes
from luminoth.data.records import RecordWriter, encode_example
from luminoth.errors import DataError
from luminoth.evaluation.ground_truth import GroundTruth, read_ground_truths
from luminoth.image import encode_png
from luminoth.types import Example

CLASSES = ["car", "bus", "person"]


def write(path, examples):
    write_classes(path.parent, CLASSES)
    with RecordWriter(path) as writer:
        for example in examples:
            writer.write(encode_example(example, CLASSES))
    return [path]


def example(boxes, class_ids, size=(48, 64), crowd=(), difficult=()):
    count = len(class_ids)
    flags = [np.isin(np.arange(count), rows) for rows in (crowd, difficult)]
    return Example(
        f"id-{count}", encode_png(np.zeros((4, 4, 3), np.uint8)), size, np.asarray(boxes, np.float32).reshape(-1, 4),
        np.asarray(class_ids, np.int32), *flags, np.zeros(count, bool), f"{count}.jpg",
    )  # fmt: skip


def test_everything_of_a_record(tmp_path):
    boxes = [[1, 2, 33, 34], [0.25, 0.5, 63.99, 47.01]]
    files = write(tmp_path / "val.tfrecords", [example(boxes, [2, 0], crowd=[1], difficult=[0]), example([], [])])
    first, second = read_ground_truths(files)
    np.testing.assert_array_equal(first.boxes, boxes)  # to the last bit
    assert first.boxes.dtype == np.float64
    assert first.class_ids.tolist() == [2, 0]
    assert first.is_crowd.tolist() == [False, True]
    assert first.is_difficult.tolist() == [True, False]
    assert (first.image_size, first.image_id, first.filename) == ((48, 64), "id-2", "2.jpg")
    assert (len(first), len(second)) == (2, 0)
    assert second.boxes.shape == (0, 4)


def test_whole_pixels_of_large_pictures(tmp_path):
    random = np.random.default_rng(0)
    corners = random.integers(0, 3000, (200, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 3000, (200, 2))], axis=1)
    files = write(tmp_path / "val.tfrecords", [example(boxes, np.zeros(200), size=(6007, 6011))])
    np.testing.assert_array_equal(read_ground_truths(files)[0].boxes, boxes)


def test_other_class_ids(tmp_path):
    files = write(tmp_path / "val.tfrecords", [example([[1, 2, 3, 4]] * 3, [0, 1, 2]), example([], [])])
    assert read_ground_truths(files, [5, 3, 4])[0].class_ids.tolist() == [5, 3, 4]
    assert read_ground_truths(files, [0, 0, 0])[0].class_ids.tolist() == [0, 0, 0]
    with pytest.raises(DataError, match="record 'id-3' has an object of class number 3, but there are only 2 classes"):
        read_ground_truths(files, [0, 1])


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"val\.tfrecords: cannot be read"):
        read_ground_truths([tmp_path / "val.tfrecords"])


def test_no_object_is_difficult_unless_said():
    made = GroundTruth(np.zeros((2, 4)), np.zeros(2, int), np.zeros(2, bool), (4, 4))
    assert made.is_difficult.tolist() == [False, False]
    with pytest.raises(ValueError, match="is_difficult"):
        GroundTruth(np.zeros((2, 4)), np.zeros(2, int), np.zeros(2, bool), (4, 4), is_difficult=np.zeros(1, bool))
