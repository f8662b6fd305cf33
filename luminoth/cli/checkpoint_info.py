"""`lumi checkpoint info`: all that is known of one."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.checkpoint_options import json_option, megabytes, say_choice, write_json

if TYPE_CHECKING:
    from luminoth.checkpoints.entry import Entry

_KEY_WIDTH = 14
_MOST_CLASSES = 100


@click.command()
@click.argument("name", metavar="ID_OR_ALIAS")
@click.option("-c", "--config", "--config-info", "with_config", is_flag=True, help="Show its whole configuration, too.")
@click.option("--check", is_flag=True, help="Compare all its files with their SHA-256; exits 1 if damaged.")
@json_option
def info(name: str, with_config: bool, check: bool, as_json: bool) -> int:
    """Show what is known of a checkpoint.

    What it finds, how well, where it comes from, its licence, and what to cite.

    \b
    Examples:
      lumi checkpoint info toytown
      lumi checkpoint info toytown --check
      lumi checkpoint info toytown --json
    """
    from luminoth import checkpoints

    entry = say_choice(name, checkpoints.resolve(name))
    facts: dict[str, Any] = {"class_names": None, "model": None}
    if entry.is_here:
        facts = _read_files(entry, with_config)
    if check:
        facts["damaged"] = _damaged(entry)
    if as_json:
        write_json({**entry.to_dict(), **{key: value for key, value in facts.items() if value is not None}})
    else:
        click.echo(_as_text(entry, facts), nl=False)
        if with_config and entry.is_here:
            click.echo(f"\n{facts['configuration']}", nl=False)
    return 1 if facts.get("damaged") else 0


def _read_files(entry: Entry, with_config: bool) -> dict[str, Any]:
    from luminoth.checkpoints.folder import read_checkpoint_classes, read_checkpoint_config
    from luminoth.config import dump_config
    from luminoth.types import UNUSED_CLASS

    config = read_checkpoint_config(entry.folder)
    return {
        "class_names": [each for each in read_checkpoint_classes(entry.folder) if each != UNUSED_CLASS],
        "model": f"{config.model.type}, {config.model.base_network.architecture}, {config.model.network.features}",
        "configuration": dump_config(config) if with_config else None,
    }


def _damaged(entry: Entry) -> list[str]:
    """Files that are not what the metadata says."""
    from luminoth.checkpoints.folder import hash_files
    from luminoth.checkpoints.metadata import is_sealed, read_metadata
    from luminoth.errors import CheckpointError

    if not entry.is_here:
        raise CheckpointError(f"`{entry.alias or entry.id}` is not on this machine: there is nothing to check")
    metadata = read_metadata(entry.folder)
    if not is_sealed(metadata):
        raise CheckpointError(f"{entry.folder}: is of an old form without checksums; `lumi checkpoint edit` adds them")
    found = hash_files(entry.folder)
    return sorted(name for name in {*metadata["files"], *found} if metadata["files"].get(name) != found.get(name))


def _as_text(entry: Entry, facts: dict[str, Any]) -> str:
    width = min(shutil.get_terminal_size().columns, 100)
    called = ", ".join(filter(None, (entry.id, entry.alias)))
    lines = textwrap.wrap(f"{entry.name} ({called})" if entry.name else called, width)
    lines += [*textwrap.wrap(entry.description, width), ""]
    for key, value in _facts(entry, facts):
        if value:
            indent = " " * _KEY_WIDTH
            lines += textwrap.wrap(
                value, width, initial_indent=f"{key:<{_KEY_WIDTH}}", subsequent_indent=indent,
                break_long_words=False, break_on_hyphens=False,
            )  # fmt: skip
    return "\n".join(lines) + "\n"


def _facts(entry: Entry, facts: dict[str, Any]) -> list[tuple[str, str]]:
    size = megabytes(entry.bytes)
    damaged = facts.get("damaged")
    return [
        ("Status", f"{entry.status}{' (part of the package)' if entry.is_embedded else ''}"),
        ("Model", facts["model"] or ""),
        ("Classes", _classes(entry, facts["class_names"])),
        ("Scores", _scores(entry)),
        ("Trained on", _data(entry)),
        ("Size", f"{size} MB{'' if entry.is_here else ' to download'}" if size else ""),
        ("Source", entry.source),
        ("URL", entry.url if entry.url != entry.source else ""),
        ("Licence", entry.licence),
        ("Papers" if len(entry.paper) > 1 else "Paper", "; ".join(entry.paper)),
        ("Created", f"{entry.created[:16].replace('T', ' ')} UTC" if entry.created else ""),
        ("Luminoth", entry.luminoth),
        ("Trained with", ", ".join(f"{name} {version}" for name, version in entry.environment.items())),
        ("Files", "" if damaged is None else f"damaged: {', '.join(damaged)}" if damaged else "all as published"),
        ("Folder", str(entry.folder or "")),
    ]


def _classes(entry: Entry, names: list[str] | None) -> str:
    if names is None:
        return str(entry.data.get("classes", ""))
    more = len(names) - _MOST_CLASSES
    return f"{len(names)}: {', '.join(names[:_MOST_CLASSES])}{f' and {more} more' if more > 0 else ''}"


def _scores(entry: Entry) -> str:
    figures = [f"{name} {100 * value:.1f}" for name, value in entry.scores.items() if isinstance(value, (int, float))]
    if not figures:
        return ""
    where = f" on {entry.scores['data_set']}" if "data_set" in entry.scores else ""
    whose = f" ({entry.scores['measured_by']})" if "measured_by" in entry.scores else ""
    return f"{', '.join(figures)}{where}{whose}"


def _data(entry: Entry) -> str:
    images = entry.data.get("images")
    told = [entry.data.get("name", ""), f"{images} images" if images else ""]
    return ", ".join(filter(None, told))
