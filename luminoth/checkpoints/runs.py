"""The checkpoints of a run, `ckpt-<step>/` in its folder: saved and pruned by training, listed and restored by all.

Listing imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luminoth.checkpoints.folder import (
    STATE_FILE,
    UNFINISHED_PREFIX,
    WEIGHTS_FILE,
    hash_file,
    is_checkpoint,
    read_state,
    write_facts,
    written_whole,
)
from luminoth.checkpoints.in_bucket import at_hand
from luminoth.checkpoints.weights_file import (
    read_averaged_weights,
    read_weights_file,
    write_weights_file,
)
from luminoth.errors import CheckpointError, OutputError
from luminoth.storage import is_address, join

_CHECKPOINT_NAME = re.compile(r"ckpt-(\d+)")
_WEIGHTS_ENDING = re.compile(r"\.(pth|pt|pkl|h5)$")


def run_folder(config: Any) -> Path:
    """Where a run keeps its checkpoints and events: `train.job_dir` / `train.run_name`.

    Without a run name it is made of the data set's folder and of what training starts from, or else the model's type,
    so that the same configuration finds the same run again. Of a run in a bucket it is a copy, see `in_bucket`.

    Raises:
        CheckpointError: a bucket cannot be read.
    """
    name = config.train.run_name or _default_name(config)
    if is_address(config.train.job_dir):
        return at_hand(join(config.train.job_dir, name))
    return Path(config.train.job_dir).expanduser() / name


def _default_name(config: Any) -> str:
    dataset = Path((config.dataset.dir or "dataset").removeprefix("gs://"))
    # Luminoth's examples end in `.../tf`, which alone says nothing.
    parts = [dataset.name] if dataset.name not in ("tf", "tfrecords", "records") else [*dataset.parts[-2:]]
    start = config.train.from_checkpoint
    kind = config.model.type if start is None else f"from-{Path(_WEIGHTS_ENDING.sub('', start)).name or 'checkpoint'}"
    return "-".join([*(part for part in parts if part.strip("./")), kind])


def save_checkpoint(
    run_dir: Path,
    step: int,
    *,
    model: Any,
    optimizer: Any,
    config: Any,
    classes: Sequence[str],
    state: Mapping[str, Any],
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Saves everything training needs to go on as `run_dir/ckpt-<step>`.

    Args:
        run_dir: the run's folder, made when it is missing.
        step: updates done so far.
        model: a `DetectionModel`.
        optimizer: its built Keras optimizer.
        config: the resolved `Config`.
        classes: the class names in the order of their ids.
        state: further facts for `state.json`: seed, position in the data, evaluations so far.
        extra: further variables that training needs to go on, see `write_weights_file`.

    Raises:
        CheckpointError: a weight is NaN or infinite; nothing is saved then.
        OutputError: the folder cannot be written; earlier checkpoints are untouched.
    """
    folder = Path(run_dir) / f"ckpt-{step}"
    weights = _named_weights(model)
    with written_whole(folder) as unfinished:
        write_weights_file(
            unfinished / WEIGHTS_FILE,
            weights,
            step=step,
            optimizer=optimizer,
            trained=_trained_names(model, weights),
            extra=extra,
        )
        written = hash_file(unfinished / WEIGHTS_FILE)
        write_facts(unfinished, config, classes, {**state, "step": step, "weights": written})
    return folder


def list_checkpoints(run_dir: Path) -> list[tuple[int, Path]]:
    """The whole checkpoints of a run as (step, folder), ascending; empty when there are none."""
    try:
        names = os.listdir(run_dir)
    except (FileNotFoundError, NotADirectoryError):
        return []
    matches = [match for name in names if (match := _CHECKPOINT_NAME.fullmatch(name))]
    folders = [(int(match.group(1)), Path(run_dir) / match.group(0)) for match in matches]
    return sorted((step, folder) for step, folder in folders if is_checkpoint(folder))


def latest_checkpoint(run_dir: Path) -> Path | None:
    """The newest whole checkpoint of a run."""
    checkpoints = list_checkpoints(run_dir)
    return checkpoints[-1][1] if checkpoints else None


def prune_checkpoints(run_dir: Path, keep: int, best: int | None = None) -> list[Path]:
    """Removes all but the newest `keep` (at least 1) checkpoints and the best, and what was left unfinished earlier.

    Only for the process that writes to this run. Returns the checkpoints removed.

    Args:
        run_dir: the run's folder.
        keep: how many of the newest ones stay.
        best: the step of one that stays however old it is.

    Raises:
        OutputError: one cannot be removed.
    """
    for leftover in Path(run_dir).glob(f"{UNFINISHED_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    removed = [folder for step, folder in list_checkpoints(run_dir)[: -max(keep, 1)] if step != best]
    for folder in removed:
        # Renamed first: a removal cut short leaves no half checkpoint under a good name.
        hidden = folder.with_name(f".{folder.name}.removed")
        try:
            folder.rename(hidden)
        except OSError as error:
            raise OutputError(f"{folder}: cannot remove the old checkpoint ({error.strerror or error})") from error
        shutil.rmtree(hidden, ignore_errors=True)
    return removed


def restore(
    folder: Path, model: Any, optimizer: Any = None, *, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Loads a checkpoint, as it was trained, into a model and, unless it is None, its built optimizer.

    Args:
        folder: the checkpoint's folder.
        model: a `DetectionModel`.
        optimizer: its built Keras optimizer.
        extra: the further variables given to `save_checkpoint`, see `read_weights_file`.

    Returns:
        The contents of `state.json`.

    Raises:
        CheckpointError: a file is missing or damaged, or a tensor is missing, left over or of another shape;
            the model is as it was then.
    """
    folder = Path(folder)
    state = read_state(folder)
    weights = _named_weights(model)
    trained = _trained_names(model, weights)
    step = read_weights_file(folder / WEIGHTS_FILE, weights, optimizer=optimizer, trained=trained, extra=extra)
    _check_step(folder, step, state)
    return state


def load_weights(folder: Path, model: Any) -> dict[str, Any]:
    """Loads the weights of a checkpoint into a model that is used, not trained: their averages where there are any.

    Returns and raises: as `restore`.
    """
    folder = Path(folder)
    state = read_state(folder)
    step = read_averaged_weights(folder / WEIGHTS_FILE, _named_weights(model))
    _check_step(folder, step, state)
    return state


def _check_step(folder: Path, step: int, state: Mapping[str, Any]) -> None:
    if step != state["step"]:
        raise CheckpointError(
            f"{folder}: {WEIGHTS_FILE} is of step {step}, {STATE_FILE} of step {state['step']}; "
            "they do not belong together"
        )


def _named_weights(model: Any) -> dict[str, Any]:
    from luminoth.models.base import named_weights

    return named_weights(model)


def _trained_names(model: Any, weights: Mapping[str, Any]) -> list[str]:
    """Paths of the trainable weights in the order in which the optimizer numbers its slots."""
    names = {id(variable): name for name, variable in weights.items()}
    return [names[id(variable)] for variable in model.trainable_variables]
