"""`lumi checkpoint create`: from a run to a checkpoint that can be called by name."""

from __future__ import annotations

from pathlib import Path

import click

from luminoth.cli.bucket_files import PathOrAddress, show_copies
from luminoth.cli.checkpoint_options import fields_option, json_option, split_fields, write_json
from luminoth.cli.config_options import config_files_option, overrides_option
from luminoth.cli.terminal import say

_LAST, _BEST = "last", "best"


@click.command()
@click.argument("sources", nargs=-1, metavar="[CONFIG... | FOLDER]", type=PathOrAddress())
@config_files_option("Configuration file of the run")
@overrides_option("train.run_name=first")
@click.option(
    "--checkpoint", "which", metavar="best|last|STEP", default=_LAST, show_default=True,
    help="Which of the run's: the one with the highest AP in `lumi eval`'s figures of val, the newest, or a step.",
)  # fmt: skip
@fields_option
@click.option("--half", is_flag=True, help="Store the weights as 16-bit floats: half the size, nearly the same scores.")
@json_option
def create(
    sources: tuple[Path | str, ...],
    files: tuple[str, ...],
    overrides: tuple[str, ...],
    which: str,
    fields: tuple[str, ...],
    half: bool,
    as_json: bool,
) -> None:
    """Make a checkpoint of a run, with a name.

    It can then be listed, called by its id or alias, and exported. State the run by its configuration files, or by
    its FOLDER (or the folder of one of its checkpoints). What training needs to go on, and paths of this machine, are
    left out. The figures of `lumi eval` go with it.

    \b
    Examples:
      lumi checkpoint create config.yml -e name="OpenImages Traffic" -e alias=traffic
      lumi checkpoint create -c config.yml --checkpoint best -e alias=traffic
      lumi checkpoint create jobs/my-run --checkpoint 9000 --half -e alias=traffic -e licence=CC0
    """
    stated = split_fields(fields)
    from luminoth.checkpoints.naming import check_fields
    from luminoth.checkpoints.publish import create_checkpoint

    check_fields(stated)
    show_copies()
    folder = _find(sources, files, overrides, which)
    say("Creating checkpoint for given configuration...")
    entry = create_checkpoint(folder, stated, half=half)
    say(f"Made of {folder}, {entry.bytes / 1e6:.1f} MB.")
    say(f"Use it: lumi predict IMAGE --checkpoint {entry.alias or entry.id}")
    if as_json:
        write_json(entry.to_dict())
    else:
        click.echo(f"Checkpoint {entry.id} created successfully.")


def _find(sources: tuple[Path | str, ...], files: tuple[str, ...], overrides: tuple[str, ...], which: str) -> Path:
    """The folder of the checkpoint that is meant."""
    from luminoth.checkpoints.folder import is_checkpoint

    folders = [folder for folder in map(_folder_at, sources) if folder]
    if folders:
        if len(sources) > 1 or files or overrides:
            raise click.UsageError(f"{folders[0]} is a folder: state either one folder or configuration files")
        if not is_checkpoint(folders[0]):
            return _choose(folders[0], which)
        if which != _LAST:
            raise click.UsageError(f"{folders[0]} is one checkpoint: --checkpoint goes with a run")
        return folders[0]
    if not sources and not files:
        raise click.UsageError("state the run: its configuration files, or its folder")
    from luminoth.checkpoints.runs import run_folder
    from luminoth.config import resolve_config

    resolved = resolve_config([*sources, *files], overrides)
    for warning in resolved.warnings:
        say(f"Warning: {warning}")
    return _choose(run_folder(resolved.config), which)


def _folder_at(source: Path | str) -> Path | None:
    """The folder of a run or checkpoint that is named; None: it is a configuration file."""
    from luminoth.checkpoints.in_bucket import address_of, at_hand, checkpoint_at_hand
    from luminoth.storage import is_address

    if is_address(source):
        if source.endswith((".yml", ".yaml", ".json")):
            return None
        checkpoint = checkpoint_at_hand(source)
        is_meant = checkpoint is not None and address_of(checkpoint) == source.rstrip("/")
        return checkpoint if is_meant else at_hand(source)
    return source if source.is_dir() else None


def _choose(run: Path, which: str) -> Path:
    from luminoth.checkpoints.history import best_checkpoint, judged_by
    from luminoth.checkpoints.publish import choose_checkpoint

    folder = choose_checkpoint(run, which)
    if which == _BEST:
        split, metric = judged_by(run)
        best = best_checkpoint(run, split, metric)
        say(f"The best of {best.evaluated} evaluated on {split}: step {best.step}, {metric} {best.value:.4f}")
        if best.better_but_gone:
            steps = ", ".join(map(str, best.better_but_gone))
            say(f"Warning: better ones are not kept any more: step {steps} (see train.checkpoints_max_keep)")
    return folder
