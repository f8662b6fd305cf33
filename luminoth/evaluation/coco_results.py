"""Detections as files in COCO's result form, of this program and of any other.

A list of `{"image_id": 139, "category_id": 1, "bbox": [x_min, y_min, width, height], "score": 0.9}`. What is written
here has the ids of records, as integers where they are whole numbers, and categories numbered from 1 in the order of
the class list, as `lumi dataset convert --to coco` numbers them.

Other programs name pictures and classes in other ways. Read are also `file_name` or `filename` instead of `image_id`;
ids that are file names with or without folder and extension, or without leading zeros; pictures numbered from 1 when
no record has a whole number for its id (so does `lumi dataset convert`); `category`, `label` or `category_name` with
the name of a class instead of `category_id`; and a whole COCO file with `annotations`, whose `images` and `categories`
say what the ids stand for.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from luminoth.errors import DataError, OutputError
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.types import Detections

_BOX_DECIMALS = (
    6  # of a pixel: what float32 tells apart up to 32 pixels from the corner, and more than any overlap shows
)
_EXAMPLES = 3
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")
_FILE_KEYS = ("file_name", "filename")
_CLASS_KEYS = ("category", "label", "category_name")


def write_coco_results(path: str | os.PathLike, image_ids: Iterable[str], detections: Iterable[Detections]) -> int:
    """Writes detections, a line each, whole or not at all; memory does not grow with the pictures.

    Args:
        path: the file, replaced when it is there.
        image_ids: of the pictures.
        detections: one entry a picture, in the same order.

    Returns:
        How many detections were written.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    count = 0
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("w", encoding="utf-8") as file:
                file.write("[")
                for entry in _entries(image_ids, detections):
                    file.write(("," if count else "") + "\n" + json.dumps(entry, ensure_ascii=False))
                    count += 1
                file.write("\n]\n")
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return count


def _entries(image_ids: Iterable[str], detections: Iterable[Detections]) -> Iterator[dict[str, Any]]:
    for image_id, found in zip(image_ids, detections, strict=True):
        boxes = found.boxes.astype(np.float64)
        boxes = np.round(np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1), _BOX_DECIMALS)
        named = int(image_id) if _is_whole(image_id) else image_id
        for box, score, class_id in zip(boxes.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True):
            yield {"image_id": named, "category_id": class_id + 1, "bbox": box, "score": score}


def _is_whole(image_id: str) -> bool:
    """Whether an id is the text of a whole number; `007` is not, since it could not be told from `7`."""
    return _WHOLE_NUMBER.fullmatch(image_id) is not None and str(int(image_id)) == image_id


def read_coco_results(
    path: str | os.PathLike, ground_truths: Sequence[GroundTruth], class_names: Sequence[str]
) -> list[Detections]:
    """Reads the detections of any program.

    Args:
        path: the file.
        ground_truths: the pictures, by whose ids and file names those of the file are known.
        class_names: K names, in the order of class ids.

    Returns:
        One entry for each of `ground_truths`, in their order, sorted by score; empty for pictures that the file does
        not name.

    Raises:
        DataError: the file cannot be read or is in another form, or names pictures or classes that are not there.
    """
    entries, images, categories = _read(Path(path))
    pictures, classes = _Pictures(ground_truths, images), _Classes(class_names, categories)
    rows: list[tuple[int, int, float, list[float]]] = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise DataError(f"{path}: entry {number} is {_short(entry)}, not a detection with bbox and score")
        box, score = _box(entry.get("bbox")), _score(entry.get("score"))
        if box is None or score is None:
            key, accepted = ("score", "a number from 0 to 1") if box else ("bbox", "[x_min, y_min, width, height]")
            raise DataError(f"{path}: entry {number} has the {key} {_short(entry.get(key))}; accepted is {accepted}")
        image, class_id = pictures.find(entry), classes.find(entry)
        if image is not None and class_id is not None:
            rows.append((image, class_id, score, box))
    complaints = [complaint for complaint in (pictures.complaint(), classes.complaint()) if complaint]
    if complaints:
        raise DataError(f"{path}: {'; '.join(complaints)}")
    return _by_picture(rows, ground_truths, class_names)


