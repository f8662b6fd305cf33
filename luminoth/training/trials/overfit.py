"""Trains on a handful of pictures until it knows them by heart: what cannot do that will not learn from many either.

Pictures as they are, no augmentation, the highest rate of the schedule all the time; nothing is kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from luminoth.config.schema_train import ConstantRate, UniformSampling
from luminoth.data.record_files import write_classes
from luminoth.data.records import RecordWriter, decode_example, read_records
from luminoth.errors import DataError
from luminoth.evaluation.evaluate import evaluate
from luminoth.resize import ResizeRule
from luminoth.training.assembly import build_state, load_first_weights
from luminoth.training.class_weights import settle_class_weights
from luminoth.training.events import OnEvent
from luminoth.training.run import Run, open_run
from luminoth.training.trials.batch_size import AUTO, with_training
from luminoth.training.trials.trial import training_steps
from luminoth.training.workers.strategy import Workers, make_strategy

# The mean over the last steps of all losses but the regularisation's, below which the pictures are known by heart.
# A detector that has learnt nothing starts at 1 to 5.
NEAR_ZERO = 0.1
MOST_STEPS = 1000
_MEAN_OVER = 20
_WARMUP_STEPS = 20

# step, mean loss of the last steps
OnStep = Callable[[int, float], None]


@dataclass(frozen=True)
class OverfitResult:
    """How well a model learnt a handful of pictures.

    Attributes:
        images: how many.
        steps: updates made.
        first_loss: of the first step, without regularisation.
        last_loss: the mean over the last steps.
        average_precision, average_precision_50: COCO's AP and AP50 on these very pictures, 0 to 1.
    """

    images: int
    steps: int
    first_loss: float
    last_loss: float
    average_precision: float
    average_precision_50: float

    @property
    def fits(self) -> bool:
        """Whether the loss came near zero."""
        return self.last_loss <= NEAR_ZERO


def overfit(config: Any, images: int, *, on_event: OnEvent, on_step: OnStep) -> OverfitResult:
    """Trains on the first pictures of the split that have objects, until the loss is `NEAR_ZERO` or below.

    Ends after `MOST_STEPS` steps, or `train.max_steps` where that is less.

    Args:
        config: the resolved `Config`; its data set, model, optimizer and highest rate count, its schedule does not.
        images: how many pictures.
        on_event: is told which weights were loaded.
        on_step: called after each step.

    Raises:
        DataError: no picture has an object.
        as `train`.
    """
    workers = Workers(make_strategy())
    config = settle_class_weights(config, on_event)
    with _few_pictures(config, images) as (few, run):
        state = build_state(few, run, workers.strategy)
        load_first_weights(few, run, state, on_event)
        losses: list[float] = []
        for values in islice(training_steps(few, run, workers, state), run.total_steps):
            losses.append(values["no_reg_loss"])
            last_loss = _mean(losses[-_MEAN_OVER:])
            on_step(len(losses), last_loss)
            if len(losses) >= _MEAN_OVER and last_loss <= NEAR_ZERO:
                break
        found = evaluate(
            state.model,
            run.files,
            resize=ResizeRule(**few.dataset.image_preprocessing.model_dump()),
            class_names=run.classes,
            class_agnostic=not few.model.network.with_rcnn,
        )
        figures = found.metrics.figures
        return OverfitResult(run.images, len(losses), losses[0], last_loss, figures["AP"], figures["AP50"])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@contextmanager
def _few_pictures(config: Any, images: int) -> Iterator[tuple[Any, Run]]:
    """The configuration and the run for a data set of a few pictures, in a folder that is removed afterwards."""
    whole = open_run(with_training(config, batch_size=1, no_log=True))
    chosen = _with_objects(whole, images)
    size = images if config.train.batch_size == AUTO else config.train.batch_size
    rate = config.train.learning_rate
    highest = max(rate.values) if rate.decay_method == "piecewise_constant" else rate.learning_rate
    with tempfile.TemporaryDirectory(prefix="lumi-overfit-") as folder:
        with RecordWriter(Path(folder) / f"{config.dataset.split}.tfrecords") as writer:
            for record in chosen:
                writer.write(record)
        write_classes(Path(folder), whole.classes)
        few = with_training(
            config,
            no_log=True,
            batch_size=min(size, len(chosen)),
            batch_size_per="global",
            learning_rate=ConstantRate(learning_rate=highest),
            warmup_steps=min(_WARMUP_STEPS, config.train.warmup_steps),
            sampling=UniformSampling(),
            accumulate_steps=1,
            moving_average_decay=None,  # averages of so few steps are behind the weights
            num_epochs=MOST_STEPS,
            max_steps=min(MOST_STEPS, config.train.max_steps or MOST_STEPS),
        )
        dataset = few.dataset.model_copy(update={"dir": folder, "data_augmentation": ()})
        few = few.model_copy(update={"dataset": dataset})
        yield few, open_run(few)


def _with_objects(run: Run, images: int) -> list[bytes]:
    """The first records of a run that have an object; fewer where there are fewer."""
    chosen: list[bytes] = []
    for record in read_records(run.files):
        if not decode_example(record).is_crowd.all():
            chosen.append(record)
        if len(chosen) == images:
            return chosen
    if not chosen:
        raise DataError(f"{run.files[0]}: none of the {run.images} pictures has an object: nothing to learn from")
    return chosen
