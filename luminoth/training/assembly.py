"""What a training is made of, from its configuration: model and optimizer, first weights, batches, step, schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tensorflow as tf

from luminoth.checkpoints.folder import read_checkpoint_config
from luminoth.checkpoints.transfer import find_start, transfer_weights
from luminoth.config.schema_train import MAX_GRADIENT_NORM
from luminoth.data.pipeline import Shard, iterate, training_batches
from luminoth.models.build import build_model, load_pretrained_backbone
from luminoth.models.precision import check_gradients
from luminoth.resize import ResizeRule
from luminoth.training.events import BackboneLoaded, OnEvent, WeightsTransferred
from luminoth.training.fine_tuning import find_disagreements
from luminoth.training.out_of_memory import out_of_memory_explained
from luminoth.training.pieces import Piece, describe_pieces
from luminoth.training.run import Run
from luminoth.training.state import TrainingState
from luminoth.training.update.layer_rates import layer_multipliers
from luminoth.training.update.loss_scale import LossScale
from luminoth.training.update.moving_average import MovingAverage
from luminoth.training.update.optimizers import make_optimizer
from luminoth.training.update.schedules import batch_scale, make_learning_rate
from luminoth.training.update.step import TrainStep, make_train_step
from luminoth.training.workers.strategy import Workers


def build_state(config: Any, run: Run, strategy: tf.distribute.Strategy) -> TrainingState:
    """Model and optimizer, with all of their variables."""
    settings = config.train
    with strategy.scope():
        model = build_model(config, len(run.classes), precision=settings.precision, xla=settings.xla)
        check_gradients(model, settings.precision)
        multipliers = layer_multipliers(model, settings.learning_rate_multipliers or {})
        optimizer = make_optimizer(settings.optimizer, model.trainable_variables, multipliers)
        decay = settings.moving_average_decay
        average = None if decay is None else MovingAverage(model, decay)
        loss_scale = LossScale() if settings.precision == "float16" else None
    return TrainingState(model, optimizer, average, loss_scale)


def load_first_weights(config: Any, run: Run, state: TrainingState, on_event: OnEvent) -> None:
    """What a training from the beginning starts with."""
    if config.train.from_checkpoint:
        source = find_start(config.train.from_checkpoint)
        transfer = transfer_weights(source, state.model, run.classes)
        disagreements = find_disagreements(read_checkpoint_config(source), config)
        on_event(WeightsTransferred(transfer, tuple(disagreements)))
    else:
        on_event(BackboneLoaded(load_pretrained_backbone(state.model, config)))


def open_batches(config: Any, run: Run, workers: Workers) -> tuple[Iterator[Piece], Any]:
    """The run's batches from its position on, this worker's rows of them, and the `tf.TypeSpec`s of one."""
    dataset = training_batches(
        run.files,
        batch_size=config.train.batch_size,
        resize=ResizeRule(**config.dataset.image_preprocessing.model_dump()),
        augmentations=[augmentation.model_dump() for augmentation in config.dataset.data_augmentation],
        seed=run.seed,
        shuffle=config.train.random_shuffle,
        shuffle_buffer=config.train.shuffle_buffer,
        repeats=run.repeats,
        group_by_aspect_ratio=config.train.group_by_aspect_ratio,
        # Differs from the step when the batch size was changed on the way.
        start_step=run.images_seen // config.train.batch_size,
        num_classes=len(run.classes),
        shard=Shard(workers.index, workers.count),
    )
    return iterate(dataset), dataset.element_spec[0]


def make_configured_step(
    config: Any, run: Run, strategy: tf.distribute.Strategy, state: TrainingState, batch_spec: Any
) -> TrainStep:
    settings = config.train
    return make_train_step(
        state.model,
        state.optimizer,
        strategy,
        batch_spec,
        seed=run.seed,
        clip_by_norm=MAX_GRADIENT_NORM if settings.clip_by_norm is True else settings.clip_by_norm or None,
        clip_by_global_norm=settings.clip_by_global_norm,
        average=state.average,
        loss_scale=state.loss_scale,
        xla=settings.xla,
    )


def make_configured_rate(config: Any, run: Run) -> Any:
    settings = config.train
    return make_learning_rate(
        settings.learning_rate,
        total_steps=run.total_steps,
        warmup_steps=settings.warmup_steps,
        warmup_factor=settings.warmup_factor,
        warmup_method=settings.warmup_method,
        scale=batch_scale(settings.images_in_step, settings.base_batch_size),
    )


def run_step(
    train_step: TrainStep, pieces: Sequence[Piece], step: int, rate: float, stop: bool = False
) -> dict[str, float]:
    """One update; see `make_train_step`."""
    with out_of_memory_explained(f"at step {step + 1}, on {describe_pieces(pieces)}"):
        return train_step([batch for batch, _ in pieces], step, rate, stop)
