"""What earlier evaluations of a run found: which checkpoint is the best, and which were evaluated already."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luminoth.checkpoints.folder import CONFIG_FILE, WEIGHTS_FILE
from luminoth.checkpoints.runs import list_checkpoints
from luminoth.errors import CheckpointError, ConfigError

EVAL_FOLDER = "eval"

# What a run is judged by when its configuration does not say.
JUDGE_SPLIT, JUDGE_METRIC = "val", "AP"


@dataclass(frozen=True)
class BestCheckpoint:
    """The checkpoint of a run that did best.

    Attributes:
        folder, step: which it is.
        value: what it reached.
        evaluated: how many of the run's checkpoints were evaluated.
        better_but_gone: the steps of those that did better and are no longer there, the best first.
    """

    folder: Path
    step: int
    value: float
    evaluated: int
    better_but_gone: list[int]


def best_checkpoint(run_dir: Path, split: str, metric: str = JUDGE_METRIC) -> BestCheckpoint:
    """The checkpoint with the best figure among those that were evaluated on a split and are still there.

    Of equal ones it is the newest.

    Args:
        run_dir: the run's folder.
        split: whose evaluations are looked at.
        metric: see `read_figure`.

    Raises:
        CheckpointError: no checkpoint was evaluated, or none of those is left.
    """
    values = _read_values(Path(run_dir), split, metric)
    if not values:
        raise CheckpointError(
            f"{run_dir}: no checkpoint was evaluated on {split!r} yet (looked for {EVAL_FOLDER}/{split}-<step>.json), "
            "so which is the best is not known; evaluate them with `lumi eval --watch`, or choose --checkpoint last"
        )
    folders = dict(list_checkpoints(Path(run_dir)))
    sign = -1 if is_lower_better(metric) else 1
    ranked = sorted(values, key=lambda step: (sign * values[step], step), reverse=True)
    best = next((step for step in ranked if step in folders), None)
    if best is None:
        raise CheckpointError(
            f"{run_dir}: of the checkpoints evaluated on {split!r} (steps {', '.join(map(str, sorted(values)))}) none "
            "is left (train.checkpoints_max_keep says how many are kept); choose --checkpoint last"
        )
    return BestCheckpoint(folders[best], best, values[best], len(values), ranked[: ranked.index(best)])


def read_figure(evaluation: Mapping[str, Any], metric: str) -> float | None:
    """One figure of what an evaluation's JSON says; None where it was not measured or is not finite.

    Args:
        evaluation: the JSON's content.
        metric: a name in `metrics`, such as AP50, or in `losses`, such as total_loss.

    Raises:
        KeyError: it has no such figure.
    """
    value = evaluation["losses" if is_lower_better(metric) else "metrics"][metric]
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def is_lower_better(metric: str) -> bool:
    """Whether a figure is a loss."""
    return metric.endswith("_loss")


def judged_by(run_dir: Path) -> tuple[str, str]:
    """The split and the metric that a run's checkpoints are judged by, as its configuration says."""
    from luminoth.config import load_config

    try:
        train = load_config([Path(run_dir) / CONFIG_FILE]).train
    except ConfigError:
        return JUDGE_SPLIT, JUDGE_METRIC
    return train.eval_split, train.best_metric


def is_evaluated(checkpoint: Path, split: str) -> bool:
    """Whether there are figures of a run's checkpoint on a split that are newer than the checkpoint."""
    step = checkpoint.name.removeprefix("ckpt-")
    try:
        evaluated = (checkpoint.parent / EVAL_FOLDER / f"{split}-{step}.json").stat().st_mtime
        # Not of state.json, in which training notes what it found.
        return evaluated > (checkpoint / WEIGHTS_FILE).stat().st_mtime
    except OSError:
        return False


def _read_values(run_dir: Path, split: str, metric: str) -> dict[int, float]:
    """step -> value, of the evaluations on `split` that can be read and measured it."""
    values = {}
    for path in (run_dir / EVAL_FOLDER).glob(f"{split}-*.json"):
        step = path.stem.removeprefix(f"{split}-")
        if not step.isdigit():
            continue
        try:
            value = read_figure(json.loads(path.read_text(encoding="utf-8")), metric)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if value is not None:
            values[int(step)] = value
    return values
