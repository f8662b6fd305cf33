"""Pictures of a training: ground truth, proposals and detections side by side, of the same few pictures every time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import tensorflow as tf

from luminoth.data.pipeline import evaluation_batches, iterate
from luminoth.data.show.contact_sheet import Cell, choose_layout, draw_sheet, fit
from luminoth.inference.draw import Colour, draw_objects
from luminoth.models.base import Examination
from luminoth.resize import ResizeRule
from luminoth.types import Batch, DetectorOutput

COUNT = 4  # pictures shown
PROPOSALS = 20  # drawn of each
MIN_SCORE = 0.3  # of the detections drawn

_LOOKED_AT = 100  # records, for some with objects in them
_WIDTH = 360  # of a panel, in pixels
_MOST_PANELS = 5  # in a row
_TEXT_SCALE = 0.8  # of labels: objects are many, and panels small
_YELLOW, _BLUE = (255, 200, 0), (70, 110, 255)

# Of any size and with any number of boxes; one trace serves them all.
_BATCH_OF_ONE = Batch(
    images=tf.TensorSpec([1, None, None, 3], tf.float32),
    image_sizes=tf.TensorSpec([1, 2], tf.int32),
    gt_boxes=tf.TensorSpec([1, None, 4], tf.float32),
    gt_class_ids=tf.TensorSpec([1, None], tf.int32),
    is_object=tf.TensorSpec([1, None], tf.bool),
    is_crowd=tf.TensorSpec([1, None], tf.bool),
)


@dataclass(frozen=True)
class Shown:
    """A picture that is shown, as a batch of one.

    Attributes:
        batch: as the network sees it.
        image_id: its name.
    """

    batch: Batch
    image_id: str


def choose_pictures(files: Sequence[str], resize: ResizeRule, num_classes: int) -> list[Shown]:
    """The first pictures with objects in record files, at most `COUNT`; without objects where there are no others.

    They depend on the files alone: a resumed run shows the same ones.

    Raises:
        DataError: the files are missing, hold no record, or one is damaged.
    """
    dataset = evaluation_batches(files, batch_size=1, resize=resize, num_classes=num_classes)
    with_objects, without = [], []
    for batch, info in islice(iterate(dataset), _LOOKED_AT):
        found = with_objects if batch.is_object.numpy().any() else without
        if len(found) < COUNT:
            found.append(Shown(batch, info.image_ids.numpy()[0].decode(errors="replace")))
        if len(with_objects) == COUNT:
            break
    return with_objects or without


class PictureRows:
    """Draws a row for each of some pictures: what there is, what the first stage proposes, what is found.

    Args:
        model: the `DetectionModel`.
        pictures: what is shown.
        class_names: the class names in the order of their ids.
        seed: of the samples drawn.
        with_samples: adds what the losses are measured on: anchors that stand for objects, RoIs.
    """

    def __init__(
        self, model: Any, pictures: Sequence[Shown], class_names: Sequence[str], *, seed: int, with_samples: bool
    ) -> None:
        self._pictures, self._class_names = pictures, class_names
        seeds = tf.constant([seed, 0], tf.int32)

        def look(batch: Batch) -> tuple[Examination, dict[str, DetectorOutput]]:
            samples = model.samples(batch, seed=seeds) if with_samples else {}
            return model.examine(batch, seed=seeds, min_score=MIN_SCORE, max_proposals=PROPOSALS), samples

        self._look = tf.function(look, input_signature=[_BATCH_OF_ONE], autograph=False)

    @property
    def graph(self) -> tf.Graph:
        """What the model computes for a picture."""
        return self._look.get_concrete_function().graph

    def draw(self, step: int) -> Iterator[tuple[str, np.ndarray]]:
        """The rows as the model is after `step` updates: name and uint8 [h, w, 3] of each."""
        for shown in self._pictures:
            (_, detections, proposals), samples = self._look(shown.batch)
            height, width = shown.batch.image_sizes.numpy()[0]
            image = shown.batch.images.numpy()[0, :height, :width].clip(0, 255).astype(np.uint8)
            layout = choose_layout([image.shape[:2]], _MOST_PANELS, _WIDTH)
            panel = _Panel(image, layout.cell_size)
            cells = [_ground_truth(panel, shown.batch, self._class_names)]
            if proposals is not None:
                cells.append(_proposals(panel, proposals))
            cells.append(_detections(panel, detections, self._class_names))
            cells += [_samples(panel, name, boxes) for name, boxes in samples.items()]
            yield shown.image_id, np.asarray(draw_sheet(cells, layout, f"{shown.image_id}, step {step}"))


class _Panel:
    """A picture at the size of a cell, to be drawn on afresh for each cell.

    Args:
        image: uint8 RGB [H, W, 3].
        cell_size: (height, width).
    """

    def __init__(self, image: np.ndarray, cell_size: tuple[int, int]) -> None:
        self._pixels = fit(image, cell_size)
        (height, width), (old_height, old_width) = self._pixels.shape[:2], image.shape[:2]
        self._scales = np.array([width / old_width, height / old_height] * 2)

    def with_objects(self, objects: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """Boxes in their classes' colours, with labels."""
        pixels = self._pixels.copy()
        draw_objects(pixels, self._scaled(objects), scale=_TEXT_SCALE)
        return pixels

    def with_boxes(self, *groups: tuple[Sequence[np.ndarray], Colour]) -> np.ndarray:
        """Groups of boxes over one another, each of one colour."""
        pixels = self._pixels.copy()
        for boxes, colour in groups:
            nameless = self._scaled([{"bbox": box, "label": ""} for box in boxes])
            draw_objects(pixels, nameless, colormap={"": colour}, labels=False, scale=0.5)
        return pixels

    def _scaled(self, objects: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        return [{**each, "bbox": np.asarray(each["bbox"], np.float64) * self._scales} for each in objects]


def _ground_truth(panel: _Panel, batch: Batch, class_names: Sequence[str]) -> Cell:
    is_object = batch.is_object.numpy()[0]
    columns = (each.numpy()[0][is_object] for each in (batch.gt_boxes, batch.gt_class_ids, batch.is_crowd))
    objects = [
        {"bbox": box, "label": class_names[class_id], "is_crowd": is_crowd}
        for box, class_id, is_crowd in zip(*columns, strict=True)
    ]
    return Cell(panel.with_objects(objects), "ground truth", _objects(len(objects)))


def _proposals(panel: _Panel, proposals: DetectorOutput) -> Cell:
    boxes, scores, _ = _valid(proposals)
    boxes, scores = boxes[:PROPOSALS], scores[:PROPOSALS]
    note = f"the best {len(boxes)}, scores {scores[0]:.2f} to {scores[-1]:.2f}" if len(boxes) else "none"
    return Cell(panel.with_boxes((boxes, _YELLOW)), "proposals", note)


def _detections(panel: _Panel, detections: DetectorOutput, class_names: Sequence[str]) -> Cell:
    objects = [
        {"bbox": box, "label": class_names[class_id], "prob": float(score)}
        for box, score, class_id in zip(*_valid(detections), strict=True)
    ]
    return Cell(panel.with_objects(objects), "detections", f"{_objects(len(objects))}, scores from {MIN_SCORE:g} up")


def _samples(panel: _Panel, name: str, samples: DetectorOutput) -> Cell:
    boxes, _, class_ids = _valid(samples)
    of_objects, background = boxes[class_ids == 0], boxes[class_ids == 1]
    note = f"{len(of_objects)} of objects" + (f" (yellow), {len(background)} of background" * bool(len(background)))
    return Cell(panel.with_boxes((background, _BLUE), (of_objects, _YELLOW)), name, note)


def _valid(output: DetectorOutput) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes [N, 4], scores [N] and class ids [N] of the first picture."""
    is_valid = output.is_valid.numpy()[0]
    return tuple(each.numpy()[0][is_valid] for each in (output.boxes, output.scores, output.class_ids))


def _objects(count: int) -> str:
    return f"{count} object{'s' * (count != 1)}"
