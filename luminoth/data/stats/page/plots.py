"""The plots of the page, each of them a function of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from luminoth.data.stats.anchor_fit import AnchorGrid, best_anchor_overlap
from luminoth.data.stats.report import StatsReport
from luminoth.data.stats.statistics import SIZE_GROUPS, Histogram, box_size, octave_histogram
from luminoth.page.figures import COLOURS, as_svg, new_figure, page_style

_MOST_CLASSES = 40  # bars; the table of the page has all
_MOST_LETTERS = 22  # of a class name
_CELLS_AN_OCTAVE = 3  # of the map of widths and heights
_MOST_MARKS = 600  # of picture sizes, the most frequent ones: more would only lie over one another
_FAINTEST = 0.12  # cell of a map that is not empty


def draw_plots(report: StatsReport) -> dict[str, Markup]:
    """All plots that the data gives reason for, by name."""
    with page_style():
        plots = {}
        if len(report.image_sizes) and report.whole.distinct_sizes > 1:
            plots["image_sizes"] = _image_sizes(report)
        if report.whole.boxes:
            plots |= {
                "classes": _classes(report),
                "objects_per_picture": _objects_per_picture(report),
                "input_box_sizes": _input_box_sizes(report),
                "shapes": _shapes(report),
                "recall": _recall(report),
                "centres": _centres(report),
            }
        return plots


def _classes(report: StatsReport) -> Markup:
    """Bars of small, medium and large objects behind one another."""
    by_count = sorted(report.whole.classes, key=lambda each: -each.boxes)[:_MOST_CLASSES]
    figure, axes = new_figure(height=54 + 21 * len(by_count))
    places, starts = np.arange(len(by_count)), np.zeros(len(by_count))
    for group in SIZE_GROUPS:
        counts = np.asarray([each.boxes * (each.size_shares or {}).get(group, 0.0) for each in by_count])
        axes.barh(places, counts, left=starts, height=0.68, color=COLOURS[group], label=group)
        starts += counts
    for place, each in zip(places, by_count, strict=True):
        axes.annotate(
            f"{each.boxes:,}",
            (each.boxes, place),
            (5, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS["muted"],
        )
    axes.set_yticks(places, [_shortened(each.name) for each in by_count], color=COLOURS["ink"])
    axes.invert_yaxis()
    axes.set_xlim(0, max(max(starts), 1) * 1.12)
    axes.set_ylim(len(by_count) - 0.4, -0.6)
    _counts(axes.xaxis)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside upper left", ncols=3, handlelength=0.9, handleheight=0.9, columnspacing=1.4)
    return as_svg(figure, "classes", "Bars: objects of each class, small, medium and large")


def _objects_per_picture(report: StatsReport) -> Markup:
    figure, axes = new_figure(height=220)
    _bars(axes, report.whole.histograms["objects_per_picture"])
    axes.set(xlabel="objects in a picture", ylabel="pictures")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=(1, 2, 5, 10)))
    return as_svg(figure, "objects", "Bars: how many pictures have how many objects")


def _bars(axes: Axes, histogram: Histogram) -> None:
    """Each bar stands on the whole number, or in the middle of the numbers, that it counts."""
    edges = np.asarray(histogram.edges)
    step = edges[1] - edges[0]
    axes.bar(edges[:-1] + (step - 1) / 2, histogram.counts, width=0.82 * step, color=COLOURS["accent"])
    axes.grid(axis="x", visible=False)
    _counts(axes.yaxis)


def _input_box_sizes(report: StatsReport) -> Markup:
    """Sizes on a scale of octaves; the anchors' sides as marks below."""
    figure, axes = new_figure(height=224)
    boxes, _ = report.objects.at_input(report.suggestion.rule)
    histogram = octave_histogram(box_size(boxes))
    edges = np.log2(histogram.edges)
    axes.bar((edges[:-1] + edges[1:]) / 2, histogram.counts, width=0.9 * np.diff(edges), color=COLOURS["accent"])
    for row, (label, colour, grid, factor) in enumerate(_grids(report)):
        sides = np.log2(factor * np.unique(np.concatenate([np.asarray(of_map) for of_map in grid.sides])))
        axes.plot(
            sides, np.full(len(sides), -0.045 - 0.06 * row), "d", color=colour, markersize=6, label=f"anchors, {label}",
            transform=axes.get_xaxis_transform(), clip_on=False,
        )  # fmt: skip
    _octaves(axes.xaxis, axes.get_xlim())
    axes.tick_params(axis="x", pad=22, length=0)
    axes.set(xlabel="size, pixels", ylabel="objects")
    axes.grid(axis="x", visible=False)
    _counts(axes.yaxis)
    figure.legend(loc="outside upper left", ncols=2, handlelength=1.0)
    return as_svg(figure, "sizes", "Bars: objects by size at the network's input; marks: sides of anchors")


def _shapes(report: StatsReport) -> Markup:
    """Widths and heights on scales of octaves, with the anchors' shapes, at the size of pictures that is suggested."""
    figure, axes = new_figure(height=400)
    boxes, _ = report.objects.at_input(report.suggestion.rule)
    logs = np.log2(np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0))
    anchors = [np.log2(factor * grid.shapes()[:, :2]) for _, _, grid, factor in _grids(report)]
    every = np.concatenate([logs, *anchors])
    low, high = np.floor(every.min()), np.ceil(every.max())
    edges = np.linspace(low, high, int(high - low) * _CELLS_AN_OCTAVE + 1)
    counts, _, _ = np.histogram2d(logs[:, 1], logs[:, 0], bins=(edges, edges))  # rows are heights
    _shade(axes, counts, edges, edges)
    for (label, colour, *_), shapes in zip(_grids(report), anchors, strict=True):
        face = "none" if label == "configured" else colour
        axes.plot(*shapes.T, "o", color=colour, markerfacecolor=face, markersize=6, label=f"anchors, {label}")
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="width, pixels", ylabel="height, pixels", aspect="equal")
    _octaves(axes.xaxis, (low, high))
    _octaves(axes.yaxis, (low, high))
    figure.legend(loc="outside upper left", ncols=2, handlelength=1.0)
    return as_svg(figure, "shapes", "Map: objects by width and height; marks: shapes of anchors")


