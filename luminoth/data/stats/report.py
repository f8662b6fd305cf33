"""Everything that `lumi dataset stats` says of a data set, as one value for the terminal, for JSON and for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from luminoth.data.stats.anchor_suggestion import Objects, Suggestion, as_yaml, suggest
from luminoth.data.stats.columns import Columns, join_columns
from luminoth.data.stats.configured import NetworkView
from luminoth.data.stats.statistics import Statistics, describe
from luminoth.errors import DataError


@dataclass(frozen=True, eq=False)
class StatsReport:
    """What a data set is made of, and the anchors and the size of pictures that suit it.

    Attributes:
        name: of the data set, for titles.
        classes: their names.
        splits: the figures of each split.
        whole: of all of them together.
        view: the configured detector's.
        objects: all objects, for plots.
        image_sizes: of all pictures, for plots.
        suggestion: None without an object.
        configuration: the suggested values as lines of a configuration file; "" where nothing is suggested.
    """

    name: str
    classes: Sequence[str]
    splits: dict[str, Statistics]
    whole: Statistics
    view: NetworkView
    objects: Objects
    image_sizes: np.ndarray
    suggestion: Suggestion | None
    configuration: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.name,
            "classes": list(self.classes),
            "splits": {split: statistics.to_dict() for split, statistics in self.splits.items()},
            "all": self.whole.to_dict(),
            "network": {"image_preprocessing": asdict(self.view.rule), "anchors": asdict(self.view.grid)},
            "suggestion": None if self.suggestion is None else self.suggestion.to_dict(),
            "suggested_configuration": self.configuration,
        }


def make_report(
    name: str, classes: Sequence[str], columns: Mapping[str, Columns], view: NetworkView, *, lists_sizes: bool
) -> StatsReport:
    """Computes all figures.

    Args:
        name: of the data set, for titles.
        classes: names of the class ids.
        columns: the pictures and boxes of each split.
        view: how the configured detector sees them.
        lists_sizes: whether the configuration states `anchors.sizes`, rather than `base_size` and `scales`.

    Raises:
        DataError: there is not a single picture.
    """
    whole = join_columns(list(columns.values()))
    if not len(whole.objects):
        dropped = (
            f": {whole.dropped} could not be used; `lumi dataset check {name}` names them" if whole.dropped else ""
        )
        raise DataError(f"{name}: no picture to count in {', '.join(columns)}{dropped}")
    objects = Objects(whole.boxes, whole.image_sizes[whole.image_of_box])
    suggestion, configuration = None, ""
    if len(objects.boxes):
        suggestion = suggest(objects, view.rule, view.grid, border=view.border, foreground=view.foreground)
        if suggestion.changes:
            configuration = as_yaml(suggestion, sizes=lists_sizes)
    return StatsReport(
        name=name,
        classes=classes,
        splits={split: describe(each, classes, view.rule) for split, each in columns.items()},
        whole=describe(whole, classes, view.rule),
        view=view,
        objects=objects,
        image_sizes=whole.image_sizes,
        suggestion=suggestion,
        configuration=configuration,
    )
