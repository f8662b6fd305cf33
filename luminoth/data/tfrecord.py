"""Records: how examples are stored in TFRecord files, and how they come back as tensors.

Written in the form of the TensorFlow Object Detection API, so that other tools read them: a `tf.train.Example` with
`image/encoded`, `image/object/bbox/xmin` ... (fractions of the picture's size) and `image/object/class/label` from 1.
Read in that form and in the one Luminoth 0.2 wrote: a `tf.train.SequenceExample` with `image_raw` and boxes in pixels.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import tensorflow as tf

from luminoth.errors import DataError
from luminoth.types import Example

CLASSES_FILE = "classes.json"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.tfrecords")


# --- Files ------------------------------------------------------------


def find_records(dataset_dir: str | os.PathLike, split: str) -> list[str]:
    """The record files of a split, in order: `<split>.tfrecords`, or all `<split>-00000-of-0000N.tfrecords`.

    Raises:
        DataError: there are none, or shards are missing.
    """
    folder = Path(dataset_dir)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: there is no such folder; make it with `lumi dataset transform --output-dir {folder}`"
        )
    single = folder / f"{split}.tfrecords"
    shards = sorted(glob.glob(f"{glob.escape(str(folder / split))}-?????-of-?????.tfrecords"))
    if single.is_file() and shards:
        raise DataError(f"{folder}: both {single.name} and {Path(shards[0]).name} are there; keep one of the two forms")
    if single.is_file():
        return [str(single)]
    if not shards:
        there = list_splits(folder)
        found = f"there are records of: {', '.join(there)}" if there else "there is no .tfrecords file at all"
        raise DataError(f"{folder}: looked for {single.name} and {split}-00000-of-*.tfrecords; {found}")
    count = int(_SHARD.fullmatch(Path(shards[0]).name).group(3))
    expected = [str(folder / f"{split}-{index:05d}-of-{count:05d}.tfrecords") for index in range(count)]
    if shards != expected:
        wrong = sorted(Path(path).name for path in set(expected) ^ set(shards))
        raise DataError(
            f"{folder}: the {count} shards of {split} are not complete; missing or too many: {', '.join(wrong)}"
        )
    return shards


def list_splits(dataset_dir: str | os.PathLike) -> list[str]:
    """The splits of which a folder holds records, sorted."""
    splits = set()
    for path in Path(dataset_dir).glob("*.tfrecords"):
        shard = _SHARD.fullmatch(path.name)
        splits.add(shard.group(1) if shard else path.name.removesuffix(".tfrecords"))
    return sorted(splits)


def count_records(files: Sequence[str | os.PathLike]) -> int:
    """Counts records by their length headers, reading no picture.

    Raises:
        DataError: a file is missing, is no TFRecord file, or is cut off.
    """
    return sum(_count_one(os.fspath(path)) for path in files)


def _count_one(path: str) -> int:
    """A record is: uint64 length, uint32 checksum of the length, the data, uint32 checksum of the data."""
    if not os.path.isfile(path):
        raise DataError(f"{path}: there is no such record file")
    size, position, count = os.path.getsize(path), 0, 0
    with open(path, "rb", buffering=0) as file:
        while position < size:
            header = file.read(12)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size
            position += 16 + length
            if position > size:
                raise DataError(f"{path}: {_damage(header, count)}; write it again with `lumi dataset transform`")
            file.seek(position)
            count += 1
    return count


def _damage(header: bytes, count: int) -> str:
    if header[:2] == b"\x1f\x8b":
        return "a gzip-compressed file is not read (unpack it, or write it without compression)"
    return "not a TFRecord file, or cut off within its first record" if count == 0 else f"cut off after {count} records"


def read_classes(dataset_dir: str | os.PathLike) -> list[str]:
    """The class names of a folder of records, in the order of their ids.

    Raises:
        DataError: `classes.json` is missing or not a list of distinct names.
    """
    path = Path(dataset_dir) / CLASSES_FILE
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: there is no such file; `lumi dataset transform` writes it beside the records: "
            'a JSON list of class names, such as ["car", "person"]'
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise DataError(f'{path}: must be a JSON list of class names, such as ["car", "person"]')
    if len(set(names)) != len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise DataError(f"{path}: each class must be named once; repeated: {', '.join(repeated)}")
    return names


def write_classes(dataset_dir: str | os.PathLike, class_names: Sequence[str]) -> Path:
    """Writes `classes.json` beside the records."""
    path = Path(dataset_dir) / CLASSES_FILE
    write_json(path, list(class_names))
    return path


def write_json(path: Path, value: object) -> None:
    """Writes JSON beside `path`, then renames, so that no half of a file is ever seen."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


