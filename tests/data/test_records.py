"""One record: written, read as tensors, and read without TensorFlow; every form that is read."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from luminoth.data.records import RecordWriter, decode_example, encode_example, read_records
from luminoth.data.tfrecord import parse_record
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


# --- Without TensorFlow ------------------------------------------------------------


def test_the_bytes_are_those_that_tensorflow_writes():
    serialized = encode_example(example(), CLASSES)
    assert tf.train.Example.FromString(serialized).SerializeToString(deterministic=True) == serialized


@pytest.mark.parametrize("original", [example(), example((), ())], ids=["two boxes", "no box"])
def test_decoded_is_what_was_encoded(original):
    decoded = decode_example(encode_example(original, CLASSES))
    for name, value in vars(original).items():
        if name == "boxes":
            np.testing.assert_allclose(decoded.boxes, value, atol=1e-5)
            assert decoded.boxes.dtype == np.float32
        elif isinstance(value, np.ndarray):
            np.testing.assert_array_equal(getattr(decoded, name), value)
            assert getattr(decoded, name).dtype == value.dtype
        else:
            assert getattr(decoded, name) == value, name


@pytest.mark.parametrize(
    "serialized",
    [
        encode_example(example(), CLASSES),
        luminoth_record(picture_bytes("PNG"), [(0, 1, 2, 30, 29), (2, 0, 0, 39, 10)]),
        luminoth_record(picture_bytes(), []),
        other_tools_record(),
    ],
    ids=["ours", "Luminoth's", "Luminoth's without objects", "another tool's"],
)
def test_both_ways_of_reading_agree(serialized):
    (parsed,) = parse_in_map(serialized)
    decoded = decode_example(serialized)
    assert decoded.encoded == parsed["encoded"]
    assert decoded.image_id == parsed["image_id"].decode()
    assert decoded.image_size == (30, 40)
    for name in ("boxes", "class_ids", "is_crowd"):
        np.testing.assert_allclose(getattr(decoded, name), parsed[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("serialized", "message"),
    [
        (other_tools_record(labels=[0]), "record 'a.jpg' does not have one label, counted from 1"),
        (other_tools_record(labels=[1, 2]), "record 'a.jpg' does not have one label"),
        (tf.train.Example().SerializeToString(), "neither image/encoded nor image_raw"),
        (b"no message", "not an object-detection example"),
    ],
)
def test_wrong_records_are_refused_here_too(serialized, message):
    with pytest.raises(DataError, match=message):
        decode_example(serialized)


def test_files_of_tensorflow_are_read_and_ours_by_tensorflow(tmp_path):
    records = [b"", b"x" * 10, encode_example(example(), CLASSES)]
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as theirs, RecordWriter(tmp_path / "ours") as ours:
        for record in records:
            theirs.write(record)
            ours.write(record)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert list(read_records([tmp_path / "theirs", tmp_path / "ours"])) == records * 2


@pytest.mark.parametrize("lost", [1, 20, 44, 70, 107])
def test_reading_a_truncated_file(tmp_path, lost):
    write_records(tmp_path / "a.tfrecords", 3)  # 26 + 36 + 46 bytes
    (tmp_path / "a.tfrecords").write_bytes((tmp_path / "a.tfrecords").read_bytes()[:-lost])
    records = read_records([tmp_path / "a.tfrecords"])
    whole = 2 if lost < 46 else 1 if lost < 82 else 0
    assert [len(next(records)) for _ in range(whole)] == [10, 20][:whole]
    with pytest.raises(DataError, match=rf"a\.tfrecords: .*cut off.* after {whole} records; write it again"):
        next(records)


@pytest.mark.parametrize("position", range(0, 108, 5))
def test_any_changed_byte_is_noticed(tmp_path, position):
    write_records(tmp_path / "a.tfrecords", 3)
    content = bytearray((tmp_path / "a.tfrecords").read_bytes())
    content[position] ^= 0x10
    (tmp_path / "a.tfrecords").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tfrecords: .*damaged|cut off"):
        list(read_records([tmp_path / "a.tfrecords"]))


def write_records(path, count):
    with RecordWriter(path) as writer:
        for index in range(count):
            writer.write(b"x" * (index + 1) * 10)
