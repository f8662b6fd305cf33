"""Which files a user means: pictures and videos, given one by one or as folders; and names for what is made of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from luminoth.errors import DataError
from luminoth.image import IMAGE_EXTENSIONS

VIDEO_EXTENSIONS = frozenset(
    (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".mts", ".m2ts")
)


@dataclass(frozen=True)
class MediaFile:
    """One file to look at.

    Attributes:
        path: as the user gave it, or below the folder they gave.
        kind: by the file's ending; a file given by name with another ending counts as an image.
        relative: its place within the folder the user gave; the bare name for a file given by name.
    """

    path: Path
    kind: Literal["image", "video"]
    relative: Path


def find_media(
    paths: Sequence[str | os.PathLike], *, recursive: bool = False, leave_out: Path | None = None
) -> list[MediaFile]:
    """The pictures and videos among files and folders, each once, folders in natural order (2 before 10).

    Args:
        paths: files, taken whatever their ending, and folders, of which the files with a known ending (in
            any case) are taken. Hidden ones are not: macOS puts `._photo.jpg` beside `photo.jpg`.
        recursive: search folders deeper.
        leave_out: a folder inside the given ones that is not searched: where results go.

    Raises:
        DataError: a path does not exist, or a folder holds nothing to look at.
    """
    found: dict[Path, MediaFile] = {}
    for path in map(Path, paths):
        if path.is_dir():
            files = list(_in_folder(path, recursive, leave_out))
            if not files:
                raise DataError(_nothing_in(path, recursive))
        elif path.exists():
            files = [MediaFile(path, _kind(path) or "image", Path(path.name))]
        else:
            raise DataError(f"{path}: there is no such file or folder")
        for file in files:
            found.setdefault(file.path.resolve(), file)
    return list(found.values())


class OutputNames:
    """Gives every input a path of its own below a folder; no input is overwritten, no two outputs collide.

    Names that differ only in case count as the same, since they are on macOS and Windows.

    Args:
        folder: where the outputs go.
        inputs: the files that must not be overwritten.
        reserved: names in `folder` that are taken for something else.
    """

    def __init__(self, folder: Path, inputs: Iterable[MediaFile], reserved: Iterable[str] = ()) -> None:
        self._folder = folder
        self._taken = {_key(file.path) for file in inputs} | {_key(folder / name) for name in reserved}

    def path_for(self, file: MediaFile, suffix: str) -> Path:
        """`folder / relative path` with that ending; `-2`, `-3` ... is added to the name when it is taken."""
        plain = (self._folder / file.relative).with_suffix(suffix)
        candidate, number = plain, 1
        while _key(candidate) in self._taken:
            number += 1
            candidate = plain.with_stem(f"{plain.stem}-{number}")
        self._taken.add(_key(candidate))
        return candidate


def accepted_endings() -> str:
    """For messages: `.bmp .gif ... (images), .avi ... (videos)`."""
    return f"{' '.join(sorted(IMAGE_EXTENSIONS))} (images), {' '.join(sorted(VIDEO_EXTENSIONS))} (videos)"


def _kind(path: Path) -> Literal["image", "video"] | None:
    suffix = path.suffix.lower()
    if suffix in IMAGE_EXTENSIONS:
        return "image"
    return "video" if suffix in VIDEO_EXTENSIONS else None


def _in_folder(folder: Path, recursive: bool, leave_out: Path | None) -> Iterator[MediaFile]:
    searched = {leave_out.resolve()} if leave_out is not None else set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        here = Path(parent)
        searched.add(here.resolve())
        # A link may lead back to a folder that was searched already.
        deeper = [name for name in folders if not name.startswith(".") and (here / name).resolve() not in searched]
        folders[:] = sorted(deeper, key=_natural) if recursive else []
        for name in sorted(names, key=_natural):
            path = here / name
            kind = _kind(path)
            if kind is not None and not name.startswith(".") and path.is_file():
                yield MediaFile(path, kind, path.relative_to(folder))


def _nothing_in(folder: Path, recursive: bool) -> str:
    message = f"no images or videos found in {folder}, accepted endings: {accepted_endings()}"
    if not recursive and next(_in_folder(folder, True, None), None) is not None:
        message += "; there are some in its subfolders: add -r to search them"
    return message


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts `frame2` before `frame10`."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part] + [(2, 0, name)]


def _key(path: Path) -> str:
    return os.path.realpath(path).casefold()
