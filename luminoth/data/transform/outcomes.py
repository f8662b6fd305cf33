"""From a wanted picture to a record, in whatever process: what `lumi dataset transform` does with each one."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from luminoth.data.readers.checks import Checked, make_example
from luminoth.data.readers.fetch import fetch_pictures
from luminoth.data.records import encode_example
from luminoth.data.report import Finding, Kind
from luminoth.data.transform.selection import LeftOut, Wanted


@dataclass(frozen=True)
class Outcome:
    """What became of one wanted picture.

    Attributes:
        fingerprint: of what the annotations said of it, see `fingerprint`.
        boxes: how many it had, those included that the filters took away.
        boxes_left_out: how many these are.
        known_ids: classes of the boxes, of those that are in the class list.
        written_ids: classes of the boxes in the record; None when the picture had to be dropped.
        findings: everything odd about it.
        record: the serialized record; empty when there is none, or when it is on disk already.
    """

    fingerprint: int
    boxes: int
    boxes_left_out: int
    known_ids: tuple[int, ...]
    written_ids: tuple[int, ...] | None
    findings: tuple[Finding, ...]
    record: bytes = b""


def fingerprint(wanted: Wanted) -> int:
    """A number that changes when an annotation does."""
    return zlib.crc32(repr(wanted).encode("utf-8", "surrogatepass"))


def make_outcomes(
    classes: Sequence[str],
    max_size: int | None,
    items: Sequence[Wanted | LeftOut | Finding],
    read: Callable[[Path], bytes] = Path.read_bytes,
) -> list[Outcome | LeftOut | Finding]:
    """Fetches, opens, checks and encodes pictures; what is no wanted picture is passed on, so that the order stays.

    Args:
        classes: the class list.
        max_size: see `make_example`.
        items: from `Selection.walk`.
        read: gives the bytes of the file at a picture's `path`.
    """
    class_ids = {name: index for index, name in enumerate(classes)}
    failures = fetch_pictures([item.image for item in items if isinstance(item, Wanted)])

    def make(wanted: Wanted) -> Outcome:
        not_fetched = failures.get(wanted.image.image_id, "")
        checked = make_example(wanted.image, class_ids, max_size, not_fetched=not_fetched, read=read)
        return _outcome(wanted, checked, classes, class_ids)

    return [make(item) if isinstance(item, Wanted) else item for item in items]


def _outcome(wanted: Wanted, checked: Checked, classes: Sequence[str], class_ids: Mapping[str, int]) -> Outcome:
    image, example = wanted.image, checked.example
    return Outcome(
        fingerprint=fingerprint(wanted),
        boxes=len(image.boxes) + wanted.boxes_left_out,
        boxes_left_out=wanted.boxes_left_out,
        known_ids=tuple(class_ids[box.label] for box in image.boxes if box.label in class_ids),
        written_ids=None if example is None else tuple(example.class_ids.tolist()),
        findings=tuple(checked.findings),
        record=b"" if example is None else encode_example(example, classes),
    )


def outcome_to_json(outcome: Outcome) -> list:
    """An outcome as values that JSON knows, without its record."""
    findings = [(each.kind.name, each.image_id, each.where, each.detail, each.boxes) for each in outcome.findings]
    numbers = (outcome.fingerprint, outcome.boxes, outcome.boxes_left_out, outcome.known_ids, outcome.written_ids)
    return [*numbers, findings]


def outcome_from_json(values: Sequence) -> Outcome:
    """The inverse of `outcome_to_json`."""
    number, boxes, boxes_left_out, known_ids, written_ids, findings = values
    return Outcome(
        fingerprint=number,
        boxes=boxes,
        boxes_left_out=boxes_left_out,
        known_ids=tuple(known_ids),
        written_ids=None if written_ids is None else tuple(written_ids),
        findings=tuple(Finding(Kind[kind], *rest) for kind, *rest in findings),
    )
