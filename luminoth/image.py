"""The one loader of pictures: every command and the Python API read through it.

A picture comes out as uint8 RGB, upright: EXIF rotation is applied, grey and palette pictures become
RGB, transparency is laid over white, CMYK is converted, 16-bit samples are scaled (not cut).
"""

from __future__ import annotations

import io
import math
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from luminoth.errors import ImageError

IMAGE_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})
MAX_PIXELS = 500_000_000

# What Pillow's decoders raise on damaged files, each in its own way.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, ArithmeticError, LookupError, TypeError, struct.error)

# Pillow has one limit for the whole process, below ours, which is lifted while a header or a huge picture is read.
_PILLOWS_LIMIT = threading.Lock()

_EXIF_ORIENTATION = 0x0112
_DIRECT_MODES = {"JPEG": {"L", "RGB"}, "PNG": {"L", "RGB", "P", "1"}}


@dataclass(frozen=True)
class ImageInfo:
    """What a file's header says of a picture.

    Attributes:
        format: Pillow's name, such as "JPEG".
        size: (height, width) of the upright picture, in pixels.
        needs_reencoding: why TensorFlow's decoders would not show it as `read_image` does ("EXIF rotation",
            "CMYK", ...), or None when they would.
    """

    format: str
    size: tuple[int, int]
    needs_reencoding: str | None


def read_image(
    source: str | os.PathLike | bytes | IO[bytes] | Image.Image | np.ndarray,
    *,
    name: str | None = None,
    max_pixels: int | None = None,
) -> np.ndarray:
    """Reads a picture as uint8 RGB [H, W, 3], upright.

    Args:
        source: a path, the bytes of a file, an open binary file, a PIL image, or an array: uint8 [H, W, 3]
            RGB (returned as it is), [H, W] grey or [H, W, 4] RGBA.
        name: what errors call it; by default the name of the file.
        max_pixels: a file that says it has more is refused before it is decoded; `MAX_PIXELS` by default.

    Raises:
        ImageError: there is no such file, it is not a picture, it is damaged or larger than `max_pixels`.
    """
    if isinstance(source, np.ndarray):
        return _array_to_rgb(source)
    name = name or _name_of(source)
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(ImageOps.exif_transpose(source))
        image = _open(source, name, max_pixels)
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            with _whatever_size():  # Pillow looks at a TIFF's size once more when it decodes it
                image.load()
        ImageOps.exif_transpose(image, in_place=True)  # no copy: that of a huge picture is as large
        return _to_rgb(image)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, for TIFF, is below ours
        raise ImageError(f"{name}: the picture has more pixels than can be decoded ({error}); shrink it") from error
    except _DAMAGE as error:
        raise ImageError(f"{name}: the picture is damaged or cut off ({error})") from error


def inspect_image(encoded: bytes, name: str = "image") -> ImageInfo:
    """Reads format and size from the header, without decoding the pixels.

    Raises:
        ImageError: the bytes are not a picture.
    """
    image = _open(encoded, name)
    height, width = image.height, image.width
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # a broken EXIF block says nothing about the pixels
        orientation = 1
    if orientation in (5, 6, 7, 8):
        height, width = width, height
    return ImageInfo(image.format or "", (height, width), _reencoding_reason(image, orientation))


def stated_pixels(source: str | os.PathLike | IO[bytes]) -> int:
    """How many pixels a picture says it has, by the first bytes of its file; 0: none that are understood."""
    try:
        with _whatever_size(), Image.open(source) as image:
            return image.width * image.height
    except Exception:  # what is wrong is told when it is read
        return 0


