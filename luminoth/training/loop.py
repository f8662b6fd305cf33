"""Training, from a configuration to checkpoints: an explicit loop that reads from top to bottom.

It knows no architecture: a model is what has `compute_losses` and `detect` (see luminoth/models/base.py).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from luminoth.checkpoints.runs import prune_checkpoints, restore, save_checkpoint, transfer
from luminoth.checkpoints.store import find_checkpoint
from luminoth.config import dump_config
from luminoth.config.schema_train import MAX_GRADIENT_NORM
from luminoth.data.pipeline import iterate, training_batches
from luminoth.errors import CheckpointError, NonFiniteLossError, TrainingError
from luminoth.models.build import build_model, load_pretrained_backbone
from luminoth.resize import ResizeRule
from luminoth.training.events import (
    BackboneLoaded,
    CheckpointSaved,
    Interrupted,
    OnEvent,
    RunOpened,
    StepDone,
    WeightsTransferred,
    ignore_events,
)
from luminoth.training.interrupt import catch_interrupts
from luminoth.training.optimizers import make_learning_rate, make_optimizer
from luminoth.training.run import Run, open_run, record_run
from luminoth.training.step import make_train_step
from luminoth.training.strategy import describe_device, make_strategy
from luminoth.training.summaries import Summaries
from luminoth.types import Batch, BatchInfo

# Boxes named when a loss is not finite; more would hide the rest of the message.
_NAMED_BOXES = 8


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        folder: the run's folder; None when nothing is saved.
        step: updates done.
        total_steps: updates when the run is finished.
        checkpoint: the newest checkpoint, or None.
        interrupted: whether it was asked to stop before `total_steps`.
    """

    folder: Path | None
    step: int
    total_steps: int
    checkpoint: Path | None
    interrupted: bool


