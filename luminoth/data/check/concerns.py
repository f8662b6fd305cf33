"""What a check finds: concerns, each with how bad it is, how many there are, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Severity(Enum):
    """How bad a concern is, worst first; the value is what people read."""

    BREAKS = "training would break"
    FUTILE = "training would learn nothing"
    LOOK = "worth a look"
    NOTED = "noted"


@dataclass(frozen=True)
class Entry:
    """One case of a concern.

    Attributes:
        split: in which split, or "".
        image_id: which picture, or "".
        where: file (and line), picture or class to look at.
        detail: what was found there.
    """

    split: str
    image_id: str
    where: str
    detail: str = ""

    def __str__(self) -> str:
        return self.where + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True)
class Concern:
    """One kind of trouble.

    Attributes:
        topic: a name for programs, as in the JSON file.
        severity: how bad it is.
        text: one line for people.
        entries: its cases, those to look at first in front.
        advice: what to do, in a few words, or "".
        count: how many there are, when they are not the entries.
    """

    topic: str
    severity: Severity
    text: str
    entries: Sequence[Entry] = field(default_factory=tuple)
    advice: str = ""
    count: int | None = None

    @property
    def total(self) -> int | None:
        """How many cases there are; None for what can only be so once."""
        return self.count if self.count is not None else len(self.entries) or None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON, with all entries."""
        return {
            "topic": self.topic,
            "severity": self.severity.value,
            "text": self.text,
            "advice": self.advice,
            "count": self.total,
            "entries": [vars(entry) for entry in self.entries],
        }
