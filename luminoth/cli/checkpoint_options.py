"""What several `lumi checkpoint` commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.terminal import say

if TYPE_CHECKING:
    from luminoth.checkpoints.entry import Entry
    from luminoth.checkpoints.store import Resolved


def fields_option(command: Callable) -> Callable:
    """`-e FIELD=VALUE`, several times."""
    return click.option(
        "-e", "--entry", "fields", multiple=True, metavar="FIELD=VALUE",
        help="A fact about the checkpoint: name, alias, description, source, licence or dataset.name. Repeatable.",
    )(command)  # fmt: skip


def json_option(command: Callable) -> Callable:
    """`--json`"""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON to standard output.")(command)


def yes_option(command: Callable) -> Callable:
    """`--yes`"""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(command)


def split_fields(fields: tuple[str, ...]) -> dict[str, str]:
    """`-e field=value`, several times, as a mapping; the value may contain `=`.

    Raises:
        click.UsageError: one of them is not of that form, or a field is stated twice.
    """
    found: dict[str, str] = {}
    for each in fields:
        field, equals, value = each.partition("=")
        if not equals or not field:
            raise click.UsageError(f"-e {each}: must be field=value, as in -e alias=traffic")
        if field in found:
            raise click.UsageError(f"-e {each}: {field} is stated twice")
        found[field] = value
    return found


def agree(question: str, yes: bool) -> bool:
    """Whether the user agrees: by `--yes`, or asked on a terminal.

    Raises:
        click.UsageError: there is nobody to ask.
    """
    if yes:
        return True
    if not _is_terminal():
        raise click.UsageError(f"{question} There is no terminal to ask on: say so with --yes")
    return click.confirm(question, err=True)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def say_choice(name: str, found: Resolved) -> Entry:
    """Says so when a name means more than one checkpoint, and which was taken; returns that."""
    if found.others:
        others = ", ".join(each.id for each in found.others)
        say(f"`{name}` is the alias of {len(found.others) + 1} checkpoints; {found.entry.id} is taken, not {others}.")
    return found.entry


def write_json(content: Any) -> None:
    """Writes JSON to standard output."""
    click.echo(json.dumps(content, indent=2, ensure_ascii=False))


def megabytes(size: int) -> str:
    """`12.3`; empty when it is not known."""
    return f"{size / 1e6:.1f}" if size else ""
