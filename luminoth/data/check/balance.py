"""Whether there is enough to learn from, and to measure on: pictures, objects, classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from luminoth.data.check.concerns import Concern, Entry, Severity
from luminoth.data.check.survey import SplitSurvey, object_counts

_UNEVEN = 50  # times as many objects of the most frequent class as of the rarest
_FEW_OBJECTS = 10


def balance_concerns(surveys: Sequence[SplitSurvey], classes: Sequence[str], trained: str | None) -> Iterator[Concern]:
    """What splits and classes lack.

    Args:
        surveys: of the splits.
        classes: the class list.
        trained: the split that is trained on; None when it is not among them.
    """
    yield from _lacking_pictures(surveys, trained)
    if not classes:
        return
    objects, _ = object_counts(surveys, len(classes))
    if objects.sum():
        yield from _lacking_objects([survey.split for survey in surveys], objects, classes, trained)


def _lacking_pictures(surveys: Sequence[SplitSurvey], trained: str | None) -> Iterator[Concern]:
    known = [survey for survey in surveys if not survey.failures and not survey.absent]
    if known and len(known) == len(surveys) and not any(survey.pictures for survey in known):
        yield Concern("no_pictures", Severity.BREAKS, "no picture can be used")
        return
    for survey in known:
        if survey.pictures == 0:
            if survey.split == trained:
                yield Concern("no_pictures", Severity.BREAKS, f"no picture of {survey.split} can be used")
            else:
                text = f"no picture of {survey.split} can be used: nothing can be measured on it"
                yield Concern("no_pictures", Severity.LOOK, text)
        elif survey.split == trained and not survey.is_object.any():
            yield Concern("no_objects", Severity.FUTILE, f"there is no object in {survey.split}")
    if trained is None and known and len(known) == len(surveys) and not any(s.is_object.any() for s in known):
        yield Concern("no_objects", Severity.FUTILE, "there is no object in any picture")
    if len(surveys) == 1 and known:
        yield Concern(
            "one_split",
            Severity.NOTED,
            f"{known[0].split} is the only split that was looked at: nothing to measure a detector on",
            advice="`lumi dataset transform --split-ratio 0.8/0.2` cuts one off",
        )


def _lacking_objects(
    splits: Sequence[str], objects: np.ndarray, classes: Sequence[str], trained: str | None
) -> Iterator[Concern]:
    total = objects.sum(axis=0)
    if absent := np.flatnonzero(total == 0).tolist():
        entries = [Entry("", "", classes[index]) for index in absent]
        yield Concern("class_without_objects", Severity.LOOK, "classes without any object", entries)
    for split, counts in zip(splits, objects, strict=True):
        missing = [Entry(split, "", classes[index]) for index in np.flatnonzero((counts == 0) & (total > 0))]
        if missing and split == trained:
            text = f"classes without an object in {split}, which other splits have: they cannot be learnt"
            yield Concern("class_not_in_training", Severity.LOOK, text, missing)
        elif missing and counts.sum():
            text = f"classes without an object in {split}: they cannot be measured there"
            yield Concern("class_not_in_split", Severity.LOOK, text, missing)
    counts = objects[splits.index(trained)] if trained is not None else total
    of_split = f" in {trained}" if trained is not None else ""
    if rare := np.flatnonzero((counts > 0) & (counts < _FEW_OBJECTS)).tolist():
        entries = [Entry(trained or "", "", classes[index], f"{counts[index]}") for index in rare]
        yield Concern("rare_class", Severity.LOOK, f"classes with fewer than {_FEW_OBJECTS} objects{of_split}", entries)
    least, most = _rarest(counts), int(np.argmax(counts))
    if counts.max() >= _FEW_OBJECTS and counts[most] > _UNEVEN * counts[least]:
        text = (
            f"objects a class are uneven{of_split}: {counts[most]:,} {classes[most]}, {counts[least]:,} "
            f"{classes[least]} ({counts[most] / counts[least]:,.0f} to 1)"
        )
        yield Concern("uneven_classes", Severity.LOOK, text)


def _rarest(counts: np.ndarray) -> int:
    """Of the classes that have more than a few objects; those with fewer are a concern of their own."""
    return int(np.argmin(np.where(counts >= _FEW_OBJECTS, counts, np.iinfo(counts.dtype).max)))
