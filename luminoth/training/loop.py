"""Training, from a configuration to checkpoints: an explicit loop that reads from top to bottom.

It knows no architecture: a model is what has `compute_losses` and `detect` (see luminoth/models/base.py).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from luminoth.errors import WorkerError
from luminoth.evaluation.checkpoint import Split
from luminoth.training.assembly import (
    build_state,
    load_first_weights,
    make_configured_rate,
    make_configured_step,
    open_batches,
    run_step,
)
from luminoth.training.class_weights import settle_class_weights
from luminoth.training.events import (
    Doubted,
    Interrupted,
    ModelBuilt,
    OnEvent,
    RateScaled,
    RunOpened,
    SettingsChanged,
    WorkerJoined,
    ignore_events,
)
from luminoth.training.interrupt import catch_interrupts
from luminoth.training.non_finite import Update, check_finite, non_finite_weights_explained
from luminoth.training.out_of_memory import out_of_memory_explained
from luminoth.training.pieces import draw
from luminoth.training.preflight import check_space, look_over
from luminoth.training.run import Run, held_run, put_aside, record_run
from luminoth.training.saving import Saving, resume
from luminoth.training.standing import Standing
from luminoth.training.state import checkpoint_bytes, count_parameters
from luminoth.training.update.schedules import batch_scale
from luminoth.training.validation import Validation, open_validation
from luminoth.training.watching.figures import TrainingFigures
from luminoth.training.watching.watch import Watch
from luminoth.training.workers.strategy import Workers, join_workers
from luminoth.training.workers.teamwork import (
    SharedInterrupt,
    agree_on_run,
    agree_on_state,
    explain_lost,
    run_of_chief,
    validate_together,
    with_divided_batch,
)


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        folder: the run's folder; None when nothing is saved.
        step: updates done.
        total_steps: updates when the run is finished.
        checkpoint: the newest checkpoint, or None.
        interrupted: whether it was asked to stop before the end.
        standing: what its evaluations found.
        stopped_early: whether it ended because they no longer got better (`train.patience`).
        figures: what it came to; None where there was nothing left to train.
        worker: which of several this process was; 0 is the chief, which alone saved anything.
    """

    folder: Path | None
    step: int
    total_steps: int
    checkpoint: Path | None
    interrupted: bool
    standing: Standing
    stopped_early: bool = False
    figures: TrainingFigures | None = field(default=None, compare=False)
    worker: int = 0


def train(config: Any, *, on_event: OnEvent = ignore_events) -> TrainingResult:
    """Trains the configured model on the configured data set, going on where an earlier call stopped.

    SIGINT or SIGTERM end it after the step at hand, with a checkpoint.

    Args:
        config: the resolved `Config`.
        on_event: called with what happens (luminoth/training/events.py), in this thread.

    Raises:
        ConfigError, DataError, OutputError, CheckpointError: see `held_run` and `open_validation`; before anything is
            built.
        NonFiniteLossError: a loss or a weight became NaN or infinite; no checkpoint is saved then.
        OutputError: the last checkpoint cannot be written.
    """
    split = open_validation(config)
    workers = join_workers(config.train)
    if not workers.is_chief:
        on_event(WorkerJoined(workers.index, workers.count, workers.cluster.addresses[0]))
        on_event = ignore_events
    config = settle_class_weights(config, on_event)
    config = with_divided_batch(config, workers, on_event)
    with held_run(config) if workers.is_chief else nullcontext(run_of_chief(config)) as run:
        run = agree_on_run(run, config, workers)
        return _train(config, run, split, workers, on_event)


def _train(config: Any, run: Run, split: Split | None, workers: Workers, on_event: OnEvent) -> TrainingResult:
    for line in put_aside(run) if workers.is_chief else ():
        on_event(Doubted(line))
    standing = Standing.from_dict(
        run.saved.get("validation"), split=config.train.eval_split, metric=config.train.best_metric
    )
    validation = Validation(split, run, config, standing, on_event)
    step = run.start_step
    on_event(
        RunOpened(
            run.folder, workers.describe(config.train), run.images, run.classes, run.checkpoint, step,
            run.total_steps, run.seed,
            stopped_early=validation.says_stop, images_per_epoch=run.per_epoch,
        )
    )  # fmt: skip
    if validation.says_stop or (step >= run.total_steps and not validation.is_due(step)):
        return TrainingResult(
            run.folder, step, run.total_steps, run.checkpoint, False, standing, validation.says_stop,
            worker=workers.index,
        )  # fmt: skip
    if run.changes:
        on_event(SettingsChanged(run.changes))
    for doubt in look_over(config, run):
        on_event(Doubted(doubt))
    batch_size, base_batch_size = config.train.images_in_step, config.train.base_batch_size
    if base_batch_size not in (None, batch_size):
        on_event(RateScaled(batch_scale(batch_size, base_batch_size), batch_size, base_batch_size))

    keras.utils.set_random_seed(run.seed)
    with out_of_memory_explained("while the model was built"):
        state = build_state(config, run, workers.strategy)
    on_event(ModelBuilt(*count_parameters(state.model)))
    if run.folder and (doubt := check_space(run.folder, checkpoint_bytes(state), config.train.checkpoints_max_keep)):
        on_event(Doubted(doubt))
    if run.checkpoint:
        resume(run.checkpoint, state)
    else:
        load_first_weights(config, run, state, on_event)
    agree_on_state(state, workers)
    record_run(run, config)

    batches, batch_spec = open_batches(config, run, workers)
    train_step = make_configured_step(config, run, workers.strategy, state, batch_spec)
    learning_rate = make_configured_rate(config, run)
    saving = Saving(run, config, state, standing, on_event)
    lost = None
    with Watch(run, config, state, on_event) as watch, catch_interrupts() as own_interrupt:
        interrupt = SharedInterrupt(own_interrupt, workers)
        while not (interrupt.is_set or validation.says_stop):
            if validation.is_due(step):  # also of the step that a run goes on from
                if validate_together(validation, workers, interrupt, step, state, saving.folder_of(step)):
                    saving.note_standing()
                    watch.validated(step, validation.figures)
                continue
            if step >= run.total_steps:
                break
            watch.step_begins()
            pieces = draw(batches, config.train.accumulate_steps)
            watch.batch_came()
            rate = learning_rate(step)
            try:
                with workers.losses_explained():
                    values = run_step(train_step, pieces, step, rate, own_interrupt.is_set)
            except WorkerError as error:
                lost = error
                break
            interrupt.hear(values)
            step += 1
            update = Update(step, values, rate, pieces)
            check_finite(update, run)
            if step == run.start_step + 1:
                validation.check_metric(values)
            watch.step_ends(step, values, rate)
            if saving.is_due(step) or validation.is_due(step) or step == run.total_steps:
                with non_finite_weights_explained(update, run):
                    is_saved = saving.save_while_training(step)
                if is_saved:
                    watch.checkpoint_saved(step)

        interrupted = interrupt.is_set and (step < run.total_steps or validation.is_due(step))
        if interrupted:
            on_event(Interrupted(step))
        if saving.is_behind(step):
            with non_finite_weights_explained(update, run):
                saving.save(step)
            watch.checkpoint_saved(step)
        figures = watch.figures()
    if lost:
        raise explain_lost(lost, workers, step, saving.newest)
    workers.wait_for_all()
    return TrainingResult(
        run.folder, step, run.total_steps, saving.newest, interrupted, standing, validation.says_stop, figures,
        worker=workers.index,
    )  # fmt: skip
