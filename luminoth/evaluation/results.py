"""Keeps what an evaluation found: figures as JSON, the detections beside them, and points on TensorBoard's curves."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from luminoth.checkpoints.history import EVAL_FOLDER
from luminoth.checkpoints.in_bucket import address_of
from luminoth.data.record_files import write_json
from luminoth.errors import OutputError
from luminoth.evaluation.evaluate import EvaluationResult
from luminoth.evaluation.kept_detections import kept_path, write_kept


def write_result(
    folder: Path,
    result: EvaluationResult,
    *,
    split: str,
    checkpoint: Path,
    step: int,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Writes `<folder>/eval/<split>-<step>.json` and `.detections.npz` beside it, each whole or not at all.

    A published checkpoint goes by its name instead of its step, which says nothing there.

    Args:
        folder: the run's folder, made when it is missing.
        result: what to write.
        split: what was evaluated.
        checkpoint: folder of the checkpoint that was evaluated.
        step: updates done when it was saved.
        more: further keys of the JSON file.

    Returns:
        The JSON file.

    Raises:
        OutputError: a file cannot be written.
    """
    name = step if is_of_run(checkpoint) else checkpoint.name
    path = Path(folder) / EVAL_FOLDER / f"{split}-{name}.json"
    content = {**describe(result, split=split, checkpoint=checkpoint, step=step), **(more or {})}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_kept(kept_path(path), result.ground_truths, result.detections)
        write_json(path, content)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def describe(result: EvaluationResult, *, split: str, checkpoint: Path | None, step: int | None) -> dict[str, Any]:
    """What the JSON file says, as plain values."""
    return {
        "split": split,
        "step": step,
        "checkpoint": None if checkpoint is None else address_of(checkpoint),
        **result.to_dict(),
    }


def write_tensorboard(
    folder: Path,
    result: EvaluationResult,
    *,
    split: str,
    step: int,
    pictures: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Adds a point at `step` to the curves `<split>_metrics/AP` ... and `<split>_losses/total_loss` ...

    They lie in a folder of their own beside the training's events, so that TensorBoard draws both in one chart.

    Args:
        folder: the run's folder.
        result: what to write; figures that could not be measured get no point.
        split: what was evaluated.
        step: updates done when the checkpoint was saved.
        pictures: name -> uint8 [H, W, 3], shown as `<split>_images/<name>`.

    Returns:
        The folder of the events.

    Raises:
        OutputError: the events cannot be written.
    """
    events = Path(folder) / f"eval_{split}"
    points = {f"{split}_metrics/{name}": value for name, value in result.metrics.figures.items()}
    if result.proposals is not None:
        points |= {f"{split}_metrics/proposals_AR_{count}": value for count, value in result.proposals.mean.items()}
    points |= {f"{split}_losses/{name}": value for name, value in result.losses.items()}
    try:
        writer = tf.summary.create_file_writer(str(events))
        with writer.as_default(step=step):
            for name, value in points.items():
                if value is not None and math.isfinite(value):
                    tf.summary.scalar(name, value)
            for name, picture in (pictures or {}).items():
                tf.summary.image(f"{split}_images/{name}", picture[np.newaxis])
        writer.close()
    except tf.errors.OpError as error:
        raise OutputError(f"{events}: cannot be written ({error.message.splitlines()[0]})") from error
    return events


def is_of_run(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of a run (`ckpt-<step>` in the run's folder), not a published one."""
    return re.fullmatch(r"ckpt-\d+", Path(checkpoint).resolve().name) is not None
