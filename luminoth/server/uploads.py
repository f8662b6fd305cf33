"""From a request's body to pictures: what it brings, and decoding it within limits.

Nothing in a request is ever taken for a path or an address.
"""

from __future__ import annotations

import base64
import binascii
import io
import os
import threading
from typing import Any

import numpy as np
from flask import Request

from luminoth.errors import ImageError
from luminoth.image import inspect_image, read_image, stated_pixels
from luminoth.server.problems import Problem

# Pillow knows many more, some of which start other programs (EPS) or were hardly ever tested against hostile files.
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF")
_ACCEPTED = "accepted are JPEG, PNG, WebP, GIF, BMP and TIFF"

# More at once are not faster, and each needs memory.
_decoding = threading.BoundedSemaphore(os.cpu_count() or 1)


def read_bodies(request: Request, max_images: int) -> tuple[list[bytes], bool]:
    """The encoded pictures in a request, and whether they were sent as a list.

    Raises:
        Problem: there are none, more than `max_images`, or they come in a way that is not known.
    """
    kind = request.mimetype
    if kind == "multipart/form-data":
        bodies = [file.stream.read() for file in request.files.getlist("image")]
        is_list = len(bodies) > 1
        missing = "The form has no file `image`."
    elif kind == "application/json":
        bodies, is_list = _read_json(request.get_json(silent=True))
        missing = "`images` is empty."
    elif kind.startswith("image/") or kind == "application/octet-stream":
        bodies, is_list = [request.get_data(cache=False)], False
        missing = ""
    else:
        raise Problem(
            415, "Send pictures as multipart/form-data with files named `image`, as the body with its Content-Type "
            "image/..., or as application/json with base64 text in `image` or a list in `images`.",
        )  # fmt: skip
    if not bodies:
        raise Problem(400, missing)
    if len(bodies) > max_images:
        raise Problem(413, f"{len(bodies)} pictures in one request; accepted are at most {max_images}.")
    return bodies, is_list


def _read_json(content: Any) -> tuple[list[bytes], bool]:
    if not isinstance(content, dict) or ("image" in content) == ("images" in content):
        raise Problem(400, 'The JSON must be an object with either "image" or "images".')
    is_list = "images" in content
    texts = content["images"] if is_list else [content["image"]]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Problem(400, '"image" must be base64 text, "images" a list of such texts.')
    try:
        return [base64.b64decode(_without_scheme(text), validate=True) for text in texts], is_list
    except (binascii.Error, ValueError):
        raise Problem(400, "The picture is not valid base64.") from None


def _without_scheme(text: str) -> str:
    """`data:image/png;base64,...`, as browsers write it, is accepted too."""
    return text.partition(",")[2] if text.startswith("data:") else text


def check_picture(encoded: bytes, name: str, max_pixels: int) -> int:
    """How many pixels a picture has, by its header.

    Args:
        encoded: the bytes of a file.
        name: what problems call it.
        max_pixels: most that are accepted.

    Raises:
        Problem: it is no picture of a known format, or has too many pixels.
    """
    too_large = Problem(
        413, f"{name} has more than {max_pixels:,} pixels, which is the most that is accepted; shrink it."
    )
    try:
        info = inspect_image(encoded, name)
    except ImageError:
        if stated_pixels(io.BytesIO(encoded)) > max_pixels:  # which may be why
            raise too_large from None
        info = None
    if info is None or info.format not in FORMATS:
        raise Problem(415, f"{name} cannot be read as one; {_ACCEPTED}.")
    height, width = info.size
    if height * width > max_pixels:
        raise too_large
    if height * width == 0:
        raise Problem(422, f"{name} has no pixels.")
    return height * width


def decode_picture(encoded: bytes, name: str, max_pixels: int) -> np.ndarray:
    """The picture as uint8 RGB [H, W, 3].

    Raises:
        Problem: it is damaged.
    """
    with _decoding:
        try:
            return read_image(encoded, name=name, max_pixels=max_pixels)
        except ImageError:
            raise Problem(422, f"{name} is damaged or cut off.") from None
