"""Which objects are too small for the configured detector to learn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from luminoth.data.check.concerns import Concern, Entry, Severity
from luminoth.data.check.looks import class_name
from luminoth.data.check.survey import SplitSurvey
from luminoth.data.stats.anchor_fit import best_anchor_overlap, scale_to_input
from luminoth.data.stats.configured import NetworkView

_FEW_PIXELS = 4.0  # a quarter of a cell of the usual feature map, and less than people recognise
_WORTH_A_LOOK = 0.05  # of all objects


def anchor_concerns(surveys: Sequence[SplitSurvey], classes: Sequence[str], view: NetworkView) -> Iterator[Concern]:
    """Objects smaller than every anchor that none overlaps enough, and those of a few pixels.

    Args:
        surveys: of the splits.
        classes: the class list.
        view: the configured sizes of pictures and anchors.
    """
    measured = [_measure(survey, view) for survey in surveys]
    total = sum(len(overlaps) for overlaps, _ in measured)
    if not total:
        return
    smallest = (view.grid.shapes()[:, 0] * view.grid.shapes()[:, 1]).min()
    below = [(overlaps < view.foreground) & (sides.prod(axis=1) < smallest) for overlaps, sides in measured]
    tiny = [sides.min(axis=1) < _FEW_PIXELS for _, sides in measured]
    for topic, masks, text, advice in (
        (
            "small_for_anchors",
            below,
            f"objects too small for the configured anchors (IoU below {view.foreground:g}; the smallest anchor is "
            f"{smallest**0.5:.0f} px)",
            "`lumi dataset stats` suggests anchors and a size of pictures",
        ),
        ("few_pixels", tiny, f"objects of less than {_FEW_PIXELS:g} pixels at the network's input", ""),
    ):
        count = sum(int(mask.sum()) for mask in masks)
        if count:
            severity = Severity.LOOK if count > _WORTH_A_LOOK * total else Severity.NOTED
            entries = _by_class(surveys, measured, masks, classes)
            yield Concern(topic, severity, f"{text}, {count / total:.1%} of all", entries, advice, count)


def _measure(survey: SplitSurvey, view: NetworkView) -> tuple[np.ndarray, np.ndarray]:
    """Of a split's objects, [N] IoU with the best anchor, and [N, 2] width and height at the network's input."""
    own_sizes = survey.image_sizes[survey.image_of_box[survey.is_object]]
    input_sizes = view.rule.input_sizes(own_sizes)
    boxes = scale_to_input(survey.boxes[survey.is_object], own_sizes, input_sizes)
    return best_anchor_overlap(boxes, input_sizes, view.grid, view.border), boxes[:, 2:] - boxes[:, :2]


def _by_class(
    surveys: Sequence[SplitSurvey],
    measured: Sequence[tuple[np.ndarray, np.ndarray]],
    masks: Sequence[np.ndarray],
    classes: Sequence[str],
) -> list[Entry]:
    """A line for each class: how many of it, and the smallest; most first."""
    ids = np.concatenate([survey.class_ids[survey.is_object] for survey in surveys])
    mask = np.concatenate(masks)
    sides = np.concatenate([of_split for _, of_split in measured])
    images = np.concatenate([survey.image_of_box[survey.is_object] for survey in surveys])
    split_of = np.repeat(np.arange(len(surveys)), [len(of_split) for of_split in masks])
    entries = []
    for class_id in sorted(np.unique(ids[mask]).tolist(), key=lambda each: -int((ids[mask] == each).sum())):
        chosen = np.flatnonzero(mask & (ids == class_id))
        smallest = chosen[np.argmin(sides[chosen].prod(axis=1))]
        survey = surveys[split_of[smallest]]
        image = images[smallest]
        width, height = sides[smallest]
        share = f"{len(chosen):,} of {(ids == class_id).sum():,}"
        detail = f"{share}, the smallest {width:.1f} x {height:.1f} in {survey.names[image]}"
        entries.append(Entry(survey.split, survey.image_ids[image], class_name(classes, class_id), detail))
    return entries
