"""`lumi dataset merge`: join records, mapping their classes by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from luminoth.cli.bucket_files import LocalPath
from luminoth.cli.terminal import progress, say

if TYPE_CHECKING:
    from luminoth.data.merge import MergeReport, Relabelled

_PATH = LocalPath()
_IDS_NAMED = 3


@click.command()
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.argument("output", type=_PATH)
@click.option(
    "--rename", "renames", multiple=True, metavar="OLD=NEW",
    help="Give a class another name; repeatable. Two classes with one new name become one class.",
)  # fmt: skip
def merge(sources: tuple[Path, ...], output: Path, renames: tuple[str, ...]) -> None:
    """Join record files, or folders of them.

    SOURCES are .tfrecords files (OUTPUT is then a file) or folders that `lumi dataset transform` wrote (OUTPUT
    is then a folder, joined split by split).

    Classes are the same when their names are: where the classes.json of the sources differ, the joined one has
    all names in order of first appearance, and the records' labels are changed to it. Names that differ only in
    case, spaces, _ or - are refused until --rename says what is meant.

    \b
    Examples:
      lumi dataset merge day/train.tfrecords night/train.tfrecords both/train.tfrecords
      lumi dataset merge day/ night/ both/
      lumi dataset merge day/ night/ both/ --rename Car=car --rename lorry=truck
    """
    names = _split_renames(renames)

    from luminoth.data.merge import merge as run_merge

    with progress("Merging", unit="records") as bar:
        report = run_merge(sources, output, renames=names, on_record=bar.advance)
    _print_report(report)


def _split_renames(renames: tuple[str, ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    for rename in renames:
        old, equals, new = (part.strip() for part in rename.partition("="))
        if not (old and equals and new):
            raise click.UsageError(f"--rename {rename}: must be old=new")
        if names.setdefault(old, new) != new:
            raise click.UsageError(f"--rename {rename}: {old} is already renamed to {names[old]}")
    return names


def _print_report(report: MergeReport) -> None:
    for path, count in report.records.items():
        click.echo(f"{path}: {count} records")
    click.echo(f"{len(report.classes)} classes: {', '.join(report.classes)}")
    for folder, changes in report.relabelled.items():
        say(f"{folder}: labels changed: {', '.join(map(_describe, changes))}")
    if report.repeated_ids:
        names = list(report.repeated_ids)
        say(f"Warning: {len(names)} picture ids occur more than once, such as {', '.join(names[:_IDS_NAMED])}")


def _describe(change: Relabelled) -> str:
    return f"{change.old_name} ({change.old_id}) is {change.new_name} ({change.new_id})"
