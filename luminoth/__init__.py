"""Luminoth: object detection on TensorFlow.

    from luminoth import Detector, read_image, vis_objects

    detector = Detector(checkpoint="toytown")
    objects = detector.predict(read_image("street.jpg"))
    vis_objects(read_image("street.jpg"), objects).save("out.png")

Importing this package imports neither TensorFlow nor Keras: public names are loaded on first use.
"""

import importlib
import os
from typing import Any

__version__ = "1.0.0.dev0"

# TensorFlow uses oneDNN unasked only on processors with AVX-512. It serves the others as well: without it, convolutions
# are slower, and those with dilation or groups (DC5, ResNeXt) have no gradient on a CPU. TensorFlow reads this when it
# is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# Its client of gs:// takes sizes of files as they were up to 5 seconds ago, where another process writes them; and
# each file that is open has a buffer of 64 MB.
os.environ.setdefault("GCS_STAT_CACHE_MAX_AGE", "0")
os.environ.setdefault("GCS_READ_CACHE_BLOCK_SIZE_MB", "16")

_PUBLIC_NAMES = {
    "Detector": "luminoth.inference.detector",
    "vis_objects": "luminoth.inference.draw",
    "read_image": "luminoth.image",
    "Detections": "luminoth.types",
    "LuminothError": "luminoth.errors",
}

__all__ = ["Detections", "Detector", "LuminothError", "__version__", "read_image", "vis_objects"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC_NAMES:
        raise AttributeError(f"module 'luminoth' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
