"""The pictures of a report: drawn, as JPEG within the page, with what is wrong in them said in words."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luminoth.evaluation.analysis import Analysis
from luminoth.evaluation.comparison import Comparison, PictureChange
from luminoth.evaluation.drawing import draw_errors, draw_found, draw_truth, what_is_wrong
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.matching import match_detections
from luminoth.evaluation.pictures import PictureFindings, explain_picture
from luminoth.evaluation.thresholds import find_thresholds
from luminoth.evaluation.tide import NO_ERROR, analyse_errors
from luminoth.evaluation.worst import choose_worst, class_errors, read_pictures
from luminoth.image import encode_jpeg
from luminoth.inference.draw import class_colour
from luminoth.types import Detections

MOST_PICTURES = 60  # in all; a page of so many stays below about 6 MB
MOST_CHANGED = 5  # that improved, and that worsened

# Of a photo, two panels with a side of 448 make up to 70 kB. Of few pictures there may be more.
_FEW_PICTURES = 30
_SIDE_OF_FEW, _SIDE_OF_MANY = 560, 448
_QUALITY = 65


@dataclass(frozen=True)
class Panel:
    """One drawn picture.

    Attributes:
        title: what it shows.
        source: a data URI.
        width, height: pixels.
        description: for those who do not see it.
    """

    title: str
    source: str
    width: int
    height: int
    description: str


@dataclass(frozen=True)
class Shown:
    """A picture of the page.

    Attributes:
        number: of the picture, in the order of the records.
        name: that of its file or record.
        heading: its errors in numbers.
        panels: two of them, to be seen side by side.
        class_ids: of its errors.
    """

    number: int
    name: str
    heading: str
    panels: tuple[Panel, Panel]
    class_ids: list[int]


@dataclass(frozen=True)
class Gallery:
    """All pictures of a page.

    Attributes:
        worst: the worst first.
        improved, worsened: those that a comparison names, before and now.
        class_ids: of all errors in `worst`.
    """

    worst: list[Shown]
    improved: list[Shown]
    worsened: list[Shown]

    @property
    def class_ids(self) -> list[int]:
        return sorted({class_id for shown in self.worst for class_id in shown.class_ids})


def draw_gallery(
    analysis: Analysis,
    ground_truths: Sequence[GroundTruth],
    detections: Sequence[Detections],
    files: Sequence[str | os.PathLike],
    *,
    per_class: int,
    comparison: Comparison | None = None,
    other_detections: Sequence[Detections] | None = None,
) -> Gallery:
    """Chooses, reads and draws pictures.

    Args:
        analysis: of `ground_truths` and `detections`.
        files: the records of the pictures.
        per_class: how many pictures over all, and of each class; 0: none at all.
        comparison, other_detections: with what is older, for the pictures that changed most.

    Raises:
        DataError: a record cannot be read.
    """
    changes: dict[str, list[PictureChange]] = {"improved": [], "worsened": []}
    if comparison is not None and other_detections is not None and per_class:
        changes = {name: getattr(comparison, name)[: min(per_class, MOST_CHANGED)] for name in changes}
    changed = [each for some in changes.values() for each in some]
    worst = choose_worst(analysis, per_class=per_class, most=MOST_PICTURES - len(changed))
    pictures = read_pictures(files, {*worst, *(each.image for each in changed)})
    side = _SIDE_OF_FEW if len(worst) + len(changed) <= _FEW_PICTURES else _SIDE_OF_MANY
    by_class = class_errors(analysis)
    drawn = [
        _side_by_side(pictures[image], ground_truths[image], detections[image], analysis, image, by_class[image], side)
        for image in worst
    ]
    if not changed:
        return Gallery(drawn, [], [])
    before = _Before(ground_truths, other_detections, analysis, side)
    return Gallery(
        drawn,
        **{
            name: [
                before.beside_now(pictures[each.image], each, ground_truths[each.image], detections[each.image])
                for each in some
            ]
            for name, some in changes.items()
        },
    )


def describe_errors(
    truth: GroundTruth, detections: Detections, class_names: Sequence[str], findings: PictureFindings
) -> str:
    """What is wrong in a picture: `missed: 2 person, car; wrong: bus 0.93 (is truck)`."""
    missed = Counter(class_names[class_id] for class_id in truth.class_ids[findings.is_missed])
    wrong = [
        f"{class_names[detections.class_ids[index]]} {detections.scores[index]:.2f} "
        f"({what_is_wrong(truth, detections, class_names, int(index), int(kind))})"
        for index, kind in zip(findings.found, findings.kinds, strict=True)
        if kind != NO_ERROR
    ]
    parts = []
    if missed:
        parts.append("missed: " + ", ".join(f"{count} {name}" if count > 1 else name for name, count in missed.items()))
    if wrong:
        parts.append("wrong: " + ", ".join(wrong))
    return "; ".join(parts) or "nothing is wrong"


def _side_by_side(
    image: np.ndarray,
    truth: GroundTruth,
    detections: Detections,
    analysis: Analysis,
    number: int,
    errors_by_class: np.ndarray,
    side: int,
) -> Shown:
    names, findings = analysis.class_names, analysis.explain(number)
    objects = Counter(names[class_id] for class_id in truth.class_ids[~truth.is_crowd])
    there_is = ", ".join(f"{count} {name}" for name, count in objects.items()) or "no objects"
    scores = analysis.pictures
    heading = f"{scores.missed[number]} missed, {scores.wrong[number]} wrong, {scores.right[number]} right"
    return Shown(
        number,
        truth.filename or truth.image_id or str(number),
        heading,
        (
            _panel("what there is", draw_truth(image, truth, names, findings, side=side), there_is),
            _panel(
                "what was found",
                draw_found(image, truth, detections, names, findings, side=side),
                describe_errors(truth, detections, names, findings),
            ),
        ),
        np.flatnonzero(errors_by_class).tolist(),
    )


class _Before:
    """The older detections, each at their own best thresholds, to be drawn beside those of now."""

    def __init__(
        self, ground_truths: Sequence[GroundTruth], detections: Sequence[Detections], analysis: Analysis, side: int
    ) -> None:
        self._detections, self._analysis, self._side = detections, analysis, side
        self._matching = match_detections(
            ground_truths, detections, len(analysis.class_names), max_detections=analysis.coco.max_detections
        )
        self._limits = find_thresholds(self._matching, analysis.class_names).limits()
        self._of_found = analyse_errors(self._matching, analysis.class_names).of_found

    def beside_now(self, image: np.ndarray, change: PictureChange, truth: GroundTruth, detections: Detections) -> Shown:
        """Both with wrong detections and missed objects."""
        findings = explain_picture(self._matching, self._of_found, self._limits, change.image)
        return Shown(
            change.image,
            truth.filename or truth.image_id or str(change.image),
            f"{change.old_errors} error{'s' if change.old_errors != 1 else ''} before, {change.new_errors} now",
            (
                self._drawn("before", image, truth, self._detections[change.image], findings),
                self._drawn("now", image, truth, detections, self._analysis.explain(change.image)),
            ),
            [],
        )

    def _drawn(
        self, title: str, image: np.ndarray, truth: GroundTruth, detections: Detections, findings: PictureFindings
    ) -> Panel:
        names = self._analysis.class_names
        return _panel(
            title,
            draw_errors(image, truth, detections, names, findings, side=self._side),
            describe_errors(truth, detections, names, findings),
        )


def _panel(title: str, pixels: np.ndarray, description: str) -> Panel:
    encoded = base64.b64encode(encode_jpeg(pixels, _QUALITY)).decode()
    height, width = pixels.shape[:2]
    return Panel(title, f"data:image/jpeg;base64,{encoded}", width, height, description)


def legend(class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Class names and, as CSS, the colours that they are drawn in."""
    return [(name, "#{:02x}{:02x}{:02x}".format(*class_colour(name))) for name in class_names]
