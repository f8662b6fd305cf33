"""What both sides of a comparison are shown: the same seeded picture, objects and RoIs. NumPy only."""

from __future__ import annotations

import numpy as np

# The picture that needs no resize, and the common one that a short side of 800 brings to the same size.
NETWORK_SIZE = (800, 1066)
CAMERA_SIZE = (480, 640)
PICTURES = {"800x1066": NETWORK_SIZE, "480x640": CAMERA_SIZE}

NUM_CLASSES = 90  # COCO's ids 1 to 90, as torchvision has them; background beside them
NUM_OBJECTS = 8
NUM_ROIS = 1000
LEVEL_STRIDES = (4, 8, 16, 32)
CHANNELS = 256


def picture(size: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] uint8: smooth waves and noise."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] * (NETWORK_SIZE[0] / size[0])
    waves = [128 + 80 * np.sin(x / rng.uniform(9, 60) + y / rng.uniform(9, 60)) for _ in range(3)]
    pixels = np.stack(waves, axis=-1) + rng.normal(0, 20, (*size, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def objects() -> tuple[np.ndarray, np.ndarray]:
    """Ground truth of the 800 x 1066 picture: boxes [8, 4] float32 in pixels, class ids [8] int32 from 0."""
    return random_boxes(NUM_OBJECTS, seed=1), np.arange(NUM_OBJECTS, dtype=np.int32) * 7


def random_boxes(count: int, seed: int = 2) -> np.ndarray:
    """[count, 4] float32 inside the 800 x 1066 picture: sides of 16 to 600 pixels, each scale as often."""
    rng = np.random.default_rng(seed)
    limits = np.array([NETWORK_SIZE[1], NETWORK_SIZE[0]])
    sides = np.exp(rng.uniform(np.log(16), np.log(600), (count, 1)) + rng.normal(0, 0.25, (count, 2)))
    sides = np.minimum(sides, limits - 1)
    corners = rng.uniform(0, 1, (count, 2)) * (limits - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def level_sizes() -> list[tuple[int, int]]:
    """(rows, columns) of the feature maps P2 to P5 of the picture padded to a multiple of 32."""
    height, width = (-(-side // 32) * 32 for side in NETWORK_SIZE)
    return [(height // stride, width // stride) for stride in LEVEL_STRIDES]
