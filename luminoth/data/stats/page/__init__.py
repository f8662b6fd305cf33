"""The page that `lumi dataset stats --html` writes: `plots.py` draws, `page.html` says the rest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from luminoth.data.stats.anchor_fit import InputRule
from luminoth.data.stats.page.plots import draw_plots
from luminoth.data.stats.report import StatsReport
from luminoth.page.render import render_page

_TEMPLATE = Path(__file__).parent / "page.html"


def write_page(path: str | os.PathLike, report: StatsReport, config_files: Sequence[str] = ()) -> None:
    """Writes a report as one HTML file, which needs nothing else; beside its name first, so no half of it is seen.

    Args:
        path: the file; its folder is made if need be.
        report: what to show.
        config_files: the configuration whose anchors were tried, for the text; empty: the defaults.
    """
    path = Path(path)
    text = render_page(
        _TEMPLATE,
        report=report,
        whole=report.whole,
        columns=report.splits if len(report.splits) == 1 else {**report.splits, "all": report.whole},
        classes=sorted(range(len(report.classes)), key=lambda index: -report.whole.classes[index].boxes),
        suggestion=report.suggestion,
        configured_by=", ".join(map(str, config_files)) or "the defaults",
        describe_rule=_describe_rule,
        plots=draw_plots(report),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _describe_rule(rule: InputRule) -> str:
    if rule.fixed_height is not None:
        return f"{rule.fixed_width} × {rule.fixed_height}"
    return f"{rule.min_size or '–'}, {rule.max_size or '–'}"
