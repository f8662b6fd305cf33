"""Stops a training whose losses or weights are no numbers any more, with all that helps to find the cause."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from luminoth.checkpoints.weights_file import name_some
from luminoth.errors import NonFiniteLossError, NonFiniteWeightsError
from luminoth.training.pieces import Piece, join
from luminoth.training.run import Run
from luminoth.training.update.step import GAUGES
from luminoth.types import Batch, BatchInfo

# Boxes named when a loss is not finite; more would hide the rest of the message.
_NAMED_BOXES = 8


class Update(NamedTuple):
    """One update of the weights, and what it was made from.

    Attributes:
        step: updates done, this one included.
        values: what the training step returned, by name.
        learning_rate: its learning rate.
        pieces: the pictures.
    """

    step: int
    values: Mapping[str, float]
    learning_rate: float
    pieces: Sequence[Piece]


def check_finite(update: Update, run: Run) -> None:
    """Looks at the losses and the gradient's norm of an update.

    Raises:
        NonFiniteLossError: one is NaN or infinite.
    """
    losses = {name: value for name, value in update.values.items() if not name.startswith(GAUGES)}
    broken = [name for name, value in losses.items() if not math.isfinite(value)]
    if broken:
        raise explain_non_finite(broken, update, run)


@contextmanager
def non_finite_weights_explained(update: Update, run: Run) -> Iterator[None]:
    """For saving after `update`, which finds weights that the update itself has spoilt.

    Raises:
        NonFiniteLossError: a weight is NaN or infinite.
    """
    try:
        yield
    except NonFiniteWeightsError as error:
        raise explain_non_finite(error.names, update, run) from error


def explain_non_finite(broken: Sequence[str], update: Update, run: Run) -> NonFiniteLossError:
    """Writes the batch to a file of the run, and makes the error that says what became NaN, and from what.

    Args:
        broken: the losses or weights that are not finite.
        update: after which that showed.
        run: the run.
    """
    batch, info = join(update.pieces)
    image_ids = [image_id.decode(errors="replace") for image_id in info.image_ids.numpy()]
    boxes = _name_boxes(batch, image_ids, run.classes)
    named = "; ".join(boxes[:_NAMED_BOXES]) or "none"
    more = f" and {len(boxes) - _NAMED_BOXES} more" if len(boxes) > _NAMED_BOXES else ""
    where = f"at step {update.step} (learning rate {update.learning_rate:g}; images {', '.join(image_ids)}; "
    return NonFiniteLossError(
        f"{name_some(broken)} became NaN or infinite {where}boxes in network pixels: {named}{more}). No checkpoint was "
        f"saved of it{_write_batch(update, batch, info, run)}. Check these boxes, or lower train.learning_rate, "
        "lengthen train.warmup_steps or lower train.clip_by_global_norm"
    )


def _name_boxes(batch: Batch, image_ids: Sequence[str], classes: Sequence[str]) -> list[str]:
    boxes = []
    for image_id, image_boxes, class_ids, is_object in zip(
        image_ids, batch.gt_boxes.numpy(), batch.gt_class_ids.numpy(), batch.is_object.numpy(), strict=True
    ):
        for box, class_id in zip(image_boxes[is_object].tolist(), class_ids[is_object].tolist(), strict=True):
            label = classes[class_id] if class_id < len(classes) else f"class {class_id}"
            boxes.append(f"{image_id}: {label} {[round(edge, 1) for edge in box]}")
    return boxes


def _write_batch(update: Update, batch: Batch, info: BatchInfo, run: Run) -> str:
    """Writes the batch as the model saw it to `<run>/non-finite-<step>.npz`; says where, as the end of a sentence."""
    if run.folder is None:
        return ""
    path = run.folder / f"non-finite-{update.step}.npz"
    try:
        np.savez_compressed(path, **_arrays(update, batch, info, run))
    except OSError as error:
        path.unlink(missing_ok=True)
        return f", and the batch could not be written ({error.strerror or error})"
    return f"; the batch is in {path}, see docs/training.md"


def _arrays(update: Update, batch: Batch, info: BatchInfo, run: Run) -> dict[str, Any]:
    return {
        **{name: value.numpy() for name, value in batch._asdict().items()},
        "image_ids": np.array([image_id.decode(errors="replace") for image_id in info.image_ids.numpy()]),
        "original_sizes": info.original_sizes.numpy(),
        "classes": np.array(run.classes),
        "step": update.step,
        "seed": run.seed,
        "learning_rate": update.learning_rate,
        "value_names": np.array(list(update.values)),
        "values": np.array(list(update.values.values())),
    }
