"""The check as a whole.

source, known = open_checked("toytown")
surveys = [survey_split(source, split) for split in choose_splits(source, (), "train")]
report = judge(source, surveys, trained_split="train", view=network_view(config), known=known)
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from luminoth.data.check.anchors import anchor_concerns
from luminoth.data.check.balance import balance_concerns
from luminoth.data.check.concerns import Concern, Severity
from luminoth.data.check.copies import copy_concerns
from luminoth.data.check.looks import class_name
from luminoth.data.check.names import name_concerns
from luminoth.data.check.pictures import picture_concerns
from luminoth.data.check.report import CheckReport, SplitFigures
from luminoth.data.check.shapes import shape_concerns
from luminoth.data.check.survey import SplitSurvey, object_counts
from luminoth.data.record_files import CLASSES_FILE, list_splits
from luminoth.data.source import RecordSource, Source, holds_records, open_source
from luminoth.data.stats.configured import NetworkView
from luminoth.errors import DataError


class _UnnamedRecords(RecordSource):
    """Records without a class list that fits; everything else about them can be checked all the same."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path, self.splits, self.classes = path, list_splits(path), []


def open_checked(
    path: str | os.PathLike, type: str | None = None, options: Mapping[str, object] | None = None
) -> tuple[Source, list[Concern]]:
    """Opens a data set as `open_source` does; that records have no usable class list is a concern, not an error."""
    try:
        return open_source(path, type, options), []
    except DataError as error:
        if type is None and not options and holds_records(path) and CLASSES_FILE in str(error):
            return _UnnamedRecords(path), [Concern("class_list", Severity.BREAKS, str(error))]
        raise


def choose_splits(source: Source, asked: Sequence[str], trained_split: str) -> list[str]:
    """The splits to check: those asked for, or all; the one that is trained on comes first.

    Raises:
        DataError: a split that was asked for is not there.
    """
    return sorted(source.choose_splits(asked), key=lambda name: name != trained_split)


def judge(
    source: Source,
    surveys: Sequence[SplitSurvey],
    *,
    trained_split: str,
    view: NetworkView,
    known: Sequence[Concern] = (),
) -> CheckReport:
    """Asks all questions about pictures that have been looked at.

    Args:
        source: the data set.
        surveys: of the splits that `choose_splits` gave, in that order, by `survey_split`.
        trained_split: the one that the configuration trains on; it need not be there.
        view: how the configured detector sees data.
        known: concerns that `open_checked` had.
    """
    names = [survey.split for survey in surveys]
    trained = trained_split if trained_split in names else None
    concerns = [
        *known,
        *copy_concerns(surveys, source.classes),
        *picture_concerns(surveys),
        *balance_concerns(surveys, source.classes, trained),
        *shape_concerns(surveys, _all_classes(surveys, source.classes)),
        *name_concerns(source.classes),
        *anchor_concerns(surveys, source.classes, view),
    ]
    if trained_split not in source.splits:
        concerns.append(_not_trained_on(trained_split, names))
    return _report(source, surveys, concerns)


def _report(source: Source, surveys: Sequence[SplitSurvey], concerns: Sequence[Concern]) -> CheckReport:
    classes = _all_classes(surveys, source.classes)
    order = list(Severity)
    return CheckReport(
        name=str(source.path),
        classes=classes,
        splits=[
            SplitFigures(each.split, each.pictures, each.empty, each.dropped, int(each.is_object.sum()))
            for each in surveys
        ],
        **dict(zip(("objects", "pictures"), object_counts(surveys, len(classes)), strict=True)),
        concerns=sorted(concerns, key=lambda concern: order.index(concern.severity)),
    )


def _all_classes(surveys: Sequence[SplitSurvey], classes: Sequence[str]) -> list[str]:
    """The class list, and names for labels beyond it."""
    count = max([len(classes), *(int(survey.class_ids.max(initial=-1)) + 1 for survey in surveys)])
    return [class_name(classes, class_id) for class_id in range(count)]


def _not_trained_on(trained_split: str, names: Sequence[str]) -> Concern:
    return Concern(
        "trained_split",
        Severity.NOTED,
        f"there is no split {trained_split}, which the configuration trains on; there are: {', '.join(names)}",
        advice=f"say which: -o dataset.split={names[0]}",
    )