def train(config: Any, *, on_event: OnEvent = ignore_events) -> TrainingResult:
    """Trains the configured model on the configured data set, going on where an earlier call stopped.

    SIGINT or SIGTERM end it after the step at hand, with a checkpoint.

    Args:
        config: the resolved `Config`.
        on_event: called with what happens (luminoth/training/events.py), in this thread.

    Raises:
        ConfigError, DataError, OutputError, CheckpointError: see `open_run`; before anything is built.
        NonFiniteLossError: a loss became NaN or infinite; no checkpoint is saved then.
    """
    settings = config.train
    run = open_run(config)
    strategy = make_strategy()
    on_event(
        RunOpened(
            run.folder, describe_device(), run.images, run.classes, run.checkpoint, run.start_step,
            run.total_steps, run.seed,
        )
    )  # fmt: skip
    if run.start_step >= run.total_steps:
        return TrainingResult(run.folder, run.start_step, run.total_steps, run.checkpoint, False)

    keras.utils.set_random_seed(run.seed)
    with strategy.scope():
        model = build_model(config, len(run.classes), precision=settings.precision, xla=settings.xla)
        optimizer = make_optimizer(settings.optimizer, model.trainable_variables)
    if run.checkpoint:
        _restore(run.checkpoint, model, optimizer)
    elif settings.from_checkpoint:
        source = find_checkpoint(settings.from_checkpoint)
        on_event(WeightsTransferred(source, *transfer(source, model, run.classes)))
    else:
        on_event(BackboneLoaded(load_pretrained_backbone(model, config)))
    record_run(run, config)

    dataset = _make_dataset(config, run)
    distributed = strategy.experimental_distribute_dataset(dataset)
    batches = iterate(distributed, source=dataset)
    learning_rate = make_learning_rate(
        settings.learning_rate,
        total_steps=run.total_steps,
        warmup_steps=settings.warmup_steps,
        warmup_factor=settings.warmup_factor,
    )
    train_step = make_train_step(
        model, optimizer, strategy, distributed.element_spec[0],
        seed=run.seed,
        clip_by_norm=_norm_limit(settings.clip_by_norm),
        clip_by_global_norm=settings.clip_by_global_norm,
        xla=settings.xla,
    )  # fmt: skip
    checkpoint_due = Every(settings.save_checkpoint_steps, settings.save_checkpoint_secs)
    summaries_due = Every(settings.save_summaries_steps, settings.save_summaries_secs)
    speed = Speed(settings.batch_size)
    step, checkpoint = run.start_step, run.checkpoint

    def save() -> Path | None:
        """Saves the state after `step` updates."""
        if run.folder is None:
            return None
        images_seen = run.images_seen + (step - run.start_step) * settings.batch_size
        data = {"images_seen": images_seen, "images": run.images, "hash": run.data_hash}
        state = {"seed": run.seed, "data": data}
        folder = save_checkpoint(
            run.folder,
            step,
            model=model,
            optimizer=optimizer,
            config=config,
            classes=run.classes,
            state=state,
        )
        prune_checkpoints(run.folder, settings.checkpoints_max_keep)
        on_event(CheckpointSaved(step, folder))
        return folder

    with Summaries(run.folder, model, run.classes) as summaries, catch_interrupts() as interrupt:
        summaries.text("config", dump_config(config), step)
        while step < run.total_steps and not interrupt.is_set:
            speed.start()
            batch, info = next(batches)
            rate = learning_rate(step)
            values = _run_step(train_step, batch, step, rate)
            step += 1
            _check_finite(values, step, batch, info, rate, run.classes)
            speed.stop()

            norm = values.pop("gradient_norm")
            on_event(
                StepDone(
                    step, run.total_steps, values, rate, norm,
                    speed.images_per_second, speed.seconds_for(run.total_steps - step),
                )
            )  # fmt: skip
            if summaries_due(step) or step == run.total_steps:
                summaries.scalars(_curves(values, rate, norm, speed.images_per_second), step)
            if checkpoint_due(step) and step < run.total_steps:
                checkpoint = save()
                _show(summaries, settings, batch, step)

        if step < run.total_steps:
            on_event(Interrupted(step))
        if step > run.start_step:
            checkpoint = save()
            _show(summaries, settings, batch, step)
    return TrainingResult(run.folder, step, run.total_steps, checkpoint, interrupted=step < run.total_steps)


class Every:
    """Tells when something is due again: every so many steps or seconds, whichever comes first.

    Args:
        steps: due at multiples of it; None or 0 for never.
        seconds: due so long after it was due last (or after the start); None or 0 for never.
    """

    def __init__(self, steps: int | None, seconds: float | None) -> None:
        self._steps, self._seconds = steps, seconds
        self._last = time.monotonic()

    def __call__(self, step: int) -> bool:
        by_steps = bool(self._steps) and step % self._steps == 0
        by_time = bool(self._seconds) and time.monotonic() - self._last >= self._seconds
        if by_steps or by_time:
            self._last = time.monotonic()
        return by_steps or by_time


class Speed:
    """Images a second, as an average that forgets; what happens between `stop` and `start` does not count."""

    # The share of a new step in the average: about the last 20 steps matter.
    _SHARE = 0.1

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._steps = 0
        self._seconds_a_step = math.nan
        self._started = 0.0

    def start(self) -> None:
        self._started = time.monotonic()

    def stop(self) -> None:
        seconds = time.monotonic() - self._started
        self._steps += 1
        if self._steps == 2:  # the first one traces and fills the pipeline
            self._seconds_a_step = seconds
        elif self._steps > 2:
            self._seconds_a_step += self._SHARE * (seconds - self._seconds_a_step)

    @property
    def images_per_second(self) -> float:
        """0.0 while it is unknown."""
        return 0.0 if math.isnan(self._seconds_a_step) else self._batch_size / max(self._seconds_a_step, 1e-9)

    def seconds_for(self, steps: int) -> float | None:
        """How long so many steps will take; None while it is unknown."""
        return None if math.isnan(self._seconds_a_step) else steps * self._seconds_a_step