def _recall(report: StatsReport) -> Markup:
    """The share of objects that an anchor overlaps by at least so much."""
    figure, axes = new_figure(height=224)
    thresholds = np.linspace(0.3, 1.0, 71)
    rules = report.suggestion.configured_rule, report.suggestion.rule
    for (label, colour, grid, _), rule in zip(_grids(report), rules, strict=False):
        overlaps = best_anchor_overlap(*report.objects.at_input(rule), grid, report.view.border)
        shares = (
            100 * (overlaps[:, None] >= thresholds).mean(axis=0)
            if len(overlaps) < 1e5
            else _shares(overlaps, thresholds)
        )
        style = "--" if label == "configured" else "-"
        axes.plot(thresholds, shares, style, color=colour, label=label)
    axes.axvline(report.view.foreground, color=COLOURS["muted"], linewidth=1, linestyle=":")
    axes.annotate(
        "foreground for the RPN", (report.view.foreground, 100), (4, -2), textcoords="offset points", va="top",
        color=COLOURS["muted"],
    )  # fmt: skip
    axes.set(xlim=(0.3, 1.0), ylim=(0, 102), xlabel="overlap (IoU) with the best anchor", ylabel="objects, %")
    figure.legend(loc="outside upper left", ncols=2, handlelength=1.6)
    return as_svg(figure, "recall", "Lines: share of objects that an anchor overlaps by at least so much")


def _image_sizes(report: StatsReport) -> Markup:
    """One mark for each size, as large as there are pictures of it."""
    figure, axes = new_figure(height=300)
    sizes, counts = np.unique(np.asarray(report.image_sizes), axis=0, return_counts=True)
    order = np.argsort(-counts)[:_MOST_MARKS]
    heights, widths = sizes[order].T
    areas = 12 + 500 * counts[order] / counts.max()
    axes.scatter(widths, heights, s=areas, color=COLOURS["accent"], alpha=0.45, linewidths=0)
    axes.set(xlabel="width, pixels", ylabel="height, pixels")
    axes.set_xlim(0, widths.max() * 1.12)
    axes.set_ylim(0, heights.max() * 1.15)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    return as_svg(figure, "image-sizes", "Marks: widths and heights of pictures, larger where there are more of them")


def _centres(report: StatsReport) -> Markup:
    """A picture seen from above: darker where more objects have their centre."""
    counts = np.asarray(report.whole.centres)
    aspect = min(max(report.whole.image_aspects.median, 0.6), 2.4)
    figure, axes = new_figure(height=12 + 388 / aspect)
    edges = np.linspace(0, 1, len(counts) + 1)
    _shade(axes, counts, edges, edges)
    axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor=COLOURS["line"], linewidth=1))
    axes.set(xlim=(0, 1), ylim=(1, 0))
    axes.set_axis_off()
    return as_svg(figure, "centres", "Map: where in their pictures the centres of objects lie")


# --- What plots share ------------------------------------------------------------


def _grids(report: StatsReport) -> list[tuple[str, str, AnchorGrid, float]]:
    """Label, colour and anchors, as configured, and as suggested if that differs.

    Last comes what to multiply the anchors' lengths with, to compare them in pictures of the suggested size.
    """
    suggestion = report.suggestion
    own_size = np.median(np.asarray(report.image_sizes), axis=0)
    old, new = (rule.input_sizes(own_size)[0] for rule in (suggestion.configured_rule, suggestion.rule))
    grids = [("configured", COLOURS["muted"], suggestion.configured_grid, float(new[0] / old[0]))]
    if suggestion.changes:
        grids.append(("suggested", COLOURS["other"], suggestion.grid, 1.0))
    return grids


def _shade(axes: Axes, counts: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray) -> None:
    """Cells of one colour, the denser the more they count: that goes with a light and with a dark page.

    Args:
        counts: [rows, columns].
        x_edges, y_edges: of columns and rows.
    """
    rows, columns = np.nonzero(counts)
    cells = [
        Rectangle(
            (x_edges[column], y_edges[row]), x_edges[column + 1] - x_edges[column], y_edges[row + 1] - y_edges[row]
        )
        for row, column in zip(rows, columns, strict=True)
    ]
    density = _FAINTEST + (1 - _FAINTEST) * np.sqrt(counts[rows, columns] / max(counts.max(), 1))
    colours = np.column_stack([np.tile(to_rgb(COLOURS["accent"]), (len(cells), 1)), density])
    axes.add_collection(PatchCollection(cells, facecolors=colours, linewidths=0))


def _octaves(axis, limits: tuple[float, float]) -> None:
    """Ticks at powers of two, on an axis of logarithms."""
    powers = np.arange(np.ceil(limits[0]), np.floor(limits[1]) + 1)
    axis.set_major_locator(FixedLocator(powers))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda power, _: f"{2**power:g}"))


def _shares(overlaps: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    return 100 * (1 - np.searchsorted(np.sort(overlaps), thresholds) / len(overlaps))


def _counts(axis) -> None:
    """Ticks at whole numbers."""
    axis.set_major_locator(MaxNLocator(5, integer=True, steps=(1, 2, 5, 10)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _shortened(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…"
