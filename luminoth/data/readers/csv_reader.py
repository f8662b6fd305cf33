"""CSV: one line a box, one file a split."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import ClassVar

from luminoth.data.readers.base import (
    ONE_SPLIT,
    AnnotatedBox,
    AnnotatedImage,
    Option,
    Reader,
    parse_flag,
    parse_number,
)
from luminoth.data.readers.files import FileFinder, holds_file, read_start
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from luminoth.image import IMAGE_EXTENSIONS

_COLUMNS = ("image_id", "xmin", "ymin", "xmax", "ymax", "label")
_SIDES = _COLUMNS[1:5]
_FLAGS = ("is_crowd", "is_difficult", "is_truncated")  # columns that may be there
_EXTENSIONS = ("", ".jpg", ".jpeg", ".png")


@dataclass
class _Picture:
    """The lines of one picture."""

    image_id: str
    path: Path | None
    line: int
    boxes: list[AnnotatedBox] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class _SplitFiles:
    """Where a split is: its CSV file and the folder of its pictures."""

    lines: Path
    pictures: Path


class CsvReader(Reader):
    """Reads `<split>.csv` with `image_id,xmin,ymin,xmax,ymax,label`, and the pictures in `<split>/`.

    `image_id` is a file name within `<split>/`, with or without extension. A picture without objects has a line with
    only its id, or no line at all. Coordinates are continuous pixels. `is_crowd`, `is_difficult` and `is_truncated`
    (0 or 1) are read when there are such columns. One CSV file without a folder of its name is a set without splits,
    with the pictures in `images/` or beside it.
    """

    layout = "<split>.csv (image_id,xmin,ymin,xmax,ymax,label) and pictures in <split>/, or one .csv and images/"
    options: ClassVar = {
        "headers": Option(True, "the first line names the columns"),
        "columns": Option((), "the names of the columns, in the file's order, in place of the first line's"),
        "delimiter": Option(",", "what stands between columns"),
        "unlisted": Option("keep", "pictures without a line: keep as empty, or skip", choices=("keep", "skip")),
    }

    @classmethod
    def recognise(cls, folder: Path) -> str | None:
        files = _find_splits(folder)
        if ONE_SPLIT not in files:
            return f"{', '.join(f'{split}.csv' for split in files)} beside folders of these names" if files else None
        lines, pictures = files[ONE_SPLIT].lines, files[ONE_SPLIT].pictures
        header = {name.strip(' "') for name in read_start(lines).partition("\n")[0].strip().split(",")}
        if not header.issuperset(_COLUMNS):
            return None
        return f"{lines.name} and pictures {'beside it' if pictures == folder else 'in images/'}, without splits"

    def splits(self) -> list[str]:
        names = list(self._files)
        if not names:
            raise self.layout_error("<split>.csv beside a folder <split>/")
        return names

    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        """The labels in the files of all splits of the folder, sorted; so a later run finds the same."""
        names = {row["label"] for split in self.splits() for _, row in self._rows(split)}
        return sorted(names - {""})

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        """In the order of each picture's first line; its lines need not stand together."""
        name_of_file = self._files[split].lines.name
        finder = FileFinder(self._files[split].pictures)
        find = cache(lambda name: finder.find(name, _EXTENSIONS))
        pictures: dict[Path | str, _Picture] = {}
        for line, row in self._rows(split):
            name, where = row["image_id"], f"{name_of_file} line {line}"
            if not name:
                yield Finding(Kind.ORPHAN_BOX, "", where, "no image_id")
                continue
            path = find(name)
            # By file, since `a` and `a.jpg` are one picture.
            picture = pictures.setdefault(path or name, _Picture(name, path, line))
            if row["label"] or any(row[side] for side in _SIDES):
                picture.boxes.append(_box(row, where))
                picture.findings.extend(_wrong_flags(row, name, where))
        for picture in pictures.values():
            yield self._image(picture, split)
        if self.settings["unlisted"] == "keep":
            yield from self._unlisted(split, finder, set(pictures))

    def _image(self, picture: _Picture, split: str) -> AnnotatedImage:
        folder, where = self._files[split].pictures, f"{self._files[split].lines.name} line {picture.line}"
        findings = list(picture.findings)
        name = picture.image_id.removeprefix("./")
        exact = [f"{folder}{os.sep}{name}{extension}" for extension in _EXTENSIONS]
        if picture.path is not None and str(picture.path) not in exact:
            name = self.relative_name(picture.path)
            findings.append(Finding(Kind.OTHER_NAME, picture.image_id, name, f"looked for {picture.image_id}"))
        path = picture.path or folder / picture.image_id
        return AnnotatedImage(picture.image_id, path, tuple(picture.boxes), where, findings=tuple(findings))

    def _unlisted(self, split: str, finder: FileFinder, listed: set[Path | str]) -> Iterator[AnnotatedImage]:
        for path in finder:
            if path not in listed:
                name = path.relative_to(finder.folder).as_posix()
                finding = Finding(Kind.UNLISTED, name, self.relative_name(path))
                yield AnnotatedImage(name, path, (), self._files[split].lines.name, findings=(finding,))

    @cached_property
    def _files(self) -> dict[str, _SplitFiles]:
        return _find_splits(self.data_dir)

    def _rows(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        """(line number, {column: text}) of each line; columns that are missing at its end are ""."""
        path = self._files[split].lines
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file, delimiter=self._delimiter())
                columns = list(self.settings["columns"] or _COLUMNS)
                if self.settings["headers"]:
                    header = [name.strip() for name in next(reader, [])]
                    columns = columns if self.settings["columns"] else header
                positions = _positions(path, columns)
                for row in reader:
                    if any(text.strip() for text in row):
                        yield (
                            reader.line_num,
                            {name: row[at].strip() if at < len(row) else "" for name, at in positions.items()},
                        )
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
        except csv.Error as error:
            raise DataError(f"{path} line {reader.line_num}: not readable as CSV ({error})") from error

    def _delimiter(self) -> str:
        text = str(self.settings["delimiter"]).replace("\\t", "\t")
        if len(text) != 1:
            raise DataError(f"-o delimiter={text}: must be one character, such as ; or \\t")
        return text


