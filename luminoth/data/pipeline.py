"""From record files to padded batches, on tf.data.

    record files ──> encoded records ──> shuffled ──> decoded, augmented, resized ──> padded batches
                      (a few kB each)                  (in parallel, in order)

What is shuffled are the encoded records, so that memory is bounded whatever the data set's size: `shuffle_buffer`
encoded pictures, but at most a gigabyte of them, plus the few that are being decoded, plus two batches.

Training must be able to stop anywhere and go on exactly. So nothing here depends on what ran before: the
order of an epoch follows from (seed, epoch) alone, and a picture's augmentation from (seed, its number), where
numbers count all examples from the first epoch on. Batches run across the borders of epochs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from luminoth.data.augment import Picture, augment, check_augmentations, remove_degenerate
from luminoth.data.record_files import count_records
from luminoth.data.tfrecord import parse_record
from luminoth.errors import DataError
from luminoth.resize import ResizeRule, scale_boxes
from luminoth.types import Batch, BatchInfo

FILES_AT_ONCE = 16  # record files read in turns; every open file costs a buffer
PREFETCHED_BATCHES = 2
SHUFFLED_BYTES = 2**30  # pictures of a good camera take megabytes each
_FOREVER = 2**62


def training_batches(
    files: Sequence[str],
    *,
    batch_size: int,
    resize: ResizeRule,
    augmentations: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    shuffle: bool = True,
    shuffle_buffer: int = 2000,
    start_step: int = 0,
    pad_to_multiple: int = 1,
    num_classes: int | None = None,
) -> tf.data.Dataset:
    """Endless batches for training, one epoch after the other; deterministic.

    Args:
        files: record files; several are read in turns.
        batch_size: pictures in each batch, B.
        resize: how pictures are brought to the network's size, after augmentation.
        augmentations: as in `luminoth.data.augment`.
        seed: of the order and of the augmentations.
        shuffle: draw a new order for each epoch.
        shuffle_buffer: how many encoded pictures are held to draw from, fewer where they would take more than
            `SHUFFLED_BYTES`; from the data set's size on, the order is a full permutation.
        start_step: how many batches to pass over; the next ones are those of an uninterrupted run.
        pad_to_multiple: H and W of the batch are multiples of this.
        num_classes: a record with a class id that is not below it is an error; None: any will do.

    Returns:
        A dataset of (`Batch`, `BatchInfo`). G, the padded number of boxes, is at least 1.

    Raises:
        ConfigError: an augmentation is not acceptable.
        DataError: the files are missing, damaged or hold no record.
    """
    check_augmentations(augmentations)
    count = _count(files)
    start = start_step * batch_size
    buffer = bounded_buffer(files, count, shuffle_buffer) if shuffle else 0
    stream = _endless_records(list(files), seed=seed, shuffle_buffer=buffer, epoch=start // count)
    records = tf.data.Dataset.zip(tf.data.Dataset.range(start, _FOREVER), stream.skip(start % count))

    seed_pair = tf.constant(_two_halves(seed), tf.int32)

    def prepare(number: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        # int32 numbers wrap around after 2 thousand million examples, which repeats a seed and harms nothing
        number_seed = tf.random.fold_in(seed_pair, tf.cast(number, tf.int32))
        return _prepare(record, resize, augmentations, number_seed, num_classes)

    dataset = records.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return _batched(
        dataset,
        batch_size,
        pad_to_multiple,
        source=_Source(list(files), records.map(lambda number, record: record), batch_size, num_classes),
        drop_remainder=True,
    )


def evaluation_batches(
    files: Sequence[str],
    *,
    batch_size: int,
    resize: ResizeRule,
    pad_to_multiple: int = 1,
    num_classes: int | None = None,
) -> tf.data.Dataset:
    """One pass over the records in order, as batches of (`Batch`, `BatchInfo`); the last may be smaller.

    Args:
        files: record files, read one after the other.
        batch_size: pictures in each batch, B.
        resize: how pictures are brought to the network's size.
        pad_to_multiple: H and W of the batch are multiples of this.
        num_classes: a record with a class id that is not below it is an error; None: any will do.

    Raises:
        DataError: the files are missing, damaged or hold no record.
    """
    _count(files)
    records = tf.data.TFRecordDataset(list(files))
    dataset = records.map(
        lambda record: _prepare(record, resize, (), None, num_classes),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    source = _Source(list(files), records, batch_size, num_classes)
    return _batched(dataset, batch_size, pad_to_multiple, source=source, drop_remainder=False)


def iterate(dataset, source: tf.data.Dataset | None = None) -> Iterator[tuple[Batch, BatchInfo]]:
    """The batches of a dataset, with tf.data's errors turned into a `DataError` that names the culprit.

    Args:
        dataset: from this module, or something made from that which yields as many batches in the same order
            (`strategy.experimental_distribute_dataset`).
        source: the dataset of this module that `dataset` was made from, when it is not one itself.

    Raises:
        DataError: a record is damaged, or its picture cannot be decoded.
    """
    iterator = iter(dataset)
    position = 0
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (tf.errors.InvalidArgumentError, tf.errors.DataLossError, tf.errors.NotFoundError) as error:
            known = getattr(dataset if source is None else source, "source", None)
            culprit = known.find_culprit(position) if known else None
            raise DataError(culprit or f"a record cannot be read: {_first_line(error)}. {_ADVICE}") from error
        yield batch
        position += 1


@dataclass(frozen=True)
class _Source:
    """What a dataset of batches is made from, kept to explain failures: tf.data's own messages name neither
    file nor picture."""

    files: list[str]
    records: tf.data.Dataset
    batch_size: int
    num_classes: int | None

    def find_culprit(self, position: int) -> str | None:
        """Says what is wrong in the batch number `position`; None when everything in it can be read."""
        try:
            for record in self.records.skip(position * self.batch_size).take(self.batch_size):
                if problem := _problem_of(record, self.num_classes):
                    return problem
        except (tf.errors.DataLossError, tf.errors.NotFoundError):
            return self._find_damaged_file()
        return None

    def _find_damaged_file(self) -> str | None:
        for file in self.files:
            whole = 0
            try:
                for _ in tf.data.TFRecordDataset(file):
                    whole += 1
            except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
                return f"{file}: damaged or cut off after {whole} records ({_first_line(error)}). {_ADVICE}"
        return None


_ADVICE = "Write the records anew with `lumi dataset transform`"


def _problem_of(record: tf.Tensor, num_classes: int | None) -> str | None:
    try:
        parsed = parse_record(record)
    except tf.errors.OpError as error:
        return f"a record is not an object-detection example ({_first_line(error)}). {_ADVICE}"
    image_id = parsed["image_id"].numpy().decode(errors="replace")
    highest = max(parsed["class_ids"].numpy(), default=0)
    if num_classes is not None and highest >= num_classes:
        return (
            f"image {image_id!r}: has a box of class number {highest}, counted from 0, but there are only "
            f"{num_classes} classes: classes.json is not that of these records. {_ADVICE}"
        )
    try:
        _decode(parsed["encoded"])
    except tf.errors.OpError as error:
        return f"image {image_id!r}: its picture in the record cannot be decoded ({_first_line(error)}). {_ADVICE}"
    return None


def _first_line(error: tf.errors.OpError) -> str:
    """TensorFlow's reason, without the node names and records that it adds."""
    reason = error.message.splitlines()[0] if error.message else type(error).__name__
    reason = reason.split("}} ")[-1].split(" [Op:")[0]
    return reason if len(reason) <= 200 else f"{reason[:200]}..."


