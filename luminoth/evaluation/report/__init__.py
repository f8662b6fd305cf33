"""The page that `lumi eval --report` writes.

`answers.py` says in words what the figures mean, `plots.py` draws them, `gallery.py` shows the worst pictures;
`page.html` puts all in order: the answers first, then what they rest on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from luminoth.errors import OutputError
from luminoth.evaluation.analysis import Analysis
from luminoth.evaluation.comparison import Comparison
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.report.answers import (
    by_lowest_precision,
    confused_pairs,
    confused_with_background,
    describe_calibration,
    describe_change,
    find_answers,
)
from luminoth.evaluation.report.gallery import MOST_PICTURES, draw_gallery, legend
from luminoth.evaluation.report.plots import MOST_CHANGES, MOST_ROWS, draw_curves, draw_plots, draw_proposals
from luminoth.page.render import render_page
from luminoth.types import Detections

_TEMPLATE = Path(__file__).parent / "page.html"
_MOST_CELLS = 16  # classes of a confusion matrix that can be read; of more, the most confused pairs are listed
_MOST_PAIRS = 12
_MOST_FULL_ROWS = 16  # classes of a comparison that are all told in its first table


@dataclass(frozen=True)
class ReportSubject:
    """Where the figures of a report come from, in words.

    Attributes:
        name: short, for the title: `ckpt-2000`, `toytown`, or the name of a file of detections.
        checkpoint: the folder, id or file, as one would name it again.
        dataset_dir: the folder of the records.
        split: which of them.
        step: updates done when the checkpoint was saved; None where that is not known or says nothing.
        command: what wrote the report; empty: not told.
        images_per_second: how fast the model ran, or None.
    """

    name: str
    checkpoint: str
    dataset_dir: str
    split: str
    step: int | None = None
    command: str = ""
    images_per_second: float | None = None


def write_report(
    path: str | os.PathLike,
    analysis: Analysis,
    ground_truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    files: Sequence[str | os.PathLike],
    *,
    subject: ReportSubject,
    files_per_class: int = 10,
    comparison: Comparison | None = None,
    other_name: str = "",
    other_detections: Sequence[Detections] | None = None,
    proposals: Mapping[int, float] | None = None,
) -> None:
    """Writes a report as one HTML file, which needs nothing else; beside its name first, so no half of it is seen.

    Args:
        path: the file; its folder is made if need be.
        analysis: of `ground_truths` and `detections`.
        ground_truths, detections: one entry a picture, in the order of the records.
        files: the records; only the pictures that are shown are decoded.
        subject: what was evaluated.
        files_per_class: how many pictures to show over all, and of each class, the worst first; at most 60 in all.
        comparison: with something older, or None.
        other_name: what that is called.
        other_detections: its detections, for the pictures that changed most; None: they are not shown.
        proposals: the share of objects that so many proposals reach, the mean over IoU 0.50 to 0.95, by their number;
            None: not known.

    Raises:
        DataError: a record cannot be read.
        OutputError: the file cannot be written.
    """
    gallery = draw_gallery(
        analysis, ground_truths, detections, files,
        per_class=files_per_class, comparison=comparison, other_detections=other_detections,
    )  # fmt: skip
    text = render_page(
        _TEMPLATE,
        subject=subject,
        analysis=analysis,
        coco=analysis.coco,
        names=analysis.class_names,
        comparison=comparison,
        other_name=other_name,
        describe_change=describe_change,
        answers=find_answers(analysis, comparison, other_name),
        order=by_lowest_precision(analysis.coco.by_class),
        pairs=confused_pairs(analysis)[:_MOST_PAIRS],
        background=confused_with_background(analysis)[:_MOST_PAIRS],
        shares=_shares(analysis) if len(analysis.class_names) <= _MOST_CELLS else None,
        calibrated=describe_calibration(analysis),
        plots=draw_plots(analysis, comparison),
        curves=draw_curves(analysis),
        proposals=draw_proposals(proposals) if proposals else "",
        gallery=gallery,
        legend=legend(analysis.class_names) if len(analysis.class_names) <= _MOST_CELLS else [],
        per_class=files_per_class,
        most_pictures=MOST_PICTURES,
        most_rows=MOST_ROWS,
        most_changes=MOST_CHANGES,
        most_full_rows=_MOST_FULL_ROWS,
        written=datetime.now(UTC).astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        versions=", ".join(f"{name} {version(name)}" for name in ("luminoth", "tensorflow", "hotcoco")),
    )
    _write(Path(path), text)


def _shares(analysis: Analysis) -> list[list[float]]:
    """The confusion matrix as shares of what there is; where there is nothing, of what was said."""
    counts = analysis.confusion.counts
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares[-1] = counts[-1] / np.maximum(counts.sum(axis=0), 1)
    return shares.tolist()


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(text, encoding="utf-8", errors="replace")
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
