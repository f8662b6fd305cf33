"""Sizes and boxes of a whole data set as columns of numbers: what statistics and suggestions are computed from.

One pass over the pictures; of each only numbers are kept: 20 bytes a box, 12 a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from luminoth.data.readers.checks import Checked
from luminoth.data.record_files import CLASSES_FILE
from luminoth.data.report import Effect, Finding
from luminoth.data.source import Source
from luminoth.errors import DataError


@dataclass(frozen=True, eq=False)
class Columns:
    """The pictures of one or several splits, P of them, and their N objects, in order; crowd regions are only counted.

    Attributes:
        image_sizes: [P, 2] int32, (height, width), pixels.
        objects: [P] int32, how many objects each picture has.
        boxes: [N, 4] float32, pixels of the pictures as they are.
        class_ids: [N] int32.
        crowds: how many crowd regions there are besides.
        dropped: pictures that could not be used; they are in no other figure.
        boxes_dropped: boxes, of pictures that are used, that could not be.
    """

    image_sizes: np.ndarray
    objects: np.ndarray
    boxes: np.ndarray
    class_ids: np.ndarray
    crowds: int = 0
    dropped: int = 0
    boxes_dropped: int = 0

    @property
    def image_of_box(self) -> np.ndarray:
        """[N] int64: in which picture, counted from 0, each box lies."""
        return np.repeat(np.arange(len(self.objects)), self.objects)


def read_columns(
    source: Source, split: str, *, workers: int = 1, on_progress: Callable[[int], object] | None = None
) -> Columns:
    """Walks through a split, opening every picture as a transform would.

    Args:
        source: the data set.
        split: one of its splits.
        workers: processes side by side.
        on_progress: called with 1 after each picture.

    Raises:
        DataError: the records or the annotations cannot be read, or name a class that is not in the class list.
    """
    sizes, objects, boxes, class_ids = (bytearray() for _ in range(4))  # they grow in place, and hold no objects
    crowds = dropped = boxes_dropped = 0
    for facts in source.examine(split, _facts, workers=workers):
        if isinstance(facts, Finding):
            dropped += facts.kind.effect is Effect.PICTURE_DROPPED
            boxes_dropped += facts.kind.effect is Effect.BOX_DROPPED
        elif facts.image_size is None:
            dropped += 1
        else:
            sizes += np.asarray(facts.image_size, np.int32).tobytes()
            objects += np.asarray(len(facts.class_ids), np.int32).tobytes()
            boxes += facts.boxes.tobytes()
            class_ids += facts.class_ids.tobytes()
            crowds += facts.crowds
            boxes_dropped += facts.boxes_dropped
        if on_progress is not None:
            on_progress(1)
    ids = np.frombuffer(class_ids, np.int32)
    if len(ids) and ids.max() >= len(source.classes):
        raise DataError(
            f"{source.path}: a record of {split} has the label {ids.max() + 1}, but {CLASSES_FILE} names "
            f"{len(source.classes)} classes; put the list of classes that the records were written with beside them"
        )
    return Columns(
        np.frombuffer(sizes, np.int32).reshape(-1, 2),
        np.frombuffer(objects, np.int32),
        np.frombuffer(boxes, np.float32).reshape(-1, 4),
        ids,
        crowds,
        dropped,
        boxes_dropped,
    )


def join_columns(parts: Sequence[Columns]) -> Columns:
    """Several splits as one."""
    return Columns(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("image_sizes", "objects", "boxes", "class_ids")
        ),
        *(sum(getattr(part, name) for part in parts) for name in ("crowds", "dropped", "boxes_dropped")),
    )


@dataclass(frozen=True, eq=False)
class _Facts:
    """What is kept of one picture; `image_size` is None when it had to be dropped."""

    image_size: tuple[int, int] | None
    boxes: np.ndarray
    class_ids: np.ndarray
    crowds: int
    boxes_dropped: int


def _facts(checked: Checked) -> _Facts:
    example = checked.example
    if example is None:
        return _Facts(None, np.zeros((0, 4), np.float32), np.zeros(0, np.int32), 0, 0)
    is_object = ~example.is_crowd
    return _Facts(
        image_size=example.image_size,
        boxes=np.ascontiguousarray(example.boxes[is_object], np.float32),
        class_ids=np.ascontiguousarray(example.class_ids[is_object], np.int32),
        crowds=int(example.is_crowd.sum()),
        boxes_dropped=sum(finding.kind.effect is Effect.BOX_DROPPED for finding in checked.findings),
    )
