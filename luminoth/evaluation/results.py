"""Keeps what an evaluation found: a JSON file, and points on TensorBoard's curves."""

from __future__ import annotations

import math
import re
from pathlib import Path

import tensorflow as tf

from luminoth.data.record_files import write_json
from luminoth.errors import OutputError
from luminoth.evaluation.evaluate import EvaluationResult


def write_result(folder: Path, result: EvaluationResult, *, split: str, checkpoint: Path, step: int) -> Path:
    """Writes `<folder>/eval/<split>-<step>.json`, whole or not at all.

    A published checkpoint goes by its name instead of its step, which says nothing there.

    Args:
        folder: the run's folder, made when it is missing.
        result: what to write.
        split: what was evaluated.
        checkpoint: folder of the checkpoint that was evaluated.
        step: updates done when it was saved.

    Raises:
        OutputError: the file cannot be written.
    """
    name = step if is_of_run(checkpoint) else checkpoint.name
    path = Path(folder) / "eval" / f"{split}-{name}.json"
    content = {"split": split, "step": step, "checkpoint": str(checkpoint), **result.to_dict()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def write_tensorboard(folder: Path, result: EvaluationResult, *, split: str, step: int) -> Path:
    """Adds a point at `step` to the curves `<split>_metrics/AP` ... and `<split>_losses/total_loss` ...

    They lie in a folder of their own beside the training's events, so that TensorBoard draws both in one chart.

    Args:
        folder: the run's folder.
        result: what to write; figures that could not be measured get no point.
        split: what was evaluated.
        step: updates done when the checkpoint was saved.

    Returns:
        The folder of the events.

    Raises:
        OutputError: the events cannot be written.
    """
    events = Path(folder) / f"eval_{split}"
    points = {f"{split}_metrics/{name}": value for name, value in result.metrics.figures.items()}
    points |= {f"{split}_losses/{name}": value for name, value in result.losses.items()}
    try:
        writer = tf.summary.create_file_writer(str(events))
        with writer.as_default(step=step):
            for name, value in points.items():
                if value is not None and math.isfinite(value):
                    tf.summary.scalar(name, value)
        writer.close()
    except tf.errors.OpError as error:
        raise OutputError(f"{events}: cannot be written ({error.message.splitlines()[0]})") from error
    return events


def is_of_run(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of a run (`ckpt-<step>` in the run's folder), not a published one."""
    return re.fullmatch(r"ckpt-\d+", Path(checkpoint).resolve().name) is not None
