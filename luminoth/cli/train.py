"""`lumi train`: from a configuration file to checkpoints, with progress on standard error."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import Progress, say

if TYPE_CHECKING:
    from luminoth.training.events import Event, RunOpened, StepDone

# Wins over 1, since the training did what it was asked: it saved and stopped.
_EXIT_INTERRUPTED = 130
_NAMED_CLASSES = 8


@click.command()
@click.option(
    "-c",
    "--config",
    "files",
    metavar="FILE",
    multiple=True,
    required=True,
    help="Configuration file; may be given several times, later ones win.",
)
@click.option(
    "-o",
    "--override",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Sets one key, as in -o train.batch_size=2.",
)
@click.option("--job-dir", metavar="DIR", help="Folder for all runs; the same as -o train.job_dir=DIR.")
@click.option("--run-name", metavar="NAME", help="This run's folder in it; the same as -o train.run_name=NAME.")
def train(files: tuple[str, ...], overrides: tuple[str, ...], job_dir: str | None, run_name: str | None) -> int:
    """Train a detector from a configuration file.

    Saves checkpoints as it goes; the same command goes on from the newest one. Ctrl-C saves and stops.

    \b
    Examples:
      lumi train -c configs/pascal-fasterrcnn.yml
      lumi train -c config.yml -o train.batch_size=2 -o train.max_steps=20000
      lumi train -c config.yml --job-dir jobs/ --run-name second-try
    """
    from luminoth.config import resolve_config

    named = {"train.job_dir": job_dir, "train.run_name": run_name}
    # JSON's quotes keep YAML from taking a name such as `on` for something else.
    extra = [f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None]
    resolved = resolve_config(files, [*overrides, *extra])
    for warning in resolved.warnings:
        say(f"Warning: {warning}")
    if resolved.config.train.debug:
        logging.getLogger("luminoth").setLevel(logging.DEBUG)

    load_tensorflow()
    from luminoth.training.loop import train as run_training

    report = _Report(resolved.config.train, command_files=files)
    try:
        result = run_training(resolved.config, on_event=report)
    finally:
        report.close()
    return report.finish(result)


class _Report:
    """Turns training events into lines, or a progress bar on a terminal."""

    def __init__(self, settings: Any, command_files: tuple[str, ...]) -> None:
        self._settings = settings
        self._files = command_files
        self._bar: Progress | None = None
        self._done = 0
        self._last_line = time.monotonic()

    def __call__(self, event: Event) -> None:
        from luminoth.training import events

        match event:
            case events.RunOpened():
                self._opened(event)
            case events.BackboneLoaded():
                self._say(f"Backbone: {event.source}")
            case events.WeightsTransferred():
                self._say(f"Weights: {len(event.taken)} tensors from {event.source}")
                if event.new:
                    self._say(
                        f"New: {len(event.new)} tensors ({', '.join(event.new[:4])}{', ...' * (len(event.new) > 4)})"
                    )
            case events.StepDone():
                self._step(event)
            case events.Interrupted():
                self._say(f"Interrupted at step {event.step}: stopping")
            case events.CheckpointSaved():
                self._say(f"Saved {event.folder}")

    def close(self) -> None:
        """Gives the terminal back."""
        if self._bar is not None:
            self._bar.close()

    def finish(self, result: Any) -> int:
        """Says how it ended and what can be done now; returns the exit status."""
        if result.interrupted:
            if result.checkpoint is None:
                say(f"Interrupted: nothing saved at step {result.step}; the same command starts over")
            else:
                say(
                    f"Interrupted: saved checkpoint at step {result.step}; the same command resumes "
                    f"({result.checkpoint})"
                )
            return _EXIT_INTERRUPTED
        say(f"Done: {result.step} steps")
        if result.checkpoint is not None:
            configs = shlex.join(word for file in self._files for word in ("-c", file))
            folder = shlex.quote(str(result.folder))
            say(f"  checkpoint  {result.checkpoint}")
            say(f"  curves      tensorboard --logdir {folder}")
            say(f"  evaluate    lumi eval {configs}")
            say(f"  predict     lumi predict --checkpoint {folder} FILES...")
        return 0

    def _opened(self, event: RunOpened) -> None:
        names = ", ".join(event.classes[:_NAMED_CLASSES])
        more = f", and {len(event.classes) - _NAMED_CLASSES} more" if len(event.classes) > _NAMED_CLASSES else ""
        say(f"Run folder: {event.folder or 'none, nothing is saved (train.no_log)'}")
        say(f"Device: {event.device}")
        say(f"Data set: {event.images} images, {len(event.classes)} classes ({names}{more})")
        if event.start_step >= event.total_steps:
            say(
                f"Finished already: {event.start_step} of {event.total_steps} steps are done; raise "
                "train.num_epochs or train.max_steps to go on"
            )
            return
        if event.checkpoint is not None:
            say(f"Resuming at step {event.start_step} ({event.checkpoint})")
        say(f"Training to step {event.total_steps}; building the model")
        if sys.stderr.isatty():
            self._bar = Progress("Training", event.total_steps, "steps", done=event.start_step)
        self._done = event.start_step

    def _step(self, event: StepDone) -> None:
        if self._bar is not None:
            self._bar.advance(event.step - self._done, _progress(event, with_time=False))
        elif self._line_is_due(event):
            self._last_line = time.monotonic()
            say(f"Step {event.step}/{event.total_steps}: {_progress(event, with_time=True)}")
        self._done = event.step

    def _line_is_due(self, event: StepDone) -> bool:
        every_steps, every_seconds = self._settings.display_every_steps, self._settings.display_every_secs
        by_steps = every_steps and event.step % every_steps == 0
        by_time = every_seconds and time.monotonic() - self._last_line >= every_seconds
        return bool(by_steps or by_time) or event.step == event.total_steps

    def _say(self, message: str) -> None:
        if self._bar is not None:
            self._bar.say(message)
        else:
            say(message)


def _progress(event: StepDone, with_time: bool) -> str:
    """As in `loss 1.234, 2.31 images/s, 0:12:34 left (rpn_cls 0.510, rpn_reg 0.102, ...)`."""
    totals = ("total_loss", "no_reg_loss", "regularization_loss")
    parts = ", ".join(
        f"{name.removesuffix('_loss')} {value:.3f}" for name, value in event.losses.items() if name not in totals
    )
    speed = f", {event.images_per_second:.2f} images/s" if event.images_per_second else ""
    return f"loss {event.losses['total_loss']:.3f}{speed}{_time_left(event) if with_time else ''} ({parts})"


def _time_left(event: StepDone) -> str:
    if event.seconds_left is None:
        return ""
    minutes, seconds = divmod(round(event.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    return f", {hours}:{minutes:02d}:{seconds:02d} left"
