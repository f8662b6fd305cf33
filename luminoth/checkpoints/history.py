"""What earlier evaluations of a run found: which checkpoint is the best, and which were evaluated already."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from luminoth.checkpoints.folder import STATE_FILE
from luminoth.checkpoints.runs import list_checkpoints
from luminoth.errors import CheckpointError

EVAL_FOLDER = "eval"


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


def best_checkpoint(run_dir: Path, split: str, metric: str = "AP") -> BestCheckpoint:
    """The checkpoint with the highest figure among those that were evaluated on a split and are still there.

    Of equal ones it is the newest.

    Args:
        run_dir: the run's folder.
        split: whose evaluations are looked at.
        metric: one of the names in `metrics` of an evaluation's JSON.

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
    ranked = sorted(values, key=lambda step: (values[step], step), reverse=True)
    best = next((step for step in ranked if step in folders), None)
    if best is None:
        raise CheckpointError(
            f"{run_dir}: of the checkpoints evaluated on {split!r} (steps {', '.join(map(str, sorted(values)))}) none "
            "is left (train.checkpoints_max_keep says how many are kept); choose --checkpoint last"
        )
    return BestCheckpoint(folders[best], best, values[best], len(values), ranked[: ranked.index(best)])


def is_evaluated(checkpoint: Path, split: str) -> bool:
    """Whether there are figures of a run's checkpoint on a split that are newer than the checkpoint."""
    step = checkpoint.name.removeprefix("ckpt-")
    try:
        evaluated = (checkpoint.parent / EVAL_FOLDER / f"{split}-{step}.json").stat().st_mtime
        return evaluated > (checkpoint / STATE_FILE).stat().st_mtime
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
            value = json.loads(path.read_text(encoding="utf-8"))["metrics"][metric]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(value, (int, float)) and math.isfinite(value):
            values[int(step)] = float(value)
    return values
