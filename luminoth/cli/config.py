"""`lumi config show` and `lumi config check`."""

from __future__ import annotations

import click

from luminoth.cli.terminal import say


def _inputs(command):
    """The options that name a configuration: files and overrides."""
    command = click.option(
        "-o",
        "--override",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set one value, as in train.batch_size=2.",
    )(command)
    command = click.option(
        "-c",
        "--config",
        "files",
        multiple=True,
        metavar="FILE",
        help="A configuration file; several merge left to right.",
    )(command)
    return click.argument("more_files", nargs=-1, metavar="[FILE]...")(command)


@click.group()
def config() -> None:
    """Show and check configuration files.

    \b
    Examples:
      lumi config check my.yml
      lumi config show -c base.yml -c my.yml -o train.batch_size=2
    """


@config.command()
@_inputs
@click.option("--plain", is_flag=True, help="Without the comments that say where each value comes from.")
def show(more_files: tuple[str, ...], files: tuple[str, ...], overrides: tuple[str, ...], plain: bool) -> None:
    """Print the whole configuration, defaults included, and where each value comes from.

    The output is a configuration file. Without a FILE it holds the defaults.

    \b
    Examples:
      lumi config show
      lumi config show my.yml -o model.base_network.architecture=vgg_16
      lumi config show --plain base.yml my.yml > merged.yml
    """
    from luminoth.config import dump_config, resolve_config
    from luminoth.config.show import show_config

    resolved = resolve_config([*files, *more_files], overrides)
    click.echo(dump_config(resolved.config) if plain else show_config(resolved), nl=False)
    for warning in resolved.warnings:
        say(f"Warning: {warning}")


@config.command()
@_inputs
def check(more_files: tuple[str, ...], files: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Say OK, or name every problem (exit status 1).

    Several files are checked as they would be used: merged, left to right.

    \b
    Examples:
      lumi config check my.yml
      lumi config check base.yml my.yml -o train.batch_size=2
    """
    from luminoth.config import resolve_config

    names = [*files, *more_files]
    if not names and not overrides:
        raise click.UsageError("Name a configuration file: lumi config check FILE")
    resolved = resolve_config(names, overrides)
    for warning in resolved.warnings:
        say(f"Warning: {warning}")
    click.echo(f"{', '.join(names) or 'the defaults with these overrides'}: OK")
