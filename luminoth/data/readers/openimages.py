"""Open Images: one CSV file of boxes a split, too large for memory, so it is walked through picture by picture."""

from __future__ import annotations

import csv
import difflib
import heapq
import os
from collections.abc import Iterator, Sequence
from itertools import groupby, takewhile
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import ClassVar, NamedTuple
from urllib.parse import quote, urlsplit

from luminoth.data.readers.base import AnnotatedBox, AnnotatedImage, Option, Reader, parse_number
from luminoth.data.readers.files import FileFinder
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError

_DESCRIPTIONS = "class-descriptions-boxable.csv"
_BOXES, _LABELS = "-annotations-bbox.csv", "-annotations-human-imagelabels-boxable.csv"
_PREFIX = "oidv6-"  # which some of the downloads have before the split
_BOX_COLUMNS = ("ImageID", "LabelName", "XMin", "YMin", "XMax", "YMax", "IsTruncated", "IsGroupOf")
_LABEL_COLUMNS = ("ImageID", "LabelName", "Confidence")
_EXTENSIONS = (".jpg", ".jpeg", ".png")
_BUCKET = "https://s3.amazonaws.com/open-images-dataset/{split}/{id}.jpg"
_SAMPLE_BYTES = 1 << 20


class _SplitFiles(NamedTuple):
    boxes: Path
    labels: Path | None


class _Lines(NamedTuple):
    """What a file says of one picture in lines that stand together.

    Attributes:
        image_id: the picture; "" where none is named.
        rows: (line number, the wanted columns) of each.
        is_repeat: the picture had lines further up.
        of_boxes: they are boxes, not labels of the whole picture.
    """

    image_id: str
    rows: list[tuple[int, tuple[str, ...]]]
    is_repeat: bool = False
    of_boxes: bool = True

    @property
    def first(self) -> int:
        return self.rows[0][0]