def _show(summaries: Summaries, settings: Any, batch: Batch, step: int) -> None:
    """What is written with each checkpoint: pictures and histograms, as configured."""
    if settings.image_vis:
        summaries.pictures(batch, step)
    if settings.var_vis:
        summaries.histograms(step, trained_only=settings.var_vis == "reduced")


def _make_dataset(config: Any, run: Run) -> tf.data.Dataset:
    return training_batches(
        run.files,
        batch_size=config.train.batch_size,
        resize=ResizeRule(**config.dataset.image_preprocessing.model_dump()),
        augmentations=[augmentation.model_dump() for augmentation in config.dataset.data_augmentation],
        seed=run.seed,
        shuffle=config.train.random_shuffle,
        shuffle_buffer=config.train.shuffle_buffer,
        # Differs from the step when the batch size was changed on the way.
        start_step=run.images_seen // config.train.batch_size,
        num_classes=len(run.classes),
    )


def _restore(checkpoint: Path, model: Any, optimizer: keras.optimizers.Optimizer) -> None:
    try:
        restore(checkpoint, model, optimizer)
    except CheckpointError as error:
        raise CheckpointError(
            f"cannot go on from {checkpoint}: {error}. Choose another train.run_name, or remove that folder "
            "to go on from an older one"
        ) from error


def _run_step(train_step: Any, batch: Batch, step: int, rate: float) -> dict[str, float]:
    try:
        return train_step(batch, step, rate)
    except tf.errors.ResourceExhaustedError as error:
        height, width = batch.images.shape[1:3]
        raise TrainingError(
            f"out of memory at step {step + 1}, on {batch.images.shape[0]} images of {height} x {width}: "
            "lower train.batch_size, or min_size and max_size of dataset.image_preprocessing"
        ) from error


def _check_finite(
    values: dict[str, float], step: int, batch: Batch, info: BatchInfo, rate: float, classes: list[str]
) -> None:
    """Raises `NonFiniteLossError` with all that helps to find the cause."""
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if not broken:
        return
    image_ids = [image_id.decode(errors="replace") for image_id in info.image_ids.numpy()]
    boxes = []
    for image_id, image_boxes, class_ids, is_object in zip(
        image_ids, batch.gt_boxes.numpy(), batch.gt_class_ids.numpy(), batch.is_object.numpy(), strict=True
    ):
        for box, class_id in zip(image_boxes[is_object].tolist(), class_ids[is_object].tolist(), strict=True):
            label = classes[class_id] if class_id < len(classes) else f"class {class_id}"
            boxes.append(f"{image_id}: {label} {[round(edge, 1) for edge in box]}")
    named = "; ".join(boxes[:_NAMED_BOXES]) or "none"
    more = f" and {len(boxes) - _NAMED_BOXES} more" if len(boxes) > _NAMED_BOXES else ""
    raise NonFiniteLossError(
        f"{', '.join(broken)} became NaN or infinite at step {step} (learning rate {rate:g}; images "
        f"{', '.join(image_ids)}; boxes in network pixels: {named}{more}). No checkpoint was saved of it: "
        "check these boxes, or lower train.learning_rate, lengthen train.warmup_steps or lower "
        "train.clip_by_global_norm"
    )


def _curves(values: dict[str, float], rate: float, norm: float, images_per_second: float) -> dict[str, float]:
    return {
        **{f"losses/{name}": value for name, value in values.items()},
        "train/learning_rate": rate,
        "train/gradient_norm": norm,
        "train/images_per_second": images_per_second,
    }


def _norm_limit(clip_by_norm: bool | float) -> float | None:
    """`train.clip_by_norm` as a number, or None when it is off."""
    if clip_by_norm is True:
        return MAX_GRADIENT_NORM
    return clip_by_norm or None
