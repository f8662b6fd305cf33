"""Pictures about as large, and as hard to decode, as photographs; the same on every machine."""

from __future__ import annotations

import numpy as np

from luminoth.image import encode_jpeg
from luminoth.types import Example

HEIGHT, WIDTH = 480, 640


def make_example(number: int) -> Example:
    """Smooth shapes and noise, which compress about as photographs do."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [128 + 80 * np.sin(x / rng.uniform(9, 60) + y / rng.uniform(9, 60)) for _ in range(3)]
    pixels = np.stack(waves, axis=-1) + rng.normal(0, 10, (HEIGHT, WIDTH, 3))
    corners = rng.uniform(0, 200, (8, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 200, (8, 2))], axis=1).astype(np.float32)
    flags = np.zeros(8, bool)
    encoded = encode_jpeg(pixels.clip(0, 255).astype(np.uint8), quality=85)
    return Example(str(number), encoded, (HEIGHT, WIDTH), boxes, np.zeros(8, np.int32), flags, flags, flags)