class OpenImagesReader(Reader):
    """Reads Open Images' CSV files in `<split>/` or in the root, and the pictures in `<split>/`.

    * `class-descriptions-boxable.csv`: `/m/0k4j,Car`. All its classes, in its order, are the class list, unless
      `-o classes=` names some, by id or by name;
    * `<split>-annotations-bbox.csv`: one line a box, in fractions of the picture, sorted by picture;
    * `<split>-annotations-human-imagelabels-boxable.csv`, optional: which classes people saw or did not see. It tells
      pictures without any object from those whose objects have no boxes.

    Pictures that are not on disk are downloaded when they are needed (`AnnotatedImage.url`).
    """

    layout = f"{_DESCRIPTIONS} and <split>/<split>{_BOXES} (or that file beside it), pictures in <split>/"
    options: ClassVar = {
        "keep_groups": Option("no", "boxes around a group of objects: leave out, or keep as crowd", ("no", "crowd")),
        "negatives": Option("keep", "pictures without any object: keep, or skip", ("keep", "skip")),
        "download": Option(True, "download pictures that are not in <split>/"),
        "images_url": Option(_BUCKET, "where from; {split} and {id} are put in"),
    }

    def __init__(self, data_dir, options=None) -> None:
        super().__init__(data_dir, options)
        _check_url(str(self.settings["images_url"]))
        self._files = _find_files(self.data_dir)
        if not self._files:
            raise self.layout_error(f"<split>/<split>{_BOXES} and <split>{_BOXES}")
        self._names = self._read_descriptions()
        self.settings["classes"] = tuple(self._known_class(given) for given in self.settings["classes"])

    @classmethod
    def recognise(cls, folder: Path) -> str | None:
        descriptions, files = _find_descriptions(folder), _find_files(folder)
        if descriptions is None or not files:
            return None
        return f"{descriptions.name} and boxes of {', '.join(sorted(files))}"

    @property
    def only_listed_classes(self) -> bool:
        """A picture that shows only other classes than those asked for is no negative: nobody looked for these."""
        return bool(self.settings["classes"])

    def splits(self) -> list[str]:
        return sorted(self._files)

    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        """All classes that have boxes in Open Images; looking which ones occur would take as long as the transform."""
        return list(dict.fromkeys(self._names.values()))

    def class_name(self, given: str) -> str:
        """The name of a class that is given by id."""
        return self._names.get(given, given)

    def image_count(self, split: str) -> int:
        """Judged by the first megabyte: the pictures in it, and how often it goes into the file."""
        path = self._files[split].boxes
        with path.open("rb") as file:
            sample = file.read(_SAMPLE_BYTES)
        header, *rows = [line.split(b",") for line in sample.splitlines()] or [[]]
        at = header.index(b"ImageID") if b"ImageID" in header else 0
        pictures = sum(1 for _ in groupby(row[at : at + 1] for row in rows))
        return round(pictures * path.stat().st_size / max(len(sample), 1))

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        files, pictures = self._files[split], self._pictures(split)
        boxes_file = self.relative_name(files.boxes)
        for lines in self._walk(files):
            if not lines.image_id:
                for line, _ in lines.rows:
                    yield Finding(Kind.ORPHAN_BOX, "", f"{boxes_file} line {line}", "no ImageID")
            elif lines.is_repeat:
                detail = f"{lines.image_id} has boxes further up too; to keep all, {_how_to_sort(files.boxes)}"
                for line, _ in lines.rows:
                    yield Finding(Kind.SCATTERED, lines.image_id, f"{boxes_file} line {line}", detail)
            elif lines.of_boxes:
                boxes = self._boxes(lines, boxes_file)
                yield pictures.annotated(lines.image_id, boxes, f"{boxes_file} line {lines.first}")
            else:
                yield self._without_boxes(lines, self.relative_name(files.labels), pictures)

    def _walk(self, files: _SplitFiles) -> Iterator[_Lines]:
        """What there is about each picture, never more of it in memory than one picture's lines."""
        if files.labels is None or self.settings["negatives"] == "skip":
            return _marked_repeats(files.boxes)
        return _joined(files.boxes, files.labels)

    def _pictures(self, split: str) -> _LocalPictures | _RemotePictures:
        folder = self.data_dir / split
        if self.settings["download"]:
            return _RemotePictures(folder, str(self.settings["images_url"]).replace("{split}", quote(split)))
        return _LocalPictures(folder)

    def _boxes(self, lines: _Lines, file: str) -> tuple[AnnotatedBox, ...]:
        names, keep_groups, boxes = self._names, self.settings["keep_groups"] == "crowd", []
        for line, (_, label, x_min, y_min, x_max, y_max, truncated, group) in lines.rows:
            try:
                corners = float(x_min), float(y_min), float(x_max), float(y_max)
            except ValueError:
                corners = parse_number(x_min), parse_number(y_min), parse_number(x_max), parse_number(y_max)
            is_group = group == "1"
            box = AnnotatedBox(
                corners,
                names.get(label, label),
                f"{file} line {line}",
                is_crowd=is_group and keep_groups,
                is_group=is_group and not keep_groups,
                is_truncated=truncated == "1",
            )
            boxes.append(box)
        return tuple(boxes)

    def _without_boxes(
        self, lines: _Lines, file: str, pictures: _LocalPictures | _RemotePictures
    ) -> AnnotatedImage | Finding:
        """A picture that only has labels: a negative when people looked for classes and saw none of them."""
        seen = [(line, label) for line, (_, label, confidence) in lines.rows if parse_number(confidence) != 0]
        if not seen:
            return pictures.annotated(lines.image_id, (), f"{file} line {lines.first}")
        names = dict.fromkeys(self.class_name(label) or "no class named" for _, label in seen)
        return Finding(Kind.UNBOXED, lines.image_id, f"{file} line {seen[0][0]}", ", ".join(names))

    # -- classes -------------------------------------------------------------------------------------------

    def _read_descriptions(self) -> dict[str, str]:
        """Class id -> name, in the file's order."""
        path = _find_descriptions(self.data_dir)
        if path is None:
            raise self.layout_error(_DESCRIPTIONS)
        names = {}
        for line, row in _read_rows(path):
            if len(row) < 2 or not row[0] or not row[1]:
                raise DataError(f"{path} line {line}: must be a class's id and its name, as in /m/0k4j,Car")
            names[row[0]] = row[1]
        names.pop("LabelName", None)  # the first line of newer files
        if not names:
            raise DataError(f"{path}: names no class; lines must be as in /m/0k4j,Car")
        return names

    def _known_class(self, given: str) -> str:
        name = self.class_name(given)
        if name in self._names.values():
            return name
        by_folded = {known.casefold(): known for known in (*self._names.values(), *self._names)}
        near = [by_folded[folded] for folded in difflib.get_close_matches(given.casefold(), by_folded)]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise DataError(
            f"-o classes: no class {given} among the {len(self._names)} of "
            f"{_find_descriptions(self.data_dir).name}, neither as a name nor as an id{hint}"
        )


# --- Pictures ------------------------------------------------------------


class _LocalPictures:
    """A split's pictures on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._finder = folder, FileFinder(folder)

    def annotated(self, image_id: str, boxes: tuple[AnnotatedBox, ...], where: str) -> AnnotatedImage:
        expected = [self._folder / (image_id + extension) for extension in _EXTENSIONS]
        path, findings = self._finder.find(image_id, _EXTENSIONS), ()
        if path is not None and path not in expected:
            name = path.relative_to(self._folder.parent).as_posix()
            findings = (Finding(Kind.OTHER_NAME, image_id, name, f"looked for {expected[0].name}"),)
        return AnnotatedImage(image_id, path or expected[0], boxes, where, relative=True, findings=findings)


class _RemotePictures:
    """A split's pictures, each with its address; whether it is on disk is looked up by who opens it."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url

    def annotated(self, image_id: str, boxes: tuple[AnnotatedBox, ...], where: str) -> AnnotatedImage:
        # An id with a slash could name a place outside the data set, where nothing may be written.
        is_plain = "/" not in image_id and os.sep not in image_id
        url = self._url.replace("{id}", quote(image_id)) if is_plain else ""
        return AnnotatedImage(image_id, self._folder / f"{image_id}.jpg", boxes, where, relative=True, url=url)


