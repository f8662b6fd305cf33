"""Opens a run: finds its data and its newest checkpoint, and every mistake that shows before building."""

from __future__ import annotations

import math
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luminoth.checkpoints.folder import read_checkpoint_classes, read_state
from luminoth.checkpoints.runs import latest_checkpoint, run_folder
from luminoth.config import dump_config, load_config
from luminoth.data.record_files import count_records, find_records, hash_records, read_classes, write_classes
from luminoth.errors import CheckpointError, ConfigError, DataError, OutputError


@dataclass(frozen=True)
class Run:
    """A training that can start or go on.

    Attributes:
        folder: where checkpoints and events go; None when nothing is saved (`train.no_log`).
        files: the record files of the split.
        images: pictures in them.
        data_hash: see `hash_records`.
        classes: class names in the order of their ids.
        checkpoint: what to go on from, or None.
        start_step: updates done.
        images_seen: pictures used for them.
        total_steps: updates when the run will be finished.
        seed: `train.seed`, or one drawn when the run began.
    """

    folder: Path | None
    files: list[str]
    images: int
    data_hash: str
    classes: list[str]
    checkpoint: Path | None
    start_step: int
    images_seen: int
    total_steps: int
    seed: int


def open_run(config: Any) -> Run:
    """Checks data set, classes and run folder, and finds out where training stands.

    Raises:
        ConfigError: the data set's folder is not stated, or `num_classes` does not match the data set.
        DataError: the records or the class names are missing.
        OutputError: the run's folder cannot be written.
        CheckpointError: the run was started with another model or other classes.
    """
    if not config.dataset.dir:
        raise ConfigError("dataset.dir: empty; state the folder that `lumi dataset transform` wrote")
    files = find_records(config.dataset.dir, config.dataset.split)
    classes = _checked_classes(config)
    images = count_records(files)
    if images == 0:
        raise DataError(f"{files[0]}: the split {config.dataset.split!r} holds no pictures")
    folder = None if config.train.no_log else _writable(run_folder(config))
    checkpoint = latest_checkpoint(folder) if folder else None
    state = read_state(checkpoint) if checkpoint else {}
    if checkpoint:
        _check_same_model(checkpoint, config, classes)
    seed = config.train.seed if config.train.seed is not None else state.get("seed")
    return Run(
        folder=folder,
        files=files,
        images=images,
        data_hash=hash_records(files),
        classes=classes,
        checkpoint=checkpoint,
        start_step=state.get("step", 0),
        images_seen=state.get("data", {}).get("images_seen", 0),
        total_steps=_total_steps(config.train, images),
        seed=secrets.randbelow(2**31) if seed is None else seed,
    )


def record_run(run: Run, config: Any) -> None:
    """Writes `config.yml` and `classes.json` into the run's folder, for people and other commands."""
    if run.folder is None:
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    unfinished = run.folder / ".config.yml.unfinished"
    unfinished.write_text(dump_config(config), encoding="utf-8")
    os.replace(unfinished, run.folder / "config.yml")
    write_classes(run.folder, run.classes)


def _checked_classes(config: Any) -> list[str]:
    classes = list(read_classes(config.dataset.dir))
    stated = config.model.network.num_classes
    if stated is not None and stated != len(classes):
        raise ConfigError(
            f"model.network.num_classes: {stated}, but {config.dataset.dir}/classes.json names "
            f"{len(classes)} classes; correct it, or leave it out to take the data set's"
        )
    return classes


def _writable(folder: Path) -> Path:
    """The folder, which need not exist; it is made when there is something to write."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: the run's folder cannot be written ({error.strerror}); see train.job_dir and train.run_name"
        ) from error
    return folder


def _check_same_model(checkpoint: Path, config: Any, classes: list[str]) -> None:
    before = load_config([checkpoint / "config.yml"]).model
    now = config.model
    differences = [
        f"{key} was {old}, now it is {new}"
        for key, old, new in (
            ("model.type", before.type, now.type),
            (
                "model.base_network.architecture",
                before.base_network.architecture,
                now.base_network.architecture,
            ),
        )
        if old != new
    ]
    classes_before = read_checkpoint_classes(checkpoint)
    if classes_before != classes:
        differences.append(f"the classes were {', '.join(classes_before)}, now they are {', '.join(classes)}")
    if differences:
        raise CheckpointError(
            f"{checkpoint.parent}: holds another training ({checkpoint.name}): "
            f"{'; '.join(differences)}. Choose another train.run_name, or remove the folder"
        )


def _total_steps(train: Any, images: int) -> int:
    steps = math.ceil(train.num_epochs * images / train.batch_size)
    return steps if train.max_steps is None else min(steps, train.max_steps)
