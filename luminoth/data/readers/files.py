"""Finding the file that an annotation names, forgiving extension, case and Unicode form."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterator
from functools import cached_property
from pathlib import Path

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
            if path.is_file():
                return path
        key = _key(name)
        same_name = [self._by_name[key + extension] for extension in extensions if key + extension in self._by_name]
        return same_name[0] if same_name else self._by_stem.get(key, self._by_stem.get(self._stem(key)))

    def __iter__(self) -> Iterator[Path]:
        """All files, sorted by name."""
        return iter(sorted(self._by_name.values()))

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        found = {}
        for parent, _, names in os.walk(self.folder):
            for path in (Path(parent, name) for name in sorted(names)):
                if path.suffix.lower() in self._suffixes:
                    found.setdefault(_key(path.relative_to(self.folder).as_posix()), path)
        return found

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for name, path in self._by_name.items():
            found.setdefault(self._stem(name), path)
        return found

    def _stem(self, key: str) -> str:
        stem, extension = os.path.splitext(key)
        return stem if extension in self._suffixes else key


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./")).casefold()
