"""A model that reads its answer from a picture's first pixel, pictures for it, and applications that serve it."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from PIL import Image

from luminoth.server.app import create_app
from luminoth.server.served import ServedModel
from luminoth.server.settings import Settings
from luminoth.types import Detections


class PixelModel:
    """The first pixel (red, green, blue) is a car at [red, green, red + 10, green + 20]; a bus has prob blue / 255."""

    class_names = ("car", "bus", "person")

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def detect(self, images: list[np.ndarray]) -> list[Detections]:
        self.may_go_on.wait(10)
        self.batches.append(len(images))
        return [self._find(image) for image in images]

    def _find(self, image: np.ndarray) -> Detections:
        red, green, blue = (float(value) for value in image[0, 0])
        boxes = np.array([[red, green, red + 10, green + 20], [1, 2, 3, 4]], np.float32)
        scores = np.array([0.95, min(blue / 255, 0.94)], np.float32)
        return Detections(boxes, scores, np.array([0, 1], np.int32), self.class_names, image.shape[:2])


def encoded(colour=(5, 7, 204), size=(30, 40), kind="PNG") -> bytes:
    """A picture of one colour; size is (height, width)."""
    buffer = io.BytesIO()
    Image.new("RGB", size[::-1], colour).save(buffer, kind)
    return buffer.getvalue()


def car(red: int, green: int) -> dict:
    return {"bbox": [red, green, red + 10, green + 20], "label": "car", "prob": 0.95}


def bus(blue: int) -> dict:
    return {"bbox": [1, 2, 3, 4], "label": "bus", "prob": round(blue / 255, 4)}


def application(model=None, settings=None, name="pixel", **options):
    """An application that serves a model, loaded."""
    model = model or PixelModel()
    served = ServedModel(name, lambda: model, network="pixels", min_prob=0.05, max_wait=0.001, **options)
    app = create_app([served], settings or Settings())
    served.wait(10)
    assert served.state == "ready"
    return app


@pytest.fixture
def client():
    return application().test_client()