class RecordWriter:
    """Writes a record file beside its name and renames it when whole; on an error nothing is left.

    with RecordWriter("tf/train.tfrecords") as writer:
        writer.write(encode_example(example, class_names))
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self.count = 0
        self._beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")

    def __enter__(self) -> RecordWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = tf.io.TFRecordWriter(str(self._beside))
        return self

    def write(self, serialized: bytes) -> None:
        """Appends one record."""
        self._writer.write(serialized)
        self.count += 1

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._writer.close()
            if kind is None:
                os.replace(self._beside, self.path)
        finally:
            self._beside.unlink(missing_ok=True)


# --- One record ------------------------------------------------------------


def encode_example(example: Example, class_names: Sequence[str]) -> bytes:
    """Serialises an example as a `tf.train.Example` with the Object Detection API's feature names."""
    height, width = example.image_size
    boxes = np.asarray(example.boxes, np.float64).reshape(-1, 4) / [width, height, width, height]
    names = [class_names[class_id] for class_id in example.class_ids]
    features = {
        "image/height": _ints([height]),
        "image/width": _ints([width]),
        "image/filename": _texts([example.filename or example.image_id]),
        "image/source_id": _texts([example.image_id]),
        "image/key/sha256": _texts([hashlib.sha256(example.encoded).hexdigest()]),
        "image/encoded": _bytes([example.encoded]),
        "image/format": _texts(["png" if example.encoded.startswith(_PNG_SIGNATURE) else "jpeg"]),
        "image/object/bbox/xmin": _floats(boxes[:, 0]),
        "image/object/bbox/ymin": _floats(boxes[:, 1]),
        "image/object/bbox/xmax": _floats(boxes[:, 2]),
        "image/object/bbox/ymax": _floats(boxes[:, 3]),
        "image/object/class/text": _texts(names),
        "image/object/class/label": _ints(np.asarray(example.class_ids) + 1),
        "image/object/is_crowd": _ints(example.is_crowd),
        "image/object/difficult": _ints(example.is_difficult),
        "image/object/truncated": _ints(example.is_truncated),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _bytes(values) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=list(values)))


def _texts(values) -> tf.train.Feature:
    return _bytes(value.encode("utf-8") for value in values)


def _floats(values) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[float(value) for value in values]))


def _ints(values) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


_SIDES = ("xmin", "ymin", "xmax", "ymax")
_TEXTS = ("image/encoded", "image/source_id", "image/filename", "image_raw", "filename")
_NUMBERS = ("image/height", "image/width")
_NUMBERS_OF_OBJECTS = ("image/object/class/label", "image/object/is_crowd", "image/object/group_of")

# Every name of both forms, all optional; see `parse_record`.
_CONTEXT_FEATURES = {
    **{name: tf.io.FixedLenFeature([], tf.string, "") for name in _TEXTS},
    **{name: tf.io.FixedLenFeature([], tf.int64, 0) for name in _NUMBERS},
    **{name: tf.io.RaggedFeature(tf.int64) for name in _NUMBERS_OF_OBJECTS},
    **{f"image/object/bbox/{side}": tf.io.RaggedFeature(tf.float32) for side in _SIDES},
}
_LIST_FEATURES = {name: tf.io.FixedLenSequenceFeature([], tf.int64, allow_missing=True) for name in ("label", *_SIDES)}


