"""Profiles a few steps of a training (`train.profile_steps`), for TensorBoard's Profile tab."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import tensorflow as tf

from luminoth.errors import OutputError
from luminoth.training.events import OnEvent, ProfileWritten


class StepProfiler:
    """Records what the machine does in some steps. A context manager.

    A profile is written to `<folder>/plugins/profile/<time>/`. Recording slows these steps down.

    Args:
        folder: the run's folder; None: nothing is recorded.
        steps: the first and the last step recorded, counted from 1; None: none.
        on_event: told when the profile is written.
    """

    def __init__(self, folder: Path | None, steps: tuple[int, int] | None, on_event: OnEvent) -> None:
        self._folder, self._on_event = folder, on_event
        self._first, self._last = steps if folder is not None and steps else (0, 0)
        self._mark: tf.profiler.experimental.Trace | None = None
        self._recording = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._recording:
            self._stop()

    def step_begins(self, step: int) -> None:
        """Before step number `step`, counted from 1, waits for its batch."""
        if step == self._first:
            self._start()
        if self._recording:
            self._mark = tf.profiler.experimental.Trace("train", step_num=step, _r=1)
            self._mark.__enter__()

    def step_ends(self, step: int) -> None:
        """After it."""
        if self._mark is not None:
            self._mark.__exit__(None, None, None)
            self._mark = None
        if self._recording and step >= self._last:
            self._stop()
            self._on_event(ProfileWritten(step, self._folder))

    def _start(self) -> None:
        try:
            tf.profiler.experimental.start(str(self._folder))
        except tf.errors.OpError as error:
            raise OutputError(f"train.profile_steps: no profile can be taken ({error.message})") from error
        self._recording = True

    def _stop(self) -> None:
        self._recording = False
        try:
            tf.profiler.experimental.stop()
        except tf.errors.OpError as error:
            raise OutputError(f"{self._folder}: the profile cannot be written ({error.message})") from error
