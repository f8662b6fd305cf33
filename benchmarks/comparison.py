"""Two contestants' figures from the same rounds, as rows of a Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Timing(NamedTuple):
    """One thing whose seconds are taken: a request to a worker.

    Attributes:
        side: "peer" or "project".
        what: the worker's job: "inference", "training", ...
        precision: "float32" or "bfloat16".
        request: what it is asked to run.
        layout: "nchw" or "channels-last"; the peer's choice, which the project does not have.
    """

    side: str
    what: str
    precision: str
    request: str
    layout: str = "nchw"


@dataclass(frozen=True)
class Row:
    """A comparison: how much faster `project` is than `peer`.

    Attributes:
        case: what `--cases` calls it.
        what: its text.
        peer, project: what is compared.
        asked: the ratio to reach, if one was set.
    """

    case: str
    what: str
    peer: Timing
    project: Timing
    asked: float | None = None


HEADER = ["what", "torchvision, s", "this project, s", "torchvision / this", "asked"]


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


def time_cells(row: Row, seconds: dict[Timing, list[float]]) -> list[str]:
    """A row's cells; what was not measured stays empty."""
    peer, own = seconds.get(row.peer, []), seconds.get(row.project, [])
    asked = "" if row.asked is None else f">= {row.asked:g}"
    return [row.what, spread(peer), spread(own), spread(ratios(peer, own), digits=2), asked]


def ratios(peer: Sequence[float], own: Sequence[float]) -> list[float]:
    """peer / own in each round; empty where one of them was not measured."""
    return [a / b for a, b in zip(peer, own, strict=True)] if peer and own else []


def spread(values: Sequence[float], digits: int = 3) -> str:
    """The median, and least and greatest in brackets."""
    if not values:
        return ""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def agreement(one: dict[str, list], other: dict[str, list]) -> tuple[int, int]:
    """How many of `one`'s detections `other` has as well (same label, IoU above 0.9), and of how many.

    Each is {"boxes": [[x_min, y_min, x_max, y_max], ...], "labels": [...]}.
    """
    matched = sum(
        any(
            label == label_there and _iou(box, box_there) > 0.9
            for box_there, label_there in zip(other["boxes"], other["labels"], strict=True)
        )
        for box, label in zip(one["boxes"], one["labels"], strict=True)
    )
    return matched, len(one["boxes"])


def _iou(one: Sequence[float], other: Sequence[float]) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)