def find_damage(encoded: bytes) -> str | None:
    """Why TensorFlow would not decode the whole of a JPEG or PNG file, though Pillow may; None when it will.

    The whole file is decoded, at an eighth of its size where it is a JPEG: all its bits are read then, and most
    of the arithmetic is saved. TensorFlow is the stricter of the two: it refuses a JPEG without an end and a PNG with
    a wrong checksum, which would stop a training run hours later.
    """
    is_jpeg = encoded.startswith(b"\xff\xd8")
    if is_jpeg and b"\xff\xd9" not in encoded[-65536:]:
        return "cut off"
    if not is_jpeg and not _png_blocks_are_whole(encoded):
        return "cut off, or a checksum is wrong"
    try:
        image = _open(encoded, "image")
        if is_jpeg:
            image.draft("L", (image.width // 8, image.height // 8))
        image.load()
    except ImageError as error:
        return str(error)
    except _DAMAGE as error:
        return f"damaged ({error})"
    return None


def _png_blocks_are_whole(encoded: bytes) -> bool:
    """Whether a PNG's blocks are whole up to the one that ends it; Pillow looks at no checksum of pixels."""
    at = 8  # behind the signature
    while at + 12 <= len(encoded):
        length, kind = struct.unpack_from(">I4s", encoded, at)
        end = at + 12 + length
        if encoded[end - 4 : end] != struct.pack(">I", zlib.crc32(encoded[at + 4 : end - 4])):
            return False
        if kind == b"IEND":
            return length == 0
        at = end
    return False


def shrink_image(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A smaller picture, antialiased.

    Args:
        pixels: uint8 RGB [H, W, 3].
        size: the new (height, width).
    """
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.LANCZOS, reducing_gap=3.0))


def grey_thumbnail(encoded: bytes, side: int) -> np.ndarray:
    """A picture stretched to a small square of grey levels, upright; of a JPEG only what that needs is decoded.

    Args:
        encoded: the bytes of a file.
        side: of the square, in pixels.

    Returns:
        uint8 [side, side]: means that overlap a little, so that they change smoothly as the picture is cut or resized.

    Raises:
        ImageError: the bytes are not a picture, or it is damaged.
    """
    image = _open(encoded, "image")
    if image.format == "JPEG":
        image.draft("L", (4 * side, 4 * side))
    grey = Image.fromarray(read_image(image)).convert("L")
    return np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR))


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 RGB [H, W, 3] without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encode_jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    """Encodes uint8 RGB [H, W, 3] as JPEG with full chroma resolution."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def _open(source: Any, name: str, max_pixels: int | None = None) -> Image.Image:
    try:
        if isinstance(source, (str, os.PathLike)):
            source = Path(source).read_bytes()
        if isinstance(source, bytes):
            if not source:
                raise ImageError(f"{name}: the file is empty")
            source = io.BytesIO(source)
        with _whatever_size():
            image = _open_heif_or_other(source, name)
    except FileNotFoundError as error:
        raise ImageError(f"{name}: there is no such file") from error
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture that can be read (no decoder knows its bytes)") from error
    except OSError as error:
        if error.errno is not None:  # the system's, about the file
            raise ImageError(f"{name}: cannot be read ({error.strerror})") from error
        raise ImageError(f"{name}: the picture is damaged or cut off ({error})") from error
    except _DAMAGE as error:
        raise ImageError(f"{name}: the picture is damaged or cut off ({error})") from error
    max_pixels = MAX_PIXELS if max_pixels is None else max_pixels
    if image.width * image.height > max_pixels:
        raise ImageError(
            f"{name}: {image.width} x {image.height} pixels is more than the accepted {max_pixels:,}; shrink it"
        )
    return image


@contextmanager
def _whatever_size() -> Iterator[None]:
    with _PILLOWS_LIMIT:
        previous, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = previous


def _open_heif_or_other(source: Any, name: str) -> Image.Image:
    try:
        return Image.open(source)
    except UnidentifiedImageError:
        if not _is_heif(source):
            raise
        return _open_heif(source, name)


def _is_heif(source: IO[bytes]) -> bool:
    """Whether it is a picture as iPhones save them; files begin with the length of a block, its kind and its brand."""
    source.seek(0)
    begin = source.read(12)
    return begin[4:8] == b"ftyp" and begin[8:12] in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1")


def _open_heif(source: IO[bytes], name: str) -> Image.Image:
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError(f"{name}: a HEIF picture; `pip install pillow-heif` makes it readable") from error
    register_heif_opener()
    source.seek(0)
    return Image.open(source)


def _name_of(source: Any) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    return str(getattr(source, "filename", "") or getattr(source, "name", "") or "image")


def _reencoding_reason(image: Image.Image, orientation: int) -> str | None:
    if orientation not in (0, 1):
        return "EXIF rotation"
    if image.format not in _DIRECT_MODES:
        return f"{image.format} format"
    if image.mode == "CMYK":
        return "CMYK"
    if image.mode.startswith("I") or image.mode == "F":
        return "16-bit samples"
    if image.mode not in _DIRECT_MODES[image.format] or "transparency" in image.info:
        return "transparency" if image.mode in ("RGBA", "LA", "PA", "P", "L", "RGB") else f"mode {image.mode}"
    return None


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        return _array_to_rgb(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _array_to_rgb(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 1):
        return np.repeat(_to_uint8(array).reshape(*array.shape[:2], 1), 3, axis=2)
    if array.ndim == 3 and array.shape[2] == 3:
        return _to_uint8(array)
    if array.ndim == 3 and array.shape[2] == 4:
        return _to_rgb(Image.fromarray(_to_uint8(array), "RGBA"))
    raise ImageError(f"an image array must be [H, W, 3], [H, W] or [H, W, 4]; got shape {array.shape}")


def _to_uint8(array: np.ndarray) -> np.ndarray:
    """uint8 as it is; 16-bit samples scaled to 8; floats are refused, since their range is not known."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.integer):
        # Pillow opens 16-bit pictures as int32 ("I") or uint16 ("I;16"); both hold 0 to 65,535.
        return (np.clip(array, 0, 65535).astype(np.uint32) * 255 // 65535).astype(np.uint8)
    raise ImageError(f"an image array must be uint8 (or 16-bit) with values 0 to 255; got {array.dtype}")
