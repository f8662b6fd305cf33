"""What `lumi train` says while it works: training events as lines on standard error, or a bar on a terminal."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from luminoth.cli.terminal import Progress, say

if TYPE_CHECKING:
    from luminoth.training.events import Evaluated, Event, RunOpened, StepDone

# Wins over 1, since the training did what it was asked: it saved and stopped.
_EXIT_INTERRUPTED = 130
_NAMED_CLASSES = 8


class Report:
    """Turns training events into lines, or a progress bar on a terminal.

    Args:
        config: the resolved `Config`.
        command_files: the configuration files that lead to the run's folder; empty: its own `config.yml` does.
    """

    def __init__(self, config: Any, command_files: Sequence[str]) -> None:
        self._config, self._settings = config, config.train
        self._files = command_files
        self._bar: Progress | None = None
        self._done = 0
        self._last_line = time.monotonic()

    def __call__(self, event: Event) -> None:
        from luminoth.training import events

        match event:
            case events.RunOpened():
                self._opened(event)
            case events.BatchSizeChosen():
                self._settings = self._settings.model_copy(update={"batch_size": event.batch_size})
                self._say(f"Batch size: {event.batch_size} ({event.reason})")
            case events.RateScaled():
                self._say(
                    f"Learning rate: times {event.factor:g}, for a batch of {event.batch_size} instead of "
                    f"{event.base_batch_size}"
                )
            case events.ModelBuilt():
                self._say(f"Model: {describe_model(self._config, event.parameters, event.trained)}")
            case events.BackboneLoaded():
                self._say(f"Backbone: {event.source}")
            case events.WeightsTransferred():
                for line in event.transfer.describe():
                    self._say(line)
                for doubt in event.disagreements:
                    self._say(f"Warning: {doubt}")
            case events.ClassWeightsChosen():
                self._say(f"Class weights: {describe_weights(event.weights)}")
            case events.Doubted():
                self._say(f"Warning: {event.message}")
            case events.StepDone():
                self._step(event)
            case events.ProfileWritten():
                self._say(f"Profile: {event.folder}/plugins/profile; TensorBoard shows it after `pip install xprof`")
            case events.SettingsChanged():
                self._say(f"Changed since that checkpoint: {'; '.join(event.changes)}")
            case events.EvaluationStarted():
                self._say(f"Evaluating step {event.step} on {event.split}: {event.images:,} images")
            case events.Evaluated():
                self._say(describe_evaluation(event))
            case events.WorkerJoined():
                self._say(f"Worker {event.index} of {event.count}: the chief ({event.chief}) tells how it goes")
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
        if result.worker > 0:
            say(f"Worker {result.worker}: {'stopped' if result.interrupted else 'done'} after {result.step} steps")
            return _EXIT_INTERRUPTED if result.interrupted else 0
        if result.interrupted:
            _say_figures(result)
            if result.checkpoint is None:
                say(f"Interrupted: nothing saved at step {result.step}; the same command starts over")
            else:
                say(
                    f"Interrupted: saved checkpoint at step {result.step}; the same command resumes "
                    f"({result.checkpoint})"
                )
            return _EXIT_INTERRUPTED
        if result.stopped_early:
            count = result.standing.without_gain(self._settings.min_delta)
            say(
                f"Stopped early at step {result.step}: {result.standing.metric} on {result.standing.split} has not got "
                f"better for {count} evaluations; raise train.patience to go on"
            )
        else:
            say(f"Done: {result.step} steps")
        _say_figures(result)
        if result.checkpoint is not None:
            folder = shlex.quote(str(result.folder))
            say(f"  checkpoint  {result.checkpoint}")
            if result.standing.best is not None:
                step, value = result.standing.best
                best = result.folder / f"ckpt-{step}"
                gone = "" if best.is_dir() else " (it could not be saved)"
                say(f"  best        {best}: {result.standing.metric} {value:.4f}{gone}")
            say(f"  curves      tensorboard --logdir {folder}")
            say(f"  evaluate    lumi eval {self._configs(result.folder)}")
            say(f"  predict     lumi predict --checkpoint {folder} FILES...")
        return 0

    def _configs(self, folder: str) -> str:
        files = self._files or [f"{folder}/config.yml"]
        return shlex.join(word for file in files for word in ("-c", file))

    def _opened(self, event: RunOpened) -> None:
        say(f"Run folder: {event.folder or 'none, nothing is saved (train.no_log)'}")
        say(f"Device: {event.device}")
        say(f"Data set: {describe_data(event.images, event.classes)}")
        if event.stopped_early:
            return
        if event.start_step >= event.total_steps:
            say(
                f"Finished already: {event.start_step} of {event.total_steps} steps are done; raise "
                "train.num_epochs or train.max_steps to go on"
            )
            return
        if event.checkpoint is not None:
            ignored = f"; {self._settings.from_checkpoint} is where it once started"
            say(
                f"Resuming at step {event.start_step} ({event.checkpoint})"
                + (ignored if self._settings.from_checkpoint else "")
            )
        per_epoch = event.images_per_epoch or event.images
        if per_epoch != event.images:
            say(f"Sampling: {per_epoch:,} images an epoch, those with rare classes repeated")
        say(f"Schedule: {describe_schedule(self._settings, per_epoch, event.total_steps)}")
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


def _say_figures(result: Any) -> None:
    """What training came to, a line a figure."""
    for name, text in [] if result.figures is None else result.figures.lines():
        say(f"  {name:<10}  {text}")


def describe_evaluation(event: Evaluated) -> str:
    """As in `val at step 4000: AP 0.431 (best 0.447 at step 3000), AP50 0.702, total_loss 0.812; 34 s`."""
    names = dict.fromkeys([event.metric, "AP", "AP50", "total_loss"])
    figures = {name: event.figures[name] for name in names if event.figures.get(name) is not None}
    shown = [f"{name} {value:.4f}" for name, value in figures.items()]
    if event.best is not None and shown:
        step, value = event.best
        shown[0] += " (the best so far)" if step == event.step else f" (best {value:.4f} at step {step})"
    return f"{event.split} at step {event.step}: {', '.join(shown) or 'nothing to measure'}; {event.seconds:.0f} s"


def describe_data(images: int, classes: Sequence[str]) -> str:
    """As in `48 images, 6 classes (bicycle, bus, ...)`."""
    names = ", ".join(classes[:_NAMED_CLASSES])
    more = f", and {len(classes) - _NAMED_CLASSES} more" if len(classes) > _NAMED_CLASSES else ""
    return f"{images:,} images, {len(classes)} classes ({names}{more})"


def describe_model(config: Any, parameters: int, trained: int) -> str:
    """As in `fasterrcnn, resnet_v1_50 with a pyramid, 41.3 million weights, 18.2 million trained`."""
    features = {"fpn": " with a pyramid", "dc5": ", dilated"}.get(config.model.network.features, "")
    of_them = "all" if trained == parameters else _count(trained)
    return (
        f"{config.model.type}, {config.model.base_network.architecture}{features}, {_count(parameters)} weights, "
        f"{of_them} trained"
    )


def describe_schedule(train: Any, images: int, total_steps: int) -> str:
    """As in `1,200 steps of 2 images (50 epochs); momentum, rate 0.0025, cosine_decay, warm-up 100 steps`."""
    epochs = f"{total_steps * train.images_in_step / images:,.1f}".removesuffix(".0")
    rate = train.learning_rate
    highest = max(rate.values) if rate.decay_method == "piecewise_constant" else rate.learning_rate
    method = "constant" if rate.decay_method == "none" else rate.decay_method
    warmup = f", warm-up {train.warmup_steps:,} steps" if train.warmup_steps else ""
    return (
        f"{total_steps:,} steps of {train.images_in_step} images ({epochs} epochs); {train.optimizer.type}, "
        f"rate {highest:g}, {method}{warmup}"
    )


def describe_weights(weights: Mapping[str, float]) -> str:
    """As in `0.52 (car) to 4.33 (tram)`."""
    lowest, highest = (chosen(weights, key=weights.get) for chosen in (min, max))
    return f"{weights[lowest]:.2f} ({lowest}) to {weights[highest]:.2f} ({highest})"


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} million" if number >= 1e6 else f"{number:,}"


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
