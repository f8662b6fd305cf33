"""The input pipeline: values, order, exact resumption, padding, damage."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from luminoth.data.order import FILES_AT_ONCE, bounded_buffer
from luminoth.data.pipeline import evaluation_batches, iterate, training_batches
from luminoth.data.records import RecordWriter, encode_example
from luminoth.errors import ConfigError, DataError
from luminoth.image import encode_jpeg, encode_png, read_image
from luminoth.resize import ResizeRule
from luminoth.types import Batch, BatchInfo, Example
from tests.data.source_sets import picture_bytes
from tests.data.test_records import luminoth_record, other_tools_record

CLASSES = ["car", "bus", "person"]
KEEP_SIZE = ResizeRule()
EVERY_AUGMENTATION = [
    {"flip": {"prob": 0.5}},
    {"resize": {"min_size": 20, "max_size": 30, "prob": 0.5}},
    {"patch": {"min_height": 10, "min_width": 10, "prob": 0.5}},
    {"distortion": {"brightness": {"max_delta": 0.1}, "hue": {}, "prob": 0.5}},
    {"expand": {"max_ratio": 1.5, "prob": 0.5}},
]


def make_example(name, height, width, boxes=((2, 3, 8, 9),), class_ids=None, is_crowd=None, encode=encode_png):
    """Random pixels, so that every picture is its own."""
    pixels = np.random.default_rng(list(name.encode())).integers(0, 256, (height, width, 3)).astype(np.uint8)
    count = len(boxes)
    return Example(
        image_id=name,
        encoded=encode(pixels),
        image_size=(height, width),
        boxes=np.reshape(np.asarray(boxes, np.float32), (-1, 4)),
        class_ids=np.asarray(class_ids if class_ids is not None else [1] * count, np.int32),
        is_crowd=np.asarray(is_crowd if is_crowd is not None else [False] * count, bool),
        is_difficult=np.zeros(count, bool),
        is_truncated=np.zeros(count, bool),
    )


def write(path, examples):
    with RecordWriter(path) as writer:
        for example in examples:
            writer.write(encode_example(example, CLASSES))
    return str(path)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three files of 5, 2 and 4 pictures: names 0-0 ... 2-3; sizes differ."""
    folder = tmp_path_factory.mktemp("records")
    return [
        write(
            folder / f"train-{shard:05d}-of-00003.tfrecords",
            [make_example(f"{shard}-{number}", 12 + number, 20 - shard) for number in range(count)],
        )
        for shard, count in enumerate((5, 2, 4))
    ]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """One file: a JPEG with two boxes (one of them a crowd), a PNG without any, a PNG with one."""
    examples = [
        make_example("two", 20, 30, [(3, 4, 15, 18), (0, 0, 30, 20)], [2, 0], [False, True], encode_jpeg),
        make_example("none", 16, 10, []),
        make_example("one", 12, 24, [(6, 3, 12, 9)], [1]),
    ]
    path = write(tmp_path_factory.mktemp("mixed") / "val.tfrecords", examples)
    return path, {example.image_id: example for example in examples}


def names_of(batches):
    return [name.decode() for _, info in batches for name in info.image_ids.numpy()]


def take(files, steps, **settings):
    settings = {"batch_size": 3, "resize": KEEP_SIZE, **settings}
    return list(islice(iterate(training_batches(files, **settings)), steps))


