"""Saves each object that was found as a picture of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from luminoth.errors import OutputError
from luminoth.inference.output_names import OutputNames, as_file_name


class Crops:
    """Writes objects as `folder/class/file-1.jpg`, and those of videos as `folder/class/video.mp4/000012-1.jpg`.

    The number is the object's place among those of its picture or frame, the surest first.

    Args:
        folder: where they go.
        margin: how much of what is around an object is kept, as a share of its width and height on each side.
    """

    def __init__(self, folder: Path, margin: float) -> None:
        self._folder, self._margin = folder, margin
        self._names = OutputNames(PurePath())

    def begin(self, relative: PurePath, *, is_video: bool) -> PurePath:
        """What the names of a file's objects begin with; to be called once for each file, in their order."""
        if is_video:
            return PurePath(self._names.path_for(relative, relative.suffix or ".video"))
        return PurePath(self._names.path_for(relative, ""))

    def save(self, begin: PurePath, pixels: np.ndarray, objects: Sequence[dict], frame: int | None = None) -> None:
        """Writes the objects of a picture or frame.

        Args:
            begin: what `begin` gave for the file.
            pixels: uint8 RGB [H, W, 3].
            objects: `{"bbox": [x_min, y_min, x_max, y_max], "label": str}` each.
            frame: its number, of a video.

        Raises:
            OutputError: a file cannot be written.
        """
        for number, found in enumerate(objects, start=1):
            inside = begin / f"{frame:06d}-{number}.jpg" if frame is not None else f"{begin}-{number}.jpg"
            path = self._folder / as_file_name(found["label"]) / inside
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                save_picture(Image.fromarray(self._cut(pixels, found["bbox"])), path)
            except OSError as error:
                raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error

    def _cut(self, pixels: np.ndarray, bbox: Sequence[float]) -> np.ndarray:
        """At least one pixel of the picture."""
        height, width = pixels.shape[:2]
        x_min, y_min, x_max, y_max = bbox
        right, down = self._margin * (x_max - x_min), self._margin * (y_max - y_min)
        left, top = max(0, min(round(x_min - right), width - 1)), max(0, min(round(y_min - down), height - 1))
        return pixels[top : max(top + 1, round(y_max + down)), left : max(left + 1, round(x_max + right))]


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a picture beside its place and renames it when it is whole.

    Args:
        picture: any mode that JPEG, or PNG, takes.
        path: ends in `.jpg`, `.jpeg` or `.png`.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        picture.save(unfinished, "PNG" if path.suffix.lower() == ".png" else "JPEG", quality=92)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
