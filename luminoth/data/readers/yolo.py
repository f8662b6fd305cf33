"""YOLO: one text file a picture, a line an object, in fractions of the picture's width and height.

    labels/train/street.txt    0 0.5 0.25 0.2 0.1             class, centre x, centre y, width, height
                               1 0.1 0.1 0.4 0.1 0.3 0.5      class, the corners of an outline: its box is taken

A picture without a label file, or with an empty one, has no objects.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from luminoth.data.readers.base import AnnotatedBox, AnnotatedImage, Option, Reader, parse_number
from luminoth.data.readers.files import FileFinder, read_lines
from luminoth.data.readers.yolo_files import (
    CLASS_FILES,
    Description,
    SplitSources,
    candidates,
    find_description,
    find_split_folders,
    find_splits,
    labels_folder,
    read_class_file,
    read_description,
)
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from luminoth.image import IMAGE_EXTENSIONS

_TEXT = frozenset({".txt"})
_NO_BOX = (math.nan,) * 4


class YoloReader(Reader):
    """Reads YOLO label files, with `data.yaml` or without.

    * `data.yaml` with `train`, `val`, `test` (a folder of pictures, several, or a text file that lists them) and
      `names`; label files are where `images` is replaced by `labels` in a picture's path, or else beside it;
    * without it `classes.txt`, and `images/<split>/` and `labels/<split>/`, or `<split>/images/` and `<split>/labels/`;
    * without splits `images/` and `labels/`, or pictures and label files beside `classes.txt`.
    """

    layout = (
        "data.yaml or classes.txt, images/<split>/ and labels/<split>/<id>.txt (class x y w h), "
        "or <split>/images/ and <split>/labels/"
    )
    options: ClassVar = {
        "data": Option("", "the file that describes the set (default: data.yaml, or else one that names classes)"),
    }

    def __init__(self, data_dir, options=None) -> None:
        super().__init__(data_dir, options)
        self._label_finders: dict[Path, FileFinder] = {}
        self._picture_finders: dict[Path, FileFinder] = {}

    @classmethod
    def recognise(cls, folder: Path) -> str | None:
        try:
            path = find_description(folder)
        except DataError:  # several: it is this format, and its reader asks which
            return ".yaml files that name classes"
        if path is not None:
            return f"{path.name}, which names classes"
        splits = find_split_folders(folder)
        places = [f"{place.relative_to(folder).as_posix()}/" for each in splits.values() for place in each.places]
        if not splits or not any(_holds_labels(place, folder) for each in splits.values() for place in each.places):
            return None
        return "label files beside the pictures" if places == ["./"] else f"{', '.join(places)} and label files"

    def splits(self) -> list[str]:
        if not self._sources:
            raise self.layout_error("data.yaml, images/ and labels/, or classes.txt beside pictures")
        return list(self._sources)

    def check_splits(self, asked: Sequence[str]) -> list[str]:
        splits = super().check_splits(asked)
        for split in asked:
            sources = self._sources[split]
            if not sources.places:
                named = f"{self._where_described()} names {', '.join(sources.absent)} for {split}"
                there = ", ".join(each for each, others in self._sources.items() if others.places)
                raise DataError(f"{self.data_dir}: {named}, which is not there; there are: {there}")
        return splits

    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        """The names in `data.yaml` or `classes.txt`, in the order of their numbers, also those without a box."""
        if not self._names:
            raise DataError(
                f"{self.data_dir}: no names of classes; looked for data.yaml with names and for classes.txt; "
                "name them in the order of their numbers: -o classes=car,person"
            )
        return list(dict.fromkeys(name for _, name in sorted(self._names.items())))

    def image_count(self, split: str) -> int:
        places = self._sources[split].places
        return sum(len(self._pictures(place)) if place.is_dir() else len(read_lines(place)) for place in places)

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        """Folder by folder, sorted by name; last the label files to which there is no picture."""
        sources = self._sources[split]
        for entry in sources.absent:
            yield Finding(Kind.MISSING_SPLIT, "", f"{self._where_described()} {split}: {entry}")
        for place in sources.places:
            if place.is_dir():
                base = place if len(sources.places) == 1 else self.data_dir
                yield from self._in_folder(place, base)
            else:
                yield from self._in_list(place)

    def _in_folder(self, folder: Path, base: Path) -> Iterator[AnnotatedImage | Finding]:
        """The pictures in a folder; their ids are their names below `base`."""
        used: set[Path] = set()
        for path in self._pictures(folder):
            yield from self._picture(path, _name_below(base, path), used)
        labels = self._labels(folder)
        is_beside = labels.folder == folder
        for label_file in labels:
            if label_file in used or label_file.name in CLASS_FILES:
                continue
            if not is_beside or _looks_like_labels(label_file):
                missing = folder / label_file.relative_to(labels.folder).with_suffix(".jpg")
                yield from self._picture(missing, _name_below(base, missing), used)

    def _in_list(self, list_file: Path) -> Iterator[AnnotatedImage | Finding]:
        """The pictures that a text file lists, one a line."""
        roots = (list_file.parent, self.data_dir / self._description.root, self.data_dir)
        for line in filter(None, map(str.strip, read_lines(list_file))):
            places = list(candidates(line, self.data_dir, roots))
            path = next(filter(os.path.isfile, places), None)
            near = path or next(filter(None, map(self._find_near, places)), None)
            found = near or places[0]
            image_id = self.relative_name(found)
            note = Finding(Kind.OTHER_NAME, image_id, image_id, f"looked for {line}")
            yield from self._picture(found, image_id, set(), () if path or near is None else (note,))

    def _find_near(self, path: Path) -> Path | None:
        """The picture of nearly this name, within the data set."""
        return self._pictures(path.parent).find(path.name) if path.is_relative_to(self.data_dir) else None

    def _picture(
        self, path: Path, image_id: str, used: set[Path], findings: tuple[Finding, ...] = ()
    ) -> Iterator[AnnotatedImage | Finding]:
        """A picture with what its label file says; before it, what cannot be read there. Adds the file to `used`."""
        labels = self._labels(path.parent)
        label_file = _find_label_file(labels, path)
        if label_file is None:
            expected = self.relative_name(labels.folder / f"{path.stem}.txt")
            if _are_there(labels, path.parent):
                yield AnnotatedImage(image_id, path, (), expected, relative=True, findings=findings)
            else:
                yield Finding(Kind.MISSING_ANNOTATION, image_id, expected)
            return
        used.add(label_file)
        where = self.relative_name(label_file)
        if label_file.stem not in (path.stem, path.name):
            finding = Finding(Kind.OTHER_NAME, image_id, self.relative_name(path), f"its label file is {where}")
            findings = (*findings, finding)
        try:
            lines = read_lines(label_file)
        except DataError as error:
            yield Finding(Kind.DAMAGED_ANNOTATION, image_id, where, str(error))
            return
        boxes = []
        for number, line in enumerate(lines, 1):
            box = self._box(line.split(), f"{where} line {number}") if line.strip() else None
            if box is not None:
                boxes.append(box)
            elif line.strip():
                detail = f"{len(line.split())} columns: {line.strip()[:60]}"
                yield Finding(Kind.UNREADABLE_BOX, image_id, f"{where} line {number}", detail)
        yield AnnotatedImage(image_id, path, tuple(boxes), where, relative=True, findings=findings)

    def _box(self, words: list[str], where: str) -> AnnotatedBox | None:
        corners = _corners([parse_number(word) for word in words[1:]], self._description.has_keypoints)
        return None if corners is None else AnnotatedBox(corners, self._label(words[0]), where)

    def _label(self, word: str) -> str:
        number = parse_number(word)
        return self._names.get(int(number), f"class {int(number)}") if number.is_integer() else f"class {word}"

    # -- files ---------------------------------------------------------------------------------------------

    @cached_property
    def _description(self) -> Description:
        path = find_description(self.data_dir, str(self.settings["data"]))
        return Description() if path is None else read_description(path)

    @cached_property
    def _sources(self) -> dict[str, SplitSources]:
        return find_splits(self.data_dir, self._description)

    @cached_property
    def _names(self) -> dict[int, str]:
        named = dict(enumerate(self.settings["classes"]))
        return dict(self._description.names) or read_class_file(self.data_dir) or named

    def _pictures(self, folder: Path) -> FileFinder:
        if folder not in self._picture_finders:
            self._picture_finders[folder] = FileFinder(folder)
        return self._picture_finders[folder]

    def _labels(self, pictures: Path) -> FileFinder:
        """The label files of the pictures in a folder."""
        if pictures not in self._label_finders:
            self._label_finders[pictures] = FileFinder(labels_folder(pictures, self.data_dir), _TEXT)
        return self._label_finders[pictures]

    def _where_described(self) -> str:
        return self.relative_name(self._description.path or self.data_dir)


def _corners(numbers: list[float], has_keypoints: bool) -> tuple[float, float, float, float] | None:
    """The box of a line's numbers; None when they are neither a box nor an outline."""
    if has_keypoints:
        numbers = numbers[:4]
    if len(numbers) == 4:
        x, y, width, height = numbers
        return (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    if len(numbers) < 6 or len(numbers) % 2:
        return None
    if not all(map(math.isfinite, numbers)):
        return _NO_BOX
    return (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]))


