"""Runs a detector over a split: COCO's figures in original pixels, and the losses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from luminoth.data.pipeline import evaluation_batches, iterate
from luminoth.evaluation.metrics import CocoMetrics, GroundTruth, coco_metrics
from luminoth.resize import ResizeRule
from luminoth.types import Batch, BatchInfo, Detections, DetectorOutput

# COCO's figures integrate over the whole precision-recall curve, so detections far below any useful score have to
# come along: cutting at 0.05 is known to cost some tenths of a point of AP. Below 0.001 nothing is gained: such boxes
# lie after all others, and there are thousands of them for suppression to compare.
MIN_SCORE = 0.001

# Annotations are written in whole pixels or, as COCO's, in hundredths. On the way through a record and the resizing
# float32 adds noise below half a hundredth, which this removes: a box of exactly 32 x 32 pixels is "small" again.
_GROUND_TRUTH_DECIMALS = 2


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What is known of one model on one split.

    Attributes:
        metrics: COCO's figures.
        losses: mean over the pictures of each loss by name, then `no_reg_loss` (their sum without
            `regularization_loss`) and `total_loss` (their sum).
        images: how many pictures.
        seconds: how long it took, from the first picture to the last figure.
        ground_truths, detections: what they were computed from, one entry a picture in the order of the records.
    """

    metrics: CocoMetrics
    losses: dict[str, float]
    images: int
    seconds: float
    ground_truths: list[GroundTruth] = field(repr=False)
    detections: list[Detections] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Figures and losses as plain values for JSON; what is not known or not finite is None."""
        metrics = self.metrics.to_dict()
        return {
            "images": self.images,
            "objects": metrics["objects"],
            "max_detections": metrics["max_detections"],
            "metrics": metrics["figures"],
            "by_class": metrics["by_class"],
            "losses": {name: value if math.isfinite(value) else None for name, value in self.losses.items()},
            "seconds": round(self.seconds, 3),
        }


def evaluate(
    model: Any,
    files: Sequence[str],
    *,
    resize: ResizeRule,
    class_names: Sequence[str],
    batch_size: int = 1,
    max_detections: int = 100,
    min_score: float = MIN_SCORE,
    record_class_ids: Sequence[int] | None = None,
    class_agnostic: bool = False,
    seed: int = 0,
    on_progress: Callable[[int], None] = lambda images: None,
) -> EvaluationResult:
    """Evaluates a detector on the pictures of record files.

    The figures do not depend on `batch_size`: pictures of a batch that differ in size run one size after the
    other, none of them padded, as when each is predicted alone. The losses do a little, since a model averages
    them over what it samples from a batch.

    Args:
        model: a `DetectionModel`.
        files: record files.
        resize: how pictures are brought to the network's size.
        class_names: the names of the model's class ids.
        batch_size: pictures at once, at most.
        max_detections: the most detections of a picture and class that count.
        min_score: the lowest score of a detection that counts, 0 to 1.
        record_class_ids: for each class id of the records the model's; None: they are the same.
        class_agnostic: the model does not tell classes; all objects are taken for one class, `object`.
        seed: of the samples that losses are computed from; always the same for the same seed.
        on_progress: called after each batch with the number of pictures in it.

    Raises:
        DataError: the files are missing, hold no record, or one is damaged.
    """
    started = time.monotonic()
    num_classes = len(class_names if record_class_ids is None else record_class_ids)
    dataset = evaluation_batches(files, batch_size=batch_size, resize=resize, num_classes=num_classes)
    step = _make_step(model, dataset.element_spec[0], min_score, seed)
    names = ["object"] if class_agnostic else list(class_names)
    ground_truths: list[GroundTruth] = []
    detections: list[Detections] = []
    sums: dict[str, float] = {}
    for batch, info in iterate(_with_class_ids(dataset, record_class_ids), source=dataset):
        original_sizes = info.original_sizes.numpy()
        found: dict[int, Detections] = {}
        for rows, part in _parts_of_one_size(batch):
            losses, output = step(part)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + len(rows) * float(value)
            found.update(zip(rows, _to_detections(output, part, original_sizes[rows], names), strict=True))
        detections += [found[row] for row in range(len(original_sizes))]
        ground_truths += _to_ground_truths(batch, info, class_agnostic)
        on_progress(len(original_sizes))
    metrics = coco_metrics(ground_truths, detections, names, max_detections=max_detections)
    images = len(ground_truths)
    return EvaluationResult(
        metrics,
        _with_totals({name: total / images for name, total in sums.items()}),
        images,
        time.monotonic() - started,
        ground_truths,
        detections,
    )


def _with_class_ids(dataset: tf.data.Dataset, record_class_ids: Sequence[int] | None) -> tf.data.Dataset:
    if record_class_ids is None:
        return dataset
    table = tf.constant(record_class_ids, tf.int32)
    return dataset.map(lambda batch, info: (batch._replace(gt_class_ids=tf.gather(table, batch.gt_class_ids)), info))


def _make_step(model: Any, batch_spec: Batch, min_score: float, seed: int) -> Callable:
    """One function that gives a batch's losses and its detections; one trace serves batches of every size."""
    relaxed = tf.nest.map_structure(_with_any_picture_size, batch_spec)

    @tf.function(input_signature=[relaxed])
    def step(batch: Batch) -> tuple[dict[str, tf.Tensor], DetectorOutput]:
        losses = model.compute_losses(batch, training=False, seed=tf.constant([seed, 0], tf.int32))
        return losses, model.detect(batch.images, batch.image_sizes, min_score=min_score)

    return step


