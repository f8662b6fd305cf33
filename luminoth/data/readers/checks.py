"""The rules for bad input, the same for every format: from what an annotation states to a valid `Example`.

    picture missing, unknown or damaged          dropped
    picture with group boxes only                dropped: it is no negative
    EXIF rotation, CMYK, 16-bit, BMP, ...        encoded anew, upright, as `read_image` shows it
    size other than the annotation's             boxes kept as they are, noted; ImageNet's are stretched with it
    larger than was asked for                    shrunk, boxes with it
    box beyond the picture's edge                clipped
    box wholly outside, inverted, empty, NaN     dropped
    unknown class, group of objects              box dropped
    no objects                                   kept

Each departure is a `Finding` with file and line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from luminoth.data.readers.base import AnnotatedBox, AnnotatedImage
from luminoth.data.report import Finding, Kind
from luminoth.errors import ImageError
from luminoth.image import encode_jpeg, encode_png, find_damage, inspect_image, read_image, shrink_image
from luminoth.types import Example

# Formats whose pixels already went through a lossy codec: JPEG adds little to that, PNG would only be larger.
_LOSSY_FORMATS = frozenset({"JPEG", "MPO", "WEBP", "JPEG2000", "AVIF", "HEIF"})
# Coordinates that left the picture by rounding only are no news.
_ROUNDING_PIXELS = 0.01


@dataclass(frozen=True)
class Checked:
    """An example, or None when the picture had to be dropped, and everything odd about it."""

    example: Example | None
    findings: list[Finding]


class _UnusableError(Exception):
    """A picture that must be dropped, and why."""

    def __init__(self, kind: Kind, detail: str) -> None:
        self.kind, self.detail = kind, detail


def make_example(
    image: AnnotatedImage,
    class_ids: Mapping[str, int],
    max_size: int | None = None,
    *,
    not_fetched: str = "",
    read: Callable[[Path], bytes] = Path.read_bytes,
) -> Checked:
    """Opens, verifies and if needed re-encodes the picture, and checks its boxes. Imports no TensorFlow.

    Args:
        image: as the reader gave it.
        class_ids: class name -> id.
        max_size: most pixels of the longer side; larger pictures are shrunk to it, boxes with them. None: no limit.
        not_fetched: why the picture could not be downloaded, when that was tried (`fetch.fetch_pictures`).
        read: gives the bytes of the file at `image.path`; raises OSError.
    """
    findings = list(image.findings)
    try:
        picture = _load(image, not_fetched, read, findings)
    except _UnusableError as problem:
        return Checked(None, [*findings, Finding(problem.kind, image.image_id, str(image.path), problem.detail)])
    if image.stated_size not in (None, picture.size):
        kind = Kind.RESCALED if image.rescale else Kind.SIZE_DIFFERS
        findings.append(Finding(kind, image.image_id, image.where, _size_detail(image.stated_size, picture.size)))
    kept, corners = [], []
    for box in image.boxes:
        checked = _check_box(box, image, picture.size, class_ids, findings)
        if checked is not None:
            kept.append(box)
            corners.append(checked)
    boxes = np.asarray(corners, np.float32).reshape(-1, 4)
    if max_size is not None and max(picture.size) > max_size:
        picture, boxes = _shrink(picture, boxes, max_size, image, findings)
    example = Example(
        image_id=image.image_id,
        encoded=picture.encoded,
        image_size=picture.size,
        boxes=boxes,
        class_ids=np.asarray([class_ids[box.label] for box in kept], np.int32),
        is_crowd=np.asarray([box.is_crowd for box in kept], bool),
        is_difficult=np.asarray([box.is_difficult for box in kept], bool),
        is_truncated=np.asarray([box.is_truncated for box in kept], bool),
        filename=image.path.name,
    )
    return Checked(example, findings)


# --- Pictures ------------------------------------------------------------


@dataclass(frozen=True)
class _EncodedPicture:
    """A picture's bytes, fit for TensorFlow's decoders, and its (height, width)."""

    encoded: bytes
    size: tuple[int, int]
    is_lossy: bool


def _load(
    image: AnnotatedImage, not_fetched: str, read: Callable[[Path], bytes], findings: list[Finding]
) -> _EncodedPicture:
    if image.boxes and all(box.is_group for box in image.boxes):
        raise _UnusableError(Kind.ONLY_GROUPS, f"{len(image.boxes)} of them, {image.boxes[0].where}")
    try:
        encoded = read(image.path)
    except FileNotFoundError as error:
        raise _UnusableError(Kind.MISSING_IMAGE, not_fetched or f"named in {image.where}") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _UnusableError(Kind.MISSING_IMAGE, getattr(error, "strerror", None) or str(error)) from error
    name = image.path.name
    if not encoded:
        raise _UnusableError(Kind.DAMAGED_IMAGE, "the file is empty")
    try:
        info = inspect_image(encoded, name)
    except ImageError as error:
        raise _UnusableError(Kind.UNKNOWN_IMAGE, str(error)) from error
    is_lossy = info.format in _LOSSY_FORMATS
    reason = info.needs_reencoding or find_damage(encoded)
    if reason is None:
        return _EncodedPicture(encoded, info.size, is_lossy)
    try:
        pixels = read_image(encoded)
    except ImageError as error:
        raise _UnusableError(Kind.DAMAGED_IMAGE, str(error)) from error
    detail = f"{reason}; now {'JPEG' if is_lossy else 'PNG'}"
    findings.append(Finding(Kind.REENCODED, image.image_id, str(image.path), detail))
    return _encode(pixels, is_lossy)


def _encode(pixels: np.ndarray, is_lossy: bool) -> _EncodedPicture:
    return _EncodedPicture((encode_jpeg if is_lossy else encode_png)(pixels), pixels.shape[:2], is_lossy)


def _shrink(
    picture: _EncodedPicture, boxes: np.ndarray, max_size: int, image: AnnotatedImage, findings: list[Finding]
) -> tuple[_EncodedPicture, np.ndarray]:
    height, width = picture.size
    factor = max_size / max(height, width)
    new_size = max(1, round(height * factor)), max(1, round(width * factor))
    detail = f"{width} x {height}, now {new_size[1]} x {new_size[0]} (width x height)"
    findings.append(Finding(Kind.SHRUNK, image.image_id, str(image.path), detail))
    shrunk = _encode(shrink_image(read_image(picture.encoded), new_size), picture.is_lossy)
    y_factor, x_factor = new_size[0] / height, new_size[1] / width
    return shrunk, boxes * np.asarray([x_factor, y_factor, x_factor, y_factor], np.float32)


def _size_detail(stated: tuple[int, int], actual: tuple[int, int]) -> str:
    detail = f"stated {stated[1]} x {stated[0]}, is {actual[1]} x {actual[0]} (width x height)"
    if stated == actual[::-1]:
        detail += "; the sides are swapped: were the boxes drawn on the picture before its rotation?"
    return detail


# --- Boxes ------------------------------------------------------------


def _check_box(
    box: AnnotatedBox,
    image: AnnotatedImage,
    size: tuple[int, int],
    class_ids: Mapping[str, int],
    findings: list[Finding],
) -> tuple[float, float, float, float] | None:
    """The box in pixels, inside the picture; None when it must be dropped."""
    height, width = size
    corners = box.corners
    if image.relative:
        corners = (corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height)
    elif image.rescale and image.stated_size is not None:
        y_factor, x_factor = height / image.stated_size[0], width / image.stated_size[1]
        corners = (corners[0] * x_factor, corners[1] * y_factor, corners[2] * x_factor, corners[3] * y_factor)
    x_min, y_min, x_max, y_max = corners
    clipped = (_clip(x_min, width), _clip(y_min, height), _clip(x_max, width), _clip(y_max, height))

    kind = None
    if box.label not in class_ids:
        kind, detail = Kind.UNKNOWN_CLASS, f"{box.label!r}" if box.label else "no class is named"
    elif box.is_group:
        kind, detail = Kind.GROUP, box.label
    elif not all(math.isfinite(value) for value in corners):
        kind, detail = Kind.NOT_A_NUMBER, _numbers(corners)
    elif x_max < x_min or y_max < y_min:
        kind, detail = Kind.INVERTED, _numbers(corners)
    elif x_max == x_min or y_max == y_min:
        kind, detail = Kind.NO_AREA, _numbers(corners)
    elif not _has_area(clipped):
        kind, detail = Kind.OUTSIDE, f"{_numbers(corners)}, picture {width} x {height}"
    if kind is not None:
        findings.append(Finding(kind, image.image_id, box.where, detail))
        return None
    if max(abs(a - b) for a, b in zip(corners, clipped, strict=True)) > _ROUNDING_PIXELS:
        detail = f"{_numbers(corners)}, picture {width} x {height}"
        findings.append(Finding(Kind.CLIPPED, image.image_id, box.where, detail))
    return clipped


def _clip(value: float, largest: int) -> float:
    return min(max(value, 0.0), float(largest))


def _has_area(corners: tuple[float, float, float, float]) -> bool:
    """Judged as float32, in which it will be stored."""
    x_min, y_min, x_max, y_max = np.asarray(corners, np.float32)
    return bool(x_max > x_min and y_max > y_min)


def _numbers(corners: tuple[float, float, float, float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in corners) + "]"
