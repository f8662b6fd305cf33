"""Publishing: from a run's checkpoint, or a model, to one that can be called by name and shared.

A published checkpoint has no optimizer state and no paths of the machine it was trained on, but `metadata.json`. A
checkpoint is published without TensorFlow: its weights are copied as they are, or as halves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luminoth.checkpoints.entry import Entry, read_entry
from luminoth.checkpoints.folder import (
    WEIGHTS_FILE,
    read_checkpoint_classes,
    read_checkpoint_config,
    read_state,
    refuse_existing,
    write_facts,
    written_whole,
)
from luminoth.checkpoints.history import EVAL_FOLDER, JUDGE_SPLIT, best_checkpoint, judged_by
from luminoth.checkpoints.metadata import write_metadata
from luminoth.checkpoints.naming import check_fields, new_id
from luminoth.checkpoints.runs import list_checkpoints
from luminoth.checkpoints.store import Store
from luminoth.checkpoints.weights_file import copy_weights_file, write_weights_file
from luminoth.errors import CheckpointError

LAST, BEST = "last", "best"


def create_checkpoint(
    folder: Path, fields: Mapping[str, str] | None = None, *, half: bool = False, store: Store | None = None
) -> Entry:
    """Publishes a checkpoint in the store, under a new id.

    Args:
        folder: of a checkpoint of a run, see `choose_checkpoint`, or any other.
        fields: name, alias, description, source, licence, dataset.name; what is not stated is told by the run, or
            empty.
        half: store the weights as float16.
        store: where to; None: the user's.

    Returns:
        Its entry in the store.

    Raises:
        CheckpointError: the checkpoint cannot be read, or a field is not accepted; nothing was created then.
        OutputError: the store cannot be written.
    """
    folder = Path(folder)
    facts = {**_of_run(folder), **check_fields(fields or {})}
    store = store or Store()
    checkpoint_id = new_id()
    with store.adding(checkpoint_id) as unfinished:
        _copy(folder, unfinished, {**facts, "id": checkpoint_id, "origin": "created"}, half)
    return read_entry(store.folder / checkpoint_id)


def choose_checkpoint(run_dir: Path, which: str = LAST) -> Path:
    """The folder of one checkpoint of a run.

    Args:
        run_dir: the run's folder.
        which: `last`, `best` (by `train.best_metric` among those evaluated on `train.eval_split`), or a step.

    Raises:
        CheckpointError: there is no such checkpoint; says which there are.
    """
    checkpoints = list_checkpoints(run_dir)
    if not checkpoints:
        raise CheckpointError(f"{run_dir}: no checkpoint in there (looked for ckpt-<step>); is this a run's folder?")
    if which == LAST:
        return checkpoints[-1][1]
    if which == BEST:
        return best_checkpoint(run_dir, *judged_by(run_dir)).folder
    for step, folder in checkpoints:
        if which == str(step):
            return folder
    steps = ", ".join(str(step) for step, _ in checkpoints)
    raise CheckpointError(f"{run_dir}: no checkpoint `{which}`; there are: {BEST}, {LAST}, and the steps {steps}")


def publish_checkpoint(folder: Path, metadata: Mapping[str, Any], destination: Path, *, half: bool = False) -> Path:
    """Writes the published form of a checkpoint as a folder anywhere.

    Args:
        folder: a checkpoint's folder.
        metadata: id, name, alias, source, licence, scores, ...
        destination: the folder to create; it must not exist.
        half: store the weights as float16.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        OutputError: the destination exists or cannot be written.
    """
    destination = Path(destination)
    refuse_existing(destination)
    with written_whole(destination) as unfinished:
        _copy(Path(folder), unfinished, metadata, half)
    return destination


def publish_model(
    model: Any,
    config: Any,
    classes: Sequence[str],
    metadata: Mapping[str, Any],
    destination: Path | None = None,
    *,
    step: int = 0,
    half: bool = False,
) -> Path:
    """Writes a model as a published checkpoint: weights, configuration, classes and metadata.

    Args:
        model: a `DetectionModel`.
        config: the `Config` it was built with; paths of this machine are left out.
        classes: the class names in the order of their ids.
        metadata: id, name, alias, source, licence, scores, ...
        destination: the folder to create, which must not exist; None: the store, under the id.
        step: updates done; 0 for weights that others trained.
        half: store the weights as float16.

    Returns:
        The folder.

    Raises:
        CheckpointError: a weight is NaN or infinite.
        OutputError: the destination exists or cannot be written.
    """
    from luminoth.models.base import named_weights

    with _place(metadata, destination) as (folder, unfinished):
        write_weights_file(unfinished / WEIGHTS_FILE, named_weights(model), step=step, half=half)
        write_facts(unfinished, _without_paths(config), classes, {"step": step})
        write_metadata(unfinished, metadata)
    return folder


@contextmanager
def _place(metadata: Mapping[str, Any], destination: Path | None) -> Iterator[tuple[Path, Path]]:
    """Where a published checkpoint will be, and the hidden folder to write it in."""
    if destination is None:
        store = Store()
        with store.adding(metadata["id"]) as unfinished:
            yield store.folder / metadata["id"], unfinished
    else:
        refuse_existing(destination)
        with written_whole(Path(destination)) as unfinished:
            yield Path(destination), unfinished


def _copy(folder: Path, unfinished: Path, metadata: Mapping[str, Any], half: bool) -> None:
    """Writes the published form of a checkpoint's folder into another."""
    state, config = read_state(folder), read_checkpoint_config(folder)
    classes = read_checkpoint_classes(folder)
    step = copy_weights_file(folder / WEIGHTS_FILE, unfinished / WEIGHTS_FILE, half=half)
    if step != state["step"]:
        raise CheckpointError(f"{folder}: {WEIGHTS_FILE} is of step {step}, its state of step {state['step']}")
    kept = {name: state[name] for name in ("step", "versions") if name in state}
    write_facts(unfinished, _without_paths(config), classes, kept)
    told = {key: value for key, value in state.get("data", {}).items() if key in ("images", "hash")}
    write_metadata(unfinished, {**metadata, "data": {**told, **metadata.get("data", {})}})


def _of_run(folder: Path) -> dict[str, Any]:
    """What a run tells of its checkpoint: a name, where it comes from, and the scores of its evaluation."""
    if not folder.name.startswith("ckpt-"):
        return {}
    run = folder.absolute().parent
    step = folder.name.removeprefix("ckpt-")
    return {"name": run.name, "source": f"trained as {run.name}, step {step}", "scores": _scores(run, step)}


def _scores(run: Path, step: str) -> dict[str, Any]:
    """AP, AP50 and AP75 of an evaluation of that step, on `val` or else on whichever split there is."""
    first = f"{JUDGE_SPLIT}-{step}.json"
    files = sorted((run / EVAL_FOLDER).glob(f"*-{step}.json"), key=lambda path: path.name != first)
    for path in files:
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
            figures = {name: float(metrics[name]) for name in ("AP", "AP50", "AP75") if metrics.get(name) is not None}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if figures and all(map(math.isfinite, figures.values())):
            return {"data_set": path.name.removesuffix(f"-{step}.json"), **figures}
    return {}


def _without_paths(config: Any) -> Any:
    """The configuration without where data and runs lay on the machine that trained it."""
    train = config.train.model_copy(update={"job_dir": "jobs/", "run_name": None})
    return config.model_copy(update={"train": train, "dataset": config.dataset.model_copy(update={"dir": None})})