def _find_splits(folder: Path) -> dict[str, _SplitFiles]:
    files = [path for path in sorted(folder.glob("*.csv")) if path.is_file()]
    splits = {path.stem: _SplitFiles(path, folder / path.stem) for path in files if (folder / path.stem).is_dir()}
    if splits or len(files) != 1:
        return splits
    places = [place for place in (folder / "images", folder) if holds_file(place, IMAGE_EXTENSIONS)]
    return {ONE_SPLIT: _SplitFiles(files[0], places[0])} if places else {}


def _positions(path: Path, columns: list[str]) -> dict[str, int]:
    missing = [name for name in _COLUMNS if name not in columns]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; found: {', '.join(columns) or 'nothing'}; name them with "
            f"-o columns={','.join(_COLUMNS)} in the file's order (-o headers=false when the first line is data, "
            "-o delimiter=; for another delimiter)"
        )
    return {name: columns.index(name) for name in (*_COLUMNS, *_FLAGS) if name in columns}


def _box(row: dict[str, str], where: str) -> AnnotatedBox:
    x_min, y_min, x_max, y_max = (parse_number(row[side]) for side in _SIDES)
    flags = {name: bool(parse_flag(row.get(name))) for name in _FLAGS}
    return AnnotatedBox((x_min, y_min, x_max, y_max), row["label"], where, **flags)


def _wrong_flags(row: dict[str, str], image_id: str, where: str) -> Iterator[Finding]:
    for name in _FLAGS:
        if parse_flag(row.get(name)) is None:
            yield Finding(Kind.UNREADABLE_FLAG, image_id, where, f"{name} {row[name]!r}")
