"""Options that several `lumi dataset` commands share."""

from __future__ import annotations

from collections.abc import Callable

import click

from luminoth.cli.bucket_files import PathOrAddress


class ReaderType(click.ParamType):
    """The name of a reader, or `auto`; the table is light but still only looked into when it is needed."""

    name = "type"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        from luminoth.data.readers import reader_names

        return f"[auto|{'|'.join(reader_names())}]"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> str:
        from luminoth.data.readers import reader_names

        names = ("auto", *reader_names())
        if value not in names:
            self.fail(f"{value!r} is not one of {', '.join(names)}.", param, context)
        return value


class CommaList(click.ParamType):
    """`a,b,c`"""

    name = "names"

    def convert(self, value, param, context) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        if not names:
            self.fail("needs at least one name", param, context)
        return names


def split_overrides(overrides: tuple[str, ...]) -> dict[str, str]:
    """`-o key=value`, several times, as a mapping.

    Raises:
        click.UsageError: one of them is not of that form.
    """
    options = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise click.UsageError(f"-o {override}: must be key=value")
        options[key] = value
    return options


def source_options(command: Callable) -> Callable:
    """What tells a command which data set it is about: PATH, `--type`, `--split`, `-o` and `--workers`."""
    for decorator in reversed(
        (
            click.argument("path", type=PathOrAddress()),
            click.option(
                "--type",
                "reader_type",
                type=ReaderType(),
                help="The layout of PATH.  [default: records if there are any, else it is recognised]",
            ),
            click.option("--split", "splits", multiple=True, help="A split; repeatable.  [default: all]"),
            click.option(
                "-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="A reader's setting."
            ),
            workers_option,
        )
    ):
        command = decorator(command)
    return command


def workers_option(command: Callable) -> Callable:
    """`--workers`; None means one a core."""
    return click.option(
        "--workers",
        type=click.IntRange(min=1),
        help="Processes that read pictures side by side.  [default: one a core]",
    )(command)
