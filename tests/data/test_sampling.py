"""Labels read without pictures, and what is made of them: repeat factors, draws of an epoch, class weights."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from luminoth.data.labels import Labels, read_labels
from luminoth.data.records import RecordWriter, encode_example
from luminoth.data.sampling import Repeats, balanced_class_weights, repeat_factors
from luminoth.errors import DataError
from luminoth.types import Example
from tests.data.test_records import luminoth_record, other_tools_record

CLASSES = ["car", "bus", "tram"]


def example(class_ids, is_crowd=None, encoded=b"\xff\xd8\xff not decoded") -> Example:
    count = len(class_ids)
    none = np.zeros(count, bool)
    boxes = np.tile(np.asarray([[0, 0, 5, 5]], np.float32), (count, 1))
    crowd = none if is_crowd is None else np.asarray(is_crowd)
    return Example("a", encoded, (10, 20), boxes, np.asarray(class_ids, np.int32), crowd, none, none)


def write(path, *records):
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else encode_example(record, CLASSES))
    return str(path)


def labels(*class_ids):
    return Labels(np.asarray(list(map(len, class_ids))), np.concatenate([*map(np.int32, class_ids), np.int32([])]))


# --- labels -------------------------------------------------------------------------------------------------


def test_labels_of_every_form_in_the_order_of_the_files(tmp_path):
    first = write(
        tmp_path / "a.tfrecords",
        example([2, 0, 2], [False, True, False]),
        example([]),
        example([1], encoded=b"x" * 999),
    )
    second = write(
        tmp_path / "b.tfrecords",
        other_tools_record(labels=[3]),
        luminoth_record(b"\xff\xd8\xff" + b"\n\x9f" * 9999, [(0, 1, 1, 5, 5), (2, 1, 1, 5, 5)]),
    )
    found = read_labels([first, second], 3)
    assert found.objects.tolist() == [2, 0, 1, 1, 2]
    assert found.class_ids.tolist() == [2, 2, 1, 2, 0, 2]
    pictures, classes = found.shows(3)
    assert list(zip(pictures, classes, strict=True)) == [(0, 2), (2, 1), (3, 2), (4, 0), (4, 2)]


@pytest.mark.parametrize("order", [("image/encoded", "image/object/class/label"), ("z", "image/encoded", "a")])
def test_labels_do_not_depend_on_where_the_picture_stands(tmp_path, order):
    """Map entries come in any order; here the message is put together from records of one feature each."""
    parts = []
    for name in (*order, "image/object/class/label", "image/object/group_of"):
        record = tf.train.Example()
        if name.startswith("image/object"):
            record.features.feature[name].int64_list.value.extend([3, 1] if name.endswith("label") else [0, 1])
        else:
            record.features.feature[name].bytes_list.value.append(b"p" * 300)
        parts.append(record.SerializeToString())  # messages joined are merged
    path = write(tmp_path / "a.tfrecords", b"".join(parts))
    assert read_labels([path], 3).class_ids.tolist() == [2]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"\xff\xff\xffnot a message", "record 2 is not an object-detection example"),
        (tf.train.Example().SerializeToString(), "has neither image/encoded nor image_raw"),
        (other_tools_record(labels=[0]), "a label below 1"),
        (other_tools_record(labels=[4]), "class number 3, counted from 0, but there are only 3 classes"),
    ],
)
def test_records_that_are_none_are_named(tmp_path, record, message):
    path = write(tmp_path / "a.tfrecords", example([0]), record)
    with pytest.raises(DataError, match=rf"a\.tfrecords: record 2 .*{message.removeprefix('record 2 ')}"):
        read_labels([path], 3)


def test_a_file_that_is_cut_off_is_named(tmp_path):
    path = tmp_path / "a.tfrecords"
    write(path, example([0]), example([1]))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"a\.tfrecords: cut off after 1 records"):
        read_labels([str(path)], 3)


# --- repeat factors -----------------------------------------------------------------------------------------


def test_repeat_factors_by_hand():
    """Of 8 pictures, class 0 is in 6, class 1 in 2, class 2 in 1; threshold 0.5."""
    found = repeat_factors(labels([0], [0, 0], [0], [0, 1], [1, 0, 1], [0], [2], []), 4, 0.5)
    common, rare, rarest = 1.0, (0.5 / 0.25) ** 0.5, (0.5 / 0.125) ** 0.5
    np.testing.assert_allclose(found, [common, common, common, rare, rare, common, rarest, 1.0])
    np.testing.assert_array_equal(repeat_factors(labels([0], [1], []), 2, 0.001), [1, 1, 1])


FACTORS = st.lists(st.floats(1, 6) | st.just(1.0), min_size=1, max_size=40)


@given(FACTORS, st.integers(-(2**70), 2**70), st.integers(0, 10**6))
def test_draws_of_an_epoch(factors, seed, epoch):
    repeats = Repeats(factors)
    times = repeats.draw(seed, epoch)
    assert times.sum() == repeats.per_epoch
    assert abs(repeats.per_epoch - sum(factors)) <= 0.5 + 1e-3
    assert (times >= np.floor(factors)).all()
    assert (
        times[np.equal(factors, np.floor(factors))] == np.floor(factors)[np.equal(factors, np.floor(factors))]
    ).all()
    np.testing.assert_array_equal(times, Repeats(factors).draw(seed, epoch))


def test_draws_have_their_factors_as_mean_and_differ_between_epochs_and_seeds():
    factors = np.asarray([1.0, 1.25, 1.5, 2.75, 1.5])  # their sum is whole
    draws = np.asarray([Repeats(factors).draw(5, epoch) for epoch in range(2000)])
    np.testing.assert_allclose(draws.mean(axis=0), factors, atol=0.05)
    assert ((draws == np.floor(factors)) | (draws == np.floor(factors) + 1)).all()
    assert len({tuple(draw) for draw in draws}) > 5
    other = np.asarray([Repeats(factors).draw(6, epoch) for epoch in range(50)])
    assert (other != draws[:50]).any()


# --- class weights ------------------------------------------------------------------------------------------


def test_balanced_class_weights_by_hand():
    """9 objects of class 0 and 1 of class 1: 1/3 and 1, whose mean over the ten is 4/10."""
    found = balanced_class_weights(labels([0] * 9, [1]), 3)
    np.testing.assert_allclose(found, [1 / 3 / 0.4, 1 / 0.4, 1.0])
    assert balanced_class_weights(labels([], []), 2) == [1.0, 1.0]
    skewed = balanced_class_weights(labels([0] * 100_000, [1]), 2)
    np.testing.assert_allclose(skewed, [1 / 100_000**0.5 / ((100_000**0.5 + 1) / 100_001), 10.0])
