"""Runs a detector over a split, and tells everything of what it found: figures in original pixels, and the losses."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from luminoth.data.pipeline import evaluation_batches, iterate
from luminoth.errors import DataError
from luminoth.evaluation.analysis import Analysis, analyse
from luminoth.evaluation.ground_truth import GroundTruth, read_ground_truths
from luminoth.evaluation.metrics import CocoMetrics
from luminoth.evaluation.proposals import COUNTS, ProposalCounter, ProposalRecall
from luminoth.evaluation.same_size import same_size_batches
from luminoth.models.base import Examination
from luminoth.resize import ResizeRule
from luminoth.types import Batch, BatchInfo, Detections, DetectorOutput

# COCO's figures integrate over the whole precision-recall curve, so detections far below any useful score have to
# come along: cutting at 0.05 is known to cost some tenths of a point of AP. Below 0.001 nothing is gained: such boxes
# lie after all others, and there are thousands of them for suppression to compare.
MIN_SCORE = 0.001

# What all objects are when a detector does not tell classes.
OBJECT = "object"


@dataclass(frozen=True, eq=False)
class EvaluationResult:
    """What is known of one set of detections on one split.

    Attributes:
        analysis: the figures, how sure they are, thresholds, errors.
        ground_truths, detections: what they were computed from, one entry a picture in the order of the records;
            class ids are those of `analysis.class_names`.
        seconds: how long it took, from the first picture to the last figure.
        losses: mean over the pictures of each loss by name, then `no_reg_loss` (their sum without
            `regularization_loss`) and `total_loss` (their sum). Empty where no model was run.
        proposals: what the first stage's proposals reach; None where there are none.
        images_per_second: how fast the model ran over the pictures, reading and resizing included, after the first
            batch, which prepares everything; None where no model was run.
    """

    analysis: Analysis
    ground_truths: list[GroundTruth] = field(repr=False)
    detections: list[Detections] = field(repr=False)
    seconds: float
    losses: dict[str, float] = field(default_factory=dict)
    proposals: ProposalRecall | None = None
    images_per_second: float | None = None

    @property
    def metrics(self) -> CocoMetrics:
        """COCO's figures."""
        return self.analysis.coco

    @property
    def images(self) -> int:
        """How many pictures there are."""
        return len(self.ground_truths)

    def to_dict(self) -> dict[str, Any]:
        """All but boxes, curves and pictures, as plain values for JSON; what is not known or not finite is None."""
        rate = self.images_per_second
        return {
            **self.analysis.to_dict(),
            "proposals": self.proposals and self.proposals.to_dict(),
            "losses": {name: value if math.isfinite(value) else None for name, value in self.losses.items()},
            "seconds": round(self.seconds, 3),
            "images_per_second": None if rate is None else round(rate, 3),
        }


