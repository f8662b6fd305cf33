"""Where predictions are written: JSON lines, in a file or on a stream."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from luminoth.errors import OutputError


class ResultFile:
    """JSON lines in a file that carries its name only when it is complete; a context manager.

    Written beside its place and renamed at the end of the block, also when that is left by Ctrl-C: the lines
    until then are whole. After any other error an earlier file of that name is as it was. What is no plain file,
    such as a pipe or `/dev/stdout`, is written to as it is.

    Args:
        path: folders that are missing are made.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file in it")
        self._is_plain = path.is_file() or not path.exists()
        self._target = path.resolve() if self._is_plain else path  # a link stays one
        self._unfinished = self._target.with_name(f".{path.name}.unfinished") if self._is_plain else path
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._unfinished, "w", encoding="utf-8")  # noqa: SIM115 - closed in __exit__
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds one line."""
        try:
            self._file.write(_line(record))
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error

    def __enter__(self) -> ResultFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._file.close()
            if self._is_plain and (kind is None or issubclass(kind, KeyboardInterrupt)):
                os.replace(self._unfinished, self._target)
        except OSError as error:
            if kind is None:
                raise OutputError(f"{self.path}: cannot be written ({error.strerror or error})") from error
        finally:
            if self._is_plain:
                self._unfinished.unlink(missing_ok=True)


class ResultStream:
    """JSON lines given to a function as soon as they are there, such as one that prints them; a context manager."""

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds one line."""
        self._write(_line(record))

    def __enter__(self) -> ResultStream:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record) + "\n"  # ASCII: a file name that is no valid text still makes a valid line
