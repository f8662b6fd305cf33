"""Which classes the pictures of record files show, read without the pictures. Imports no TensorFlow.

Nearly all of a record is its picture. That is passed over here, so that of a data set of 20 GB some megabytes are read.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from luminoth.data import example_proto
from luminoth.data.record_files import count_records
from luminoth.data.records import object_labels
from luminoth.errors import DataError

# A tag and a length stand before everything. This tag is field 1's, of a value with a length: the features in a
# record, an entry in features (a map), the name in an entry.
_FIRST_FIELD = 0x0A
_PICTURES = tuple(bytes([_FIRST_FIELD, len(name)]) + name for name in (b"image/encoded", b"image_raw"))


@dataclass(frozen=True, eq=False)
class Labels:
    """The objects of P pictures, in the order of the records; crowd regions, which nothing is trained on, left out.

    Attributes:
        objects: [P] int32, how many objects each picture has.
        class_ids: [N] int32, the classes of all of them, picture after picture.
    """

    objects: np.ndarray
    class_ids: np.ndarray

    def shows(self, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """The pairs (picture, class) of which there is at least one object, each once: two [K] int64."""
        pictures = np.repeat(np.arange(len(self.objects)), self.objects)
        return np.divmod(np.unique(pictures * num_classes + self.class_ids), num_classes)


def read_labels(files: Sequence[str | os.PathLike], num_classes: int) -> Labels:
    """Reads the labels of all records of files, one file after the other.

    Args:
        files: record files. Checksums are not verified: training does that when it reads the pictures.
        num_classes: C; class ids are below it.

    Raises:
        DataError: a file is missing, damaged or cut off, or a record is not one of object detection, or of a class that
            there is not.
    """
    count_records(files)  # says what is wrong with a file
    objects, class_ids = [], []
    for path in map(os.fspath, files):
        for number, record in enumerate(_records_without_pictures(path), start=1):
            try:
                of_picture = object_labels(example_proto.SequenceExample.FromString(record))
            except (DecodeError, DataError) as error:
                raise DataError(
                    f"{path}: record {number} is not an object-detection example ({error}); write it again with "
                    "`lumi dataset transform`"
                ) from error
            if max(of_picture, default=0) >= num_classes:
                raise DataError(
                    f"{path}: record {number} has a box of class number {max(of_picture)}, counted from 0, but there "
                    f"are only {num_classes} classes: classes.json is not that of these records; write them again with "
                    "`lumi dataset transform`"
                )
            objects.append(len(of_picture))
            class_ids.extend(of_picture)
    return Labels(np.asarray(objects, np.int32), np.asarray(class_ids, np.int32))


def _records_without_pictures(path: str) -> Iterator[bytes]:
    size = os.path.getsize(path)
    if size == 0:
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if hasattr(mmap, "MADV_RANDOM"):
            data.madvise(mmap.MADV_RANDOM)  # or else the system reads the pictures too, ahead of us
        position = 0
        while position < size:
            (length,) = struct.unpack_from("<Q", data, position)
            start = position + 12
            position = start + length + 4
            try:
                yield _without_picture(data, start, start + length)
            except IndexError:  # no message at all; the reader of it says so
                yield data[start : start + length]


def _without_picture(data: mmap.mmap, position: int, end: int) -> bytes:
    """The record at [position, end) of `data`, the pictures in its features empty.

    A record is a message whose field 1 are the features: a message of map entries, each a name and a value.
    """
    parts = []
    while position < end:
        start = position
        tag, position = _varint(data, position)
        if tag != _FIRST_FIELD:
            position = _end_of_value(data, position, tag)
            parts.append(data[start:position])
            continue
        length, position = _varint(data, position)
        features = _entries_without_picture(data, position, position + length)
        parts += [bytes([_FIRST_FIELD]), _as_varint(len(features)), features]
        position += length
    return b"".join(parts)


def _entries_without_picture(data: mmap.mmap, position: int, end: int) -> bytes:
    begin = position
    while position < end:
        start = position
        tag, position = _varint(data, position)
        if tag != _FIRST_FIELD:
            position = _end_of_value(data, position, tag)
            continue
        length, position = _varint(data, position)
        for name in _PICTURES:
            # The name comes first in what every known writer writes; where it does not, the picture is read, no harm.
            if data[position : position + len(name)] == name:
                return data[begin:start] + bytes([_FIRST_FIELD, len(name)]) + name + data[position + length : end]
        position += length
    return data[begin:end]


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    """The number at `position`, seven bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _as_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _end_of_value(data: mmap.mmap, position: int, tag: int) -> int:
    match tag & 7:
        case 0:
            return _varint(data, position)[1]
        case 1:
            return position + 8
        case 2:
            length, position = _varint(data, position)
            return position + length
    return position + 4
