"""`lumi train --dry-run` and `lumi train --overfit N`: what they found, on standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.terminal import progress, say
from luminoth.cli.train_report import Report, describe_data, describe_model, describe_schedule

if TYPE_CHECKING:
    from luminoth.training.trials.overfit import OverfitResult
    from luminoth.training.trials.trial import Trial

_HOUR, _MINUTE = 3600.0, 60.0


def show_trial(config: Any) -> int:
    """Makes a dry run and prints what it found; returns the exit status."""
    from luminoth.training.trials.trial import try_training

    trial = try_training(config, Report(config, ()))
    rows = _trial_rows(trial, config)
    width = max(map(len, rows))
    click.echo("\n".join(f"{name:<{width}}  {text}" for name, text in rows.items()))
    say("Dry run: nothing was written; the same command without --dry-run trains")
    return 0


def _trial_rows(trial: Trial, config: Any) -> dict[str, str]:
    settings = config.train.model_copy(update={"batch_size": trial.batch_size, "accumulate_steps": 1})
    rows = {
        "device": trial.device,
        "data set": describe_data(trial.images, trial.classes),
        "model": describe_model(config, trial.parameters, trial.trained),
        "schedule": describe_schedule(settings, trial.images_per_epoch, trial.total_steps),
        "first loss": f"{trial.first_loss:.3f}",
        "speed": f"{trial.images_per_second:.2f} images/s, {trial.seconds_a_step:.2f} s a step",
        "whole run": _duration(trial),
        "memory": _memory(trial),
        "checkpoint": f"{_size(trial.checkpoint_bytes)} each",
    }
    if trial.run_folder is not None:
        rows["disk"] = (
            f"{_size(trial.disk_needed)} for {config.train.checkpoints_max_keep} checkpoints and the one being "
            f"written; {_size(trial.disk_free)} are free for {trial.run_folder}"
        )
    return rows


def _duration(trial: Trial) -> str:
    done = f" from step {trial.start_step:,}" if trial.start_step else ""
    steps = f"{trial.steps_left:,} steps{done}"
    return f"{steps}, about {_time(trial.seconds_left)}, evaluation not counted"


def _memory(trial: Trial) -> str:
    parts = []
    if trial.gpu_peak is not None:
        parts.append(f"{_size(trial.gpu_peak)} of the GPU at most")
    if trial.host_peak is not None:
        free = f", {_size(trial.host_free)} more are free" if trial.host_free is not None else ""
        parts.append(f"{_size(trial.host_peak)} of main memory at most{free}")
    return "; ".join(parts) or "not known on this system"


def _time(seconds: float) -> str:
    if seconds >= _HOUR:
        return f"{seconds / _HOUR:.1f} hours"
    return f"{seconds / _MINUTE:.0f} minutes" if seconds >= 2 * _MINUTE else f"{seconds:.0f} seconds"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def show_overfit(config: Any, images: int) -> int:
    """Trains on a few pictures and prints how well they were learnt; returns the exit status."""
    from luminoth.training.trials.overfit import MOST_STEPS, overfit

    say(f"Training on {images} pictures, without augmentation, in a folder that is removed afterwards")
    total = min(MOST_STEPS, config.train.max_steps or MOST_STEPS)
    with progress("Overfitting", total=total, unit="steps") as bar:
        report = Report(config, ())
        result = overfit(config, images, on_event=report, on_step=lambda step, loss: bar.advance(1, f"loss {loss:.3f}"))
    click.echo(_overfit_lines(result))
    return 0 if result.fits else 1


def _overfit_lines(result: OverfitResult) -> str:
    from luminoth.training.trials.overfit import NEAR_ZERO

    lines = [
        f"pictures  {result.images}",
        f"steps     {result.steps:,}",
        f"loss      {result.first_loss:.3f} at first, {result.last_loss:.3f} in the end (near zero: {NEAR_ZERO:g})",
        f"AP        {result.average_precision:.3f}, AP50 {result.average_precision_50:.3f}, on these pictures",
    ]
    if result.fits:
        lines.append("They are known by heart: data and model fit together")
    elif result.last_loss < result.first_loss / 2:
        lines.append(
            "Not by heart, but the loss fell: allow more steps (-o train.max_steps), a higher rate or fewer pictures; "
            "if it stays there, look at the boxes (`lumi dataset show`) and at the anchors (`lumi dataset stats`)"
        )
    else:
        lines.append(
            "Not learnt: a longer training will not do it either. Look at the boxes and classes (`lumi dataset show`), "
            "at the anchors (`lumi dataset stats`), at what is trained (model.base_network) and at train.learning_rate"
        )
    return "\n".join(lines)
