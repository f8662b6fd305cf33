import hashlib
import json

import numpy as np
import pytest
import tensorflow as tf

from luminoth.data.tfrecord import (
    RecordWriter,
    count_records,
    encode_example,
    find_records,
    list_splits,
    parse_record,
    read_classes,
    write_classes,
)
from luminoth.errors import DataError
from luminoth.types import Example
from tests.data.source_sets import picture_bytes

CLASSES = ["person", "car", "straßenbahn"]


def example(boxes=((4, 5, 20.5, 25), (0, 0, 40, 30)), class_ids=(1, 2)) -> Example:
    count = len(boxes)
    return Example(
        image_id="überblick/1",
        encoded=picture_bytes(),
        image_size=(30, 40),
        boxes=np.asarray(boxes, np.float32).reshape(count, 4),
        class_ids=np.asarray(class_ids, np.int32),
        is_crowd=np.arange(count) == 1,
        is_difficult=np.arange(count) == 0,
        is_truncated=np.zeros(count, bool),
        filename="1.jpg",
    )


def luminoth_record(encoded: bytes, objects) -> bytes:
    """A record as Luminoth 0.2 wrote it: objects are (label, xmin, ymin, xmax, ymax) in pixels."""
    record = tf.train.SequenceExample()
    for name, value in (("width", 40), ("height", 30), ("depth", 3)):
        record.context.feature[name].int64_list.value.append(value)
    record.context.feature["filename"].bytes_list.value.append(b"000001")
    record.context.feature["image_raw"].bytes_list.value.append(encoded)
    for position, name in enumerate(("label", "xmin", "ymin", "xmax", "ymax")):
        steps = record.feature_lists.feature_list[name]
        for values in objects:
            steps.feature.add().int64_list.value.append(values[position])
    return record.SerializeToString()


def parse_in_map(*serialized: bytes) -> list[dict[str, np.ndarray]]:
    dataset = tf.data.Dataset.from_tensor_slices(list(serialized)).map(parse_record)
    return list(dataset.as_numpy_iterator())


def test_round_trip():
    original = example()
    (parsed,) = parse_in_map(encode_example(original, CLASSES))
    assert parsed["encoded"] == original.encoded
    assert parsed["image_id"].decode() == "überblick/1"
    np.testing.assert_allclose(parsed["boxes"], original.boxes, atol=1e-5)
    np.testing.assert_array_equal(parsed["class_ids"], [1, 2])
    np.testing.assert_array_equal(parsed["is_crowd"], [False, True])
    assert [parsed[key].dtype for key in ("boxes", "class_ids", "is_crowd")] == [np.float32, np.int32, bool]


def test_round_trip_without_objects():
    (parsed,) = parse_in_map(encode_example(example((), ()), CLASSES))
    assert parsed["boxes"].shape == (0, 4)
    assert parsed["class_ids"].shape == parsed["is_crowd"].shape == (0,)


def test_read_by_the_object_detection_api_spec():
    """The feature spec of the Object Detection API's TfExampleDecoder, written out, reads our records."""
    original = example()
    spec = {
        "image/encoded": tf.io.FixedLenFeature((), tf.string),
        "image/format": tf.io.FixedLenFeature((), tf.string),
        "image/filename": tf.io.FixedLenFeature((), tf.string),
        "image/key/sha256": tf.io.FixedLenFeature((), tf.string),
        "image/source_id": tf.io.FixedLenFeature((), tf.string),
        "image/height": tf.io.FixedLenFeature((), tf.int64),
        "image/width": tf.io.FixedLenFeature((), tf.int64),
        "image/object/bbox/xmin": tf.io.VarLenFeature(tf.float32),
        "image/object/bbox/xmax": tf.io.VarLenFeature(tf.float32),
        "image/object/bbox/ymin": tf.io.VarLenFeature(tf.float32),
        "image/object/bbox/ymax": tf.io.VarLenFeature(tf.float32),
        "image/object/class/label": tf.io.VarLenFeature(tf.int64),
        "image/object/class/text": tf.io.VarLenFeature(tf.string),
        "image/object/is_crowd": tf.io.VarLenFeature(tf.int64),
        "image/object/difficult": tf.io.VarLenFeature(tf.int64),
        "image/object/truncated": tf.io.VarLenFeature(tf.int64),
    }
    read = tf.io.parse_single_example(encode_example(original, CLASSES), spec)
    values = {
        name: (tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value).numpy()
        for name, value in read.items()
    }
    assert values["image/format"] == b"jpeg"
    assert values["image/filename"] == b"1.jpg"
    assert (values["image/height"], values["image/width"]) == (30, 40)
    assert values["image/key/sha256"].decode() == hashlib.sha256(original.encoded).hexdigest()
    np.testing.assert_allclose(values["image/object/bbox/xmin"], [0.1, 0.0])
    np.testing.assert_allclose(values["image/object/bbox/ymin"], [5 / 30, 0.0])
    np.testing.assert_allclose(values["image/object/bbox/xmax"], [20.5 / 40, 1.0])
    np.testing.assert_allclose(values["image/object/bbox/ymax"], [25 / 30, 1.0])
    assert values["image/object/class/label"].tolist() == [2, 3]
    assert [text.decode() for text in values["image/object/class/text"]] == ["car", "straßenbahn"]
    assert values["image/object/is_crowd"].tolist() == [0, 1]
    assert values["image/object/difficult"].tolist() == [1, 0]


