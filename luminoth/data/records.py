"""Records: how examples are stored in TFRecord files and read back. Imports no TensorFlow.

Written in the form of the TensorFlow Object Detection API, so that other tools read them: a `tf.train.Example` with
`image/encoded`, `image/object/bbox/xmin` ... (fractions of the picture's size) and `image/object/class/label` from 1.
Read in that form and in the one Luminoth 0.2 wrote: a `tf.train.SequenceExample` with `image_raw` and boxes in pixels.
The training pipeline reads them as tensors, see `tfrecord.py`.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import google_crc32c
import numpy as np
from google.protobuf.message import DecodeError, Message

from luminoth.data import example_proto
from luminoth.errors import DataError, ImageError
from luminoth.image import inspect_image
from luminoth.types import Example

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_ADVICE = "write it again with `lumi dataset transform`"


# --- Files ------------------------------------------------------------


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
        self._file = self._beside.open("wb")
        return self

    def write(self, serialized: bytes) -> None:
        """Appends one record."""
        self._file.writelines(frame(serialized))
        self.count += 1

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._file.close()
            if kind is None:
                os.replace(self._beside, self.path)
        finally:
            self._beside.unlink(missing_ok=True)


def frame(serialized: bytes) -> tuple[bytes, bytes, bytes]:
    """A record as it stands in a TFRecord file: uint64 length and its checksum; the data; their checksum.

    In three parts, since joining them would copy the picture once more.
    """
    length = struct.pack("<Q", len(serialized))
    return length + _checksum(length), serialized, _checksum(serialized)


def read_records(files: Sequence[str | os.PathLike]) -> Iterator[bytes]:
    """The serialized records of files, one after the other; checksums are verified.

    Raises:
        DataError: a file is missing, is no TFRecord file, is damaged or cut off.
    """
    for path in files:
        with _open(path) as file:
            yield from _records_of(file, os.fspath(path))


def _open(path: str | os.PathLike) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _records_of(file: BinaryIO, path: str) -> Iterator[bytes]:
    size, count = os.path.getsize(path), 0
    while header := file.read(12):
        length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 0
        if len(header) < 12 or header[8:] != _checksum(header[:8]) or file.tell() + length + 4 > size:
            what = "not a TFRecord file, or cut off within its first record" if count == 0 else "damaged or cut off"
            raise DataError(f"{path}: {what} after {count} records; {_ADVICE}")
        serialized = file.read(length)
        if file.read(4) != _checksum(serialized):
            raise DataError(f"{path}: record {count + 1} is damaged (its checksum is wrong); {_ADVICE}")
        yield serialized
        count += 1


def _checksum(data: bytes) -> bytes:
    """CRC-32C, masked as TensorFlow does (tensorflow/core/lib/hash/crc32c.h)."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


# --- One record, written ------------------------------------------------------------


def encode_example(example: Example, class_names: Sequence[str]) -> bytes:
    """Serialises an example as a `tf.train.Example` with the Object Detection API's feature names.

    Equal examples give equal bytes.
    """
    height, width = example.image_size
    boxes = np.asarray(example.boxes, np.float64).reshape(-1, 4) / [width, height, width, height]
    message = example_proto.Example()
    features = message.features.feature
    for name, value in (("height", height), ("width", width)):
        features[f"image/{name}"].int64_list.value.append(value)
    for name, value in {
        "image/filename": example.filename or example.image_id,
        "image/source_id": example.image_id,
        "image/key/sha256": hashlib.sha256(example.encoded).hexdigest(),
        "image/format": encoded_format(example.encoded),
    }.items():
        features[name].bytes_list.value.append(value.encode("utf-8", "surrogateescape"))
    features["image/encoded"].bytes_list.value.append(example.encoded)
    for column, side in enumerate(_SIDES):
        _floats(features[f"image/object/bbox/{side}"]).extend(boxes[:, column].tolist())
    texts = features["image/object/class/text"]
    texts.bytes_list.SetInParent()  # present also where there is no object
    texts.bytes_list.value.extend(class_names[class_id].encode("utf-8") for class_id in example.class_ids)
    for name, values in {
        "class/label": np.asarray(example.class_ids, np.int64) + 1,
        "is_crowd": example.is_crowd,
        "difficult": example.is_difficult,
        "truncated": example.is_truncated,
    }.items():
        _ints(features[f"image/object/{name}"]).extend(np.asarray(values, np.int64).tolist())
    return message.SerializeToString(deterministic=True)


def encoded_format(encoded: bytes) -> str:
    """`png` or `jpeg`: what a record's picture is."""
    return "png" if encoded.startswith(_PNG_SIGNATURE) else "jpeg"


