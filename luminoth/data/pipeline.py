"""From record files to padded batches, on tf.data.

    record files ──> encoded records in order ──> a worker's own ──> decoded, augmented, resized ──> padded batches
                      (luminoth/data/order.py)                        (in parallel, in order)

What is put in order are the encoded records, so that memory is bounded whatever the data set's size: `shuffle_buffer`
encoded pictures, but at most a gigabyte of them, plus the few that are being decoded, plus two batches. (Grouping by
aspect ratio holds up to half a gigabyte more.)

Training must be able to stop anywhere and go on exactly. So nothing here depends on what ran before: the
order of an epoch follows from (seed, epoch) alone, and a picture's augmentation from (seed, its number), where
numbers count all examples from the first epoch on. Batches run across the borders of epochs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from luminoth.data.augment import Picture, augment, partners_needed, remove_degenerate
from luminoth.data.order import bounded_buffer, ordered_records
from luminoth.data.record_files import count_records
from luminoth.data.sampling import Repeats
from luminoth.data.tfrecord import parse_record
from luminoth.errors import ConfigError, DataError
from luminoth.resize import ResizeRule, scale_boxes
from luminoth.types import Batch, BatchInfo

PREFETCHED_BATCHES = 2
_FOREVER = 2**62
_SIZE_DRAW = -1  # beside the numbers of the augmentations, each of which has draws of its own


@dataclass(frozen=True)
class Shard:
    """One worker's share of every batch: of B rows the ones from `index * B / count` on, B / count of them.

    Attributes:
        index: which worker, from 0.
        count: how many workers there are.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"a shard's index is from 0 to count - 1; got {self.index} of {self.count}")

    def rows(self, batch_size: int) -> int:
        """How many rows of a batch of `batch_size` are this worker's.

        Raises:
            ConfigError: the batch cannot be divided among the workers.
        """
        if batch_size % self.count:
            raise ConfigError(
                f"train.batch_size: {batch_size} pictures cannot be divided among {self.count} workers; it must be a "
                f"multiple of {self.count}"
            )
        return batch_size // self.count