# --- Files ------------------------------------------------------------


def _find_descriptions(folder: Path) -> Path | None:
    found = [folder / _DESCRIPTIONS, *sorted(folder.glob(f"oidv*-{_DESCRIPTIONS}"))]
    return next((path for path in found if path.is_file()), None)


def _find_files(folder: Path) -> dict[str, _SplitFiles]:
    """split -> its files. Folders of pictures are not listed: they may hold a million."""
    splits = {path.name.removesuffix(_BOXES).removeprefix(_PREFIX) for path in folder.glob(f"*{_BOXES}")}
    with os.scandir(folder) as entries:
        splits |= {entry.name for entry in entries if entry.is_dir()}
    found = {}
    for split in splits:
        places = [place / f"{prefix}{split}" for place in (folder / split, folder) for prefix in ("", _PREFIX)]
        boxes, labels = (
            next((path for place in places if (path := Path(f"{place}{ending}")).is_file()), None)
            for ending in (_BOXES, _LABELS)
        )
        if boxes is not None:
            found[split] = _SplitFiles(boxes, labels)
    return found


def _check_url(template: str) -> None:
    parts = urlsplit(template)
    if parts.scheme not in ("http", "https") or not parts.netloc or "{id}" not in template:
        raise DataError(f"-o images_url={template}: must be an http or https address with {{id}} in it, as {_BUCKET}")


# --- Lines ------------------------------------------------------------


def _marked_repeats(path: Path) -> Iterator[_Lines]:
    """The pictures of a file of boxes. Only when it is not sorted, ids are remembered: one may come again then."""
    seen: set[str] | None = None
    last = ""
    for lines in _by_picture(path, _BOX_COLUMNS):
        if seen is None and lines.image_id and lines.image_id <= last:
            before = takewhile(lambda earlier, end=lines.first: earlier.first < end, _by_picture(path, _BOX_COLUMNS))
            seen = {earlier.image_id for earlier in before}
        if seen is None:
            last = lines.image_id or last
            yield lines
        else:
            yield lines._replace(is_repeat=lines.image_id in seen)
            seen.add(lines.image_id)


def _joined(boxes: Path, labels: Path) -> Iterator[_Lines]:
    """The pictures of both files, which must be sorted alike: their boxes, or their labels when there is no box."""
    of_boxes = _check_order(_by_picture(boxes, _BOX_COLUMNS), boxes)
    of_labels = (
        lines._replace(of_boxes=False)
        for lines in _check_order(_by_picture(labels, _LABEL_COLUMNS), labels)
        if lines.image_id
    )
    picture = attrgetter("image_id")
    for _, found in groupby(heapq.merge(of_boxes, of_labels, key=picture), key=picture):
        yield next(found)  # boxes come before the labels of the same picture


def _check_order(pictures: Iterator[_Lines], path: Path) -> Iterator[_Lines]:
    last = ""
    for lines in pictures:
        if lines.image_id and lines.image_id <= last:
            raise DataError(
                f"{path} line {lines.first}: {lines.image_id} comes after {last}; pictures without boxes can only be "
                f"told when the lines are sorted: {_how_to_sort(path)}, or leave these pictures out: "
                "-o negatives=skip"
            )
        last = lines.image_id or last
        yield lines


def _how_to_sort(path: Path) -> str:
    return f"sort the file: (head -n 1 {path.name}; tail -n +2 {path.name} | LC_ALL=C sort) > sorted.csv"


def _by_picture(path: Path, columns: Sequence[str]) -> Iterator[_Lines]:
    """Consecutive lines of the same `columns[0]`."""
    rows = _read_rows(path)
    _, header = next(rows, (1, []))
    select = itemgetter(*_positions(path, header, columns))
    current, lines = None, []
    for line, row in rows:
        try:
            values = select(row)
        except IndexError:  # a short line: what it lacks is no number and no class
            values = select(row + [""] * len(header))
        if values[0] != current:
            if lines:
                yield _Lines(current, lines)
            current, lines = values[0], []
        lines.append((line, values))
    if lines:
        yield _Lines(current, lines)


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, columns) of each line that is not blank; reads as it is asked for."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num}: not readable as CSV ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _positions(path: Path, header: Sequence[str], columns: Sequence[str]) -> list[int]:
    names = [name.strip() for name in header]
    missing = [name for name in columns if name not in names]
    if missing:
        raise DataError(
            f"{path}: no column {', '.join(missing)}; the first line must name the columns, as in Open Images' own "
            f"files, and is: {', '.join(names) or 'missing'}"
        )
    return [names.index(name) for name in columns]
