"""Saves a training's state where it can go on from, and loads it again.

A checkpoint is written beside its place and renamed when it is whole (luminoth/checkpoints/folder.py), and older ones
are removed only after that: whatever happens, the newest whole one is there, and training goes on from it. What is
lost is what came after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from luminoth.checkpoints.folder import amend_state
from luminoth.checkpoints.in_bucket import upload_changes, will_remove
from luminoth.checkpoints.runs import prune_checkpoints, restore, save_checkpoint
from luminoth.errors import CheckpointError, OutputError
from luminoth.training.events import CheckpointSaved, Doubted, OnEvent
from luminoth.training.run import Run
from luminoth.training.standing import Standing
from luminoth.training.state import TrainingState
from luminoth.training.watching.pace import Every

# After a checkpoint that could not be written: somebody may have made room by then.
_SECONDS_TO_RETRY = 60.0


class Saving:
    """Saves checkpoints of a run, when they are due and on request, and removes old ones.

    Attributes:
        newest: the newest checkpoint of the run; None as long as there is none.

    Args:
        run: the run.
        config: its `Config`.
        state: what is saved.
        standing: what evaluations have found; saved with it. The best checkpoint is kept.
        on_event: see luminoth/training/events.py.
    """

    def __init__(self, run: Run, config: Any, state: TrainingState, standing: Standing, on_event: OnEvent) -> None:
        self._run, self._config, self._state, self._standing = run, config, state, standing
        self._on_event = on_event
        self._due = Every(config.train.save_checkpoint_steps, config.train.save_checkpoint_secs)
        self._retry = Every(None, _SECONDS_TO_RETRY)
        self._has_failed = False
        self._step = run.start_step
        self.newest = run.checkpoint

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is to be saved after `step` updates, as configured or since the last one failed."""
        return self._due(step) or (self._has_failed and self._retry(step))

    def is_behind(self, step: int) -> bool:
        """Whether the state after `step` updates is not saved, and should be."""
        return self._run.folder is not None and step != self._step

    def folder_of(self, step: int) -> Path | None:
        """Where the state after `step` updates is saved; None if it is not."""
        return self.newest if step == self._step else None

    def save(self, step: int) -> None:
        """Saves the state after `step` updates, and removes checkpoints that are no longer kept.

        Raises:
            NonFiniteWeightsError: a weight is NaN or infinite; nothing is saved then.
            OutputError: it cannot be written; earlier checkpoints are untouched.
        """
        run = self._run
        images_seen = run.images_seen + (step - run.start_step) * self._config.train.images_in_step
        data = {"images_seen": images_seen, "images": run.images, "hash": run.data_hash}
        folder = save_checkpoint(
            run.folder,
            step,
            model=self._state.model,
            optimizer=self._state.optimizer,
            config=self._config,
            classes=run.classes,
            state={"seed": run.seed, "data": data, "validation": self._standing.to_dict()},
            extra=self._state.extra,
        )
        self._prune()
        upload_changes(run.folder)
        self.newest, self._step, self._has_failed = folder, step, False
        self._on_event(CheckpointSaved(step, folder))

    def save_while_training(self, step: int) -> bool:
        """As `save`, if there is anything to save; what cannot be written is told, and tried again in a minute.

        Stopping would lose the updates since the last checkpoint for certain; room can be made meanwhile.

        Returns:
            Whether it was saved.
        """
        if not self.is_behind(step):
            return False
        try:
            self.save(step)
        except OutputError as error:
            self._has_failed, self._retry = True, Every(None, _SECONDS_TO_RETRY)
            self._on_event(
                Doubted(
                    f"step {step} is not saved: {error}. The newest checkpoint is {self.newest or 'none'}. "
                    f"Training goes on and tries again in {_SECONDS_TO_RETRY:.0f} s: make room, or stop it with Ctrl-C"
                )
            )
            return False
        return True

    def note_standing(self) -> None:
        """Writes what evaluations have found into the newest checkpoint, and removes what is no longer the best."""
        if self._run.folder is None or self.newest is None or self._has_failed:
            return
        try:
            amend_state(self.newest, validation=self._standing.to_dict())
            self._prune()
            upload_changes(self._run.folder)
        except OutputError as error:
            self._on_event(Doubted(f"{error}. The evaluation is repeated when training goes on from there"))

    def _prune(self) -> None:
        """Removes checkpoints from this disk; from a bucket they go with the next changes that are brought there."""
        best = self._standing.best
        try:
            will_remove(prune_checkpoints(self._run.folder, self._config.train.checkpoints_max_keep, best and best[0]))
        except OutputError as error:
            self._on_event(Doubted(str(error)))


def resume(checkpoint: Path, state: TrainingState) -> None:
    """Loads a checkpoint of the run, so that training goes on as if it had never stopped.

    Raises:
        CheckpointError: it is damaged, or of something else than is trained now.
    """
    try:
        restore(checkpoint, state.model, state.optimizer, extra=state.extra)
    except CheckpointError as error:
        raise CheckpointError(
            f"cannot go on from {checkpoint}: {error}. Choose another train.run_name, or remove that folder "
            "to go on from an older one"
        ) from error