def parse_record(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
    """Reads one record of either form; made for `tf.data.Dataset.map`.

    The two forms differ on the wire only in where they keep things: an `Example`'s features are a
    `SequenceExample`'s context. So one parse with every name optional reads both, record by record.

    Args:
        serialized: scalar string.

    Returns:
        encoded: scalar string, the bytes of a JPEG or PNG file;
        image_id: scalar string;
        boxes: [N, 4] float32, absolute pixels, as stored (they are not clipped here);
        class_ids: [N] int32, from 0;
        is_crowd: [N] bool.

    Raises:
        tf.errors.InvalidArgumentError: when run on a record of neither form, or with a label below 1.
    """
    context, lists = tf.io.parse_single_sequence_example(serialized, _CONTEXT_FEATURES, _LIST_FEATURES)
    is_luminoth = tf.strings.length(context["image_raw"]) > 0
    encoded = tf.where(is_luminoth, context["image_raw"], context["image/encoded"])
    message = "a record has neither image/encoded nor image_raw: not a record of pictures"
    with tf.control_dependencies([tf.debugging.assert_positive(tf.strings.length(encoded), message)]):
        boxes, class_ids, is_crowd = tf.cond(
            is_luminoth, lambda: _luminoth_objects(lists), lambda: _object_detection_api_objects(context)
        )
    return {
        "encoded": encoded,
        "image_id": _first_given(context["image/source_id"], context["image/filename"], context["filename"]),
        "boxes": tf.ensure_shape(boxes, [None, 4]),
        "class_ids": tf.ensure_shape(class_ids, [None]),
        "is_crowd": tf.ensure_shape(is_crowd, [None]),
    }


def _luminoth_objects(lists: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    boxes = tf.cast(tf.stack([lists[side] for side in _SIDES], axis=-1), tf.float32)  # [N, 4]
    return boxes, tf.cast(lists["label"], tf.int32), tf.zeros_like(lists["label"], tf.bool)


def _object_detection_api_objects(context: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    height, width = _size(context)
    fractions = tf.stack([context[f"image/object/bbox/{side}"] for side in _SIDES], axis=-1)  # [N, 4]
    labels = tf.cast(context["image/object/class/label"], tf.int32)
    with tf.control_dependencies(
        [
            tf.debugging.assert_positive(labels, "image/object/class/label must count from 1 (0 is the background)"),
            tf.debugging.assert_equal(tf.size(labels), tf.shape(fractions)[0], "a record has not one label a box"),
        ]
    ):
        boxes = fractions * tf.stack([width, height, width, height])
    is_crowd = _flags(context["image/object/is_crowd"], labels) | _flags(context["image/object/group_of"], labels)
    return boxes, labels - 1, is_crowd


def _size(context: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """(height, width) as float32; from the picture itself in records that do not state it."""
    height, width = context["image/height"], context["image/width"]

    def measured():
        shape = tf.shape(tf.io.decode_image(context["image/encoded"], channels=3, expand_animations=False), tf.int64)
        return shape[0], shape[1]

    height, width = tf.cond((height > 0) & (width > 0), lambda: (height, width), measured)
    return tf.cast(height, tf.float32), tf.cast(width, tf.float32)


def _flags(values: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[N] bool; an optional feature that is absent means no."""
    return tf.cond(tf.size(values) > 0, lambda: values > 0, lambda: tf.zeros_like(like, tf.bool))


def _first_given(*names: tf.Tensor) -> tf.Tensor:
    chosen = names[-1]
    for name in reversed(names[:-1]):
        chosen = tf.where(tf.strings.length(name) > 0, name, chosen)
    return chosen
