"""`lumi checkpoint delete`."""

from __future__ import annotations

import click

from luminoth.cli.checkpoint_options import agree, json_option, write_json, yes_option
from luminoth.cli.terminal import say


@click.command()
@click.argument("name", metavar="ID_OR_ALIAS")
@yes_option
@json_option
def delete(name: str, yes: bool, as_json: bool) -> int:
    """Delete a checkpoint from this machine.

    One that was downloaded can be downloaded again. An alias that several checkpoints have is refused: give the id.

    \b
    Examples:
      lumi checkpoint delete cb0e5d92a854
      lumi checkpoint delete traffic --yes
    """
    from luminoth.checkpoints.store import Store

    store = Store()
    entry = store.removable(name)
    called = ", ".join(filter(None, (entry.alias, entry.name)))
    question = f"Delete checkpoint {entry.id}{f' ({called})' if called else ''}, {entry.bytes / 1e6:.1f} MB?"
    if not agree(question, yes):
        say("Nothing was deleted.")
        return 1
    entry = store.delete(entry.id)
    if as_json:
        write_json(entry.to_dict())
    else:
        click.echo(f"Checkpoint {entry.id} deleted successfully.")
    return 0
