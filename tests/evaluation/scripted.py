"""A detector that answers by script, and records to run it on.

Picture number k is filled with the grey value k + 1; the detector reads that value and answers with row k of its
script. So every figure can be worked out by hand, whatever size the pictures are resized to.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

from luminoth.data.record_files import write_classes
from luminoth.data.records import RecordWriter, encode_example
from luminoth.image import encode_png
from luminoth.models.base import DetectionModel
from luminoth.types import DetectorOutput, Example

CLASSES = ["car", "bus", "person"]


class ScriptedDetector(DetectionModel):
    """Answers with `script`: for each picture a list of (box as fractions of the picture, score, class id)."""

    def __init__(self, script):
        super().__init__()
        self.num_classes = len(CLASSES)
        most = max([len(answers) for answers in script] + [1])
        self._boxes = np.zeros((len(script), most, 4), np.float32)
        self._scores = np.zeros((len(script), most), np.float32)
        self._class_ids = np.zeros((len(script), most), np.int32)
        self._is_given = np.zeros((len(script), most), bool)
        for row, answers in enumerate(script):
            for column, (box, score, class_id) in enumerate(answers):
                self._boxes[row, column], self._scores[row, column] = box, score
                self._class_ids[row, column], self._is_given[row, column] = class_id, True
        self.built = True

    def compute_losses(self, batch, *, training, seed):
        assert training is False
        grey = tf.reduce_max(batch.images, axis=(1, 2, 3))
        is_padded = tf.reduce_min(batch.images, axis=(1, 2, 3)) != grey
        return {
            "rpn_cls_loss": tf.reduce_mean(grey),
            "rpn_reg_loss": tf.cast(seed[0], tf.float32),
            "rcnn_cls_loss": tf.reduce_mean(tf.cast(is_padded, tf.float32)),
            "rcnn_reg_loss": tf.reduce_mean(tf.cast(tf.reduce_sum(batch.gt_class_ids, axis=1), tf.float32)),
            "regularization_loss": tf.constant(0.5),
        }

    def detect(self, images, image_sizes, *, min_score=None):
        rows = tf.cast(tf.round(images[:, 0, 0, 0]), tf.int32) - 1
        sizes = tf.cast(tf.gather(image_sizes, [1, 0, 1, 0], axis=1), tf.float32)
        scores = tf.gather(self._scores, rows)
        return DetectorOutput(
            tf.gather(self._boxes, rows) * sizes[:, None],
            scores,
            tf.gather(self._class_ids, rows),
            tf.gather(self._is_given, rows) & ~(scores < min_score),
        )


def write_records(folder: Path, pictures, classes=CLASSES, split="val") -> list[str]:
    """Writes records and `classes.json`; `pictures` are (size, boxes in pixels, class ids, crowd flags)."""
    folder.mkdir(parents=True, exist_ok=True)
    write_classes(folder, classes)
    path = folder / f"{split}.tfrecords"
    with RecordWriter(path) as writer:
        for number, (size, boxes, class_ids, is_crowd) in enumerate(pictures):
            no = np.zeros(len(class_ids), bool)
            example = Example(
                f"picture-{number}",
                encode_png(np.full((*size, 3), number + 1, np.uint8)),
                size,
                np.asarray(boxes, np.float32).reshape(-1, 4),
                np.asarray(class_ids, np.int32),
                np.asarray(is_crowd, bool),
                no,
                no,
            )
            writer.write(encode_example(example, classes))
    return [str(path)]


def as_answers(picture, score=0.9):
    """The script's row that finds everything in a picture of `write_records`."""
    (height, width), boxes, class_ids, _ = picture
    whole = np.array([width, height, width, height], np.float32)
    return [(np.asarray(box) / whole, score, class_id) for box, class_id in zip(boxes, class_ids, strict=True)]
