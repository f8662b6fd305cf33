"""`lumi checkpoint list`: what can be called by name."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from luminoth.cli.checkpoint_options import json_option, megabytes, write_json
from luminoth.cli.tables import table
from luminoth.cli.terminal import say

if TYPE_CHECKING:
    from luminoth.checkpoints.entry import Entry

_LEAST_NAME = 10  # with less room than this names are left out: aliases say more
_WIDEST_NAME = 60


@click.command("list")
@click.option("--local", is_flag=True, help="Only those on this machine.")
@json_option
def list_(local: bool, as_json: bool) -> None:
    """List checkpoints.

    Those on this machine come first, the newest at the top, then those that can be downloaded. The status is LOCAL
    for what was made here or came with the package, DOWNLOADED, or NOT_DOWNLOADED. AP is box AP in percent, as far as
    it is known, and MB the size on disk (of what is downloaded, for those that are not).

    \b
    Examples:
      lumi checkpoint list
      lumi checkpoint list --local --json
    """
    from luminoth import checkpoints
    from luminoth.checkpoints.store import Store

    entries = [entry for entry in checkpoints.list() if entry.is_here or not local]
    if as_json:
        write_json([entry.to_dict() for entry in entries])
    elif entries:
        groups = [[each for each in entries if each.is_here], [each for each in entries if not each.is_here]]
        click.echo("\n".join(_as_table(group) for group in groups if group), nl=False)
    else:
        say("No checkpoints available.")
    for error in Store().problems().values():
        say(f"Warning: left out: {error}")


def _as_table(entries: list[Entry]) -> str:
    header = ["id", "alias", "status", "AP", "MB"]
    rows = [[entry.id, entry.alias, str(entry.status), _percent(entry), megabytes(entry.bytes)] for entry in entries]
    names = [entry.name for entry in entries]
    room = _WIDEST_NAME
    if _is_terminal():
        first_line = table(header, rows, texts=3).partition("\n")[2].partition("\n")[0]
        room = min(room, shutil.get_terminal_size().columns - len(first_line) - 2)
    if room < _LEAST_NAME:
        return table(header, rows, texts=3)
    rows = [[*row[:2], _shortened(name, room), *row[2:]] for row, name in zip(rows, names, strict=True)]
    return table([*header[:2], "name", *header[2:]], rows, texts=4)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _percent(entry: Entry) -> str:
    value = entry.average_precision
    return "" if value is None else f"{100 * value:.1f}"


def _shortened(text: str, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"
