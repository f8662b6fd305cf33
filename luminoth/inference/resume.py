"""What an earlier run has written, so that a later one goes on with what is missing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from luminoth.errors import OutputError


@dataclass(frozen=True)
class Earlier:
    """The records of an earlier run that are kept.

    Attributes:
        files: names of pictures and videos that are done.
        keep_bytes: so much of the file stays.
        has_records: whether there are records in that.
        unfinished: the video that was the last one, of which it is not known whether it is whole; its records are
            behind `keep_bytes`. None: the last one was a picture.
        last_frame: the number of its last frame.
        bytes_with_unfinished: so much of the file stays when it turns out to be whole.
    """

    files: set[str]
    keep_bytes: int
    has_records: bool
    unfinished: str | None
    last_frame: int
    bytes_with_unfinished: int

    def with_unfinished(self) -> Earlier:
        """As this, with the last video being whole."""
        if self.unfinished is None:
            return self
        files = self.files | {self.unfinished}
        return Earlier(files, self.bytes_with_unfinished, True, None, -1, self.bytes_with_unfinished)


def read_earlier(path: Path, format_name: str) -> Earlier | None:
    """What is kept of a file of results: all records but those of a last video; None: there is no such file.

    A last line that was cut off is left out, and of a table all of the last picture or video.

    Raises:
        OutputError: the file is in another form than `lumi predict` writes.
    """
    if not path.is_file() or path.stat().st_size == 0:
        return None
    files: set[str] = set()
    name = frame = None
    start_of_last = end = 0
    for record in _records(path, format_name):
        if record.name != name:
            files.update(() if name is None else (name,))
            start_of_last = record.begin
        name, frame, end = record.name, record.frame, record.end
    is_video, is_table = frame is not None, format_name == "csv"
    # In a table, a picture or frame has as many rows as objects, of which the last may be missing.
    is_certain = not is_video and not is_table
    if name is not None and is_certain:
        files.add(name)
    return Earlier(
        files=files,
        keep_bytes=end if is_certain or name is None else start_of_last,
        has_records=bool(files),
        unfinished=name if is_video and not is_table else None,
        last_frame=frame if is_video else -1,
        bytes_with_unfinished=end,
    )


class _Record(NamedTuple):
    """What matters of a record, and the bytes it takes with what separates it from the one before.

    The first one of a format with a header is that header, which has no name.
    """

    begin: int
    end: int
    name: str | None
    frame: int | None


def _records(path: Path, format_name: str) -> Iterator[_Record]:
    header = {"json": b"[\n", "csv": b"file,frame,time,"}.get(format_name, b"")
    parse = _parse_csv if format_name == "csv" else _parse_json
    with path.open("rb") as file:
        first = file.readline() if header else b""
        if not first.startswith(header):
            raise _other_form(path, 1)
        at = end_before = len(first)
        yield _Record(0, at, None, None)
        for number, line in enumerate(file, start=2 if header else 1):
            if format_name == "json" and line == b"]\n":
                return
            text = line.rstrip(b",\n") if format_name == "json" else line
            found = parse(text) if format_name == "json" or line.endswith(b"\n") else None
            if found is None:
                if number == 1 or file.readline():  # one that was cut off is the last
                    raise _other_form(path, number)
                return
            yield _Record(end_before, at + len(text), *found)
            end_before = at + len(text)
            at += len(line)


def _parse_json(line: bytes) -> tuple[str, int | None] | None:
    try:
        record = json.loads(line)
        return record["file"], record.get("frame")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _parse_csv(line: bytes) -> tuple[str, int | None] | None:
    try:
        row = next(csv.reader([line.decode("utf-8", "surrogateescape")]))
        return row[0], int(row[1]) if row[1] else None
    except (csv.Error, ValueError, LookupError, StopIteration):
        return None


def _other_form(path: Path, line: int) -> OutputError:
    return OutputError(
        f"{path}: line {line} is not what `lumi predict` writes, so nothing can be resumed; name another file with -f, "
        "or leave out --resume to replace this one"
    )
