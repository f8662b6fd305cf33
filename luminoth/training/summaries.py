"""What TensorBoard shows of a training: scalars, pictures with boxes, histograms, the configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf

from luminoth.inference.draw import vis_objects
from luminoth.models.base import named_weights
from luminoth.types import Batch, Detections


class Summaries:
    """Writes event files into a run's folder, or nothing at all when that is None. A context manager.

    Args:
        folder: the run's folder.
        model: the `DetectionModel` whose predictions are drawn.
        class_names: names for the drawn boxes.
    """

    def __init__(self, folder: Path | None, model: Any, class_names: Sequence[str]) -> None:
        self._writer = tf.summary.create_file_writer(str(folder)) if folder else tf.summary.create_noop_writer()
        self._class_names = class_names
        self._model = model
        picture = tf.TensorSpec([1, None, None, 3], tf.float32)
        sizes = tf.TensorSpec([1, 2], tf.int32)
        self._detect = tf.function(model.detect, input_signature=[picture, sizes], autograph=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.close()

    def text(self, name: str, text: str, step: int) -> None:
        """Writes text that keeps its line breaks and indentation."""
        with self._writer.as_default():
            tf.summary.text(name, "    " + text.replace("\n", "\n    "), step=step)
        self._writer.flush()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Writes one point to each of the curves named; all of them are on the disk afterwards."""
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)
        self._writer.flush()

    def pictures(self, batch: Batch, step: int) -> None:
        """Draws the first picture of a batch twice: with its ground truth, and with what the model finds."""
        height, width = (int(length) for length in batch.image_sizes[0])
        image = np.clip(batch.images[0, :height, :width].numpy(), 0, 255).astype(np.uint8)
        drawn = {
            "ground_truth": self._ground_truth(batch),
            "predictions": self._predictions(batch, (height, width)),
        }
        with self._writer.as_default():
            for name, objects in drawn.items():
                picture = np.asarray(vis_objects(image, objects))
                tf.summary.image(name, picture[np.newaxis], step=step)
        self._writer.flush()

    def histograms(self, step: int, *, trained_only: bool) -> None:
        """Writes how the values of each weight are distributed; of all weights, or of those that are trained."""
        with self._writer.as_default():
            for name, weight in named_weights(self._model).items():
                if weight.trainable or not trained_only:
                    tf.summary.histogram(f"weights/{name}", weight.value, step=step)
        self._writer.flush()

    def _ground_truth(self, batch: Batch) -> list[dict[str, Any]]:
        is_object = batch.is_object[0].numpy()
        boxes = batch.gt_boxes[0].numpy()[is_object].tolist()
        class_ids = batch.gt_class_ids[0].numpy()[is_object]
        return [
            {"bbox": box, "label": self._class_names[class_id]} for box, class_id in zip(boxes, class_ids, strict=True)
        ]

    def _predictions(self, batch: Batch, size: tuple[int, int]) -> Detections:
        output = self._detect(batch.images[:1], batch.image_sizes[:1])
        is_valid = output.is_valid[0].numpy()
        return Detections(
            output.boxes[0].numpy()[is_valid],
            output.scores[0].numpy()[is_valid],
            output.class_ids[0].numpy()[is_valid],
            self._class_names,
            size,
        )
