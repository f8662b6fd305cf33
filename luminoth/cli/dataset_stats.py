"""`lumi dataset stats`: what a data set is made of, and which anchors and size of pictures suit it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luminoth.cli.bucket_files import LocalPath, show_copies
from luminoth.cli.dataset_options import source_options, split_overrides
from luminoth.cli.dataset_source import read_config, say_recognised, write_json_report
from luminoth.cli.tables import bars, table
from luminoth.cli.terminal import progress, say

if TYPE_CHECKING:
    from luminoth.config import Config
    from luminoth.data.source import Source
    from luminoth.data.stats.anchor_fit import AnchorGrid, InputRule
    from luminoth.data.stats.columns import Columns
    from luminoth.data.stats.report import StatsReport
    from luminoth.data.stats.statistics import Distribution, Histogram, Statistics

_MOST_CLASSES = 30  # in the terminal
_MOST_SPLITS = 3  # with a column of their own
_MOST_LETTERS = 28  # of a class name
_MOST_COLUMNS = 100  # that bars reach to
_SHARE_OF_A_TAIL = 0.005  # of all that is counted


@click.command()
@source_options
@click.option(
    "-c", "--config", "files", metavar="FILE", multiple=True,
    help="Configuration whose anchors and size of pictures are tried on the data; may be given several times, later "
    "ones win.  [default: the defaults of `lumi config show`]",
)  # fmt: skip
@click.option("--json", "json_file", metavar="FILE", help="Write all figures as JSON; -: to standard output, alone.")
@click.option(
    "--html", "html_file", metavar="FILE", type=LocalPath(dir_okay=False),
    help="Write a page with tables and plots, in one file.",
)  # fmt: skip
def stats(
    path: Path,
    reader_type: str | None,
    splits: tuple[str, ...],
    overrides: tuple[str, ...],
    workers: int | None,
    files: tuple[str, ...],
    json_file: str | None,
    html_file: Path | None,
) -> None:
    """Count what a data set is made of.

    PATH is a folder of records, or a data set in a layout of its own. Says how many pictures and objects there are, by
    class and split, how large they are, and how well the configured anchors fit them; suggests anchors and a size of
    pictures that suit the data, as lines for the configuration.

    \b
    Examples:
      lumi dataset stats toytown-tf -c configs/toytown.yml
      lumi dataset stats VOCdevkit/VOC2012 --split train --html voc.html
      lumi dataset stats coco --type coco -o year=2017 --json coco.json
    """
    show_copies()
    options = split_overrides(overrides)

    from luminoth.data.source import open_source
    from luminoth.data.stats.configured import network_view
    from luminoth.data.stats.report import make_report

    config = read_config(files)
    view = network_view(config)  # a wrong configuration shows before the pictures are read
    source = open_source(path, reader_type, options)
    say_recognised(source, reader_type)
    columns = {split: _read(source, split, workers) for split in source.choose_splits(splits)}
    sizes = config.model.anchors.sizes is not None or len(view.grid.strides) > 1
    report = make_report(str(path), source.classes, columns, view, lists_sizes=sizes)
    if json_file != "-":
        _print_report(report, config, files)
    if json_file is not None:
        write_json_report(report.to_dict(), json_file)
    if html_file is not None:
        from luminoth.data.stats.page import write_page

        write_page(html_file, report, files)
        say(f"Wrote {html_file}")


def _read(source: Source, split: str, workers: int | None) -> Columns:
    from luminoth.data.parallel import default_workers
    from luminoth.data.stats.columns import read_columns

    with progress(f"Reading {split}", total=source.image_count(split)) as bar:
        return read_columns(source, split, workers=workers or default_workers(), on_progress=bar.advance)


# --- Tables ------------------------------------------------------------


def _print_report(report: StatsReport, config: Config, files: Sequence[str]) -> None:
    whole, width = report.whole, min(shutil.get_terminal_size().columns, _MOST_COLUMNS)
    click.echo(
        f"{report.name}: {whole.pictures:,} pictures, {whole.boxes:,} objects of {len(report.classes)} classes\n"
    )
    columns = dict(report.splits) if len(report.splits) == 1 else {**report.splits, "all": whole}
    click.echo(_overview(columns))
    if whole.pictures_dropped or whole.boxes_dropped:
        say(
            f"{whole.pictures_dropped:,} pictures and {whole.boxes_dropped:,} boxes could not be used and are not "
            f"counted; `lumi dataset check {report.name}` names them\n"
        )
    if not whole.boxes:
        say("There is no object in these pictures: nothing to say about classes, sizes and anchors")
        return
    click.echo(_classes(report))
    click.echo(_sizes(whole))
    click.echo("objects a picture, and pictures with so many")
    click.echo(_bars_of_counts(whole.histograms["objects_per_picture"], width))
    click.echo("object size at the network's input, in pixels, and objects of that size")
    click.echo(_bars_of_sizes(whole.histograms["input_box_sizes"], width))
    _print_anchors(report, config, files)


def _overview(columns: dict[str, Statistics]) -> str:
    shares = {"small": "small, under 32 px", "medium": "medium", "large": "large, 96 px and more"}
    every = columns.values()
    rows = [
        ["pictures", *(f"{each.pictures:,}" for each in every)],
        ["  without objects", *(f"{each.pictures_without_objects:,}" for each in every)],
        ["objects", *(f"{each.boxes:,}" for each in every)],
        ["  a picture", *(f"{each.objects_per_picture.mean:.1f}" if each.pictures else "-" for each in every)],
        *(
            [f"  {text}", *(_percent(each.size_shares and each.size_shares[group]) for each in every)]
            for group, text in shares.items()
        ),
    ]
    if any(each.crowds for each in every):
        rows.append(["crowd regions", *(f"{each.crowds:,}" for each in every)])
    return table(["", *columns], rows)


def _classes(report: StatsReport) -> str:
    """The most frequent classes first; a column of objects for each split where there are few."""
    order = sorted(range(len(report.classes)), key=lambda index: -report.whole.classes[index].boxes)
    parts = report.splits if 1 < len(report.splits) <= _MOST_SPLITS else {"objects": report.whole}
    rows = []
    for index in order[:_MOST_CLASSES]:
        of_class = report.whole.classes[index]
        shares = of_class.size_shares or {}
        rows.append(
            [
                _shortened(of_class.name),
                *(f"{part.classes[index].boxes:,}" for part in parts.values()),
                f"{of_class.pictures:,}",
                *(_percent(shares.get(group)) for group in ("small", "medium", "large")),
                "-" if of_class.median_size is None else f"{of_class.median_size:.0f} px",
            ]
        )
    text = table(["class", *parts, "pictures", "small", "medium", "large", "median size"], rows)
    more = len(report.classes) - _MOST_CLASSES
    return text + f"... and {more} rarer ones; --json and --html have all\n" if more > 0 else text


def _sizes(whole: Statistics) -> str:
    rows = [
        _spread("picture width", whole.widths, ".0f"),
        _spread("picture height", whole.heights, ".0f"),
        _spread("object size (square root of the area)", whole.box_sizes, ".0f"),
        _spread("  at the network's input", whole.input_box_sizes, ".0f"),
        _spread("  shorter side there", whole.input_short_sides, ".0f"),
        _spread("object height / width", whole.box_ratios, ".2f"),
    ]
    return table(["in pixels", "5 %", "25 %", "median", "75 %", "95 %"], rows)


def _spread(name: str, spread: Distribution | None, style: str) -> list[str]:
    if spread is None:
        return [name, *"-----"]
    return [name, *(format(value, style) for value in (spread.p5, spread.p25, spread.median, spread.p75, spread.p95))]


def _bars_of_counts(histogram: Histogram, width: int) -> str:
    step = histogram.edges[1] - histogram.edges[0]
    edges, counts = _without_tails(histogram)
    lows, highs = [int(low) for low in edges[:-1]], [int(high - 1) for high in edges[1:]]
    labels = [f"{low}" if low == high else f"{low} - {high}" for low, high in zip(lows, highs, strict=True)]
    if highs[-1] - lows[-1] >= step:
        labels[-1] = f"{lows[-1]} and more"
    return bars(labels, counts, width)


def _bars_of_sizes(histogram: Histogram, width: int) -> str:
    edges, counts = _without_tails(histogram)
    ends = [f"{edge:.0f}" for edge in edges]
    widest = max(map(len, ends))
    return bars([f"{low.rjust(widest)} - {high.rjust(widest)}" for low, high in pairwise(ends)], counts, width)


def _without_tails(histogram: Histogram) -> tuple[list[float], list[int]]:
    """Edges and counts, with the outermost bins joined as long as they hold next to nothing."""
    edges, counts = list(histogram.edges), list(histogram.counts)
    nothing = _SHARE_OF_A_TAIL * sum(counts)
    while len(counts) > 2 and counts[0] + counts[1] <= nothing:
        counts[:2], edges[:2] = [counts[0] + counts[1]], [edges[0]]
    while len(counts) > 2 and counts[-2] + counts[-1] <= nothing:
        counts[-2:], edges[-2:] = [counts[-2] + counts[-1]], [edges[-1]]
    return edges, counts


# --- Anchors ------------------------------------------------------------


def _print_anchors(report: StatsReport, config: Config, files: Sequence[str]) -> None:
    suggestion = report.suggestion
    columns = {"configured": (suggestion.configured_rule, suggestion.configured_grid, suggestion.configured)}
    if suggestion.changes:
        columns["suggested"] = (suggestion.rule, suggestion.grid, suggestion.suggested)
    every = [(_describe_rule(rule), _describe_sides(grid), grid, fit) for rule, grid, fit in columns.values()]
    rows = [
        [
            f"{'min_size, max_size' if report.view.rule.fixed_height is None else 'size'} of pictures",
            *(rule for rule, *_ in every),
        ],
        ["sides of square anchors", *(sides for _, sides, *_ in every)],
        ["ratios", *(_numbers(grid.ratios) for *_, grid, _ in every)],
        ["objects overlapped by 0.5", *(_percent(fit.recall_half) for *_, fit in every)],
        [
            f"objects overlapped by {report.view.foreground:g} (RPN)",
            *(_percent(fit.recall_foreground) for *_, fit in every),
        ],
        ["best overlap, on average", *(f"{fit.mean_overlap:.2f}" for *_, fit in every)],
        ["shorter side, smallest 5 %", *(f"{fit.small_side:.1f} px" for *_, fit in every)],
    ]
    click.echo(table(["anchors", *columns], rows))
    stated = ", ".join(map(str, files)) or "the defaults"
    if not suggestion.changes:
        say(f"The anchors and the size of pictures of {stated} fit: nothing that was tried does better")
        return
    if config.train.from_checkpoint is not None:
        say("Training that starts from a checkpoint needs that checkpoint's anchors: suggested ones are for a new RPN")
    say(f"Suggested instead of those of {stated}:")
    click.echo(report.configuration, nl=False)


def _describe_rule(rule: InputRule) -> str:
    if rule.fixed_height is not None:
        return f"{rule.fixed_width} x {rule.fixed_height}"
    return ", ".join("-" if side is None else str(side) for side in (rule.min_size, rule.max_size))


def _describe_sides(grid: AnchorGrid) -> str:
    """`64, 128` of one map, `32 | 64` of several; their number where there are too many to list."""
    text = " | ".join(map(_numbers, grid.sides))
    count = sum(map(len, grid.sides))
    return (
        text
        if len(text) <= _MOST_LETTERS
        else f"{count}, {min(map(min, grid.sides)):g} to {max(map(max, grid.sides)):g}"
    )


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %" if share in (0, 1) else f"{100 * share:.1f} %"


def _shortened(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…"
