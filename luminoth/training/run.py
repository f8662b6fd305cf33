"""Opens a run: finds its data and its newest checkpoint, and every mistake that shows before building."""

from __future__ import annotations

import itertools
import math
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from luminoth.checkpoints.folder import find_damage, read_checkpoint_classes, read_state
from luminoth.checkpoints.in_bucket import refresh, take_over, upload_changes, will_remove
from luminoth.checkpoints.runs import list_checkpoints, run_folder
from luminoth.config import dump_config, load_config
from luminoth.data.record_files import count_records, find_records, hash_records, read_classes, write_classes
from luminoth.data.sampling import Repeats
from luminoth.errors import CheckpointError, ConfigError, DataError, OutputError
from luminoth.training.changed_settings import compare_settings
from luminoth.training.repeats import find_repeats

# Holds a run's folder for the process that writes to it.
_LOCK_FILE = ".lock"


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
        repeats: how often each picture comes in an epoch (`train.sampling`); None: once.
        saved: what `state.json` of `checkpoint` says; empty without one.
        changes: what is configured otherwise than in the training that `checkpoint` is of, a line each.
        damaged: newer checkpoints than `checkpoint` that cannot be gone on from, each with the reason.
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
    repeats: Repeats | None = None
    saved: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    damaged: tuple[tuple[Path, str], ...] = ()

    @property
    def per_epoch(self) -> int:
        """Pictures that are shown in an epoch."""
        return self.images if self.repeats is None else self.repeats.per_epoch


def open_run(config: Any) -> Run:
    """Checks data set, classes and run folder, and finds out where training stands. Writes nothing.

    Raises:
        ConfigError: the data set's folder is not stated, or `num_classes` does not match the data set.
        DataError: the records or the class names are missing.
        OutputError: the run's folder cannot be written.
        CheckpointError: the run was started with another model or other classes, or none of its checkpoints is whole.
    """
    data = open_data(config)
    return _find_position(config, data, _find_folder(config))


@contextmanager
def held_run(config: Any) -> Iterator[Run]:
    """As `open_run`, for the process that writes to the run: while the block runs, no other can hold it.

    Raises:
        OutputError: also when another process holds it.
    """
    data = open_data(config)
    folder = _find_folder(config)
    with nullcontext() if folder is None else _held(folder):
        if folder is not None:
            take_over(folder)
        yield _find_position(config, data, folder)


def record_run(run: Run, config: Any) -> None:
    """Writes `config.yml` and `classes.json` into the run's folder, for people and other commands.

    Raises:
        OutputError: it cannot be written.
    """
    if run.folder is None:
        return
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        unfinished = run.folder / ".config.yml.unfinished"
        unfinished.write_text(dump_config(config), encoding="utf-8")
        os.replace(unfinished, run.folder / "config.yml")
        write_classes(run.folder, run.classes)
    except OSError as error:
        raise OutputError(
            f"{run.folder}: cannot be written ({error.strerror}); make room, or see train.job_dir"
        ) from error
    upload_changes(run.folder)


def put_aside(run: Run) -> list[str]:
    """Renames the damaged checkpoints, so that nothing takes them for the newest ones; says so, a line each.

    Raises:
        OutputError: one cannot be renamed.
    """
    lines = []
    for folder, damage in run.damaged:
        place = next(
            place
            for count in itertools.count(1)
            if not (place := folder.with_name(f"{folder.name}.damaged{'' if count == 1 else f'-{count}'}")).exists()
        )
        try:
            folder.rename(place)
        except OSError as error:
            raise OutputError(f"{folder}: damaged, and cannot be renamed ({error.strerror})") from error
        will_remove([folder])
        lines.append(
            f"{folder}: damaged ({damage}), now called {place.name}; going on from step {run.start_step}, the "
            "newest checkpoint that is whole"
        )
    return lines


class SplitData(NamedTuple):
    """The attributes of `Run` that the data set alone decides."""

    files: list[str]
    images: int
    data_hash: str
    classes: list[str]


def open_data(config: Any) -> SplitData:
    """Checks data set and classes.

    Raises:
        ConfigError, DataError: as `open_run`.
    """
    if not config.dataset.dir:
        raise ConfigError("dataset.dir: empty; state the folder that `lumi dataset transform` wrote (--dataset DIR)")
    files = find_records(config.dataset.dir, config.dataset.split)
    classes = _checked_classes(config)
    images = count_records(files)
    if images == 0:
        raise DataError(f"{files[0]}: the split {config.dataset.split!r} holds no pictures")
    return SplitData(files, images, hash_records(files), classes)


