"""The rules for bad input, the same for every format: from what an annotation states to a valid `Example`.

    picture missing, unknown or damaged          dropped
    EXIF rotation, CMYK, 16-bit, BMP, ...        encoded anew, upright, as `read_image` shows it
    size other than the annotation's             boxes kept as they are, noted
    box beyond the picture's edge                clipped
    box wholly outside, inverted, empty, NaN     dropped
    unknown class                                box dropped
    no objects                                   kept

Each departure is a `Finding` with file and line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from luminoth.data.readers.base import AnnotatedBox, AnnotatedImage
from luminoth.data.report import Finding, Kind
from luminoth.errors import ImageError
from luminoth.image import encode_jpeg, encode_png, inspect_image, read_image
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


def make_example(image: AnnotatedImage, class_ids: dict[str, int]) -> Checked:
    """Opens, verifies and if needed re-encodes the picture, and checks its boxes.

    Args:
        image: as the reader gave it.
        class_ids: class name -> id.
    """
    findings = list(image.findings)
    try:
        encoded, size = _load(image, findings)
    except _UnusableError as problem:
        return Checked(None, [*findings, Finding(problem.kind, image.image_id, str(image.path), problem.detail)])
    if image.stated_size is not None and image.stated_size != size:
        findings.append(Finding(Kind.SIZE_DIFFERS, image.image_id, image.where, _size_detail(image.stated_size, size)))
    kept, corners = [], []
    for box in image.boxes:
        checked = _check_box(box, image, size, class_ids, findings)
        if checked is not None:
            kept.append(box)
            corners.append(checked)
    example = Example(
        image_id=image.image_id,
        encoded=encoded,
        image_size=size,
        boxes=np.asarray(corners, np.float32).reshape(-1, 4),
        class_ids=np.asarray([class_ids[box.label] for box in kept], np.int32),
        is_crowd=np.asarray([box.is_crowd for box in kept], bool),
        is_difficult=np.asarray([box.is_difficult for box in kept], bool),
        is_truncated=np.asarray([box.is_truncated for box in kept], bool),
        filename=image.path.name,
    )
    return Checked(example, findings)


# --- Pictures ------------------------------------------------------------


def _load(image: AnnotatedImage, findings: list[Finding]) -> tuple[bytes, tuple[int, int]]:
    """The picture's bytes, fit for TensorFlow's decoders, and its (height, width)."""
    try:
        encoded = image.path.read_bytes()
    except FileNotFoundError as error:
        raise _UnusableError(Kind.MISSING_IMAGE, f"named in {image.where}") from error
    except OSError as error:
        raise _UnusableError(Kind.MISSING_IMAGE, error.strerror or str(error)) from error
    name = image.path.name
    if not encoded:
        raise _UnusableError(Kind.DAMAGED_IMAGE, "the file is empty")
    try:
        info = inspect_image(encoded, name)
    except ImageError as error:
        raise _UnusableError(Kind.UNKNOWN_IMAGE, str(error)) from error
    reason = info.needs_reencoding
    if reason is None and _tensorflow_decodes(encoded):
        return encoded, info.size
    try:
        pixels = read_image(encoded)
    except ImageError as error:
        raise _UnusableError(Kind.DAMAGED_IMAGE, str(error)) from error
    as_jpeg = info.format in _LOSSY_FORMATS
    detail = f"{reason or 'TensorFlow refuses the file'}; now {'JPEG' if as_jpeg else 'PNG'}"
    findings.append(Finding(Kind.REENCODED, image.image_id, str(image.path), detail))
    return (encode_jpeg if as_jpeg else encode_png)(pixels), pixels.shape[:2]


def _tensorflow_decodes(encoded: bytes) -> bool:
    """Whether the decoder of the input pipeline reads the whole picture.

    It is asked itself, since it is stricter than Pillow: it refuses a PNG with a wrong checksum or without an end,
    which would otherwise stop a training run hours later.
    """
    is_jpeg = encoded.startswith(b"\xff\xd8")
    if is_jpeg and b"\xff\xd9" not in encoded[-65536:]:
        return False  # cut off; libjpeg would complain on standard error

    import tensorflow as tf

    try:
        tf.io.decode_image(encoded, channels=3, expand_animations=False)
    except tf.errors.InvalidArgumentError:
        return False
    return True


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
    class_ids: dict[str, int],
    findings: list[Finding],
) -> tuple[float, float, float, float] | None:
    """The box in pixels, inside the picture; None when it must be dropped."""
    height, width = size
    corners = box.corners
    if image.relative:
        corners = (corners[0] * width, corners[1] * height, corners[2] * width, corners[3] * height)
    x_min, y_min, x_max, y_max = corners
    clipped = (_clip(x_min, width), _clip(y_min, height), _clip(x_max, width), _clip(y_max, height))

    kind = None
    if box.label not in class_ids:
        kind, detail = Kind.UNKNOWN_CLASS, f"{box.label!r}" if box.label else "no class is named"
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
