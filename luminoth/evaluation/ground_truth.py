"""What there is to be found in pictures, read from records as it was written: original pixels, nothing resized."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luminoth.data.records import decode_example, read_records
from luminoth.errors import DataError
from luminoth.types import Example

# Annotations are written in whole pixels or, as COCO's, in hundredths. In a record they are float32 fractions of the
# picture's size, which adds noise below half a hundredth; rounding takes it away: a box of exactly 32 x 32 pixels is
# "small" again.
_DECIMALS = 2


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What there is to be found in one picture.

    Attributes:
        boxes: [N, 4] float32 or float64, pixels of the original picture; N may be 0.
        class_ids: [N] int32.
        is_crowd: [N] bool; finding a crowd region counts neither for nor against a detector.
        image_size: (height, width) of the original picture.
        image_id: its name in the records.
        is_difficult: [N] bool, Pascal VOC's `difficult`, which VOC's figures leave out and COCO's do not. It may be
            left out where no object is; it is never None afterwards.
        filename: of the picture where it came from; may be empty.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    is_crowd: np.ndarray
    image_size: tuple[int, int]
    image_id: str = ""
    is_difficult: np.ndarray | None = None
    filename: str = ""

    def __post_init__(self) -> None:
        count = len(self.class_ids)
        if self.is_difficult is None:
            object.__setattr__(self, "is_difficult", np.zeros(count, bool))
        if self.boxes.shape != (count, 4) or {self.is_crowd.shape, self.is_difficult.shape} != {(count,)}:
            raise ValueError(
                f"boxes, class_ids, is_crowd and is_difficult must have shapes [N, 4], [N], [N] and [N]; got "
                f"{self.boxes.shape}, {self.class_ids.shape}, {self.is_crowd.shape} and {self.is_difficult.shape}"
            )

    def __len__(self) -> int:
        return len(self.class_ids)


def read_ground_truths(files: Sequence[str | os.PathLike], class_ids: Sequence[int] | None = None) -> list[GroundTruth]:
    """Reads the ground truth of all pictures of record files, of either form, in their order; decodes no picture.

    Args:
        files: record files.
        class_ids: for each class id of the records the one to use instead, such as the detector's of that name;
            zeros take all objects for one class. None: as they are.

    Raises:
        DataError: a file is missing or damaged, a record is of neither form or of a class that `class_ids` lacks.
    """
    table = None if class_ids is None else np.asarray(class_ids, np.int32)
    return [_to_ground_truth(decode_example(serialized), table) for serialized in read_records(files)]


def _to_ground_truth(example: Example, table: np.ndarray | None) -> GroundTruth:
    class_ids = example.class_ids
    if table is not None:
        largest = int(class_ids.max(initial=0))
        if largest >= len(table):
            raise DataError(
                f"record {example.image_id!r} has an object of class number {largest + 1}, but there are only "
                f"{len(table)} classes; classes.json does not belong to these records, write both again with "
                "`lumi dataset transform`"
            )
        class_ids = table[class_ids] if len(class_ids) else class_ids
    return GroundTruth(
        boxes=np.round(example.boxes.astype(np.float64), _DECIMALS),
        class_ids=class_ids,
        is_crowd=example.is_crowd,
        image_size=example.image_size,
        image_id=example.image_id,
        is_difficult=example.is_difficult,
        filename=example.filename,
    )
