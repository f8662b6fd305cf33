"""`lumi dataset check`: what is wrong with a data set, and whether training on it would work."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luminoth.cli.bucket_files import show_copies
from luminoth.cli.dataset_options import source_options, split_overrides
from luminoth.cli.dataset_source import read_config, say_recognised, write_json_report
from luminoth.cli.tables import table
from luminoth.cli.terminal import progress

if TYPE_CHECKING:
    import numpy as np

    from luminoth.data.check.concerns import Concern
    from luminoth.data.check.report import CheckReport
    from luminoth.data.check.survey import SplitSurvey
    from luminoth.data.source import Source

_NAMED = 3  # cases of each concern
_MOST_CLASSES = 20
_MOST_LETTERS = 28  # of a class name
_WIDEST = 120


@click.command()
@source_options
@click.option(
    "-c", "--config", "files", metavar="FILE", multiple=True,
    help="Configuration whose anchors, size of pictures and split the data are checked against; may be given several "
    "times, later ones win.  [default: the defaults of `lumi config show`]",
)  # fmt: skip
@click.option("--json", "json_file", metavar="FILE", help="Write everything as JSON; -: to standard output, alone.")
def check(
    path: Path,
    reader_type: str | None,
    splits: tuple[str, ...],
    overrides: tuple[str, ...],
    workers: int | None,
    files: tuple[str, ...],
    json_file: str | None,
) -> int:
    """Find what is wrong with a data set, before training does.

    PATH is a data set in a layout of its own, or a folder of records. Every picture is opened; nothing is written.
    Looks for damaged pictures, bad boxes, pictures that are in two splits, classes with too little, objects that are
    too small for the configured anchors, and labels that look wrong. Exits 1 when training would break, or learn
    nothing.

    \b
    Examples:
      lumi dataset check VOCdevkit/VOC2012 --split train --split val
      lumi dataset check toytown-tf -c configs/toytown.yml
      lumi dataset check export --type yolo --json report.json
    """
    show_copies()
    options = split_overrides(overrides)

    from luminoth.data.check.run import choose_splits, judge, open_checked
    from luminoth.data.stats.configured import network_view

    config = read_config(files)
    view = network_view(config)  # a wrong configuration shows before the pictures are read
    source, known = open_checked(path, reader_type, options)
    say_recognised(source, reader_type)
    trained = config.dataset.split
    surveys = [_survey(source, split, workers) for split in choose_splits(source, splits, trained)]
    report = judge(source, surveys, trained_split=trained, view=view, known=known)
    if json_file != "-":
        _print_report(report)
    if json_file is not None:
        write_json_report(report.to_dict(), json_file)
    return 0 if report.is_fit else 1


def _survey(source: Source, split: str, workers: int | None) -> SplitSurvey:
    from luminoth.data.check.survey import count_pictures, survey_split
    from luminoth.data.parallel import default_workers

    with progress(f"Checking {split}", total=count_pictures(source, split)) as bar:
        return survey_split(source, split, workers=workers or default_workers(), on_progress=bar.advance)


# --- What is printed ------------------------------------------------------------


def _print_report(report: CheckReport) -> None:
    from luminoth.data.check.concerns import Severity

    width = min(shutil.get_terminal_size().columns, _WIDEST)
    objects = int(report.objects.sum())
    pictures = sum(split.pictures for split in report.splits)
    click.echo(f"{report.name}: {pictures:,} pictures, {objects:,} objects of {len(report.classes)} classes\n")
    click.echo(_split_table(report))
    if objects:
        click.echo(_class_table(report, width))
    for severity in Severity:
        if concerns := report.of(severity):
            click.echo(f"{severity.value.capitalize()}:")
            named = 1 if severity is Severity.NOTED else _NAMED
            lines = [line for concern in concerns for line in _concern_lines(concern, named, width)]
            click.echo("\n".join(lines) + "\n")
    click.echo(report.verdict)


def _split_table(report: CheckReport) -> str:
    rows = [
        [each.split, f"{each.pictures:,}", f"{each.empty:,}", f"{each.dropped:,}", f"{each.objects:,}"]
        for each in report.splits
    ]
    return table(["split", "pictures", "without objects", "unusable", "objects"], rows)


def _class_table(report: CheckReport, width: int) -> str:
    """Objects and pictures of each class, in each split where there is room for that."""
    by_split = _class_rows(report, [split.split for split in report.splits], [report.objects, report.pictures])
    if max(map(len, by_split.splitlines())) <= width:
        return by_split
    sums = [counts.sum(axis=0, keepdims=True) for counts in (report.objects, report.pictures)]
    return _class_rows(report, ["all"], sums)


def _class_rows(report: CheckReport, names: list[str], counts: list[np.ndarray]) -> str:
    """The most frequent classes and the rarest: what one looks for."""
    order = sorted(range(len(report.classes)), key=lambda index: -int(report.objects[:, index].sum()))
    left_out = len(order) - _MOST_CLASSES
    shown = order if left_out <= 0 else [*order[: _MOST_CLASSES // 2], *order[-_MOST_CLASSES // 2 :]]
    rows = [
        [
            _shortened(report.classes[index]),
            *(f"{of_class[row, index]:,}" for row in range(len(names)) for of_class in counts),
        ]
        for index in shown
    ]
    if left_out > 0:
        rows.insert(_MOST_CLASSES // 2, [f"... {left_out} more ...", *[""] * (2 * len(names))])
    return table(["class", *(column for name in names for column in (f"{name}: objects", "in pictures"))], rows)


def _concern_lines(concern: Concern, named: int, width: int) -> list[str]:
    """`  - text: count`, the first cases below it, and what to do about it."""
    count = "" if concern.total is None else f": {concern.total:,}"
    lines = textwrap.wrap(
        f"{concern.text}{count}", width, initial_indent="  - ", subsequent_indent="    ", break_on_hyphens=False
    )
    if concern.advice:
        lines += textwrap.wrap(f"({concern.advice})", width, initial_indent="    ", subsequent_indent="    ")
    for entry in concern.entries[:named]:
        lines += _wrapped_case(str(entry), width)
    if len(concern.entries) > named > 1:
        lines.append(f"      ... {len(concern.entries) - named:,} more")
    return lines


def _wrapped_case(text: str, width: int) -> list[str]:
    """At most two lines; names of files are not broken."""
    return textwrap.wrap(
        text,
        width,
        initial_indent="      ",
        subsequent_indent="        ",
        max_lines=2,
        placeholder=" ...",
        break_on_hyphens=False,
    )


def _shortened(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…"
