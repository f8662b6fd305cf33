"""In which order the records of a split are trained on: shuffled, repeated, grouped by shape; encoded all the way.

    record files ──> records of an epoch ──> repeated ──> shuffled ──> epoch after epoch ──> grouped in blocks

What stands at place n of the endless stream depends on the files, the settings, the seed and n, and on nothing that ran
before. To begin at place n is to find its epoch, and to pass over the encoded records before it there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import tensorflow as tf

from luminoth.data.record_files import count_records
from luminoth.data.sampling import Repeats
from luminoth.data.tfrecord import parse_size

FILES_AT_ONCE = 16  # record files read in turns; every open file costs a buffer
SHUFFLED_BYTES = 2**30  # pictures of a good camera take megabytes each
GROUPED_BATCHES = 64  # in a block; of those at most one for each shape holds pictures of two shapes
GROUPED_BYTES = 2**28
_SHAPES_AN_OCTAVE = 3  # as `--aspect-ratio-group-factor 3` of torchvision's references
_FOREVER = 2**62


def ordered_records(
    files: Sequence[str],
    *,
    count: int,
    start: int,
    batch_size: int,
    seed: int,
    shuffle_buffer: int,
    repeats: Repeats | None = None,
    group_by_aspect_ratio: bool = False,
) -> tf.data.Dataset:
    """The serialized records of an endless training, from place `start` on.

    Args:
        files: record files, which hold `count` records.
        start: a multiple of `batch_size`.
        batch_size: pictures that will be a batch, which are grouped.
        seed: of the order and of what is repeated.
        shuffle_buffer: see `bounded_buffer`; 0: in the order of the files.
        repeats: how often each of the `count` records, one file after the other, comes in an epoch; None: once.
        group_by_aspect_ratio: bring records of about the same width / height together, see `_grouped`.
    """
    per_epoch = count if repeats is None else repeats.per_epoch
    block = batch_size
    if group_by_aspect_ratio:
        block *= bounded_block(files, count, batch_size)
    begin = start // block * block
    stream = _endless_records(
        list(files), seed=seed, shuffle_buffer=shuffle_buffer, epoch=begin // per_epoch, repeats=repeats
    ).skip(begin % per_epoch)
    if block > batch_size:
        stream = _grouped(stream, batch_size, block)
    return stream.skip(start - begin)


def bounded_buffer(files: Sequence[str], count: int, asked: int) -> int:
    """How many of the `count` records of `files` are held to draw from, of the `asked` ones; at least one.

    It depends on the files alone, so that a resumed run draws in the same order.
    """
    return max(1, min(asked, count, int(SHUFFLED_BYTES / _average_size(files, count))))


def bounded_block(files: Sequence[str], count: int, batch_size: int) -> int:
    """How many batches are grouped among themselves; at least one, at most an epoch of `count` records."""
    held = min(count, int(GROUPED_BYTES / _average_size(files, count)))
    return max(1, min(GROUPED_BATCHES, held // batch_size))


def _average_size(files: Sequence[str], count: int) -> float:
    return sum(os.path.getsize(file) for file in files) / count


def _endless_records(
    files: list[str], *, seed: int, shuffle_buffer: int, epoch: int, repeats: Repeats | None
) -> tf.data.Dataset:
    """The serialized records of epoch `epoch`, `epoch + 1`, ...; in the files' order when `shuffle_buffer` is 0."""
    graph_seed = 1 + seed % (2**31 - 2)  # TensorFlow takes 31 bits here, and 0 as no seed at all

    def records_of(epoch: tf.Tensor) -> tf.data.Dataset:
        # `Dataset.shuffle` draws from the graph's seed and its own. Pin the former (of this function's graph
        # only), or else the order would change with somebody's `tf.random.set_seed`.
        tf.random.set_seed(graph_seed)
        places = tf.range(len(files))
        if shuffle_buffer and len(files) > 1:
            places = tf.random.experimental.stateless_shuffle(places, seed=tf.stack([graph_seed, epoch]))
        records_of_file = _records_of_file(files, seed, epoch, repeats)
        records = tf.data.Dataset.from_tensor_slices(places).interleave(
            records_of_file,
            cycle_length=min(len(files), FILES_AT_ONCE),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        if shuffle_buffer:
            records = records.shuffle(shuffle_buffer, seed=epoch, reshuffle_each_iteration=False)
        return records

    return tf.data.Dataset.range(epoch, _FOREVER).flat_map(records_of)


def _records_of_file(files: list[str], seed: int, epoch: tf.Tensor, repeats: Repeats | None):
    """A function of a file's place in `files`, which gives its records of an epoch, repeated where they are to be."""
    names = tf.constant(files)
    if repeats is None:
        return lambda place: tf.data.TFRecordDataset(names[place])
    counts = [count_records([file]) for file in files]
    firsts = tf.constant([sum(counts[:place]) for place in range(len(files))], tf.int64)
    times = tf.ensure_shape(tf.numpy_function(lambda epoch: repeats.draw(seed, int(epoch)), [epoch], tf.int64), [None])

    def records_of_file(place: tf.Tensor) -> tf.data.Dataset:
        numbered = tf.data.TFRecordDataset(names[place]).enumerate(firsts[place])
        return numbered.flat_map(lambda number, record: tf.data.Dataset.from_tensors(record).repeat(times[number]))

    return records_of_file


def _grouped(records: tf.data.Dataset, batch_size: int, block: int) -> tf.data.Dataset:
    """The same records, of which `batch_size` that follow each other are of about the same shape.

    Each `block` of them is put in another order, and they are cut into batches where the shape changes least: batches
    come in the order in which they would have become full while the records came in. To begin anywhere, only the
    block there has to be gone through, without decoding a picture.
    """

    def regrouped(shapes: tf.Tensor, records: tf.Tensor) -> tf.data.Dataset:
        by_shape = tf.reshape(tf.argsort(shapes, stable=True), (-1, batch_size))  # [block] -> [batches, batch_size]
        full = tf.argsort(tf.reduce_max(by_shape, axis=1))
        return tf.data.Dataset.from_tensor_slices(tf.gather(records, tf.reshape(tf.gather(by_shape, full), [-1])))

    with_shapes = records.map(
        lambda record: (_shape_of(record), record), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return with_shapes.batch(block, drop_remainder=True).prefetch(1).flat_map(regrouped)


def _shape_of(record: tf.Tensor) -> tf.Tensor:
    """Width over height in thirds of an octave, rounded down: upright pictures are below 0, int32."""
    height, width = parse_size(record)
    return tf.cast(tf.floor(tf.math.log(width / height) * (_SHAPES_AN_OCTAVE / math.log(2.0))), tf.int32)
