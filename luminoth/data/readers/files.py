"""Finding the file that an annotation names, forgiving extension, case and Unicode form; reading text and JSON."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable, Collection, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from luminoth.errors import DataError
from luminoth.image import IMAGE_EXTENSIONS


class FileFinder:
    """The files below a folder, by name.

    An exact name is found without listing the folder. Otherwise names are compared without regard to case
    (`A.JPG` is `a.jpg`), to how accents are encoded (macOS writes them apart) and to the extension.

    Args:
        folder: where to look, deeper folders included.
        suffixes: the kinds of files that count, lower case.
    """

    def __init__(self, folder: Path, suffixes: Collection[str] = IMAGE_EXTENSIONS) -> None:
        self.folder, self._suffixes = folder, suffixes

    def find(self, name: str, extensions: tuple[str, ...] = ("",)) -> Path | None:
        """The file called `name` plus one of `extensions`, or else one that differs only as said above."""
        for extension in extensions:
            path = self.folder / (name + extension)
            if os.path.isfile(path):  # unlike Path's method it only says no to a name that no file can have
                return path
        key = _key(name)
        same_name = (self._by_key[key + extension] for extension in extensions if key + extension in self._by_key)
        found = next(same_name, None) or self._by_stem.get(key) or self._by_stem.get(self._stem(key))
        return self.folder / found if found else None

    def __iter__(self) -> Iterator[Path]:
        """All files, sorted by name."""
        return (self.folder / name for name in self._names)

    def __len__(self) -> int:
        return len(self._names)

    # Names are kept, not paths: there may be a million, and paths take long to make and to sort.

    @cached_property
    def _names(self) -> list[str]:
        """Of all files, relative to the folder."""
        names = []
        for parent, _, files in os.walk(self.folder):
            below = os.path.relpath(parent, self.folder).replace(os.sep, "/") + "/"
            below = "" if below == "./" else below
            names += [below + file for file in files if os.path.splitext(file)[1].lower() in self._suffixes]
        return sorted(names)

    @cached_property
    def _by_key(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self._names:
            found.setdefault(_key(name), name)
        return found

    @cached_property
    def _by_stem(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, name in self._by_key.items():
            found.setdefault(self._stem(key), name)
        return found

    def _stem(self, key: str) -> str:
        stem, extension = os.path.splitext(key)
        return stem if extension in self._suffixes else key


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./")).casefold()


def files_in(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """The files of these kinds (lower case) in a folder itself, in no order, one after the other as they are found."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        yield from (Path(entry) for entry in entries if os.path.splitext(entry.name)[1].lower() in suffixes)


def holds_file(folder: Path, suffixes: Collection[str]) -> bool:
    """Whether a folder itself holds a file of one of these kinds; looks no further than the first."""
    return next(files_in(folder, suffixes), None) is not None


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; hidden ones do not count."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def read_start(path: Path, size: int = 4096) -> str:
    """The first `size` bytes of a file as text, to tell its kind; what is not UTF-8 is replaced."""
    try:
        with path.open("rb") as file:
            return file.read(size).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def read_json(path: Path, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it cannot be read, or is not JSON.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            return json.load(file, object_hook=object_hook)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from error
