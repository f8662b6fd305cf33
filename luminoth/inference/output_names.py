"""Names for what is made of pictures and videos: none overwrites another, nor a file that is looked at."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePath

from luminoth.errors import OutputError

# Endings in which drawn pictures are written. Others become PNG, which holds any picture unchanged, but for those that
# are photos in any case.
_KEPT_ENDINGS = (".jpg", ".jpeg", ".png")
_PHOTO_ENDINGS = (".heic", ".heif", ".avif", ".jpe", ".jfif")


class OutputNames:
    """Gives every input a path of its own below a folder.

    Names that differ only in case count as the same, since they are on macOS and Windows. The same inputs in the same
    order get the same names again, so that an interrupted run can be resumed. What is held of a name is a number:
    should two names ever have the same one, the second gets a `-2` that it would not need.

    Args:
        folder: where the outputs go.
        is_input: whether a path is one of the files that are looked at.
        reserved: names in `folder` that are taken for something else.
    """

    def __init__(
        self, folder: Path, is_input: Callable[[Path], bool] = lambda path: False, reserved: tuple[str, ...] = ()
    ) -> None:
        self._folder = folder
        self._is_input = is_input
        self._taken = {_key(PurePath(name)) for name in reserved}

    def path_for(self, relative: PurePath, suffix: str) -> Path:
        """`folder / relative` with that ending; `-2`, `-3` ... is added to the name when it is taken."""
        inside = PurePath(*(part for part in relative.parts if part not in ("..", relative.anchor)))
        plain = candidate = inside.with_suffix(suffix)
        number = 1
        while _key(candidate) in self._taken or self._is_input(self._folder / candidate):
            number += 1
            candidate = plain.with_stem(f"{plain.stem}-{number}")
        self._taken.add(_key(candidate))
        return self._folder / candidate


def picture_ending(relative: PurePath) -> str:
    """The ending of a picture's drawn copy: JPEG and PNG stay what they are."""
    ending = relative.suffix.lower()
    if ending in _KEPT_ENDINGS:
        return relative.suffix
    return ".jpg" if ending in _PHOTO_ENDINGS else ".png"


def as_file_name(text: str) -> str:
    """A text, such as the name of a class, as a name that every system accepts for a file or folder."""
    return re.sub(r'[\x00-\x1f/\\:*?"<>|]+', "_", text).strip(" .") or "_"


def make_folder(folder: Path) -> None:
    """Makes a folder where it is missing, and tries whether files can be written to it.

    Raises:
        OutputError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written to ({error.strerror or error}); name another folder") from error


def _key(path: PurePath) -> int:
    return hash(os.path.normcase(path.as_posix().casefold()))