def assert_same_batches(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for value, other_value in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            np.testing.assert_array_equal(value, other_value)


# --- values -------------------------------------------------------------------------------------------------


def test_evaluation_values(mixed):
    path, examples = mixed
    batches = list(iterate(evaluation_batches([path], batch_size=2, resize=KEEP_SIZE)))
    assert [type(value) for value in batches[0]] == [Batch, BatchInfo]
    (first, info), (last, last_info) = batches
    assert names_of(batches) == ["two", "none", "one"]
    np.testing.assert_array_equal(info.original_sizes, [[20, 30], [16, 10]])
    np.testing.assert_array_equal(first.image_sizes, [[20, 30], [16, 10]])

    assert first.images.dtype == tf.float32
    assert first.images.shape == (2, 20, 30, 3)
    # the same pixels that prediction sees, zeros below and to the right
    np.testing.assert_array_equal(first.images[0], read_image(examples["two"].encoded))
    np.testing.assert_array_equal(first.images[1, :16, :10], read_image(examples["none"].encoded))
    assert not np.any(first.images[1, 16:])
    assert not np.any(first.images[1, :, 10:])

    np.testing.assert_allclose(first.gt_boxes, [[[3, 4, 15, 18], [0, 0, 30, 20]], np.zeros((2, 4))], atol=1e-5)
    np.testing.assert_array_equal(first.gt_class_ids, [[2, 0], [0, 0]])
    np.testing.assert_array_equal(first.is_object, [[True, True], [False, False]])
    np.testing.assert_array_equal(first.is_crowd, [[False, True], [False, False]])

    assert last.images.shape == (1, 12, 24, 3)
    assert last_info.image_ids.numpy() == [b"one"]


def test_dtypes_and_static_shapes(mixed):
    batch, info = training_batches(
        [mixed[0]], batch_size=2, resize=ResizeRule(fixed_height=8, fixed_width=9)
    ).element_spec
    assert batch == Batch(
        images=tf.TensorSpec([2, 8, 9, 3], tf.float32),
        image_sizes=tf.TensorSpec([2, 2], tf.int32),
        gt_boxes=tf.TensorSpec([2, None, 4], tf.float32),
        gt_class_ids=tf.TensorSpec([2, None], tf.int32),
        is_object=tf.TensorSpec([2, None], tf.bool),
        is_crowd=tf.TensorSpec([2, None], tf.bool),
    )
    assert info == BatchInfo(image_ids=tf.TensorSpec([2], tf.string), original_sizes=tf.TensorSpec([2, 2], tf.int32))


def test_resizing_moves_the_boxes(mixed):
    rule = ResizeRule(min_size=24, max_size=40)
    batches = list(iterate(evaluation_batches([mixed[0]], batch_size=3, resize=rule)))
    batch, info = batches[0]
    # 20 x 30: x 1.2; 16 x 10: x 2.4 -> 38.4; 12 x 24: x 2 would be 48, so x 5 / 3
    np.testing.assert_array_equal(batch.image_sizes, [[24, 36], [38, 24], [20, 40]])
    np.testing.assert_array_equal(info.original_sizes, [[20, 30], [16, 10], [12, 24]])
    np.testing.assert_allclose(batch.gt_boxes[0], [[3.6, 4.8, 18, 21.6], [0, 0, 36, 24]], rtol=1e-5)
    np.testing.assert_allclose(batch.gt_boxes[2, 0], [10, 5, 20, 15], rtol=1e-5)


def test_a_batch_without_any_object_has_one_row_that_is_none(mixed):
    batches = list(iterate(evaluation_batches([mixed[0]], batch_size=1, resize=KEEP_SIZE)))
    empty = batches[1][0]
    np.testing.assert_array_equal(empty.gt_boxes, [[[0, 0, 0, 0]]])
    np.testing.assert_array_equal(empty.is_object, [[False]])


def test_padded_batch_equals_single_pictures(mixed):
    rule = ResizeRule(min_size=15, max_size=25)
    together = next(iterate(evaluation_batches([mixed[0]], batch_size=3, resize=rule)))[0]
    singles = [batch for batch, _ in iterate(evaluation_batches([mixed[0]], batch_size=1, resize=rule))]
    for index, single in enumerate(singles):
        height, width = single.image_sizes[0].numpy()
        rows = single.gt_boxes.shape[1]
        assert single.images.shape == (1, height, width, 3)
        np.testing.assert_array_equal(together.images[index, :height, :width], single.images[0])
        assert not np.any(together.images[index, height:])
        assert not np.any(together.images[index, :, width:])
        for name in ("gt_boxes", "gt_class_ids", "is_object", "is_crowd"):
            padded = getattr(together, name)[index].numpy()
            np.testing.assert_array_equal(padded[:rows], getattr(single, name)[0])
            assert not np.any(padded[rows:])


def test_pad_to_multiple(mixed):
    batch, _ = next(iterate(evaluation_batches([mixed[0]], batch_size=3, resize=KEEP_SIZE, pad_to_multiple=16)))
    plain, _ = next(iterate(evaluation_batches([mixed[0]], batch_size=3, resize=KEEP_SIZE)))
    assert plain.images.shape == (3, 20, 30, 3)
    assert batch.images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(batch.images[:, :20, :30], plain.images)
    assert not np.any(batch.images[:, 20:])
    np.testing.assert_array_equal(batch.image_sizes, plain.image_sizes)


def test_boxes_outside_the_picture_are_clipped_or_removed(tmp_path):
    boxes = [(-4, -4, 6, 6), (30, 2, 40, 8), (5, 5, 5, 9)]
    path = write(tmp_path / "a.tfrecords", [make_example("a", 10, 20, boxes, [0, 1, 2])])
    batch, _ = next(iterate(evaluation_batches([path], batch_size=1, resize=KEEP_SIZE)))
    np.testing.assert_allclose(batch.gt_boxes, [[[0, 0, 6, 6]]], atol=1e-5)
    np.testing.assert_array_equal(batch.gt_class_ids, [[0]])


def test_flip_in_training(mixed):
    path, examples = mixed
    flip = [{"flip": {"prob": 1}}]
    batch, info = take([path], 1, shuffle=False, augmentations=flip)[0]
    assert info.image_ids.numpy().tolist() == [b"two", b"none", b"one"]
    np.testing.assert_array_equal(batch.images[2, :12, :24], read_image(examples["one"].encoded)[:, ::-1])
    np.testing.assert_allclose(batch.gt_boxes[2, 0], [12, 3, 18, 9], rtol=1e-5)
    np.testing.assert_array_equal(info.original_sizes[2], [12, 24])


def test_records_of_other_tools_are_trained_on_beside_ours(tmp_path):
    """Those of the Object Detection API with only what all of its tools write, and Luminoth 0.2's."""
    path = tmp_path / "train.tfrecords"
    with RecordWriter(path) as writer:
        writer.write(other_tools_record())
        writer.write(luminoth_record(picture_bytes("PNG"), [(2, 1, 2, 30, 29)]))
        writer.write(encode_example(make_example("ours", 30, 40), CLASSES))
    ((batch, info),) = take([str(path)], 1, shuffle=False, num_classes=3)
    assert [name.decode() for name in info.image_ids.numpy()] == ["a.jpg", "000001", "ours"]
    np.testing.assert_allclose(batch.gt_boxes[:, 0], [[10, 15, 30, 30], [1, 2, 30, 29], [2, 3, 8, 9]], atol=1e-4)
    assert batch.gt_class_ids[:, 0].numpy().tolist() == [0, 2, 1]


# --- order --------------------------------------------------------------------------------------------------


def test_every_epoch_holds_every_picture_once_and_has_its_own_order(shards):
    names = names_of(take(shards, 11))  # 33 pictures: three epochs of 11
    epochs = [names[start : start + 11] for start in (0, 11, 22)]
    assert all(sorted(epoch) == sorted(epochs[0]) for epoch in epochs)
    assert len({*epochs[0]}) == 11
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_order_depends_on_the_seed_and_on_nothing_else(shards):
    tf.random.set_seed(1)
    first = names_of(take(shards, 8, seed=5))
    tf.random.set_seed(2)
    assert names_of(take(shards, 8, seed=5)) == first
    assert names_of(take(shards, 8, seed=6)) != first
    assert names_of(take(shards, 8, seed=0)) != first
    assert len(names_of(take(shards, 2, seed=-(2**70)))) == 6  # any whole number is a seed


def test_without_shuffling_files_are_read_in_turns(shards):
    expected = ["0-0", "1-0", "2-0", "0-1", "1-1", "2-1", "0-2", "2-2", "0-3", "2-3", "0-4"]
    assert names_of(take(shards, 8, shuffle=False)) == (expected * 3)[:24]


def test_a_small_buffer_shuffles_too(shards):
    names = names_of(take(shards, 11, shuffle_buffer=2))
    assert sorted(names[:11]) == sorted(names[11:22])
    assert names[:11] != names[11:22]


def test_many_shards_are_drawn_from_side_by_side(tmp_path):
    """More of them than are open at once, with a buffer that holds one picture of each of these."""
    files = [
        write(
            tmp_path / f"train-{shard:05d}-of-00020.tfrecords", [make_example(f"{shard}-{n}", 4, 4) for n in range(4)]
        )
        for shard in range(20)
    ]
    names = names_of(take(files, 20, batch_size=4, shuffle_buffer=FILES_AT_ONCE))
    assert len(set(names)) == 80
    first_shards = {name.partition("-")[0] for name in names[:FILES_AT_ONCE]}
    assert len(first_shards) >= FILES_AT_ONCE * 2 // 3


def test_the_buffer_of_large_pictures_is_smaller(shards, monkeypatch):
    size = sum(Path(file).stat().st_size for file in shards)
    assert bounded_buffer(shards, 11, 2000) == 11
    assert bounded_buffer(shards, 11, 5) == 5
    monkeypatch.setattr("luminoth.data.order.SHUFFLED_BYTES", size / 11 * 4.5)
    assert bounded_buffer(shards, 11, 2000) == 4
    monkeypatch.setattr("luminoth.data.order.SHUFFLED_BYTES", 1)
    assert bounded_buffer(shards, 11, 2000) == 1


def test_shuffling_is_a_full_permutation(tmp_path):
    path = write(tmp_path / "a.tfrecords", [make_example(f"{number}", 2, 2, []) for number in range(8)])
    epochs = [names_of([batch]) for batch in take([path], 60, batch_size=8)]
    assert {epoch[0] for epoch in epochs} == {str(number) for number in range(8)}  # the last may come first


def test_evaluation_is_one_pass_in_order(shards):
    batches = list(iterate(evaluation_batches(shards, batch_size=4, resize=KEEP_SIZE)))
    assert [len(info.image_ids) for _, info in batches] == [4, 4, 3]
    assert names_of(batches) == [f"{shard}-{n}" for shard, count in enumerate((5, 2, 4)) for n in range(count)]


# --- resumption ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"shuffle": False}, {"shuffle_buffer": 4}], ids=str)
def test_a_resumed_run_sees_what_the_uninterrupted_one_would(shards, settings):
    settings = {"augmentations": EVERY_AUGMENTATION, "seed": 3, **settings}
    whole = take(shards, 13, **settings)  # 39 pictures of 11: epoch borders lie within batches 3 and 7
    for start in (1, 4, 11):
        assert_same_batches(take(shards, 13 - start, start_step=start, **settings), whole[start:])


def test_resumption_with_one_file_and_batches_larger_than_the_data_set(mixed):
    settings = {"batch_size": 5, "augmentations": EVERY_AUGMENTATION, "seed": 11}
    whole = take([mixed[0]], 6, **settings)
    assert_same_batches(take([mixed[0]], 3, start_step=3, **settings), whole[3:])


def test_augmentation_of_a_picture_differs_between_epochs(mixed):
    batches = take([mixed[0]], 12, shuffle=False, augmentations=[{"flip": {"prob": 0.5}}])
    corners = {float(batch.gt_boxes[2, 0, 0]) for batch, _ in batches}
    assert len(corners) == 2


def test_training_survives_distribution(shards):
    plain = take(shards, 4, seed=2)
    dataset = training_batches(shards, batch_size=3, resize=KEEP_SIZE, seed=2)
    distributed = tf.distribute.get_strategy().experimental_distribute_dataset(dataset)
    assert_same_batches(list(islice(iterate(distributed, source=dataset), 4)), plain)


# --- errors -------------------------------------------------------------------------------------------------


def damaged(example, encoded):
    return Example(**{**vars(example), "encoded": encoded})


def cut_jpeg(example):
    return damaged(example, example.encoded[: len(example.encoded) // 2])


@pytest.mark.parametrize("broken", [cut_jpeg, lambda example: damaged(example, b"no picture")], ids=["cut", "text"])
def test_a_picture_that_cannot_be_decoded_is_named(tmp_path, broken):
    examples = [make_example(name, 20, 30, encode=encode_jpeg) for name in ("a", "b", "c", "broken", "d")]
    examples[3] = broken(examples[3])
    path = write(tmp_path / "a.tfrecords", examples)
    batches = iterate(evaluation_batches([path], batch_size=2, resize=KEEP_SIZE))
    assert names_of([next(batches)]) == ["a", "b"]
    with pytest.raises(DataError, match=r"image 'broken'.*cannot be decoded \(.+\).*lumi dataset transform"):
        next(batches)
    with pytest.raises(DataError, match="image 'broken'"):
        take([path], 5, batch_size=2, start_step=1)


def test_a_damaged_file_is_named(shards, tmp_path):
    path = tmp_path / "damaged.tfrecords"
    content = bytearray(Path(shards[0]).read_bytes())
    content[-20] ^= 0xFF  # within the last of five records: its checksum fails
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.tfrecords: damaged or cut off after 4 records"):
        list(iterate(evaluation_batches([shards[1], str(path)], batch_size=1, resize=KEEP_SIZE)))


def test_a_record_that_holds_something_else(tmp_path):
    path = tmp_path / "a.tfrecords"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff\xffnot a message")
    with pytest.raises(DataError, match="a record is not an object-detection example"):
        list(iterate(evaluation_batches([str(path)], batch_size=1, resize=KEEP_SIZE)))


def test_a_class_that_there_is_not(mixed):
    """As when classes.json was changed: named, since a GPU would train on with zeros in place of the class."""
    assert len(list(iterate(evaluation_batches([mixed[0]], batch_size=1, resize=KEEP_SIZE, num_classes=3)))) == 3
    message = "image 'two': has a box of class number 2, counted from 0, but there are only 2 classes"
    with pytest.raises(DataError, match=message):
        list(iterate(evaluation_batches([mixed[0]], batch_size=1, resize=KEEP_SIZE, num_classes=2)))
    with pytest.raises(DataError, match=message):
        take([mixed[0]], 3, num_classes=2)


def test_errors_of_the_consumer_pass_through(mixed):
    def consume():
        for _ in iterate(evaluation_batches([mixed[0]], batch_size=1, resize=KEEP_SIZE)):
            raise tf.errors.InvalidArgumentError(None, None, "mine")

    with pytest.raises(tf.errors.InvalidArgumentError, match="mine"):
        consume()


def test_an_empty_file_a_missing_file_and_no_file(tmp_path):
    empty = tmp_path / "empty.tfrecords"
    empty.write_bytes(b"")
    for make in (training_batches, evaluation_batches):
        with pytest.raises(DataError, match=r"empty\.tfrecords: no record"):
            make([str(empty)], batch_size=1, resize=KEEP_SIZE)
        with pytest.raises(DataError, match=r"nowhere\.tfrecords"):
            make([str(tmp_path / "nowhere.tfrecords")], batch_size=1, resize=KEEP_SIZE)
        with pytest.raises(DataError, match="no record files"):
            make([], batch_size=1, resize=KEEP_SIZE)


def test_a_wrong_augmentation_is_refused_before_anything_is_read():
    with pytest.raises(ConfigError, match="kind rotate"):
        training_batches(["nowhere"], batch_size=1, resize=KEEP_SIZE, augmentations=[{"rotate": {}}])
