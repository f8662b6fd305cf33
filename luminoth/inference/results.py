"""Where predictions are written: JSON lines, one JSON document, CSV or COCO's results; in a file or on a stream.

All are written record by record and are whole after each one, also when the process is killed: a line is written at
once, and the end of a JSON document with each record, which the next one replaces.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Protocol

from luminoth.errors import OutputError

Record = Mapping[str, Any]

_ENDINGS = {".json": "json", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
_BOX_COLUMNS = ("x_min", "y_min", "x_max", "y_max")
_PLACE_COLUMNS = ("file", "frame", "time")


class Format(Protocol):
    """How records become text. `begin`, then entries with `between` before all but the first, then `end`."""

    begin: str
    between: str
    end: str

    def entry(self, record: Record) -> str:
        """The text of one record: a picture or a frame; empty when the format says nothing of it."""


class JsonLines:
    """One line of JSON a record."""

    begin = between = end = ""

    def entry(self, record: Record) -> str:
        return _json(record) + "\n"


class JsonDocument:
    """One list with all records, a line each."""

    begin, between, end = "[\n", ",\n", "\n]\n"

    def entry(self, record: Record) -> str:
        return _json(record)


class Csv:
    """A row for each object, and one without an object for a picture or frame in which there is none.

    Args:
        more_columns: further keys of objects, behind `label` and `prob`.
    """

    between = end = ""

    def __init__(self, more_columns: Sequence[str] = ()) -> None:
        self._object_columns = ("label", "prob", *more_columns)
        self.begin = self._rows([[*_PLACE_COLUMNS, *self._object_columns, *_BOX_COLUMNS]])

    def entry(self, record: Record) -> str:
        place = [record.get(name, "") for name in _PLACE_COLUMNS]
        objects = [
            [*(found.get(name, "") for name in self._object_columns), *found["bbox"]] for found in record["objects"]
        ]
        return self._rows([place + found for found in objects or [[""] * (len(self._object_columns) + 4)]])

    def _rows(self, rows: Sequence[Sequence[Any]]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        return text.getvalue()


class CocoResults:
    """A list with an entry for each object, as COCO's tools and `lumi eval --from-detections` read it.

    `image_id` is the number that a file is named by (`000000000139.jpg`: 139), else its name without ending; frames of
    a video are `name_000012`. `category_id` is the place in the list of classes, from 1. Beside them stand
    `file_name` and `category_name`, which need no agreement on numbers.
    """

    begin, between, end = "[\n", ",\n", "\n]\n"

    def __init__(self, class_names: Sequence[str]) -> None:
        self._category_ids = {name: index for index, name in enumerate(class_names, start=1)}

    def entry(self, record: Record) -> str:
        stem = PurePath(record["file"].rpartition("/")[2]).stem
        image_id: int | str = int(stem) if stem.isascii() and stem.isdecimal() else stem
        if "frame" in record:
            image_id = f"{stem}_{record['frame']:06d}"
        entries = []
        for found in record["objects"]:
            x_min, y_min, x_max, y_max = found["bbox"]
            entry = {
                "image_id": image_id,
                "category_id": self._category_ids[found["label"]],
                "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
                "score": found["prob"],
                "file_name": record["file"],
                "category_name": found["label"],
            }
            entries.append(_json(entry))
        return self.between.join(entries)


def format_name(path: Path | None) -> str:
    """The format that the ending of a file's name stands for: `json`, `csv` or, of any other and of None, `jsonl`."""
    return _ENDINGS.get(path.suffix.lower(), "jsonl") if path is not None else "jsonl"


class ResultFile:
    """Records in a file; a context manager.

    The file is there with the first record, until then an earlier one of that name stays as it is; it is whole after
    each record. What is no plain file, such as a pipe or `/dev/stdout`, is written to from begin to end.

    Args:
        path: folders that are missing are made.
        written: how its records become text.
        keep: how many bytes of an earlier file to go on behind, and whether there are records among them; None:
            it is replaced.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, written: Format, keep: tuple[int, bool] | None = None) -> None:
        self.path, self._format = path, written
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file in it")
        self._is_plain = path.is_file() or not path.exists()
        self._is_new = not path.exists()
        self._keep, self._has_entries = keep or (0, False)
        self._has_begun = keep is not None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Opened without touching what is in it, to learn now whether it may be written to.
            self._file = open(path, "r+b" if path.is_file() else "wb", buffering=0)  # noqa: SIM115 - see __exit__
            if keep is not None:
                self._file.truncate(self._keep)
                self._put("")
        except OSError as error:
            raise self._cannot(error) from error

    def write(self, record: Record) -> None:
        """Adds one record."""
        entry = self._format.entry(record)
        text = (self._format.between if self._has_entries and entry else "") + entry
        try:
            self._begin()
            if text:
                self._put(text)
                self._has_entries = True
        except OSError as error:
            raise self._cannot(error) from error

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            is_kept = kind is None or issubclass(kind, KeyboardInterrupt) or self._has_begun
            if is_kept:
                self._begin()
                if not self._is_plain:
                    self._file.write(self._format.end.encode())
            self._file.close()
            if self._is_new and not is_kept and self._is_plain:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            if kind is None:
                raise self._cannot(error) from error

    def _begin(self) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        if self._is_plain:
            self._file.truncate(0)
        self._put(self._format.begin)

    def _put(self, text: str) -> None:
        """Writes behind what is kept, at once, with the end of the format, which the next call replaces."""
        content = text.encode("utf-8", "surrogateescape")
        if not self._is_plain:
            _write_all(self._file, content)
            return
        self._file.seek(self._keep)
        try:
            _write_all(self._file, content + self._format.end.encode())
        except OSError:  # a full disk takes a part of it
            self._file.truncate(self._keep)
            self._file.seek(self._keep)
            _write_all(self._file, self._format.end.encode())
            raise
        self._keep += len(content)

    def _cannot(self, error: OSError) -> OutputError:
        return OutputError(f"{self.path}: cannot be written ({error.strerror or error})")


class ResultStream:
    """Records given to a function as soon as they are there, such as one that prints them; a context manager."""

    def __init__(self, write: Callable[[str], Any], written: Format) -> None:
        self._write, self._format = write, written
        self._has_begun = self._has_entries = False

    def write(self, record: Record) -> None:
        """Adds one record."""
        entry = self._format.entry(record)
        text = (self._format.between if self._has_entries and entry else "") + entry
        begin = "" if self._has_begun else self._format.begin
        self._has_begun, self._has_entries = True, self._has_entries or bool(entry)
        if begin or text:
            self._write(begin + text)

    def __enter__(self) -> ResultStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, KeyboardInterrupt) or self._has_begun:
            end = ("" if self._has_begun else self._format.begin) + self._format.end
            if end and kind is not BrokenPipeError:
                self._write(end)


def _write_all(file: io.RawIOBase, content: bytes) -> None:
    """Without a buffer a call may write only a part, as when the disk becomes full; the next one says why."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _json(value: Any) -> str:
    return json.dumps(value)  # ASCII: a file name that is no valid text still makes valid JSON
