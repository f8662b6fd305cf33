"""What is wrong with single pictures and boxes: the findings of readers and of records, by kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from luminoth.data.check.concerns import Concern, Entry, Severity
from luminoth.data.check.survey import SplitSurvey
from luminoth.data.report import Effect, Finding, Kind

# Beside what drops a picture or a box: these may mean that boxes are not where they should be.
_LOOK_AT = frozenset({Kind.SIZE_DIFFERS, Kind.COUNTS_FROM_ZERO})


class _Trouble(NamedTuple):
    severity: Severity
    text: str
    advice: str = ""


_WRITE_ANEW = "write the records anew with `lumi dataset transform`"
_TROUBLES = {
    # of records
    "unreadable_record": _Trouble(Severity.BREAKS, "records that are no object-detection examples", _WRITE_ANEW),
    "undecodable": _Trouble(Severity.BREAKS, "records whose picture TensorFlow cannot decode", _WRITE_ANEW),
    "beyond_classes": _Trouble(
        Severity.BREAKS, "boxes with a label beyond classes.json", "put the list of these records beside them"
    ),
    "other_text": _Trouble(
        Severity.BREAKS,
        "records whose class names are not those of classes.json",
        "put the list of these records beside them",
    ),
    "other_size": _Trouble(
        Severity.LOOK, "records that state another size than their picture has: boxes may be misplaced", _WRITE_ANEW
    ),
    "shown_otherwise": _Trouble(
        Severity.LOOK, "pictures that TensorFlow decodes otherwise than people see them", _WRITE_ANEW
    ),
    # of labels
    "axes_exchanged": _Trouble(
        Severity.LOOK,
        "boxes that leave their picture, and would fit with x and y exchanged",
        "are x and y in the order that the format expects?",
    ),
    "sides_exchanged": _Trouble(
        Severity.LOOK,
        "pictures whose stated width and height are exchanged",
        "were boxes drawn before they were rotated? `lumi dataset show` shows them",
    ),
    "two_classes": _Trouble(Severity.LOOK, "objects labelled twice, with two classes (IoU of 0.9 and more)"),
    "boxed_twice": _Trouble(Severity.LOOK, "objects boxed twice (IoU of 0.9 and more)"),
}


def picture_concerns(surveys: Sequence[SplitSurvey]) -> Iterator[Concern]:
    """One concern for each kind of trouble that occurred, in whatever split."""
    for survey in surveys:
        yield from survey.failures
    for name, trouble in _TROUBLES.items():
        if entries := [entry for survey in surveys for entry in survey.troubles.get(name, [])]:
            yield Concern(name, trouble.severity, trouble.text, entries, trouble.advice)
    for kind in Kind:
        findings = [(survey, each) for survey in surveys for each in survey.findings if each.kind is kind]
        if findings:
            entries = [_entry(survey, finding) for survey, finding in findings]
            effect = "" if kind.effect is Effect.NOTED else f"{kind.effect.value}: "
            yield Concern(kind.name.lower(), _severity(kind), f"{effect}{kind.label}", entries)
    if entries := list(_repeated_ids(surveys)):
        yield Concern("repeated_id", Severity.NOTED, "records with an id that their split has already", entries)
    if absent := sum(survey.absent for survey in surveys):
        text = "pictures that are not downloaded yet, and were not looked at"
        yield Concern("not_downloaded", Severity.NOTED, text, count=absent)


def _severity(kind: Kind) -> Severity:
    is_loss = kind.effect in (Effect.PICTURE_DROPPED, Effect.BOX_DROPPED)
    return Severity.LOOK if is_loss or kind in _LOOK_AT else Severity.NOTED


def _entry(survey: SplitSurvey, finding: Finding) -> Entry:
    return Entry(survey.split, finding.image_id, finding.where, finding.detail)


def _repeated_ids(surveys: Sequence[SplitSurvey]) -> Iterator[Entry]:
    """In records; readers report them as pictures listed twice."""
    for survey in surveys:
        seen: set[str] = set()
        for image_id, name in zip(survey.image_ids, survey.names, strict=True):
            if image_id in seen:
                yield Entry(survey.split, image_id, f"{survey.split}: {name}")
            seen.add(image_id)