class Evaluator:
    """Evaluates a detector on the pictures of record files, as often as its weights change; compiled once.

    The figures do not depend on `batch_size`: only pictures of one size share a batch, none of them padded, as when
    each is predicted alone. The losses do a little, since a model averages them over what it samples from a batch.

    Args:
        model: a `DetectionModel`.
        files: record files.
        resize: how pictures are brought to the network's size.
        class_names: the names of the model's class ids.
        batch_size: pictures at once, at most.
        max_detections: the most detections of a picture and class that count.
        min_score: the lowest score of a detection that counts, 0 to 1.
        record_class_ids: for each class id of the records the model's; None: they are the same. The result is in
            the records' order.
        class_agnostic: the model does not tell classes; all objects are taken for one class, `object`.
        seed: of the samples that losses are computed from; always the same for the same seed.

    Raises:
        DataError: the files are missing, hold no record or no object, or one is damaged.
    """

    def __init__(
        self,
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
    ) -> None:
        self._classes = _Classes(class_names, record_class_ids, class_agnostic)
        self._batch_size, self._max_detections = batch_size, max_detections
        self._ground_truths = read_objects(files, self._classes.of_records)
        self._source = evaluation_batches(
            files, batch_size=batch_size, resize=resize, num_classes=self._classes.in_records
        )
        self._dataset = _with_class_ids(self._source, record_class_ids)
        self._step = _make_step(model, self._source.element_spec[0], batch_size, min_score, seed)

    def run(self, on_progress: Callable[[int], None] = lambda images: None) -> EvaluationResult:
        """Evaluates the model as it is now.

        Args:
            on_progress: called after each batch with the number of pictures in it.

        Raises:
            DataError: a record is damaged.
        """
        started = time.monotonic()
        ground_truths, classes = self._ground_truths, self._classes
        batches = (batch for batch, _ in iterate(self._dataset, source=self._source))
        found: list[Detections | None] = [None] * len(ground_truths)
        counter, losses = ProposalCounter(), _Means()
        speed = _Speed()
        same_size = same_size_batches(batches, self._batch_size)
        for numbers, batch, (values, output, proposals) in _in_flight(self._step, same_size):
            truths = [ground_truths[number] for number in numbers]
            sizes = [truth.image_size for truth in truths]
            losses.add(values, len(numbers))
            for number, detections in zip(numbers, _to_detections(output, batch, sizes, classes), strict=True):
                found[number] = detections
            if proposals is not None:
                counter.add(truths, _to_detections(proposals, batch, sizes, _ANY_OBJECT))
            on_progress(len(numbers))
            speed.add(len(numbers))
        return EvaluationResult(
            analyse(ground_truths, found, classes.names, max_detections=self._max_detections),
            ground_truths,
            found,
            time.monotonic() - started,
            losses.result(),
            counter.result(),
            speed.images_per_second,
        )


def evaluate(
    model: Any, files: Sequence[str], *, on_progress: Callable[[int], None] = lambda images: None, **settings: Any
) -> EvaluationResult:
    """Evaluates a detector once; `settings` and what is raised are those of `Evaluator`."""
    return Evaluator(model, files, **settings).run(on_progress)


def evaluate_detections(
    ground_truths: list[GroundTruth],
    detections: list[Detections],
    class_names: Sequence[str],
    *,
    max_detections: int = 100,
) -> EvaluationResult:
    """Tells the same of detections that are there already, as far as it can be told without a model.

    Args:
        ground_truths, detections: one entry a picture, in the same order.
        class_names: the names that class ids index, alike for both.
        max_detections: the most detections of a picture and class that count.
    """
    started = time.monotonic()
    analysis = analyse(ground_truths, detections, class_names, max_detections=max_detections)
    return EvaluationResult(analysis, ground_truths, detections, time.monotonic() - started)


def read_objects(files: Sequence[str], class_ids: Sequence[int] | None = None) -> list[GroundTruth]:
    """As `read_ground_truths`, for figures: there must be an object to measure with.

    Raises:
        DataError: also when no picture has an object.
    """
    ground_truths = read_ground_truths(files, class_ids)
    if all(truth.is_crowd.all() for truth in ground_truths):
        raise DataError(
            f"{', '.join(files)}: none of the {len(ground_truths)} pictures has an object (crowd regions do not "
            "count), there is nothing to measure against"
        )
    return ground_truths


class _Classes:
    """How the class ids of model, records and result belong together.

    Attributes:
        names: of the result's class ids.
        of_records: [records' classes], the result's id of each; None: the same.
        of_model: [model's classes] int32, the result's id of each, -1 for those that the records do not know; None:
            the same.
        in_records: how many there are in the records.
    """

    def __init__(
        self, model_names: Sequence[str], record_class_ids: Sequence[int] | None = None, class_agnostic: bool = False
    ) -> None:
        self.in_records = len(model_names if record_class_ids is None else record_class_ids)
        self.names, self.of_records, self.of_model = list(model_names), None, None
        if class_agnostic:
            self.names, self.of_records = [OBJECT], [0] * self.in_records
        elif record_class_ids is not None:
            self.names = [model_names[class_id] for class_id in record_class_ids]
            self.of_model = np.full(len(model_names), -1, np.int32)
            self.of_model[np.asarray(record_class_ids)] = np.arange(self.in_records)


