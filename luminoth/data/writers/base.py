"""What every writer shares: the account of a split, rounding, files.

examples of a split ──> Writer.write_split ──> pictures, annotations, WrittenSplit
all splits done     ──> Writer.finish      ──> what they share (YOLO's data.yaml)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from luminoth.types import Example

# Coordinates are rounded to this many decimals of a pixel. Records store fractions of the picture's side as float32,
# a thousandth of a pixel at 20,000: more decimals would only spell out their noise (4 as 3.9999998).
DECIMALS = 3


@dataclass
class WrittenSplit:
    """What was written of a split, and what the format could not hold.

    Attributes:
        split: its name.
        images: pictures.
        images_empty: of those, the ones without objects.
        boxes_per_class: class name -> boxes, in the class list's order.
        crowd_boxes_left_out: crowd regions that the format would have taken for single objects.
        flags_lost: `difficult`, `truncated` -> boxes that were, which the format cannot say.
    """

    split: str
    images: int = 0
    images_empty: int = 0
    boxes_per_class: Counter[str] = field(default_factory=Counter)
    crowd_boxes_left_out: int = 0
    flags_lost: Counter[str] = field(default_factory=Counter)

    def count(self, example: Example, class_names: Sequence[str]) -> None:
        """Takes down a picture that was written with all its boxes."""
        self.images += 1
        self.images_empty += len(example.boxes) == 0
        self.boxes_per_class.update(class_names[class_id] for class_id in example.class_ids)


class Writer(ABC):
    """Writes a data set of one format into an empty folder.

    Attributes:
        layout: the files the format consists of, for messages and help.
        keeps_class_list: whether the format itself says which classes there are, in their order; else its reader
            takes those that have a box, sorted.
        folder: where everything goes.
        class_names: by id.
    """

    layout: ClassVar[str]
    keeps_class_list: ClassVar[bool]

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self.folder, self.class_names = folder, class_names
        self._folders_made: set[Path] = set()

    @abstractmethod
    def write_split(self, split: str, examples: Iterable[Example]) -> WrittenSplit:
        """Writes the pictures and annotations of a split; class ids must be below the class list's length."""

    def finish(self, splits: Sequence[str]) -> None:
        """Writes what all splits share; most formats have nothing of that kind."""
        return

    def write_file(self, name: str, content: bytes) -> None:
        """Writes a file of the data set, with the folders on the way to it."""
        path = self.folder / name
        if path.parent not in self._folders_made:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._folders_made.add(path.parent)
        path.write_bytes(content)


def rounded_box(box: np.ndarray) -> tuple[float, float, float, float]:
    """A box [4] rounded to `DECIMALS`, or as it is when it would lose its area."""
    exact = tuple(float(value) for value in box)
    x_min, y_min, x_max, y_max = rounded = tuple(round(value, DECIMALS) for value in exact)
    return rounded if x_max > x_min and y_max > y_min else exact


def number(value: float) -> int | float:
    """A coordinate as it is written: without decimals where it is whole."""
    return int(value) if value.is_integer() else value