def _with_any_picture_size(spec: tf.TensorSpec) -> tf.TensorSpec:
    shape = spec.shape.as_list()
    return tf.TensorSpec([None, *shape[1:]], spec.dtype)


def _parts_of_one_size(batch: Batch) -> Iterator[tuple[list[int], Batch]]:
    """Splits a batch into those of equal picture size, cut to that size; with the rows that each was made of."""
    sizes = batch.image_sizes.numpy()
    rows_by_size: dict[tuple[int, int], list[int]] = {}
    for row, (height, width) in enumerate(sizes.tolist()):
        rows_by_size.setdefault((height, width), []).append(row)
    for (height, width), rows in rows_by_size.items():
        part = batch if len(rows) == len(sizes) else Batch(*(tf.gather(each, rows) for each in batch))
        yield rows, part._replace(images=part.images[:, :height, :width])


def _to_detections(
    output: DetectorOutput, batch: Batch, original_sizes: np.ndarray, class_names: Sequence[str]
) -> list[Detections]:
    boxes, scores, class_ids, is_valid = (np.asarray(each) for each in output)
    scales = _scales(batch.image_sizes.numpy(), original_sizes)
    is_valid = is_valid & np.isfinite(scores)  # a diverged model's NaN has no place in an order of scores
    return [
        Detections(
            boxes[row][keep] * scale, scores[row][keep], class_ids[row][keep], class_names, tuple(map(int, size))
        )
        for row, (keep, scale, size) in enumerate(zip(is_valid, scales, original_sizes, strict=True))
    ]


def _to_ground_truths(batch: Batch, info: BatchInfo, class_agnostic: bool) -> list[GroundTruth]:
    sizes, image_ids = info.original_sizes.numpy(), info.image_ids.numpy()
    scales = _scales(batch.image_sizes.numpy(), sizes)
    boxes, class_ids, is_object, is_crowd = (
        each.numpy() for each in (batch.gt_boxes, batch.gt_class_ids, batch.is_object, batch.is_crowd)
    )
    if class_agnostic:
        class_ids = np.zeros_like(class_ids)
    return [
        GroundTruth(
            np.round(boxes[row][keep].astype(np.float64) * scale, _GROUND_TRUTH_DECIMALS),
            class_ids[row][keep],
            is_crowd[row][keep],
            tuple(map(int, size)),
            image_id.decode(errors="replace"),
        )
        for row, (keep, scale, size, image_id) in enumerate(zip(is_object, scales, sizes, image_ids, strict=True))
    ]


def _scales(from_sizes: np.ndarray, to_sizes: np.ndarray) -> np.ndarray:
    """[B, 4] float32, what boxes of pictures resized to `from_sizes` are multiplied by; sizes are [B, 2]."""
    ratio = to_sizes / from_sizes
    return ratio[:, [1, 0, 1, 0]].astype(np.float32)


def _with_totals(losses: dict[str, float]) -> dict[str, float]:
    without = sum(value for name, value in losses.items() if name != "regularization_loss")
    return {**losses, "no_reg_loss": without, "total_loss": sum(losses.values())}
