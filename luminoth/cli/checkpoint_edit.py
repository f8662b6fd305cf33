"""`lumi checkpoint edit`: another name, alias, description, ..."""

from __future__ import annotations

import click

from luminoth.cli.checkpoint_options import fields_option, json_option, say_choice, split_fields, write_json


@click.command()
@click.argument("name", metavar="ID_OR_ALIAS")
@fields_option
@json_option
def edit(name: str, fields: tuple[str, ...], as_json: bool) -> None:
    """Change what a checkpoint says of itself.

    An empty value removes what it said.

    \b
    Examples:
      lumi checkpoint edit cb0e5d92a854 -e alias=traffic -e name="Traffic in Montevideo"
      lumi checkpoint edit traffic -e description=
    """
    stated = split_fields(fields)
    if not stated:
        raise click.UsageError("state what to change, as in -e alias=traffic")
    from luminoth.checkpoints.store import Store

    store = Store()
    entry = store.edit(say_choice(name, store.resolve(name)).id, stated)
    if as_json:
        write_json(entry.to_dict())
    else:
        click.echo(f"Checkpoint {entry.id} edited successfully.")
