"""What `lumi dataset check`, `stats` and `show` share: a configuration to hold the data against, the layout, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.bucket_files import LocalPath
from luminoth.cli.terminal import say

if TYPE_CHECKING:
    from luminoth.config import Config
    from luminoth.data.source import Source


def read_config(files: Sequence[str]) -> Config:
    """The configuration of `-c`, or the defaults; says its warnings."""
    from luminoth.config import resolve_config

    resolved = resolve_config(files)
    for warning in resolved.warnings:
        say(f"Warning: {warning}")
    return resolved.config


def say_recognised(source: Source, reader_type: str | None) -> None:
    """Says which layout was found, when it was not named."""
    from luminoth.data.readers import AUTO, recognise_type
    from luminoth.data.source import LayoutSource

    if reader_type in (None, AUTO) and isinstance(source, LayoutSource):
        say("Recognised {}: {}".format(*recognise_type(source.path)))


def write_json_report(value: Mapping[str, Any], file: str) -> None:
    """Writes to a file, or to standard output when it is `-`."""
    if file == "-":
        click.echo(json.dumps(value, indent=1, ensure_ascii=False))
        return
    from luminoth.data.record_files import write_json

    path = LocalPath().convert(file, None, None)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, value)
    say(f"Wrote {path}")
