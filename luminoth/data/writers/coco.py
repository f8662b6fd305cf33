"""COCO: one JSON file a split, written as it comes: memory does not grow with the pictures."""

from __future__ import annotations

import json
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import IO

from luminoth.data.writers.base import DECIMALS, Writer, WrittenSplit, number, rounded_box
from luminoth.data.writers.names import PictureNames
from luminoth.types import Example

_YEAR = 2017
_NOISE_DECIMALS = 9  # of a difference of two corners: 4.1 - 1 is 3.0999999999999996
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")  # fits 64 bits


class CocoWriter(Writer):
    """Writes `annotations/instances_<split>2017.json` and the pictures in `<split>2017/`.

    Categories are numbered from 1, in the class list's order. Pictures keep their ids where all of a split are whole
    numbers and no two are equal; else they are numbered from 1. `iscrowd` is COCO's own; `difficult` and `truncated`
    are keys of ours, which other tools pass over.
    """

    layout = f"annotations/instances_<split>{_YEAR}.json and pictures in <split>{_YEAR}/"
    keeps_class_list = True

    def write_split(self, split: str, examples: Iterable[Example]) -> WrittenSplit:
        """The lists `images` and `annotations` follow one another in the file, and ids are known only at the end:
        pictures are noted line by line in a passing file, which is gone through twice."""
        written, names, ids = WrittenSplit(split), PictureNames(), _ImageIds()
        (self.folder / f"{split}{_YEAR}").mkdir(parents=True)
        with tempfile.TemporaryFile("w+", dir=self.folder, encoding="utf-8") as notes:
            for example in examples:
                name = names.claim(example)
                self.write_file(f"{split}{_YEAR}/{name}", example.encoded)
                notes.write(json.dumps(_note(name, example), ensure_ascii=False) + "\n")
                ids.add(example.image_id)
                written.count(example, self.class_names)
            self._write_json(split, notes, ids)
        return written

    def _write_json(self, split: str, notes: IO[str], ids: _ImageIds) -> None:
        path = self.folder / "annotations" / f"instances_{split}{_YEAR}.json"
        path.parent.mkdir(exist_ok=True)
        categories = [{"id": index, "name": name} for index, name in enumerate(self.class_names, start=1)]
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write('{"info": {"description": "written by lumi dataset convert"},\n"licenses": [],\n')
            file.write(f'"categories": {json.dumps(categories, ensure_ascii=False)},\n"images": [')
            _write_list(file, ({"id": image_id, **note["image"]} for image_id, note in _numbered(notes, ids)))
            file.write('],\n"annotations": [')
            _write_list(file, _annotations(_numbered(notes, ids)))
            file.write("]}\n")


class _ImageIds:
    """The ids of a split's pictures: their own, or from 1 on when one of them is no whole number or comes again."""

    def __init__(self) -> None:
        self._own: array | None = array("q")
        self._seen: set[int] = set()
        self._count = 0

    def add(self, image_id: str) -> None:
        self._count += 1
        if self._own is None:
            return
        own = int(image_id) if _WHOLE_NUMBER.fullmatch(image_id) else None
        if own is None or own in self._seen:
            self._own, self._seen = None, set()
        else:
            self._own.append(own)
            self._seen.add(own)

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, self._count + 1) if self._own is None else self._own)


def _note(name: str, example: Example) -> dict:
    """What will be said of a picture in both lists, but for the ids."""
    height, width = example.image_size
    return {
        "image": {"file_name": name, "height": height, "width": width},
        "annotations": [_annotation(example, index) for index in range(len(example.boxes))],
    }


def _annotation(example: Example, index: int) -> dict:
    x_min, y_min, x_max, y_max = rounded_box(example.boxes[index])
    box = [x_min, y_min, round(x_max - x_min, _NOISE_DECIMALS), round(y_max - y_min, _NOISE_DECIMALS)]
    annotation = {
        "category_id": int(example.class_ids[index]) + 1,
        "bbox": [number(value) for value in box],
        "area": number(round(box[2] * box[3], DECIMALS)),
        "iscrowd": int(example.is_crowd[index]),
    }
    flags = {"difficult": example.is_difficult[index], "truncated": example.is_truncated[index]}
    return {**annotation, **{name: 1 for name, is_set in flags.items() if is_set}}


def _numbered(notes: IO[str], ids: _ImageIds) -> Iterator[tuple[int, dict]]:
    notes.seek(0)
    for image_id, line in zip(ids, notes, strict=True):
        yield image_id, json.loads(line)


def _annotations(numbered: Iterable[tuple[int, dict]]) -> Iterator[dict]:
    annotation_id = 0
    for image_id, note in numbered:
        for annotation in note["annotations"]:
            annotation_id += 1
            yield {"id": annotation_id, "image_id": image_id, **annotation}


def _write_list(file: IO[str], entries: Iterable[dict]) -> None:
    """The inside of a JSON list, an entry a line."""
    for index, entry in enumerate(entries):
        file.write(",\n" if index else "\n")
        file.write(json.dumps(entry, ensure_ascii=False))
