"""YOLO: one text file a picture, `data.yaml` for the set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import yaml

from luminoth.data.writers.base import Writer, WrittenSplit
from luminoth.data.writers.names import PictureNames
from luminoth.types import Example

# Fractions of the picture's side: at 20,000 pixels the last digit is worth 0.0002 of them.
_DECIMALS = 8


class YoloWriter(Writer):
    """Writes `data.yaml`, `images/<split>/<id>.jpg` and `labels/<split>/<id>.txt`: `class xc yc w h`, relative.

    The format knows single objects and nothing else of them: crowd regions are left out, `difficult` and `truncated`
    are lost; both are counted. A picture without objects has an empty text file.
    """

    layout = "data.yaml, images/<split>/<id>.jpg and labels/<split>/<id>.txt"
    keeps_class_list = True

    def write_split(self, split: str, examples: Iterable[Example]) -> WrittenSplit:
        written, names = WrittenSplit(split), PictureNames()
        for kind in ("images", "labels"):
            (self.folder / kind / split).mkdir(parents=True)
        for example in examples:
            single = _select(example, ~example.is_crowd)
            name = names.claim(example)
            self.write_file(f"images/{split}/{name}", example.encoded)
            self.write_file(f"labels/{split}/{name.rpartition('.')[0]}.txt", _lines(single).encode())
            written.count(single, self.class_names)
            written.crowd_boxes_left_out += int(example.is_crowd.sum())
            written.flags_lost["difficult"] += int(single.is_difficult.sum())
            written.flags_lost["truncated"] += int(single.is_truncated.sum())
        return written

    def finish(self, splits: Sequence[str]) -> None:
        # No `path`: YOLO's tools then take the folder of this file, wherever it is moved.
        content: dict[str, object] = {split: f"images/{split}" for split in splits}
        content["names"] = dict(enumerate(self.class_names))
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1000)
        self.write_file("data.yaml", text.encode())


def _select(example: Example, keep: np.ndarray) -> Example:
    """The example with the boxes at `keep` [N] only."""
    if keep.all():
        return example
    columns = ("boxes", "class_ids", "is_crowd", "is_difficult", "is_truncated")
    return replace(example, **{name: getattr(example, name)[keep] for name in columns})


def _lines(example: Example) -> str:
    height, width = example.image_size
    boxes = example.boxes.astype(np.float64) / [width, height, width, height]
    centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return "".join(
        f"{class_id} {' '.join(map(_fraction, (*centre, *side)))}\n"
        for class_id, centre, side in zip(example.class_ids, centres, sides, strict=True)
    )


def _fraction(value: float) -> str:
    """With more digits for a side so short that rounding would change it by a hundredth or more."""
    return f"{value:.{_DECIMALS}f}" if value >= 10.0 ** (2 - _DECIMALS) else f"{value:.17f}".rstrip("0") + "0"
