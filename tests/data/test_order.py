"""The order of training: repeated records, groups of one shape, and that every place of it can be found again."""

import os
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from luminoth.data.labels import read_labels
from luminoth.data.order import GROUPED_BATCHES, bounded_block, ordered_records
from luminoth.data.pipeline import Shard, iterate, training_batches
from luminoth.data.records import RecordWriter, decode_example, encode_example
from luminoth.data.sampling import Repeats, repeat_factors
from luminoth.data.tfrecord import parse_size
from luminoth.errors import ConfigError, DataError
from luminoth.image import encode_png
from luminoth.resize import ResizeRule
from luminoth.types import Example
from tests.data.test_records import luminoth_record, other_tools_record

CLASSES = ["car", "bus", "rare"]
SHAPES = [(4, 6), (6, 4), (5, 5), (4, 12)]  # height, width
COUNTS = (9, 5, 12)  # pictures of each file
COUNT = sum(COUNTS)
FACTORS = np.where(np.arange(COUNT) % 4 == 1, 2.4, 1.0)


def example_of(number: int) -> Example:
    height, width = SHAPES[number * 7 % len(SHAPES)]
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3)).astype(np.uint8)
    none = np.zeros(1, bool)
    boxes = np.asarray([[0, 0, 3, 3]], np.float32)
    class_ids = np.asarray([2 if number % 9 == 4 else number % 2], np.int32)
    return Example(f"{number}", encode_png(pixels), (height, width), boxes, class_ids, none, none, none)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three files of pictures 0 to 25, in four shapes."""
    folder, numbers = tmp_path_factory.mktemp("records"), iter(range(COUNT))
    paths = []
    for shard, count in enumerate(COUNTS):
        with RecordWriter(folder / f"train-{shard:05d}-of-{len(COUNTS):05d}.tfrecords") as writer:
            for number in islice(numbers, count):
                writer.write(encode_example(example_of(number), CLASSES))
        paths.append(str(writer.path))
    return paths


def order(files, places, *, start=0, batch_size=1, repeats=None, **given):
    """The pictures at places `start` to `start + places`."""
    given = {"count": COUNT, "seed": 3, "shuffle_buffer": COUNT, **given}
    records = ordered_records(
        files, start=start, batch_size=batch_size, repeats=Repeats(FACTORS) if repeats else None, **given
    )
    return [int(decode_example(record.numpy()).image_id) for record in records.take(places)]


# --- repeats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle_buffer", [COUNT, 3, 0])
def test_records_come_as_often_as_was_drawn(files, shuffle_buffer):
    repeats = Repeats(FACTORS)
    assert repeats.per_epoch == round(FACTORS.sum())
    seen = order(files, 3 * repeats.per_epoch, repeats=True, shuffle_buffer=shuffle_buffer)
    epochs = [seen[start : start + repeats.per_epoch] for start in range(0, len(seen), repeats.per_epoch)]
    for number, epoch in enumerate(epochs):
        times = Counter(epoch)
        assert [times[picture] for picture in range(COUNT)] == repeats.draw(3, number).tolist()
    assert epochs[0] != epochs[1] or shuffle_buffer == 0


def test_without_shuffling_what_is_repeated_stands_together(files):
    (file,) = files[:1]
    records = ordered_records(
        [file], count=9, start=0, batch_size=1, seed=0, shuffle_buffer=0, repeats=Repeats([1, 3, 1, 1, 1, 2, 1, 1, 1])
    )
    seen = [int(decode_example(record.numpy()).image_id) for record in records.take(14)]
    assert seen == [0, 1, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 0, 1]


# --- groups -------------------------------------------------------------------------------------------------


def shapes_in(batch):
    return len({SHAPES[number * 7 % len(SHAPES)] for number in batch})


def batches_of(seen, size):
    return [seen[start : start + size] for start in range(0, len(seen), size)]


def test_groups_hold_the_same_pictures_in_batches_of_one_shape(files):
    plain, grouped = (order(files, 24, batch_size=4, group_by_aspect_ratio=group) for group in (False, True))
    assert bounded_block(files, COUNT, 4) == 6  # of 26 pictures: one block of 24
    assert sorted(plain) == sorted(grouped)
    assert sum(shapes_in(batch) > 1 for batch in batches_of(grouped, 4)) <= len(SHAPES) - 1
    assert sum(shapes_in(batch) > 1 for batch in batches_of(plain, 4)) >= 5


def test_groups_by_hand(files):
    """In the files' order the shapes of pictures are 0 3 2 1 0 3 2 1 ...: wide, very wide, square, upright."""
    (file,) = files[:1]
    seen = order([file], 8, count=9, batch_size=2, shuffle_buffer=0, group_by_aspect_ratio=True)
    # Of one epoch of nine pictures a block is the first eight: 0 and 4, 1 and 5, 2 and 6, 3 and 7 are alike.
    assert seen == [0, 4, 1, 5, 2, 6, 3, 7]