def _read(path: Path) -> tuple[list, dict[Any, str], dict[Any, str]]:
    """The entries, and what ids of pictures and categories stand for, where the file says that."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error})") from error
    if isinstance(content, list):
        return content, {}, {}
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return (
            content["annotations"],
            _names_by_id(content.get("images"), "file_name"),
            _names_by_id(content.get("categories"), "name"),
        )
    raise DataError(
        f"{path}: not in COCO's result form, a list of detections with image_id, category_id, bbox and score"
    )


def _names_by_id(entries: Any, key: str) -> dict[Any, str]:
    entries = entries if isinstance(entries, list) else []
    return {
        _key(entry["id"]): entry[key]
        for entry in entries
        if isinstance(entry, dict) and "id" in entry and isinstance(entry.get(key), str)
    }


def _key(value: Any) -> str:
    """An id as text: 1, 1.0 and "1" are the same one."""
    is_whole_float = isinstance(value, float) and value.is_integer()
    return str(int(value) if is_whole_float else value)


def _box(value: Any) -> list[float] | None:
    """[x_min, y_min, x_max, y_max], or None when it is no box."""
    if not isinstance(value, list) or len(value) != 4 or not all(_is_number(each) for each in value):
        return None
    x, y, width, height = value
    return [x, y, x + width, y + height] if width >= 0 and height >= 0 else None


def _score(value: Any) -> float | None:
    return float(value) if _is_number(value) and 0 <= value <= 1 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class _Lookup:
    """Finds what an entry means, and keeps account of what is unknown."""

    what, known = "", ""  # for messages

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._unknown: dict[str, int] = {}

    def _note(self, entry: dict, keys: Sequence[str]) -> None:
        said = next((_short(entry[key]) for key in keys if entry.get(key) is not None), f"no {keys[-1]}")
        self._unknown[said] = self._unknown.get(said, 0) + 1

    def complaint(self) -> str | None:
        """What is unknown and what is known, with examples of both; None when all is known."""
        if not self._unknown:
            return None
        return (
            f"{sum(self._unknown.values())} detections are of {self.what} that are not there: "
            f"{_some(list(self._unknown))}; {self.known} {_some([_short(name) for name in self._names])}"
        )


class _Pictures(_Lookup):
    what, known = "pictures", "the data has"

    def __init__(self, ground_truths: Sequence[GroundTruth], files: dict[Any, str]) -> None:
        super().__init__([each.image_id for each in ground_truths])
        self._files = files
        self._exact = {name: number for number, name in enumerate(self._names)}
        self._aliases: dict[str, int | None] = {}
        for number, each in enumerate(ground_truths):
            for alias in {alias for name in (each.image_id, each.filename) for alias in _aliases(name)}:
                self._aliases[alias] = None if alias in self._aliases else number  # of two pictures, so of none
        self._is_numbered = not any(_WHOLE_NUMBER.fullmatch(name) for name in self._names)

    def find(self, entry: dict) -> int | None:
        image_id = _key(entry.get("image_id"))
        names = [entry.get(key) for key in _FILE_KEYS] + [self._files.get(image_id)]
        names = [name for name in names if isinstance(name, str)]
        number = next((found for name in [*names, image_id] if (found := self._called(name)) is not None), None)
        if number is None and not names and self._is_numbered and _WHOLE_NUMBER.fullmatch(image_id):
            number = int(image_id) - 1 if 1 <= int(image_id) <= len(self._names) else None
        if number is None:
            self._note(entry, (*_FILE_KEYS, "image_id"))
        return number

    def _called(self, name: str) -> int | None:
        """The picture of that id, else the only one that may be called so."""
        if name in self._exact:
            return self._exact[name]
        return next((found for alias in _aliases(name) if (found := self._aliases.get(alias)) is not None), None)


def _aliases(name: str) -> list[str]:
    """What else a picture may be called, the nearest first."""
    if not name:
        return []
    last = PurePosixPath(name.replace("\\", "/")).name
    stem = PurePosixPath(last).stem
    number = [str(int(stem))] if _WHOLE_NUMBER.fullmatch(stem) else []
    return list(dict.fromkeys([name, last, stem, *number]))


class _Classes(_Lookup):
    what, known = "classes", "the classes, numbered from 1, are"

    def __init__(self, class_names: Sequence[str], categories: dict[Any, str]) -> None:
        super().__init__(class_names)
        self._categories = categories
        self._ids = {name: index for index, name in reversed(list(enumerate(class_names)))}

    def find(self, entry: dict) -> int | None:
        named = next((entry[key] for key in _CLASS_KEYS if isinstance(entry.get(key), str)), None)
        category = entry.get("category_id")
        if named is None and category is not None:
            named = self._categories.get(_key(category), category if isinstance(category, str) else None)
        class_id = self._ids.get(named) if named is not None else None
        if class_id is None and not self._categories and (named is None or named == category):
            text = _key(category)
            if _WHOLE_NUMBER.fullmatch(text) and 1 <= int(text) <= len(self._names):
                class_id = int(text) - 1
        if class_id is None:
            self._note(entry, (*_CLASS_KEYS, "category_id"))
        return class_id


def _by_picture(
    rows: list[tuple[int, int, float, list[float]]], ground_truths: Sequence[GroundTruth], class_names: Sequence[str]
) -> list[Detections]:
    images = np.array([row[0] for row in rows], np.int64)
    class_ids = np.array([row[1] for row in rows], np.int32)
    scores = np.array([row[2] for row in rows], np.float32)
    boxes = np.array([row[3] for row in rows], np.float32).reshape(-1, 4)
    order = np.lexsort((-scores, images))  # stable: ties stay in the order of the file
    places = np.searchsorted(images[order], np.arange(len(ground_truths) + 1))
    return [
        Detections(boxes[own], scores[own], class_ids[own], class_names, truth.image_size)
        for truth, begin, end in zip(ground_truths, places[:-1], places[1:], strict=True)
        for own in (order[begin:end],)
    ]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _some(names: list[str]) -> str:
    """The first few, and how many more."""
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more