def test_luminoth_form_is_read_beside_ours():
    encoded = picture_bytes("PNG")
    ours = encode_example(example(), CLASSES)
    theirs = luminoth_record(encoded, [(0, 1, 2, 30, 29), (2, 0, 0, 39, 10)])
    first, second, third = parse_in_map(theirs, ours, luminoth_record(encoded, []))
    assert first["encoded"] == encoded
    assert first["image_id"] == b"000001"
    np.testing.assert_array_equal(first["boxes"], [[1, 2, 30, 29], [0, 0, 39, 10]])
    np.testing.assert_array_equal(first["class_ids"], [0, 2])
    np.testing.assert_array_equal(first["is_crowd"], [False, False])
    np.testing.assert_array_equal(second["class_ids"], [1, 2])
    assert third["boxes"].shape == (0, 4)


def other_tools_record(**changes) -> bytes:
    """A record with only what other tools always write."""
    record = tf.train.Example()
    feature = record.features.feature
    feature["image/encoded"].bytes_list.value.append(picture_bytes())
    feature["image/filename"].bytes_list.value.append(b"a.jpg")
    for side, value in (("xmin", 0.25), ("ymin", 0.5), ("xmax", 0.75), ("ymax", 1.0)):
        feature[f"image/object/bbox/{side}"].float_list.value.append(value)
    for label in changes.get("labels", [1]):
        feature["image/object/class/label"].int64_list.value.append(label)
    return record.SerializeToString()


def test_record_without_size_id_and_flags():
    (parsed,) = parse_in_map(other_tools_record())
    np.testing.assert_allclose(parsed["boxes"], [[10, 15, 30, 30]])
    assert parsed["image_id"] == b"a.jpg"
    assert parsed["class_ids"].tolist() == [0]
    assert parsed["is_crowd"].tolist() == [False]


@pytest.mark.parametrize(
    ("serialized", "message"),
    [
        (other_tools_record(labels=[0]), "must count from 1"),
        (other_tools_record(labels=[1, 2]), "one label a box"),
        (tf.train.Example().SerializeToString(), "neither image/encoded nor image_raw"),
    ],
)
def test_wrong_records_are_refused(serialized, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        parse_in_map(serialized)


def write_records(path, count: int = 3) -> None:
    with RecordWriter(path) as writer:
        for index in range(count):
            writer.write(b"x" * (index + 1) * 10)


def test_count_records(tmp_path):
    write_records(tmp_path / "a.tfrecords", 3)
    write_records(tmp_path / "b.tfrecords", 2)
    (tmp_path / "c.tfrecords").write_bytes(b"")
    assert count_records([tmp_path / "a.tfrecords", tmp_path / "b.tfrecords", tmp_path / "c.tfrecords"]) == 5


@pytest.mark.parametrize("lost", [1, 20, 44, 70])
def test_count_records_refuses_a_truncated_file(tmp_path, lost):
    path = tmp_path / "a.tfrecords"
    write_records(path, 3)  # 26 + 36 + 46 bytes
    whole = path.read_bytes()
    path.write_bytes(whole[:-lost])
    after = 2 if lost < 46 else 1
    with pytest.raises(DataError, match=rf"a\.tfrecords: cut off after {after} records; write it again"):
        count_records([path])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"just some text in a file", "not a TFRecord file"), (b"\x1f\x8b" + b"\x08" * 40, "gzip-compressed")],
)
def test_count_records_refuses_other_files(tmp_path, content, message):
    (tmp_path / "a.tfrecords").write_bytes(content)
    with pytest.raises(DataError, match=message):
        count_records([tmp_path / "a.tfrecords"])
    with pytest.raises(DataError, match="no such record file"):
        count_records([tmp_path / "b.tfrecords"])


def test_writer_leaves_nothing_after_an_error(tmp_path):
    def fail_half_way():
        with RecordWriter(tmp_path / "a.tfrecords") as writer:
            writer.write(b"one")
            raise KeyError

    with pytest.raises(KeyError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []


def test_writer_keeps_the_old_file_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.tfrecords"
    write_records(path, 3)
    with RecordWriter(path) as writer:
        writer.write(b"one")
        assert count_records([path]) == 3
    assert count_records([path]) == 1


def test_find_records(tmp_path):
    for name in ("train.tfrecords", "val-00000-of-00002.tfrecords", "val-00001-of-00002.tfrecords"):
        write_records(tmp_path / name, 1)
    assert find_records(tmp_path, "train") == [str(tmp_path / "train.tfrecords")]
    shards = ["val-00000-of-00002.tfrecords", "val-00001-of-00002.tfrecords"]
    assert find_records(tmp_path, "val") == [str(tmp_path / name) for name in shards]
    assert list_splits(tmp_path) == ["train", "val"]
    with pytest.raises(DataError, match=r"looked for test\.tfrecords .*there are records of: train, val"):
        find_records(tmp_path, "test")
    (tmp_path / "val-00000-of-00002.tfrecords").unlink()
    with pytest.raises(DataError, match=r"2 shards of val are not complete.*val-00000-of-00002\.tfrecords"):
        find_records(tmp_path, "val")
    write_records(tmp_path / "val.tfrecords", 1)
    with pytest.raises(DataError, match="keep one of the two forms"):
        find_records(tmp_path, "val")
    with pytest.raises(DataError, match="no such folder"):
        find_records(tmp_path / "nowhere", "train")


def test_classes_round_trip(tmp_path):
    write_classes(tmp_path, CLASSES)
    assert read_classes(tmp_path) == CLASSES
    assert json.loads((tmp_path / "classes.json").read_text("utf-8")) == CLASSES
    assert [path.name for path in tmp_path.iterdir()] == ["classes.json"]


@pytest.mark.parametrize("content", ["{", "{}", "[]", "[1]", '["car", ""]', '["car", "car"]'])
def test_wrong_class_lists_are_refused(tmp_path, content):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(DataError, match=r"classes\.json"):
        read_classes(tmp_path)
    with pytest.raises(DataError, match="lumi dataset transform"):
        read_classes(tmp_path / "nowhere")
