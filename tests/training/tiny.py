"""The smallest things training works with: a detector of two layers, a data set of a few 24 x 32 pictures."""

from __future__ import annotations

import io
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from luminoth.boxes.sampling import picture_seeds
from luminoth.config import Config, config_from_dict
from luminoth.data.record_files import write_classes
from luminoth.data.records import RecordWriter, encode_example
from luminoth.models.base import DetectionModel
from luminoth.types import Batch, DetectorOutput, Example

CLASSES = ["car", "person"]


class TinyDetector(DetectionModel):
    """Guesses one box a picture from its mean features; convolutions and batch norms lie in a list."""

    def __init__(self, num_classes: int = len(CLASSES), width: int = 4) -> None:
        super().__init__(name="tiny")
        self.num_classes = num_classes
        self.blocks = [
            (
                keras.layers.Conv2D(width, 3, strides=2, name=f"conv{i}"),
                keras.layers.BatchNormalization(name=f"norm{i}"),
            )
            for i in (1, 2)
        ]
        self.head = keras.layers.Dense(4, name="head")
        self._boxes(tf.zeros([1, 16, 16, 3]), training=False)

    def _boxes(self, images: tf.Tensor, training: bool) -> tf.Tensor:
        features = images / 255.0
        for conv, norm in self.blocks:
            features = tf.nn.relu(norm(conv(features), training=training))
        return 32.0 * self.head(tf.reduce_mean(features, axis=[1, 2]))

    def compute_losses(self, batch: Batch, *, training: bool, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        first = batch.gt_boxes[:, 0]
        # The seed decides which side of the box counts most, as sampling does in a real detector.
        seeds = picture_seeds(seed, tf.shape(first)[0])
        weights = tf.map_fn(lambda seed: tf.random.stateless_uniform([4], seed), seeds, fn_output_signature=tf.float32)
        errors = tf.square((self._boxes(batch.images, training) - first) / 32.0)
        return {
            "rpn_reg_loss": tf.reduce_mean(errors * weights),
            "rcnn_reg_loss": tf.reduce_mean(errors),
            "regularization_loss": 1e-3 * tf.reduce_sum(tf.square(self.head.kernel.value)),
        }

    def detect(self, images: tf.Tensor, image_sizes: tf.Tensor, *, min_score=None) -> DetectorOutput:
        boxes = self._boxes(images, training=False)[:, tf.newaxis]
        shape = tf.shape(boxes)[:2]
        return DetectorOutput(boxes, tf.fill(shape, 0.9), tf.zeros(shape, tf.int32), tf.fill(shape, True))


def write_tiny_dataset(folder: Path, images: int = 6) -> Path:
    """`train.tfrecords` with noisy pictures that each hold one bright box, and `classes.json`."""
    random = np.random.default_rng(3)
    with RecordWriter(folder / "train.tfrecords") as writer:
        for number in range(images):
            pixels = random.integers(0, 100, (24, 32, 3), np.uint8)
            x, y = random.integers(0, 12, 2)
            pixels[y : y + 10, x : x + 14] += 120
            encoded = io.BytesIO()
            Image.fromarray(pixels).save(encoded, "PNG")
            example = Example(
                image_id=f"picture-{number}",
                encoded=encoded.getvalue(),
                image_size=(24, 32),
                boxes=np.array([[x, y, x + 14, y + 10]], np.float32),
                class_ids=np.array([number % 2], np.int32),
                is_crowd=np.zeros(1, bool),
                is_difficult=np.zeros(1, bool),
                is_truncated=np.zeros(1, bool),
            )
            writer.write(encode_example(example, CLASSES))
    write_classes(folder, CLASSES)
    return folder


def tiny_config(dataset: Path, job_dir: Path, **train) -> Config:
    """A configuration for the tiny data set; `train` overrides keys of its section."""
    defaults = {"job_dir": str(job_dir), "run_name": "run", "seed": 5, "batch_size": 2, "max_steps": 6}
    fast = {"learning_rate": {"learning_rate": 0.02}, "warmup_steps": 2, "image_vis": None}
    base_network = {"architecture": "thin_resnet", "width": 8, "weights": "random", "fine_tune_from": None}
    return config_from_dict(
        {
            "train": {**defaults, **fast, **train},
            "dataset": {"dir": str(dataset), "image_preprocessing": {"min_size": 24, "max_size": 32}},
            "model": {
                "type": "fasterrcnn",
                "base_network": {**base_network, "train_batch_norm": True},
                "anchors": {"base_size": 16, "scales": [1], "ratios": [1]},
                "rpn": {
                    "num_channels": 8,
                    "proposals": {"pre_nms_top_n": 20, "post_nms_top_n": 10},
                    "target": {"minibatch_size": 8},
                },
                "rcnn": {"target": {"minibatch_size": 8}},
            },
        }
    )


def frozen_norm(config: Config) -> Config:
    """The same with batch norm that is not trained: pictures that are together in a batch do not touch one another."""
    base_network = config.model.base_network.model_copy(update={"train_batch_norm": False})
    return config.model_copy(update={"model": config.model.model_copy(update={"base_network": base_network})})