_ANY_OBJECT = _Classes([OBJECT])


class _Means:
    """Means over pictures, from means over batches."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._images = 0

    def add(self, values: dict[str, tf.Tensor], images: int) -> None:
        self._images += images
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + images * float(value)

    def result(self) -> dict[str, float]:
        means = {name: total / self._images for name, total in self._sums.items()}
        without = sum(value for name, value in means.items() if name != "regularization_loss")
        return {**means, "no_reg_loss": without, "total_loss": sum(means.values())}


class _Speed:
    """Images a second from the end of the first batch on; over all where there is only one."""

    def __init__(self) -> None:
        self._started, self._batches, self._images = time.monotonic(), 0, 0
        self.images_per_second = 0.0

    def add(self, images: int) -> None:
        now = time.monotonic()
        self._batches += 1
        self._images += images
        self.images_per_second = self._images / max(now - self._started, 1e-9)
        if self._batches == 1:
            self._started, self._images = now, 0


def _with_class_ids(dataset: tf.data.Dataset, record_class_ids: Sequence[int] | None) -> tf.data.Dataset:
    if record_class_ids is None:
        return dataset
    table = tf.constant(record_class_ids, tf.int32)

    def rename(batch: Batch, info: BatchInfo) -> tuple[Batch, BatchInfo]:
        class_ids = tf.where(batch.is_object, tf.gather(table, batch.gt_class_ids), 0)  # of padding it stays 0
        return batch._replace(gt_class_ids=class_ids), info

    return dataset.map(rename)


def _make_step(
    model: Any, batch_spec: Batch, batch_size: int, min_score: float, seed: int
) -> Callable[[Batch], Examination]:
    """One function that examines a batch; one trace serves batches of every size."""
    pictures = 1 if batch_size == 1 else None
    relaxed = tf.nest.map_structure(
        lambda spec: tf.TensorSpec([pictures, *spec.shape.as_list()[1:]], spec.dtype), batch_spec
    )

    @tf.function(input_signature=[relaxed], autograph=False)
    def step(batch: Batch) -> Examination:
        seed_pair = tf.constant([seed, 0], tf.int32)
        return model.examine(batch, seed=seed_pair, min_score=min_score, max_proposals=max(COUNTS))

    return step


def _in_flight(
    step: Callable[[Batch], Examination], batches: Iterable[tuple[np.ndarray, Batch]]
) -> Iterator[tuple[np.ndarray, Batch, Examination]]:
    """What was found in each batch, given when the next is under way: a GPU works on while the host looks at it."""
    last = None
    for numbers, batch in batches:
        current = numbers, batch, step(batch)
        if last is not None:
            yield last
        last = current
    if last is not None:
        yield last


def _to_detections(
    output: DetectorOutput, batch: Batch, sizes: Sequence[tuple[int, int]], classes: _Classes
) -> list[Detections]:
    """Of each picture, in its original pixels; `sizes` are the original ones."""
    boxes, scores, class_ids, is_valid = (np.asarray(each) for each in output)
    if classes.of_model is not None:
        class_ids = classes.of_model[class_ids]
    # A diverged model's NaN has no place in an order of scores.
    is_valid = is_valid & np.isfinite(scores) & (class_ids >= 0)
    ratios = np.array(sizes) / batch.image_sizes.numpy()  # [B, 2], height and width
    scales = ratios[:, [1, 0, 1, 0]].astype(np.float32)
    return [
        Detections(boxes[row][keep] * scale, scores[row][keep], class_ids[row][keep], classes.names, size)
        for row, (keep, scale, size) in enumerate(zip(is_valid, scales, sizes, strict=True))
    ]
