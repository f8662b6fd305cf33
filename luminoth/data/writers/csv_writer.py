"""CSV: one line a box, one file a split."""

from __future__ import annotations

import csv
from collections.abc import Iterable

from luminoth.data.writers.base import Writer, WrittenSplit, number, rounded_box
from luminoth.data.writers.names import PictureNames
from luminoth.types import Example

_COLUMNS = ("image_id", "xmin", "ymin", "xmax", "ymax", "label", "is_crowd", "is_difficult", "is_truncated")


class CsvWriter(Writer):
    """Writes `<split>.csv` and the pictures in `<split>/`; a picture without objects has a line with only its id."""

    layout = f"<split>.csv ({','.join(_COLUMNS)}) and pictures in <split>/"
    keeps_class_list = False

    def write_split(self, split: str, examples: Iterable[Example]) -> WrittenSplit:
        written, names = WrittenSplit(split), PictureNames()
        (self.folder / split).mkdir(parents=True)  # the reader knows a split by it, also an empty one
        with (self.folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(_COLUMNS)
            for example in examples:
                name = names.claim(example)
                self.write_file(f"{split}/{name}", example.encoded)
                table.writerows(self._rows(name, example))
                written.count(example, self.class_names)
        return written

    def _rows(self, name: str, example: Example) -> list[list]:
        if not len(example.boxes):
            return [[name] + [""] * (len(_COLUMNS) - 1)]
        flags = zip(example.is_crowd, example.is_difficult, example.is_truncated, strict=True)
        return [
            [name, *map(number, rounded_box(box)), self.class_names[class_id], *map(int, flags_of_box)]
            for box, class_id, flags_of_box in zip(example.boxes, example.class_ids, flags, strict=True)
        ]