def training_batches(
    files: Sequence[str],
    *,
    batch_size: int,
    resize: ResizeRule,
    augmentations: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    shuffle: bool = True,
    shuffle_buffer: int = 2000,
    repeats: Repeats | None = None,
    group_by_aspect_ratio: bool = False,
    start_step: int = 0,
    pad_to_multiple: int = 1,
    num_classes: int | None = None,
    shard: Shard = Shard(),
) -> tf.data.Dataset:
    """Endless batches for training, one epoch after the other; deterministic.

    Args:
        files: record files; several are read in turns.
        batch_size: pictures in each batch, B, of all workers together.
        resize: how pictures are brought to the network's size, after augmentation.
        augmentations: as in `luminoth.data.augment`.
        seed: of the order and of the augmentations.
        shuffle: draw a new order for each epoch.
        shuffle_buffer: how many encoded pictures are held to draw from, fewer where they would take more than
            a gigabyte; from the data set's size on, the order is a full permutation.
        repeats: how often each record of the files, one after the other, comes in an epoch; None: once.
        group_by_aspect_ratio: whether batches are of pictures of about the same shape as far as possible; see
            `luminoth.data.order`.
        start_step: how many batches to pass over; the next ones are those of an uninterrupted run.
        pad_to_multiple: H and W of the batch are multiples of this.
        num_classes: a record with a class id that is not below it is an error; None: any will do.
        shard: the rows of each batch that this worker gets. All workers walk through the same records in the same
            order; each decodes its own pictures only. What they get together are the batches of a single worker.

    Returns:
        A dataset of (`Batch`, `BatchInfo`). G, the padded number of boxes, is at least 1.

    Raises:
        ConfigError: an augmentation is not acceptable, or the batch cannot be divided among the workers.
        DataError: the files are missing, damaged or hold no record.
    """
    partners = partners_needed(augmentations)
    rows = shard.rows(batch_size)
    count = _count(files)
    start = start_step * batch_size
    stream = ordered_records(
        files,
        count=count,
        start=start,
        batch_size=batch_size,
        seed=seed,
        shuffle_buffer=bounded_buffer(files, count, shuffle_buffer) if shuffle else 0,
        repeats=repeats,
        group_by_aspect_ratio=group_by_aspect_ratio,
    )
    stream = _with_partners(stream, partners)
    records = tf.data.Dataset.zip(tf.data.Dataset.range(start, _FOREVER), stream)
    if shard.count > 1:
        records = records.filter(lambda number, _: tf.equal(number % batch_size // rows, shard.index))

    seed_pair = tf.constant(_two_halves(seed), tf.int32)

    def prepare(number: tf.Tensor, record: tf.Tensor) -> dict[str, tf.Tensor]:
        # int32 numbers wrap around after 2 thousand million examples, which repeats a seed and harms nothing
        number_seed = tf.random.fold_in(seed_pair, tf.cast(number, tf.int32))
        return _prepare(record, resize, augmentations, number_seed, num_classes)

    dataset = records.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return _batched(
        dataset,
        rows,
        pad_to_multiple,
        source=_Source(list(files), records.map(lambda number, record: record), rows, num_classes),
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
    records = _with_partners(tf.data.TFRecordDataset(list(files)), 0)
    dataset = records.map(
        lambda records: _prepare(records, resize, (), None, num_classes),
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
    records: tf.data.Dataset  # each with its partners
    batch_size: int
    num_classes: int | None

    def find_culprit(self, position: int) -> str | None:
        """Says what is wrong in the batch number `position`; None when everything in it can be read."""
        try:
            for records in self.records.skip(position * self.batch_size).take(self.batch_size):
                for record in records:
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


def _with_partners(records: tf.data.Dataset, count: int) -> tf.data.Dataset:
    """Each record with the `count` next ones, which its augmentation may take objects from: [1 + count] strings.

    So which they are depends on the order of the records alone. They stay encoded.
    """
    if count == 0:
        return records.map(lambda record: record[None])

    def slide(latest: tf.Tensor, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        window = tf.concat([latest, record[None]], axis=0)
        return window[1:], window

    return records.scan(tf.fill([count], ""), slide).skip(count)


@tf.autograph.experimental.do_not_convert  # nothing in it needs that, and it takes longer than the graph itself
def _prepare(
    records: tf.Tensor,
    resize: ResizeRule,
    augmentations: Sequence[Mapping[str, Any]],
    seed: tf.Tensor | None,
    num_classes: int | None,
) -> dict[str, tf.Tensor]:
    """One record, decoded, augmented and resized: what `_batched` pads and packs.

    Args:
        records: [1 + K] strings, the record and its partners.
        resize: how pictures are brought to the network's size.
        augmentations: as in `luminoth.data.augment`.
        seed: int32 [2], of what is drawn; None: nothing is.
        num_classes: see `training_batches`.
    """
    picture, parsed = _read_picture(records[0], num_classes)
    image, min_size = picture.image, None
    if seed is not None:
        picture = augment(
            picture, augmentations, seed, lambda i: remove_degenerate(_read_picture(records[1 + i], num_classes)[0])
        )
        min_size = resize.draw_min_size(tf.random.fold_in(seed, _SIZE_DRAW))
    picture = remove_degenerate(picture)
    shape = tf.shape(picture.image)
    resized = resize(picture.image, min_size)
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


def _read_picture(record: tf.Tensor, num_classes: int | None) -> tuple[Picture, dict[str, tf.Tensor]]:
    """The decoded picture, and what else `parse_record` found."""
    parsed = parse_record(record)
    if num_classes is not None:  # on a GPU, looking up a class that is not there gives zeros and no error
        tf.debugging.assert_less(parsed["class_ids"], num_classes)
    picture = Picture(_decode(parsed["encoded"]), parsed["boxes"], parsed["class_ids"], parsed["is_crowd"])
    return picture, parsed


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
