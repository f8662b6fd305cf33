"""Evaluates the model while it trains, in the same process, and tells when it no longer gets better.

What an evaluation finds is written as `lumi eval` writes it. It changes nothing of the training: a run with it has the
weights of one without, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from luminoth.checkpoints.history import is_lower_better, read_figure
from luminoth.errors import ConfigError, DataError, OutputError
from luminoth.evaluation.checkpoint import Split, open_split
from luminoth.evaluation.evaluate import EvaluationResult, Evaluator
from luminoth.evaluation.results import write_result, write_tensorboard
from luminoth.resize import ResizeRule
from luminoth.training.events import Doubted, Evaluated, EvaluationStarted, OnEvent
from luminoth.training.run import Run
from luminoth.training.standing import Standing
from luminoth.training.state import TrainingState

# More pictures at once gain little, and sizes differ.
_MOST_AT_ONCE = 8


def open_validation(config: Any) -> Split | None:
    """The records of `train.eval_split`, or None when nothing is evaluated.

    Raises:
        DataError: they are missing; says what to do.
    """
    train = config.train
    if train.eval_every_steps is None:
        return None
    try:
        return open_split(config.dataset.dir, train.eval_split)
    except DataError as error:
        raise DataError(
            f"train.eval_every_steps: {train.eval_every_steps}, but train.eval_split cannot be read: {error}. Write "
            "that split with `lumi dataset transform` (--split-ratio divides the pictures anew), name another one in "
            "train.eval_split, or leave train.eval_every_steps empty"
        ) from error


class _StoppedError(Exception):
    """Training was asked to stop."""


class Validation:
    """Evaluates when it is due, and keeps the run's standing.

    Attributes:
        figures: all that the last evaluation measured, by name; empty before the first.

    Args:
        split: what to evaluate on; None: nothing is ever due.
        run: the run.
        config: its `Config`.
        standing: what is found is added to it.
        on_event: see luminoth/training/events.py.
    """

    def __init__(self, split: Split | None, run: Run, config: Any, standing: Standing, on_event: OnEvent) -> None:
        self._split, self._run, self._config = split, run, config
        self._standing, self._on_event = standing, on_event
        self._evaluator: Evaluator | None = None
        self.figures: dict[str, float | None] = {}

    def is_due(self, step: int) -> bool:
        """Whether the weights after `step` updates are to be evaluated, and were not."""
        train = self._config.train
        if self._split is None or step == 0 or self._standing.has(step):
            return False
        return step % train.eval_every_steps == 0 or step == self._run.total_steps

    def check_metric(self, losses: Iterable[str]) -> None:
        """After the first update, whose losses these are: an evaluation hours later is too late to find it wrong.

        Raises:
            ConfigError: `train.best_metric` is none of them, and is to be a loss.
        """
        metric = self._config.train.best_metric
        if self._split is not None and is_lower_better(metric) and metric not in losses:
            known = ", ".join(name for name in losses if is_lower_better(name))
            raise ConfigError(f"train.best_metric: this model has no {metric}; accepted: a figure as AP50, or {known}")

    @property
    def says_stop(self) -> bool:
        """Whether the figure has not got better for too long."""
        train = self._config.train
        return self._split is not None and self._standing.is_exhausted(train.patience, train.min_delta)

    @property
    def newest_value(self) -> float | None:
        """What the last evaluation found of the figure that counts; None where it could not be measured."""
        return self._standing.values[-1][1]

    def take(self, step: int, value: float) -> None:
        """Takes over what another process found of the weights after `step` updates; NaN: it could not be measured."""
        self._standing.add(step, value)

    def run(self, step: int, state: TrainingState, checkpoint: Path | None, is_interrupted: Callable[[], bool]) -> bool:
        """Evaluates the weights after `step` updates; with averages of them, those.

        Args:
            step: updates done.
            state: whose model is evaluated; always the same one.
            checkpoint: where these weights are saved; None when they are not.
            is_interrupted: asked after each batch, whether to leave off; the step then stays due.

        Returns:
            Whether it came to its end.

        Raises:
            ConfigError: `train.best_metric` is not among the figures.
            DataError: a record is damaged.
        """
        split, train = self._split, self._config.train

        def look(images: int) -> None:
            if is_interrupted():
                raise _StoppedError

        self._on_event(EvaluationStarted(step, split.name, split.images))
        try:
            with state.averaged():
                self._evaluator = self._evaluator or self._make_evaluator(state.model)
                result = self._evaluator.run(look)
        except _StoppedError:
            return False
        try:
            value = read_figure(result.to_dict(), train.best_metric)
        except KeyError as error:
            known = ", ".join([*result.metrics.figures, *result.losses])
            raise ConfigError(
                f"train.best_metric: {train.best_metric} is not measured; accepted: one of {known}"
            ) from error
        self._standing.add(step, value)
        self.figures = {**result.metrics.figures, **result.losses}
        self._write(step, checkpoint, result)
        self._on_event(
            Evaluated(
                step,
                split.name,
                self.figures,
                train.best_metric,
                value,
                self._standing.best,
                self._standing.without_gain(train.min_delta),
                result.seconds,
            )
        )
        return True

    def _make_evaluator(self, model: Any) -> Evaluator:
        config = self._config
        return Evaluator(
            model,
            self._split.files,
            resize=ResizeRule(**config.dataset.image_preprocessing.model_dump()),
            class_names=self._run.classes,
            batch_size=min(config.train.batch_size, _MOST_AT_ONCE),
            class_agnostic=not config.model.network.with_rcnn,
        )

    def _write(self, step: int, checkpoint: Path | None, result: EvaluationResult) -> None:
        """Keeps what was found beside the checkpoint; what cannot be written is told and does not stop the training."""
        if self._run.folder is None or checkpoint is None:
            return
        try:
            write_result(self._run.folder, result, split=self._split.name, checkpoint=checkpoint, step=step)
            write_tensorboard(self._run.folder, result, split=self._split.name, step=step)
        except OutputError as error:
            self._on_event(Doubted(f"the evaluation of step {step} is not written: {error}"))
