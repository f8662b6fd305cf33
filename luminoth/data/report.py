"""The account of a conversion: what was found, written, dropped and changed. Nothing happens in silence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Effect(Enum):
    """What a finding led to."""

    PICTURE_DROPPED = "pictures dropped"
    BOX_DROPPED = "boxes dropped"
    CHANGED = "changed"
    NOTED = "noted"


class Kind(Enum):
    """Everything that can be odd about a picture or its annotation; the value is what people read."""

    MISSING_ANNOTATION = ("annotation file missing", Effect.PICTURE_DROPPED)
    DAMAGED_ANNOTATION = ("annotation cannot be read", Effect.PICTURE_DROPPED)
    MISSING_IMAGE = ("picture missing", Effect.PICTURE_DROPPED)
    UNKNOWN_IMAGE = ("no decoder knows the picture", Effect.PICTURE_DROPPED)
    DAMAGED_IMAGE = ("picture damaged or cut off", Effect.PICTURE_DROPPED)
    DUPLICATE_ID = ("picture listed twice", Effect.PICTURE_DROPPED)
    UNBOXED = ("picture said to show a class, but without its boxes", Effect.PICTURE_DROPPED)
    ONLY_GROUPS = ("picture with group boxes only (see -o keep_groups=crowd)", Effect.PICTURE_DROPPED)
    UNREADABLE_BOX = ("box that cannot be read", Effect.BOX_DROPPED)
    NOT_A_NUMBER = ("box with a coordinate that is no number", Effect.BOX_DROPPED)
    INVERTED = ("inverted box", Effect.BOX_DROPPED)
    NO_AREA = ("box without area", Effect.BOX_DROPPED)
    OUTSIDE = ("box wholly outside its picture", Effect.BOX_DROPPED)
    UNKNOWN_CLASS = ("box of an unknown class", Effect.BOX_DROPPED)
    ORPHAN_BOX = ("box of a picture that is not listed", Effect.BOX_DROPPED)
    SCATTERED = ("box of a picture whose lines stand apart (sort the file)", Effect.BOX_DROPPED)
    GROUP = ("box around a group of objects (see -o keep_groups=crowd)", Effect.BOX_DROPPED)
    CLIPPED = ("box clipped at the picture's edge", Effect.CHANGED)
    REENCODED = ("picture encoded anew", Effect.CHANGED)
    SHRUNK = ("picture shrunk to --max-size", Effect.CHANGED)
    RESCALED = ("boxes stretched from the annotation's size to the picture's", Effect.CHANGED)
    SIZE_DIFFERS = ("picture's size is not the annotation's (boxes kept as they are)", Effect.NOTED)
    OTHER_NAME = ("picture found under another name", Effect.NOTED)
    UNLISTED = ("picture without a line in the annotations, kept as empty", Effect.NOTED)
    UNREADABLE_FLAG = ("flag that is neither 0 nor 1, taken as 0", Effect.NOTED)
    MISSING_SPLIT = ("pictures of a split that is described but not there", Effect.NOTED)
    COUNTS_FROM_ZERO = ("coordinate 0 where counting starts at 1 (see -o one_based=false)", Effect.NOTED)

    @property
    def label(self) -> str:
        """One line for people."""
        return self.value[0]

    @property
    def effect(self) -> Effect:
        """What comes of it."""
        return self.value[1]


@dataclass(frozen=True)
class Finding:
    """One odd thing.

    Attributes:
        kind: which.
        image_id: the picture it concerns, or "".
        where: file (and line) to look at.
        detail: what was found there.
        boxes: of a picture that was dropped unopened: how many went with it.
    """

    kind: Kind
    image_id: str
    where: str
    detail: str = ""
    boxes: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.kind.label}" + (f" ({self.detail})" if self.detail else "")


@dataclass
class SplitReport:
    """What became of one split.

    `images_found = images_written + images_dropped + images_left_out` always holds, and
    `boxes_found = boxes_written + boxes_dropped + boxes_left_out` of the pictures that were looked at.

    Attributes:
        split: its name.
        images_found: pictures the annotations list, as far as they were read.
        images_written: records.
        images_empty: of those, the ones without objects.
        images_left_out: pictures that a filter (`--only-classes`, ...) left out.
        boxes_found, boxes_written: objects.
        boxes_left_out: objects of other classes or of pictures that were left out or dropped.
        boxes_per_class: class name -> boxes written, in the class list's order.
        findings: everything odd, in order.
        stopped_early: a limit ended the walk before the split's end.
    """

    split: str
    images_found: int = 0
    images_written: int = 0
    images_empty: int = 0
    images_left_out: int = 0
    boxes_found: int = 0
    boxes_written: int = 0
    boxes_left_out: int = 0
    boxes_per_class: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    stopped_early: bool = False

    def note(self, finding: Finding) -> None:
        """Counts what the annotations did not allow to open, or what is odd about them."""
        self.findings.append(finding)
        self.images_found += finding.kind.effect is Effect.PICTURE_DROPPED
        self.boxes_found += finding.boxes + (finding.kind.effect is Effect.BOX_DROPPED)
        self.boxes_left_out += finding.boxes

    def leave_out(self, boxes: int) -> None:
        """Counts a picture that a filter took away, with its boxes."""
        self.images_found += 1
        self.images_left_out += 1
        self.boxes_found += boxes
        self.boxes_left_out += boxes

    def count(
        self, boxes: int, boxes_left_out: int, written: Sequence[str] | None, findings: Sequence[Finding]
    ) -> None:
        """Counts a picture that was opened.

        Args:
            boxes: all that it had.
            boxes_left_out: those that a filter took away.
            written: the class names of the boxes in its record; None when the picture had to be dropped.
            findings: everything odd about it.
        """
        self.images_found += 1
        self.boxes_found += boxes
        self.findings.extend(findings)
        if written is None:
            self.boxes_left_out += boxes
            return
        self.boxes_left_out += boxes_left_out
        self.images_written += 1
        self.images_empty += not written
        self.boxes_written += len(written)
        self.boxes_per_class.update(written)

    @property
    def images_dropped(self) -> int:
        """Pictures that could not be used."""
        return sum(finding.kind.effect is Effect.PICTURE_DROPPED for finding in self.findings)

    @property
    def boxes_dropped(self) -> int:
        """Boxes that could not be used, of pictures that were."""
        return sum(finding.kind.effect is Effect.BOX_DROPPED for finding in self.findings)

    def by_kind(self) -> dict[Kind, list[Finding]]:
        """The findings of each kind that occurred, worst kinds first."""
        grouped = {kind: [finding for finding in self.findings if finding.kind is kind] for kind in Kind}
        return {kind: findings for kind, findings in grouped.items() if findings}

    def to_dict(self) -> dict[str, Any]:
        """The whole report, for `<split>.report.json`."""
        return {
            "split": self.split,
            "pictures": {
                "found": self.images_found,
                "written": self.images_written,
                "written_without_objects": self.images_empty,
                "dropped": self.images_dropped,
                "left_out_by_filters": self.images_left_out,
                "stopped_early": self.stopped_early,
            },
            "boxes": {
                "found": self.boxes_found,
                "written": self.boxes_written,
                "dropped": self.boxes_dropped,
                "left_out": self.boxes_left_out,
                "per_class": dict(self.boxes_per_class),
            },
            "findings": [
                {
                    "kind": kind.label,
                    "effect": kind.effect.value,
                    "count": len(findings),
                    "entries": [
                        {"image_id": finding.image_id, "where": finding.where, "detail": finding.detail}
                        for finding in findings
                    ],
                }
                for kind, findings in self.by_kind().items()
            ],
        }