def _checked_classes(config: Any) -> list[str]:
    classes = list(read_classes(config.dataset.dir))
    stated = config.model.network.num_classes
    if stated is not None and stated != len(classes):
        raise ConfigError(
            f"model.network.num_classes: {stated}, but {config.dataset.dir}/classes.json names "
            f"{len(classes)} classes; correct it, or leave it out to take the data set's"
        )
    return classes


def _find_folder(config: Any) -> Path | None:
    """The run's folder, which need not exist; it is made when there is something to write."""
    if config.train.no_log:
        return None
    folder = run_folder(config)
    refresh(folder)  # what was copied earlier may be older than what the last training left
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: the run's folder cannot be written ({error.strerror}); see train.job_dir and train.run_name"
        ) from error
    return folder


def _find_position(config: Any, data: SplitData, folder: Path | None) -> Run:
    checkpoint, damaged = _newest_whole(folder) if folder else (None, ())
    saved = read_state(checkpoint) if checkpoint else {}
    changes = _check_same_training(checkpoint, config, data, saved) if checkpoint else ()
    seed = config.train.seed if config.train.seed is not None else saved.get("seed")
    repeats = find_repeats(config.train.sampling, data.files, data.data_hash, len(data.classes))
    return Run(
        folder=folder,
        **data._asdict(),
        checkpoint=checkpoint,
        start_step=saved.get("step", 0),
        images_seen=saved.get("data", {}).get("images_seen", 0),
        repeats=repeats,
        total_steps=_total_steps(config.train, data.images if repeats is None else repeats.per_epoch),
        seed=secrets.randbelow(2**31) if seed is None else seed,
        saved=saved,
        changes=changes,
        damaged=damaged,
    )


def _newest_whole(folder: Path) -> tuple[Path | None, tuple[tuple[Path, str], ...]]:
    """The newest checkpoint that is as it was written, and the newer ones that are not, with the reasons."""
    damaged = []
    for _, checkpoint in reversed(list_checkpoints(folder)):
        damage = find_damage(checkpoint)
        if damage is None:
            return checkpoint, tuple(damaged)
        damaged.append((checkpoint, damage))
    if damaged:
        reasons = "; ".join(f"{checkpoint.name}: {damage}" for checkpoint, damage in damaged)
        raise CheckpointError(
            f"{folder}: none of its checkpoints is whole ({reasons}). Restore one from a copy, or remove the "
            "folder to start over"
        )
    return None, ()


def _check_same_training(checkpoint: Path, config: Any, data: SplitData, saved: Mapping[str, Any]) -> tuple[str, ...]:
    """What has changed since a checkpoint was saved and may; raises CheckpointError for what may not."""
    differences = compare_settings(load_config([checkpoint / "config.yml"]), config)
    classes_before = read_checkpoint_classes(checkpoint)
    if classes_before != data.classes:
        differences.refused.append(
            f"the classes were {', '.join(classes_before)}, now they are {', '.join(data.classes)}"
        )
    if differences.refused:
        raise CheckpointError(
            f"{checkpoint.parent}: holds another training ({checkpoint.name}): "
            f"{'; '.join(differences.refused)}. Choose another train.run_name (with --from {checkpoint.parent} "
            "it starts from these weights), or remove the folder"
        )
    if saved.get("data", {}).get("hash", data.data_hash) != data.data_hash:
        images = saved["data"].get("images")
        differences.accepted.append(f"other records ({images} images before, {data.images} now)")
    return tuple(differences.accepted)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Holds a run's folder, making it when it is missing; the system lets go however this process ends.

    Where the file system knows no locks (some network file systems), nothing is held.
    """
    is_new = not folder.exists()
    path = folder / _LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror}); see train.job_dir") from error
    try:
        if not _lock(descriptor):
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
            raise OutputError(
                f"{folder}: another training writes to it (process {holder}); wait for it or stop it, or choose "
                "another train.run_name"
            )
        with suppress(OSError):  # on a full disk: whoever comes next is told less
            os.truncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        if is_new and os.listdir(folder) == [_LOCK_FILE]:  # it never came to anything
            with suppress(OSError):
                path.unlink()
                folder.rmdir()
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether this process has the lock on an open file now."""
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _total_steps(train: Any, per_epoch: int) -> int:
    steps = math.ceil(train.num_epochs * per_epoch / train.images_in_step)
    return steps if train.max_steps is None else min(steps, train.max_steps)