def _name_below(base: Path, path: Path) -> str:
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def _find_label_file(labels: FileFinder, picture: Path) -> Path | None:
    """`a.txt` for `a.jpg`, or `a.jpg.txt`, as some tools write; or one that differs in case, if it is no other's."""
    found = labels.find(picture.stem, (".txt",)) or labels.find(picture.name, (".txt",))
    if found is None or found.stem in (picture.stem, picture.name):
        return found
    others = (picture.with_name(found.stem + extension) for extension in IMAGE_EXTENSIONS)
    return None if any(map(os.path.isfile, others)) else found


def _are_there(labels: FileFinder, pictures: Path) -> bool:
    """Whether a picture without a label file is one without objects: there is a place with labels at all."""
    return labels.folder.is_dir() and (labels.folder != pictures or len(labels) > 0)


def _holds_labels(pictures: Path, data_dir: Path) -> bool:
    labels = FileFinder(labels_folder(pictures, data_dir), _TEXT)
    return any(map(_looks_like_labels, labels))


def _looks_like_labels(path: Path) -> bool:
    """Whether a text file that may be any starts with a line of a label file."""
    try:
        with path.open(encoding="utf-8") as file:
            words = file.readline(4096).split()
    except (OSError, UnicodeDecodeError):
        return False
    return len(words) >= 5 and not any(math.isnan(parse_number(word)) for word in words)
