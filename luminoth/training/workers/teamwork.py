"""What several workers have to agree on, so that they make the same updates, stop together and evaluate once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from luminoth.errors import WorkerError
from luminoth.models.base import named_weights
from luminoth.training.events import BatchSizeChosen, OnEvent
from luminoth.training.interrupt import InterruptRequest
from luminoth.training.run import Run, open_run
from luminoth.training.state import TrainingState
from luminoth.training.trials.batch_size import AUTO, settle_batch_size, with_training
from luminoth.training.update.step import STOP
from luminoth.training.validation import Validation
from luminoth.training.workers.strategy import Workers, weights_checksum


class SharedInterrupt:
    """Whether training is to stop after the step at hand: all workers, where one of them was asked to.

    Args:
        own: whether this worker was asked.
        workers: who trains.
    """

    def __init__(self, own: InterruptRequest, workers: Workers) -> None:
        self.own, self._is_alone, self._is_agreed = own, workers.count == 1, False

    @property
    def is_set(self) -> bool:
        return self.own.is_set if self._is_alone else self._is_agreed

    def hear(self, values: Mapping[str, float]) -> None:
        """Takes note of what a step's values say of the other workers; all of them hear it after the same step."""
        self._is_agreed |= values.get(STOP, 0.0) > 0


def with_divided_batch(config: Any, workers: Workers, on_event: OnEvent) -> Any:
    """The configuration with a `train.batch_size` over all devices, which these can share.

    Raises:
        ConfigError: they cannot share it.
    """
    before = config.train
    if before.batch_size == AUTO and workers.count == 1:  # which is over all devices
        config = with_training(settle_batch_size(config, on_event, replicas=workers.replicas), batch_size_per="global")
        before = config.train
    train = workers.divide_batch(before)
    if train.batch_size != before.batch_size:
        reason = f"{before.batch_size} on each of {workers.replicas} devices"
        on_event(BatchSizeChosen(train.batch_size, reason))
    return config.model_copy(update={"train": train})


def run_of_chief(config: Any) -> Run:
    """The chief's run, for a worker that only reads it."""
    return replace(open_run(config), folder=None)


def agree_on_run(run: Run, config: Any, workers: Workers) -> Run:
    """The run with the chief's seed, once it is sure that all workers mean the same run.

    Raises:
        TrainingError: they do not; names the worker, and what differs.
    """
    if workers.count == 1:
        return run
    facts = {
        "records (dataset.dir)": (run.data_hash, run.images, run.classes),
        "checkpoints (train.job_dir and train.run_name)": (run.start_step, run.images_seen),
        "settings of the model": config.model,
        "settings of the data set": config.dataset.model_copy(update={"dir": None}),
        "settings of the training": config.train.model_copy(update={"job_dir": "", "from_checkpoint": None}),
    }
    workers.check_equal(
        facts, "All of them need the same configuration, records and run folder: see docs/distributed.md"
    )
    return replace(run, seed=int(workers.from_chief([run.seed])[0]))


def agree_on_state(state: TrainingState, workers: Workers) -> None:
    """Makes sure that all workers start with the same weights.

    Raises:
        TrainingError: they do not; names the worker.
    """
    if workers.count == 1:
        return
    facts = {
        "weights": weights_checksum(list(named_weights(state.model).values())),
        "state of the optimizer": weights_checksum([*state.optimizer.variables, *state.extra.values()]),
    }
    workers.check_equal(facts, "Is the checkpoint, or the file of pretrained weights, another one there?")


def validate_together(
    validation: Validation,
    workers: Workers,
    interrupt: SharedInterrupt,
    step: int,
    state: TrainingState,
    checkpoint: Path | None,
) -> bool:
    """Evaluates on the chief, while the others wait for what it finds; see `Validation.run`."""
    is_done = workers.is_chief and validation.run(step, state, checkpoint, lambda: interrupt.own.is_set)
    if workers.count == 1:
        return is_done
    found = validation.newest_value if is_done else None
    told = workers.gather([is_done, float("nan") if found is None else found, interrupt.own.is_set])
    is_done, value = bool(told[0, 0]), told[0, 1]
    if is_done and not workers.is_chief:
        validation.take(step, value)
    interrupt.hear({STOP: told[:, 2].sum()})
    return is_done


def explain_lost(error: WorkerError, workers: Workers, step: int, newest: Path | None) -> WorkerError:
    """What to do after a worker is gone and the chief has saved what there is."""
    if not workers.is_chief:
        saved = "Training goes on from what the chief saved last"
    else:
        saved = "Nothing is saved" if newest is None else f"The newest checkpoint is {newest}"
    return WorkerError(f"stopped after step {step}: {error}. {saved}. Start all workers again to go on")
