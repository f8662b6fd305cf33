"""`-c` and `-o`, by which commands take a configuration."""

from __future__ import annotations

from collections.abc import Callable

import click


def config_files_option(what: str = "Configuration file") -> Callable:
    """`-c FILE`, several times, paths or `gs://` addresses; the command gets `files`."""
    return click.option(
        "-c", "--config", "files", metavar="FILE", multiple=True,
        help=f"{what}; may be given several times, later ones win.",
    )  # fmt: skip


def overrides_option(example: str) -> Callable:
    """`-o KEY=VALUE`, several times; the command gets `overrides`."""
    return click.option(
        "-o", "--override", "overrides", metavar="KEY=VALUE", multiple=True, help=f"Sets one key, as in -o {example}."
    )
