"""`lumi checkpoint import`: takes in what `export` wrote."""

from __future__ import annotations

from pathlib import Path

import click

from luminoth.cli.bucket_files import LocalPath
from luminoth.cli.checkpoint_options import json_option, write_json
from luminoth.cli.terminal import say


@click.command("import")
@click.argument("path", type=LocalPath())
@click.option("--new-id", is_flag=True, help="Give it another id, when another checkpoint has its own.")
@json_option
def import_(path: Path, new_id: bool, as_json: bool) -> None:
    """Take in a file that export wrote.

    The file may come from a stranger: nothing in it is run, nothing is written outside the store, and all of it is
    checked first. The SHA-256 show that it arrived as it was sent, not that its sender is honest.

    \b
    Examples:
      lumi checkpoint import cb0e5d92a854.tar
      lumi checkpoint import cb0e5d92a854.tar --new-id
    """
    from luminoth.checkpoints.archive import import_checkpoint

    done = import_checkpoint(path, as_new=new_id)
    entry = done.entry
    if not done.is_new:
        say(f"Checkpoint {entry.id} is there already, with the same content.")
    elif entry.alias:
        say(f"Use it: lumi predict IMAGE --checkpoint {entry.alias}")
    if as_json:
        write_json({**entry.to_dict(), "is_new": done.is_new})
    elif done.is_new:
        click.echo(f"Checkpoint {entry.id} imported successfully.")
