"""File names for pictures that come out of records: from where they came, and no two alike."""

from __future__ import annotations

import re
import unicodedata

from luminoth.errors import DataError, ImageError
from luminoth.image import IMAGE_EXTENSIONS, inspect_image
from luminoth.types import Example

# Pillow's name of a format -> the extensions that fit it; the first is given where another one stood.
_EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}
_ABSOLUTE = re.compile(r"/|[A-Za-z]:/|\w+://")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


class PictureNames:
    """Names for the pictures of one folder, as `street/1.jpg`.

    A name is the record's file name. Where that was cut down to its last part (`1.jpg` of the picture `street/1`), the
    folders come from the picture's id. The extension becomes one that fits the bytes. Names that are taken, also those
    that differ only in case, extension or in how accents are encoded, get a number: `1-2.jpg`.
    """

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}

    def claim(self, example: Example) -> str:
        """A name that no other picture has.

        Raises:
            DataError: the record holds no picture.
        """
        stem, extension = picture_name(example)
        return self.claim_stem(stem) + extension

    def claim_stem(self, stem: str) -> str:
        """`stem`, or when it is taken the first of `stem-2`, `stem-3`, ... that is not."""
        number = self._taken.get(_key(stem), 0) + 1
        candidate = stem if number == 1 else f"{stem}-{number}"
        while _key(candidate) in self._taken:
            number += 1
            candidate = f"{stem}-{number}"
        self._taken[_key(stem)] = number
        self._taken.setdefault(_key(candidate), 1)
        return candidate


def picture_name(example: Example) -> tuple[str, str]:
    """The name that suits a picture, as path without extension (`street/1`) and extension (`.jpg`).

    Raises:
        DataError: the record holds no picture.
    """
    *folders, name = _parts(example.filename or example.image_id) or ["picture"]
    stem, extension = _split(name)
    *id_folders, id_name = _parts(example.image_id) or [""]
    if not folders and _split(id_name)[0] == stem:
        folders = id_folders
    return "/".join([*folders, stem]), _fitting(extension, example)


def _parts(path: str) -> list[str]:
    """The folders and the name of a relative path; of another one (`/data/1.jpg`, `C:\\1.jpg`) only the name."""
    path = path.replace("\\", "/")
    parts = [_CONTROL_CHARACTERS.sub("_", part).strip() for part in path.split("/")]
    parts = [part for part in parts if part not in ("", ".", "..")]
    return parts[-1:] if _ABSOLUTE.match(path) else parts


def _split(name: str) -> tuple[str, str]:
    """A file name without and with only its extension, if that is one of pictures: `v1.2` has none."""
    stem, dot, extension = name.rpartition(".")
    is_picture = stem and f".{extension.lower()}" in IMAGE_EXTENSIONS
    return (stem, dot + extension.lower()) if is_picture else (name, "")


def _fitting(extension: str, example: Example) -> str:
    try:
        kind = inspect_image(example.encoded, example.image_id).format
    except ImageError as error:
        raise DataError(f"record {example.image_id!r} holds no picture ({error})") from error
    fitting = _EXTENSIONS.get(kind, (f".{kind.lower()}",))
    return extension if extension in fitting else fitting[0]


def _key(stem: str) -> str:
    return unicodedata.normalize("NFC", stem).casefold()
