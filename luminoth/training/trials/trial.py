"""A dry run: everything is built, a few steps are made, nothing is written; and what the whole run will take."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luminoth.checkpoints.folder import read_state
from luminoth.checkpoints.runs import latest_checkpoint, run_folder
from luminoth.models.build import imagenet_file
from luminoth.training.assembly import (
    build_state,
    load_first_weights,
    make_configured_rate,
    make_configured_step,
    open_batches,
    run_step,
)
from luminoth.training.class_weights import settle_class_weights
from luminoth.training.events import BackboneLoaded, Doubted, OnEvent
from luminoth.training.non_finite import Update, check_finite
from luminoth.training.pieces import draw
from luminoth.training.preflight import check_space, free_bytes, look_over
from luminoth.training.run import Run, open_run
from luminoth.training.state import TrainingState, checkpoint_bytes, count_parameters
from luminoth.training.trials.batch_size import with_training
from luminoth.training.validation import open_validation
from luminoth.training.watching.memory import available_host_memory, gpu_memory, peak_host_memory
from luminoth.training.workers.strategy import Workers, make_strategy
from luminoth.training.workers.teamwork import with_divided_batch

_STEPS = 2  # that are timed, after one that compiles


@dataclass(frozen=True)
class Trial:
    """What a dry run found out.

    Attributes:
        run_folder: where the run would be; None when it saves nothing.
        device: in words.
        images: pictures in the split.
        images_per_epoch: more than these where some are repeated (`train.sampling`).
        classes: the class names.
        batch_size: as in the configuration, a number.
        images_in_step: pictures that an update is made from.
        parameters, trained: see `count_parameters`.
        start_step, total_steps: where the run stands, and where it ends.
        first_loss: total loss of the first step.
        seconds_a_step: from one step to the next, reading pictures included.
        host_peak, host_free: bytes that this process took at most, and bytes that are free besides; None: not known.
        gpu_peak: bytes at most on the first GPU; None without one.
        checkpoint_bytes: of one checkpoint.
        disk_needed, disk_free: bytes of all checkpoints that are there at once, and bytes that are free; 0 and None
            when nothing is saved.
    """

    run_folder: Path | None
    device: str
    images: int
    images_per_epoch: int
    classes: list[str]
    batch_size: int
    images_in_step: int
    parameters: int
    trained: int
    start_step: int
    total_steps: int
    first_loss: float
    seconds_a_step: float
    host_peak: int | None
    host_free: int | None
    gpu_peak: int | None
    checkpoint_bytes: int
    disk_needed: int
    disk_free: int | None

    @property
    def images_per_second(self) -> float:
        return self.images_in_step / self.seconds_a_step

    @property
    def steps_left(self) -> int:
        return max(0, self.total_steps - self.start_step)

    @property
    def seconds_left(self) -> float:
        """Of training alone; evaluation and saving come on top."""
        return self.steps_left * self.seconds_a_step


def try_training(config: Any, on_event: OnEvent) -> Trial:
    """Builds what `train` would, makes three steps, and writes nothing.

    A checkpoint that the training starts from is found as for a training (and converted, where it is a file); weights
    of ImageNet that are not here yet are not fetched, and random ones take their place.

    Args:
        config: the resolved `Config`.
        on_event: is told what looks wrong, and which weights were loaded.

    Raises:
        as `train`.
    """
    open_validation(config)
    workers = Workers(make_strategy(config.train))
    config = with_divided_batch(settle_class_weights(config, on_event), workers, on_event)
    folder = None if config.train.no_log else run_folder(config)
    own = latest_checkpoint(folder) if folder else None
    config = with_training(config, no_log=True)
    run = open_run(config)
    for doubt in look_over(config, run):
        on_event(Doubted(doubt))
    state = build_state(config, run, workers.strategy)
    _load_weights_that_are_here(config, run, state, on_event)
    first_loss, seconds = _time_steps(training_steps(config, run, workers, state))
    size = checkpoint_bytes(state)
    keep = config.train.checkpoints_max_keep
    if folder and (doubt := check_space(folder, size, keep)):
        on_event(Doubted(doubt))
    gpu = gpu_memory()
    return Trial(
        run_folder=folder,
        device=workers.describe(config.train),
        images=run.images,
        images_per_epoch=run.per_epoch,
        classes=run.classes,
        images_in_step=config.train.images_in_step,
        batch_size=config.train.images_in_step,
        parameters=count_parameters(state.model)[0],
        trained=count_parameters(state.model)[1],
        start_step=read_state(own)["step"] if own else 0,
        total_steps=run.total_steps,
        first_loss=first_loss,
        seconds_a_step=seconds,
        host_peak=peak_host_memory(),
        host_free=available_host_memory(),
        gpu_peak=gpu and gpu[1],
        checkpoint_bytes=size,
        disk_needed=size * (keep + 1) if folder else 0,
        disk_free=free_bytes(folder) if folder else None,
    )


def _load_weights_that_are_here(config: Any, run: Run, state: TrainingState, on_event: OnEvent) -> None:
    file = imagenet_file(config.model.base_network) if config.train.from_checkpoint is None else None
    if file is None or file.is_file():
        load_first_weights(config, run, state, on_event)
    else:
        on_event(BackboneLoaded(f"random weights for now; a training will fetch {file.name}"))


def training_steps(config: Any, run: Run, workers: Workers, state: TrainingState) -> Iterator[dict[str, float]]:
    """Makes the updates of a run, one after the other without end, and gives the losses of each; nothing else happens.

    Raises:
        DataError, TrainingError: as `train`.
    """
    batches, batch_spec = open_batches(config, run, workers)
    train_step = make_configured_step(config, run, workers.strategy, state, batch_spec)
    learning_rate = make_configured_rate(config, run)
    for step in itertools.count():
        pieces = draw(batches, config.train.accumulate_steps)
        rate = learning_rate(step)
        values = run_step(train_step, pieces, step, rate)
        check_finite(Update(step + 1, values, rate, pieces), run)
        yield values


def _time_steps(steps: Iterator[dict[str, float]]) -> tuple[float, float]:
    """Total loss of the first step, and the seconds that each of the others took."""
    first_loss = next(steps)["total_loss"]
    started = time.monotonic()
    for _ in range(_STEPS):
        next(steps)
    return first_loss, (time.monotonic() - started) / _STEPS
