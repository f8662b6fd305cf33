"""What the answers about pictures and about clips have in common: which objects are asked for, and waiting for them."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from flask import Request

from luminoth.server.batching import Batcher, Found
from luminoth.server.problems import Problem
from luminoth.server.served import FAILED, ServedModel
from luminoth.server.settings import Settings
from luminoth.types import Detections

_RETRY = {"Retry-After": "1"}


@dataclass(frozen=True)
class Wanted:
    """Which of the objects found a request asks for.

    Attributes:
        min_prob: lowest probability.
        total: most objects, the surest ones; None: all.
        only: names of classes; empty: all.
    """

    min_prob: float
    total: int | None
    only: frozenset[str]

    @classmethod
    def of(cls, request: Request, model: ServedModel, settings: Settings) -> Wanted:
        """Reads the query, and the fields of a form.

        Raises:
            Problem: a value is not acceptable.
        """
        values = request.values
        only = values.getlist("only_class")
        for name in only:
            if name not in model.classes:
                raise Problem(422, f"The model knows no class {name[:50]!r}; /api/models lists those it knows.")
        return cls(
            min_prob=_number(values.get("min_prob"), settings.min_prob),
            total=whole_number("total", values.get("total")),
            only=frozenset(only),
        )

    def select(self, detections: Detections) -> Detections:
        """The objects asked for; they are sorted by descending score."""
        keep = detections.scores >= np.float32(self.min_prob)
        if self.only:
            keep &= np.array([detections.class_names[index] in self.only for index in detections.class_ids], bool)
        return detections.select(np.flatnonzero(keep)[: self.total])


def ready_batcher(model: ServedModel) -> Batcher:
    """Where a model's pictures go.

    Raises:
        Problem: it is not loaded, or never will be.
    """
    if model.state == FAILED:
        raise Problem(503, "The model could not be loaded; the server's log says why.")
    if model.batcher is None:
        raise Problem(503, "The model is still loading.", _RETRY)
    return model.batcher


def full() -> Problem:
    """What a client is told whom the queue has no room for."""
    return Problem(503, "As many pictures as are accepted are waiting already; ask again soon.", _RETRY)


def stopping() -> Problem:
    """What a client is told while the server stops."""
    return Problem(503, "The server is being stopped.", _RETRY)


def wait_for(result: Future[Found], deadline: float) -> Found:
    """The result, once it is there.

    Raises:
        Problem: it is not by the deadline, on the clock of `time.monotonic`.
    """
    try:
        return result.result(max(deadline - time.monotonic(), 0.0))
    except TimeoutError:
        raise Problem(503, "The picture waited too long; ask again later.", _RETRY) from None


def _number(text: str | None, default: float) -> float:
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise Problem(422, f"min_prob is {text[:50]!r}; accepted is a number from 0 to 1.")
    return value


def whole_number(name: str, text: str | None) -> int | None:
    """The number that a field holds; None: it is not there.

    Raises:
        Problem: it is not a whole number from 1 on.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0):
        raise Problem(422, f"{name} is {text[:50]!r}; accepted is a whole number from 1 on.")
    return int(text)
