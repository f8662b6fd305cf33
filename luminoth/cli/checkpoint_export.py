"""`lumi checkpoint export`: one file, to be passed on."""

from __future__ import annotations

from pathlib import Path

import click

from luminoth.cli.bucket_files import LocalPath
from luminoth.cli.checkpoint_options import json_option, say_choice, write_json
from luminoth.cli.terminal import say


@click.command()
@click.argument("name", metavar="ID_OR_ALIAS")
@click.option(
    "--output", type=LocalPath(), default=Path(), metavar="DIR",
    help="Folder for the file, or the file itself if that ends in .tar.  [default: the present folder]",
)  # fmt: skip
@json_option
def export(name: str, output: Path, as_json: bool) -> None:
    """Write a checkpoint as one file, <id>.tar.

    `lumi checkpoint import` takes it in elsewhere. Prints the file. It holds weights, configuration, classes, and
    metadata with the SHA-256 of each.

    \b
    Examples:
      lumi checkpoint export cb0e5d92a854
      lumi checkpoint export traffic --output shared/
    """
    from luminoth.checkpoints.archive import export_checkpoint
    from luminoth.checkpoints.store import Store

    entry = say_choice(name, Store().resolve(name))
    path = export_checkpoint(entry, output)
    say(f"Checkpoint {entry.id} exported successfully.")
    if as_json:
        write_json({"id": entry.id, "file": str(path), "bytes": path.stat().st_size})
    else:
        click.echo(path)
