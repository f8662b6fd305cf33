"""A quick look at records: sizes and boxes of pictures drawn evenly from a split, in a second or two."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from luminoth.data.records import decode_example
from luminoth.errors import DataError

_MOST_RECORDS = 4000
_SECONDS = 2.0


@dataclass(frozen=True, eq=False)
class Glance:
    """What was seen of a split: P pictures with N objects; crowd regions are left out.

    Attributes:
        images: how many pictures the split has.
        image_sizes: [P, 2] int32, (height, width), pixels.
        boxes: [N, 4] float32, pixels of the pictures as they are.
        class_ids: [N] int32.
        image_of_box: [N] int64, which of the P pictures each box lies in.
        first_ids: class id -> id of the first picture seen with it.
    """

    images: int
    image_sizes: np.ndarray
    boxes: np.ndarray
    class_ids: np.ndarray
    image_of_box: np.ndarray
    first_ids: dict[int, str]

    @property
    def seen(self) -> int:
        """P."""
        return len(self.image_sizes)

    @property
    def is_complete(self) -> bool:
        """Whether every picture was looked at."""
        return self.seen == self.images

    @property
    def empty(self) -> int:
        """How many of the pictures seen have no object."""
        return self.seen - len(np.unique(self.image_of_box))


def glance(files: Sequence[str | os.PathLike], images: int, *, seconds: float = _SECONDS) -> Glance:
    """Looks at every k-th record of whole record files, until the time is up; decodes no picture.

    Args:
        files: record files, as `count_records` has found them to be.
        images: how many records they hold.
        seconds: the time it may take, about.

    Raises:
        DataError: a record is of neither form.
    """
    every = -(-images // _MOST_RECORDS)
    until = time.monotonic() + seconds
    sizes, boxes, class_ids, owners, first_ids = [], [], [], [], {}
    for path, number, serialized in _every_kth(files, every):
        try:
            example = decode_example(serialized)
        except DataError as error:
            raise DataError(
                f"{path}: damaged, or no records of ours: of its record {number}, {error}. Write the records anew with "
                "`lumi dataset transform`"
            ) from error
        is_object = ~example.is_crowd
        owners.append(np.full(int(is_object.sum()), len(sizes)))
        sizes.append(example.image_size)
        boxes.append(example.boxes[is_object])
        class_ids.append(example.class_ids[is_object])
        for class_id in class_ids[-1].tolist():
            first_ids.setdefault(class_id, example.image_id)
        if time.monotonic() > until:
            break
    return Glance(
        images,
        np.asarray(sizes, np.int32).reshape(-1, 2),
        np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
        np.concatenate([np.zeros(0, np.int32), *class_ids]),
        np.concatenate([np.zeros(0, np.int64), *owners]),
        first_ids,
    )


def _every_kth(files: Sequence[str | os.PathLike], every: int) -> Iterator[tuple[str | os.PathLike, int, bytes]]:
    """Records 0, k, 2 k, ... of all files together: file, number in it, data; the others are skipped unread."""
    count = 0
    for path in files:
        size, first = os.path.getsize(path), count
        with open(path, "rb") as file:
            while file.tell() < size:
                length = struct.unpack("<Q", file.read(12)[:8])[0]
                if count % every == 0:
                    yield path, count - first, file.read(length)
                    file.seek(4, os.SEEK_CUR)
                else:
                    file.seek(length + 4, os.SEEK_CUR)
                count += 1