def test_batches_of_a_block_are_bounded_by_bytes_and_by_the_epoch(files, monkeypatch):
    average = sum(map(os.path.getsize, files)) / COUNT
    assert bounded_block(files, COUNT, COUNT + 1) == 1
    monkeypatch.setattr("luminoth.data.order.GROUPED_BYTES", average * 10)
    assert bounded_block(files, COUNT, 4) == 2
    monkeypatch.undo()
    monkeypatch.setattr("luminoth.data.order._average_size", lambda files, count: 1.0)
    assert bounded_block(files, 10**6, 4) == GROUPED_BATCHES


def test_the_size_of_a_record_is_stated_or_measured():
    ours = encode_example(example_of(1), CLASSES)  # of shape 3
    records = [ours, luminoth_record(b"no picture", []), other_tools_record()]  # the last states none
    assert [tuple(map(float, parse_size(tf.constant(record)))) for record in records] == [(4, 12), (30, 40), (30, 40)]


# --- places -------------------------------------------------------------------------------------------------

WAYS = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 9),
        "seed": st.sampled_from([0, 7, -(2**70)]),
        "shuffle_buffer": st.sampled_from([0, 1, 5, COUNT]),
        "repeats": st.booleans(),
        "group_by_aspect_ratio": st.booleans(),
    }
)


# Without shrinking: each example builds two datasets, and the first failure says enough.
@settings(max_examples=12, deadline=None, phases=[Phase.generate])
@given(way=WAYS, start_step=st.integers(0, 30), steps=st.integers(1, 20))
def test_any_place_can_be_found_again(files, way, start_step, steps):
    size = way["batch_size"]
    whole = order(files, (start_step + steps) * size, **way)
    assert order(files, steps * size, start=start_step * size, **way) == whole[start_step * size :]


@pytest.mark.parametrize("way", [{}, {"repeats": Repeats(FACTORS), "group_by_aspect_ratio": True}], ids=["", "all"])
def test_shards_together_are_the_whole_batch(files, way):
    def batches(**shard):
        augmentations = [{"flip": {"prob": 0.5}}]
        dataset = training_batches(
            files, batch_size=4, resize=ResizeRule(), augmentations=augmentations, start_step=5, **way, **shard
        )
        return list(islice(iterate(dataset), 6))

    whole, parts = batches(), [batches(shard=Shard(index, 2)) for index in range(2)]
    for step, (batch, info) in enumerate(whole):
        for index, part in enumerate(parts):
            own, own_info = part[step]
            rows = slice(index * 2, index * 2 + 2)
            np.testing.assert_array_equal(own_info.image_ids, info.image_ids[rows])
            np.testing.assert_array_equal(own.gt_boxes, batch.gt_boxes[rows])
            height, width = own.images.shape[1:3]
            np.testing.assert_array_equal(own.images, batch.images[rows, :height, :width])


def test_a_damaged_picture_is_named_by_the_worker_that_gets_it(tmp_path):
    with RecordWriter(tmp_path / "train.tfrecords") as writer:
        for number in range(8):
            example = example_of(number)
            encoded = b"no picture" if number == 6 else example.encoded
            writer.write(encode_example(replace(example, encoded=encoded), CLASSES))
    first, second = (
        iterate(
            training_batches(
                [str(writer.path)], batch_size=4, resize=ResizeRule(), shuffle=False, shard=Shard(index, 2)
            )
        )
        for index in range(2)
    )
    assert [next(first)[1].image_ids.numpy().tolist() for _ in range(3)] == [[b"0", b"1"], [b"4", b"5"], [b"0", b"1"]]
    assert next(second)[1].image_ids.numpy().tolist() == [b"2", b"3"]
    with pytest.raises(DataError, match="image '6': its picture in the record cannot be decoded"):
        next(second)


def test_a_batch_that_cannot_be_divided_is_refused(files):
    message = r"train\.batch_size: 5 pictures cannot be divided among 2 workers; it must be a multiple of 2"
    with pytest.raises(ConfigError, match=message):
        training_batches(files, batch_size=5, resize=ResizeRule(), shard=Shard(0, 2))
    with pytest.raises(ValueError, match="got 2 of 2"):
        Shard(2, 2)


def test_repeat_factors_of_a_split_reach_the_batches(files):
    """Class 2 is in three pictures of 26; with a threshold of 1 these come sqrt(26 / 3) = 2.94 times an epoch."""
    factors = repeat_factors(read_labels(files, 3), 3, 1.0)
    repeats = Repeats(factors)
    batches = training_batches(files, batch_size=repeats.per_epoch, resize=ResizeRule(), repeats=repeats)
    ((_, info),) = islice(iterate(batches), 1)
    times = Counter(int(name) for name in info.image_ids.numpy())
    assert {number for number in range(COUNT) if number % 9 == 4} == {4, 13, 22}
    assert all(times[number] in (2, 3) for number in (4, 13, 22))
    assert all(times[number] in (1, 2) for number in range(COUNT) if number % 9 != 4)
