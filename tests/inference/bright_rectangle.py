"""A detector that needs no training: it finds the one bright rectangle of a dark picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from luminoth.checkpoints import loading, store
from luminoth.config import config_from_dict
from luminoth.types import DetectorOutput

CLASSES = ["red thing", "green thing", "blue thing"]


class BrightRectangleModel:
    """Fills the contract of `DetectionModel.detect`: the class is the strongest channel, the score its brightness."""

    num_classes = len(CLASSES)
    size_multiple = 1

    def __init__(self):
        self.traces = 0
        self.batch_shapes = []
        self.picture_sizes = []
        self.is_frozen = False

    def freeze(self):
        self.is_frozen = True

    def detect(self, images, image_sizes, *, min_score=None):
        self.traces += 1
        tf.py_function(lambda shape: self.batch_shapes.append(tuple(shape.numpy())), [tf.shape(images)], [])
        tf.py_function(lambda sizes: self.picture_sizes.append(sizes.numpy().tolist()), [image_sizes], [])
        brightness = tf.reduce_max(images, axis=3)  # [B, H, W]
        peak = tf.reduce_max(brightness, axis=[1, 2])  # [B]
        is_bright = (brightness > peak[:, None, None] / 2) & (peak[:, None, None] > 0)
        x_min, x_max = _extent(tf.reduce_any(is_bright, axis=1))
        y_min, y_max = _extent(tf.reduce_any(is_bright, axis=2))
        box = tf.stack([x_min, y_min, x_max, y_max], axis=1)
        score = peak / 255
        class_id = tf.argmax(tf.reduce_max(images, axis=[1, 2]), axis=1, output_type=tf.int32)
        is_valid = (score >= min_score) & (peak > 0)
        # A second row that is never valid, as padding is.
        return DetectorOutput(
            tf.stack([box, tf.zeros_like(box)], axis=1),
            tf.stack([score, tf.zeros_like(score)], axis=1),
            tf.stack([class_id, tf.zeros_like(class_id)], axis=1),
            tf.stack([is_valid, tf.zeros_like(is_valid)], axis=1),
        )


def _extent(is_bright):
    """First and one past last true position along the last axis, float32."""
    length = tf.shape(is_bright)[1]
    first = tf.argmax(tf.cast(is_bright, tf.int32), axis=1, output_type=tf.int32)
    last = length - tf.argmax(tf.cast(is_bright[:, ::-1], tf.int32), axis=1, output_type=tf.int32)
    return tf.cast(first, tf.float32), tf.cast(last, tf.float32)


def picture(height, width, box, colour=(255, 0, 0)):
    """uint8 [height, width, 3], black but for `box` in `colour`."""
    pixels = np.zeros((height, width, 3), np.uint8)
    x_min, y_min, x_max, y_max = box
    pixels[y_min:y_max, x_min:x_max] = colour
    return pixels


def install(monkeypatch: pytest.MonkeyPatch, **image_preprocessing) -> BrightRectangleModel:
    """Makes every checkpoint name lead to a `BrightRectangleModel`."""
    model = BrightRectangleModel()
    preprocessing = {"min_size": None, "max_size": None} | image_preprocessing
    config = config_from_dict({"dataset": {"image_preprocessing": preprocessing}})
    monkeypatch.setattr(store, "find_checkpoint", lambda name: Path(name))

    def load_model(folder, *, precision, xla):
        model.loaded_with = {"precision": precision, "xla": xla}
        return loading.LoadedModel(model, config, CLASSES, folder, 1)

    monkeypatch.setattr(loading, "load_model", load_model)
    return model