def _floats(feature: Message):
    feature.float_list.SetInParent()
    return feature.float_list.value


def _ints(feature: Message):
    feature.int64_list.SetInParent()
    return feature.int64_list.value


# --- One record, read ------------------------------------------------------------


def decode_example(serialized: bytes) -> Example:
    """Reads one record of either form; the picture is not decoded.

    An `Example`'s features are, on the wire, a `SequenceExample`'s context: one message reads both forms.

    Raises:
        DataError: it is a record of neither form, or its lists do not fit together.
    """
    try:
        message = example_proto.SequenceExample.FromString(serialized)
    except DecodeError as error:
        raise DataError(f"a record is not an object-detection example ({error})") from error
    context, lists = message.context.feature, message.feature_lists.feature_list
    encoded = _first_bytes(context, "image_raw") or _first_bytes(context, "image/encoded")
    names = [_first_bytes(context, name) for name in ("image/source_id", "image/filename", "filename")]
    image_id = next((name for name in names if name), b"").decode("utf-8", "replace")
    if not encoded:
        raise DataError(f"record {image_id!r} has neither image/encoded nor image_raw: not a record of pictures")
    prefix = "" if "image_raw" in context else "image/"
    size = tuple(_first_int(context, prefix + side) for side in ("height", "width"))
    try:
        size = size if min(size) > 0 else inspect_image(encoded, image_id).size
    except ImageError as error:
        raise DataError(f"record {image_id!r} holds no picture ({error})") from error
    if "image_raw" in context:
        columns = [_list_of_ints(lists, side) for side in _SIDES]
        labels, flags = _list_of_ints(lists, "label"), {}
    else:
        columns = [_values(context, f"image/object/bbox/{side}", "float_list") for side in _SIDES]
        labels = [label - 1 for label in _values(context, "image/object/class/label", "int64_list")]
        flags = {
            name: _values(context, f"image/object/{name}", "int64_list")
            for name in ("is_crowd", "group_of", "difficult", "truncated")
        }
    if {len(column) for column in columns} != {len(labels)} or min(labels, default=0) < 0:
        raise DataError(f"record {image_id!r} does not have one label, counted from 1, for each of its boxes")
    boxes = np.asarray(columns, np.float32).T.reshape(-1, 4)  # [4, N] -> [N, 4]
    if "image_raw" not in context:
        boxes = boxes * np.asarray([size[1], size[0], size[1], size[0]], np.float32)
    return Example(
        image_id=image_id,
        encoded=encoded,
        image_size=size,
        boxes=boxes,
        class_ids=np.asarray(labels, np.int32),
        is_crowd=_flags(flags.get("is_crowd"), labels) | _flags(flags.get("group_of"), labels),
        is_difficult=_flags(flags.get("difficult"), labels),
        is_truncated=_flags(flags.get("truncated"), labels),
        filename=(names[1] or names[2] or names[0]).decode("utf-8", "replace"),
    )


def object_labels(message: Message) -> list[int]:
    """The class ids, from 0, of a record's objects without its crowd regions.

    Args:
        message: `example_proto.SequenceExample`, which reads records of either form; its picture is not looked at.

    Raises:
        DataError: it is a record of neither form, or has a label below the first.
    """
    context, lists = message.context.feature, message.feature_lists.feature_list
    if "image_raw" in context:
        labels, is_crowd = _list_of_ints(lists, "label"), []
    elif "image/encoded" in context:
        labels = [label - 1 for label in _values(context, "image/object/class/label", "int64_list")]
        crowd, groups = (_values(context, f"image/object/{name}", "int64_list") for name in ("is_crowd", "group_of"))
        is_crowd = _flags(crowd, labels) | _flags(groups, labels)
    else:
        raise DataError("it has neither image/encoded nor image_raw")
    if min(labels, default=0) < 0:
        raise DataError("it has a label below 1, the number of the first class")
    return [label for label, ignored in zip_longest(labels, is_crowd) if not ignored]


def _values(features, name: str, kind: str) -> list:
    return list(getattr(features[name], kind).value) if name in features else []


def _first_bytes(features, name: str) -> bytes:
    return next(iter(_values(features, name, "bytes_list")), b"")


def _first_int(features, name: str) -> int:
    return next(iter(_values(features, name, "int64_list")), 0)


def _list_of_ints(lists, name: str) -> list[int]:
    """A `FeatureList` of one integer an object."""
    return [value for feature in lists[name].feature for value in feature.int64_list.value] if name in lists else []


def _flags(values: list[int] | None, like: list) -> np.ndarray:
    """[N] bool; an optional feature that is absent, or does not fit, means no."""
    return np.asarray(values, bool) if values and len(values) == len(like) else np.zeros(len(like), bool)
