"""The plots of the page, each of them a function of figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from luminoth.evaluation.analysis import Analysis
from luminoth.evaluation.comparison import Comparison
from luminoth.evaluation.thresholds import ClassThreshold
from luminoth.page.figures import COLOURS, WIDTH, as_svg, new_figure, page_style

MOST_ROWS = 32  # of the plot with a row for each class; the table of the page has all
MOST_CHANGES = 24  # rows of the plot of a comparison
MOST_CURVES = 24  # plots of precision and recall, one a class; above it they share one

_SMALL_WIDTH = 200  # pixels of a plot that stands beside others
_MOST_LETTERS = 22  # of a class name
_WORST_NAMED = 5  # curves that get their name where all share one plot
_SIZES = ("small", "medium", "large")


def draw_plots(analysis: Analysis, comparison: Comparison | None) -> dict[str, Markup]:
    """All plots but those of each class, by name; only those that there are figures for."""
    with page_style():
        plots = {
            "kinds": _kinds(analysis),
            "sizes": _sizes(analysis),
            "threshold": _threshold(analysis.thresholds.overall),
            "calibration": _calibration(analysis),
            "counts": _counts(analysis),
        }
        if len(analysis.class_names) > 1:
            plots["classes"] = _classes(analysis)
        if comparison is not None and len(analysis.class_names) > 1:
            plots["differences"] = _differences(comparison)
        return {name: plot for name, plot in plots.items() if plot is not None}


def draw_curves(analysis: Analysis) -> dict[str, Markup]:
    """Precision over recall: a small plot for each class by its name, or one named `""` where there are too many."""
    measured = [each for each in analysis.thresholds.by_class if len(each.curve.scores)]
    with page_style():
        if len(measured) > MOST_CURVES:
            return {"": _all_curves(measured, analysis)}
        width, height = (_SMALL_WIDTH, 160) if len(measured) > 1 else (WIDTH, 250)
        return {each.name: _curve(each, number, width, height) for number, each in enumerate(measured)}


# --- Precision and recall ------------------------------------------------------------


def _curve(of_class: ClassThreshold, number: int, width: int, height: int) -> Markup:
    figure, axes = new_figure(height, width)
    _draw_curve(axes, of_class, color=COLOURS["accent"])
    if of_class.threshold is not None:
        axes.plot(of_class.recall, of_class.precision, "o", color=COLOURS["other"], markersize=6, clip_on=False)
    _unit_square(axes)
    return as_svg(figure, f"curve-{number}", f"Line: precision over recall of {of_class.name}; mark: best threshold")


def _all_curves(measured: Sequence[ClassThreshold], analysis: Analysis) -> Markup:
    """All classes faint, the worst with their names."""
    figure, axes = new_figure(height=300)
    precisions = {each.name: each.AP50 or 0.0 for each in analysis.coco.by_class}
    worst = sorted(measured, key=lambda each: precisions[each.name])[:_WORST_NAMED]
    worst_names = {each.name for each in worst}
    for each in measured:
        if each.name not in worst_names:
            _draw_curve(axes, each, color=COLOURS["muted"], linewidth=0.8, alpha=0.35)
    for number, each in enumerate(worst):
        style = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))[number]
        _draw_curve(axes, each, color=COLOURS["other"], linestyle=style, linewidth=1.6, label=_shortened(each.name))
    _draw_curve(axes, analysis.thresholds.overall, color=COLOURS["accent"], linewidth=2.4, label="all detections")
    _unit_square(axes)
    axes.set(xlabel="recall", ylabel="precision")
    figure.legend(loc="outside upper left", ncols=3, handlelength=2.2, columnspacing=1.2)
    return as_svg(figure, "curves", "Lines: precision over recall of all classes, the worst ones named")


def _draw_curve(axes: Axes, of_class: ClassThreshold, **style: object) -> None:
    """From recall 0 on, where precision is that of the highest scores."""
    curve = of_class.curve
    axes.plot(np.r_[0.0, curve.recall], np.r_[curve.precision[0], curve.precision], **style)


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(0, 1.02), ylim=(0, 1.04))
    axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    axes.set_yticks((0, 0.5, 1), ("", "0.5", "1"))
    axes.tick_params(length=0)


def _threshold(overall: ClassThreshold) -> Markup | None:
    """What each threshold gives: a line that ends where detections do."""
    curve = overall.curve
    if not len(curve.scores):
        return None
    figure, axes = new_figure(height=250)
    lines = {
        "precision": (curve.precision, "--", COLOURS["muted"]),
        "recall": (curve.recall, ":", COLOURS["muted"]),
        "F1": (curve.f1, "-", COLOURS["accent"]),
    }
    for name, (values, style, colour) in lines.items():
        axes.plot(curve.scores, values, style, color=colour, label=name)
    if overall.threshold is not None:
        axes.axvline(overall.threshold, color=COLOURS["other"], linewidth=1.2)
        is_left = overall.threshold < 0.5
        axes.annotate(
            f"best: {overall.threshold:.2f}", (overall.threshold, 0.04), (5 if is_left else -5, 0),
            textcoords="offset points", ha="left" if is_left else "right", color=COLOURS["other"],
        )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(0, 1.04), xlabel="score threshold")
    figure.legend(loc="outside upper left", ncols=3, handlelength=2.2)
    return as_svg(figure, "threshold", "Lines: precision, recall and F1 over score thresholds, all classes together")


# --- Where it fails ------------------------------------------------------------


def _classes(analysis: Analysis) -> Markup | None:
    """AP as bars, AP50 as marks with their intervals, the lowest first."""
    intervals = {each.name: each.AP50 for each in analysis.intervals.by_class}
    measured = sorted((each for each in analysis.coco.by_class if each.AP is not None), key=lambda each: each.AP)
    if not measured:
        return None
    measured = measured[:MOST_ROWS]
    figure, axes = new_figure(height=56 + 21 * len(measured))
    places = np.arange(len(measured))
    axes.barh(places, [each.AP for each in measured], height=0.64, color=COLOURS["medium"], label="AP")
    axes.plot([each.AP50 for each in measured], places, "o", color=COLOURS["ink"], markersize=5, label="AP50, 95 %")
    for place, each in enumerate(measured):
        if (interval := intervals[each.name]) is not None:
            axes.plot([interval.low, interval.high], [place, place], color=COLOURS["ink"], linewidth=1.2)
    _rows(axes, [each.name for each in measured])
    axes.set_xlim(0, 1.02)
    figure.legend(loc="outside upper left", ncols=2, handlelength=1.0)
    return as_svg(figure, "classes", "Bars: AP of each class, the lowest first; marks: AP50 with its 95 % interval")


def _kinds(analysis: Analysis) -> Markup | None:
    """What each kind of error costs, the dearest first."""
    measured = [each for each in analysis.errors.kinds if each.cost is not None]
    if not measured:
        return None
    measured.sort(key=lambda each: -each.cost)
    figure, axes = new_figure(height=30 + 26 * len(measured))
    places, costs = np.arange(len(measured)), [each.cost for each in measured]
    axes.barh(places, costs, height=0.64, color=COLOURS["other"])
    _bar_values(axes, costs)
    _rows(axes, [each.name for each in measured])
    axes.set_xlim(0, max(*costs, 0.01) * 1.18)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    return as_svg(figure, "kinds", "Bars: AP50 that each kind of error costs")


def _sizes(analysis: Analysis) -> Markup | None:
    """AP and recall of small, medium and large objects."""
    figures, counts = analysis.coco.figures, analysis.coco.objects_by_size
    sizes = [size for size in _SIZES if figures[f"AP_{size}"] is not None]
    if not sizes:
        return None
    figure, axes = new_figure(height=48 + 46 * len(sizes))
    places = np.arange(len(sizes))
    for row, (prefix, label, colour) in enumerate(
        (("AP", "AP", COLOURS["medium"]), ("AR", "average recall", COLOURS["small"]))
    ):
        values = [figures[f"{prefix}_{size}"] for size in sizes]
        axes.barh(places + 0.37 * (row - 0.5), values, height=0.33, color=colour, label=label)
        _bar_values(axes, values, 0.37 * (row - 0.5))
    _rows(axes, [f"{size} ({counts[size]:,})" for size in sizes])
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    figure.legend(loc="outside upper left", ncols=2, handlelength=0.9, handleheight=0.9)
    return as_svg(figure, "sizes", "Bars: AP and average recall of small, medium and large objects")


def draw_proposals(recall: Mapping[int, float]) -> Markup:
    """The share of objects that proposals reach, by how many of them there are."""
    with page_style():
        figure, axes = new_figure(height=40 + 26 * len(recall))
        values = list(recall.values())
        axes.barh(np.arange(len(values)), values, height=0.64, color=COLOURS["small"])
        _bar_values(axes, values)
        _rows(axes, [f"{count:,} proposals" for count in recall])
        axes.set_xlim(0, 1.12)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        return as_svg(figure, "proposals", "Bars: share of the objects that proposals reach")


# --- Scores ------------------------------------------------------------


def _calibration(analysis: Analysis) -> Markup | None:
    """Precision of each bin of scores beside the diagonal, where both are equal."""
    bins = [each for each in analysis.calibration.bins if each.count]
    if not bins:
        return None
    figure, axes = new_figure(height=300)
    for each in bins:
        width = each.high - each.low
        axes.bar(
            (each.low + each.high) / 2, each.precision, width=0.9 * width, color=COLOURS["small"],
            label="share that is right" if each is bins[0] else None,
        )  # fmt: skip
        axes.annotate(
            _briefly(each.count), ((each.low + each.high) / 2, each.precision), (0, 3), textcoords="offset points",
            ha="center", color=COLOURS["muted"], fontsize=9, zorder=3,
            bbox={"facecolor": COLOURS["paper"], "edgecolor": "none", "pad": 0.5},
        )  # fmt: skip
    axes.plot([0, 1], [0, 1], "--", color=COLOURS["ink"], linewidth=1.2, label="scores that can be taken at their word")
    axes.set(xlim=(0, 1), ylim=(0, 1.08), xlabel="score", ylabel="precision")
    axes.grid(axis="x", visible=False)
    figure.legend(loc="outside upper left", ncols=2, handlelength=1.6)
    return as_svg(figure, "calibration", "Bars: share of detections that is right by score, with how many there are")


def _counts(analysis: Analysis) -> Markup | None:
    """How many objects pictures have, and how many are found in them."""
    pictures = analysis.pictures
    found, objects = pictures.right + pictures.wrong, pictures.right + pictures.missed
    if not len(found):
        return None
    most = int(max(found.max(), objects.max(), 1))
    step = max(1, -(-(most + 1) // 25))
    edges = np.arange(0, most + step + 1, step)
    middles = edges[:-1] + (step - 1) / 2
    figure, axes = new_figure(height=250)
    axes.bar(middles, np.histogram(found, edges)[0], width=0.82 * step, color=COLOURS["medium"], label="found")
    axes.stairs(np.histogram(objects, edges)[0], edges - 0.5, color=COLOURS["ink"], linewidth=1.6, label="there are")
    axes.grid(axis="x", visible=False)
    axes.set(xlabel="objects in a picture", ylabel="pictures")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=(1, 2, 5, 10)))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    figure.legend(loc="outside upper left", ncols=2, handlelength=1.2)
    return as_svg(figure, "counts", "Bars: pictures by number of detections; line: by number of objects")


# --- Old and new ------------------------------------------------------------


def _differences(comparison: Comparison) -> Markup | None:
    """By how much AP50 of each class changed, with its interval; the greatest loss first."""
    measured = [(name, each) for name, each in comparison.by_class.items() if each.difference is not None]
    if not measured:
        return None
    measured.sort(key=lambda item: item[1].difference)
    if len(measured) > MOST_CHANGES:
        measured = measured[: MOST_CHANGES // 2] + measured[-MOST_CHANGES // 2 :]
    figure, axes = new_figure(height=44 + 21 * len(measured))
    axes.axvline(0, color=COLOURS["muted"], linewidth=1.2)
    for place, (_, each) in enumerate(measured):
        colour = {"better": COLOURS["accent"], "worse": COLOURS["other"]}.get(each.verdict, COLOURS["muted"])
        if each.interval is not None:
            axes.plot([each.interval.low, each.interval.high], [place, place], color=colour, linewidth=1.6)
        axes.plot(each.difference, place, "o", color=colour, markersize=6)
    _rows(axes, [name for name, _ in measured])
    axes.set_xlabel("change of AP50")
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
    return as_svg(figure, "differences", "Marks: change of each class's AP50, with its 95 % interval")


# --- What plots share ------------------------------------------------------------


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """One row a name, the first on top."""
    axes.set_yticks(np.arange(len(names)), [_shortened(name) for name in names], color=COLOURS["ink"])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.grid(axis="y", visible=False)


def _bar_values(axes: Axes, values: Sequence[float], offset: float = 0.0) -> None:
    for place, value in enumerate(values):
        axes.annotate(
            f"{value:.3f}", (value, place + offset), (5, 0), textcoords="offset points", va="center",
            color=COLOURS["muted"],
        )  # fmt: skip


def _briefly(count: int) -> str:
    """1,234 as 1.2k."""
    for limit, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= limit:
            return f"{count / limit:.2g}{letter}" if count < 10 * limit else f"{count / limit:.0f}{letter}"
    return str(count)


def _shortened(name: str) -> str:
    # Dollars would begin a formula.
    name = name if len(name) <= _MOST_LETTERS else name[: _MOST_LETTERS - 1] + "…"
    return name.replace("$", r"\$")
