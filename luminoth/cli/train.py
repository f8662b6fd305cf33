"""`lumi train`: from a configuration file, or another detector, to checkpoints, with progress on standard error."""

from __future__ import annotations

import json
import logging
from typing import Any

import click

from luminoth.cli.bucket_files import show_copies
from luminoth.cli.config_options import config_files_option, overrides_option
from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import say
from luminoth.cli.train_report import Report


@click.command()
@config_files_option()
@overrides_option("train.batch_size=2")
@click.option(
    "--from", "start", metavar="NAME",
    help="Start from the weights of another detector: alias or id of a checkpoint, the folder of one or of a run, or a "
    "file of torchvision (.pth) or Detectron2 (.pkl). Its model is taken too, where no file states another; the same "
    "as -o train.from_checkpoint=NAME.",
)  # fmt: skip
@click.option("--dataset", metavar="DIR", help="Folder of the records to train on; the same as -o dataset.dir=DIR.")
@click.option("--job-dir", metavar="DIR", help="Folder for all runs; the same as -o train.job_dir=DIR.")
@click.option("--run-name", metavar="NAME", help="This run's folder in it; the same as -o train.run_name=NAME.")
@click.option(
    "--dry-run", is_flag=True,
    help="Build everything, make three steps, and say what the run will take: memory, hours, disk. Writes nothing.",
)  # fmt: skip
@click.option(
    "--overfit", "overfit_images", metavar="N", type=click.IntRange(min=1),
    help="Train on N pictures alone until they are known by heart, to prove that data and model fit; keeps nothing.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Download what --from names, without asking, when it is not here.")
@click.option("--offline", is_flag=True, help="Never download a checkpoint.")
def train(
    files: tuple[str, ...],
    overrides: tuple[str, ...],
    start: str | None,
    dataset: str | None,
    job_dir: str | None,
    run_name: str | None,
    dry_run: bool,
    overfit_images: int | None,
    yes: bool,
    offline: bool,
) -> int:
    """Train a detector from a configuration file, or from another detector.

    Saves checkpoints as it goes; the same command goes on from the newest one. Ctrl-C saves and stops.

    \b
    Examples:
      lumi train -c configs/pascal-fasterrcnn.yml
      lumi train -c config.yml -o train.batch_size=2 -o train.max_steps=20000
      lumi train -c config.yml --job-dir jobs/ --run-name second-try
      lumi train --from fast --dataset mine-tf
      lumi train --from fast --dataset mine-tf --dry-run
      lumi train -c config.yml --overfit 4
      lumi train -c config.yml --dataset gs://my-bucket/tf --job-dir gs://my-bucket/jobs
    """
    if dry_run and overfit_images is not None:
        raise click.UsageError("--dry-run and --overfit are two different trials: choose one")
    show_copies()
    # JSON's quotes keep YAML from taking a name such as `on` for something else.
    named = {
        "train.from_checkpoint": start, "dataset.dir": dataset, "train.job_dir": job_dir, "train.run_name": run_name
    }  # fmt: skip
    stated = [*overrides, *(f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None)]
    config = _resolve(files, stated, yes=yes, offline=offline)
    load_tensorflow()
    if dry_run:
        from luminoth.cli.train_trials import show_trial

        return show_trial(config)
    if overfit_images is not None:
        from luminoth.cli.train_trials import show_overfit

        return show_overfit(config, overfit_images)
    from luminoth.training.loop import train as run_training

    report = Report(config, [] if job_dir or run_name or config.train.from_checkpoint else files)
    try:
        result = run_training(config, on_event=report)
    finally:
        report.close()
    return report.finish(result)


def _resolve(files: tuple[str, ...], overrides: list[str], *, yes: bool, offline: bool) -> Any:
    """The configuration; a checkpoint that it starts from is on this machine afterwards."""
    from pathlib import Path

    from luminoth.checkpoints.transfer import find_start
    from luminoth.cli.checkpoint_fetch import chosen_checkpoint
    from luminoth.training.fine_tuning import resolve_fine_tuning

    def find(name: str) -> Path:
        if not Path(name).expanduser().is_file():
            return chosen_checkpoint(name, yes=yes, offline=offline)
        say(f"Reading {name}")
        load_tensorflow()
        return find_start(name)

    resolved = resolve_fine_tuning(files, overrides, find=find)
    for warning in resolved.warnings:
        say(f"Warning: {warning}")
    if not files and resolved.config.train.from_checkpoint is None:
        raise click.UsageError(
            "Missing option '-c': name a configuration file, or with --from a detector to start from"
        )
    if resolved.config.train.debug:
        logging.getLogger("luminoth").setLevel(logging.DEBUG)
    return resolved.config