def _count(files: Sequence[str]) -> int:
    if not files:
        raise DataError("no record files were given")
    count = count_records(list(files))
    if count == 0:
        raise DataError(f"{', '.join(files)}: no record in there; write them with `lumi dataset transform`")
    return count


def bounded_buffer(files: Sequence[str], count: int, asked: int) -> int:
    """How many of the `count` records of `files` are held to draw from, of the `asked` ones; at least one.

    It depends on the files alone, so that a resumed run draws in the same order.
    """
    average = sum(os.path.getsize(file) for file in files) / count
    return max(1, min(asked, count, int(SHUFFLED_BYTES / average)))


def _endless_records(files: list[str], *, seed: int, shuffle_buffer: int, epoch: int) -> tf.data.Dataset:
    """The serialized records of epoch `epoch`, `epoch + 1`, ...; in the files' order when `shuffle_buffer` is 0."""
    graph_seed = 1 + seed % (2**31 - 2)  # TensorFlow takes 31 bits here, and 0 as no seed at all

    def records_of(epoch: tf.Tensor) -> tf.data.Dataset:
        # `Dataset.shuffle` draws from the graph's seed and its own. Pin the former (of this function's graph
        # only), or else the order would change with somebody's `tf.random.set_seed`.
        tf.random.set_seed(graph_seed)
        names = tf.constant(files)
        if shuffle_buffer and len(files) > 1:
            names = tf.random.experimental.stateless_shuffle(names, seed=tf.stack([graph_seed, epoch]))
        records = tf.data.Dataset.from_tensor_slices(names).interleave(
            tf.data.TFRecordDataset,
            cycle_length=min(len(files), FILES_AT_ONCE),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        if shuffle_buffer:
            records = records.shuffle(shuffle_buffer, seed=epoch, reshuffle_each_iteration=False)
        return records

    return tf.data.Dataset.range(epoch, _FOREVER).flat_map(records_of)


def _prepare(
    record: tf.Tensor,
    resize: ResizeRule,
    augmentations: Sequence[Mapping[str, Any]],
    seed: tf.Tensor | None,
    num_classes: int | None,
) -> dict[str, tf.Tensor]:
    """One record, decoded, augmented and resized: what `_batched` pads and packs."""
    parsed = parse_record(record)
    if num_classes is not None:  # on a GPU, looking up a class that is not there gives zeros and no error
        tf.debugging.assert_less(parsed["class_ids"], num_classes)
    image = _decode(parsed["encoded"])
    picture = Picture(image, parsed["boxes"], parsed["class_ids"], parsed["is_crowd"])
    if augmentations:
        picture = augment(picture, augmentations, seed)
    picture = remove_degenerate(picture)
    shape = tf.shape(picture.image)
    resized = resize(picture.image)
    size = tf.shape(resized)[:2]
    boxes = scale_boxes(picture.boxes, (shape[0], shape[1]), (size[0], size[1]))

    # A picture without objects gets one row that is none: models need not handle G = 0.
    objects = tf.shape(boxes)[0]
    missing = tf.maximum(1 - objects, 0)
    return {
        "image": resized,
        "image_size": size,
        "boxes": tf.ensure_shape(tf.pad(boxes, [[0, missing], [0, 0]]), (None, 4)),
        "class_ids": tf.pad(picture.class_ids, [[0, missing]]),
        "is_object": tf.pad(tf.ones([objects], tf.bool), [[0, missing]]),
        "is_crowd": tf.pad(picture.is_crowd, [[0, missing]]),
        "image_id": parsed["image_id"],
        "original_size": tf.shape(image)[:2],
    }


def _decode(encoded: tf.Tensor) -> tf.Tensor:
    """A JPEG or PNG file (or what else TensorFlow knows) as uint8 RGB [H, W, 3].

    TensorFlow decodes JPEG with a quick approximation by default, up to 17 levels off; the accurate way costs the
    same and gives exactly the pixels of `luminoth.image.read_image`, which prediction sees.
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )
    return tf.ensure_shape(image, (None, None, 3))


def _batched(
    dataset: tf.data.Dataset, batch_size: int, pad_to_multiple: int, *, source: _Source, drop_remainder: bool
) -> tf.data.Dataset:
    def pack(padded: dict[str, tf.Tensor]) -> tuple[Batch, BatchInfo]:
        batch = Batch(
            images=_pad_images(padded["image"], pad_to_multiple),
            image_sizes=padded["image_size"],
            gt_boxes=padded["boxes"],
            gt_class_ids=padded["class_ids"],
            is_object=padded["is_object"],
            is_crowd=padded["is_crowd"],
        )
        return batch, BatchInfo(image_ids=padded["image_id"], original_sizes=padded["original_size"])

    # padded_batch fills with zeros, empty strings and False
    batches = dataset.padded_batch(batch_size, drop_remainder=drop_remainder).map(pack).prefetch(PREFETCHED_BATCHES)
    batches.source = source  # for `iterate`
    return batches


def _pad_images(images: tf.Tensor, multiple: int) -> tf.Tensor:
    """Images [B, H, W, 3] with zeros below and to the right, up to multiples of `multiple`."""
    if multiple == 1:
        return images
    shape = tf.shape(images)
    return tf.pad(images, [[0, 0], [0, -shape[1] % multiple], [0, -shape[2] % multiple], [0, 0]])


def _two_halves(seed: int) -> tuple[int, int]:
    """A seed of any size as two int32."""
    return seed % 2**31, seed // 2**31 % 2**31
