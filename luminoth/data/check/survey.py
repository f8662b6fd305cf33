"""One pass over a split: what a check keeps of its pictures, as columns, and what could not be read."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from luminoth.data.check.concerns import Concern, Entry, Severity
from luminoth.data.check.looks import Look, look_at_annotated, look_at_records
from luminoth.data.parallel import map_chunks
from luminoth.data.readers.base import AnnotatedImage
from luminoth.data.record_files import find_records
from luminoth.data.records import read_records
from luminoth.data.report import Effect, Finding
from luminoth.data.similarity import Fingerprint
from luminoth.data.source import LayoutSource, Source
from luminoth.errors import DataError


@dataclass(eq=False)
class SplitSurvey:
    """What is known of one split: P pictures that can be used, with N boxes, in order.

    Attributes:
        split: its name.
        image_ids, names: [P] texts, for programs and for people.
        fingerprints: [P].
        dropped: pictures that cannot be used.
        absent: pictures that are to be downloaded, and were not looked at.
        findings: of readers, and of `checks.make_example`.
        troubles: name -> cases, see `pictures.py`.
        failures: what ended the reading early.
    """

    split: str
    image_ids: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    fingerprints: list[Fingerprint | None] = field(default_factory=list)
    dropped: int = 0
    absent: int = 0
    findings: list[Finding] = field(default_factory=list)
    troubles: dict[str, list[Entry]] = field(default_factory=dict)
    failures: list[Concern] = field(default_factory=list)

    def __post_init__(self) -> None:
        # They grow in place and hold no objects: 23 bytes a box.
        self._sizes, self._counts, self._ids = array("i"), array("i"), array("i")
        self._boxes, self._crowd, self._cut = array("f"), array("b"), array("b")

    def add(self, look: Look | Finding) -> None:
        """Takes up one picture, or what stands in its place."""
        if isinstance(look, Finding):
            self.dropped += look.kind.effect is Effect.PICTURE_DROPPED
            self.findings.append(look)
            return
        self.findings.extend(look.findings)
        for name, cases in look.troubles.items():
            entries = self.troubles.setdefault(name, [])
            entries += [Entry(self.split, look.image_id, where, detail) for where, detail in cases]
        if look.is_absent:
            self.absent += 1
        elif look.image_size is None:
            self.dropped += 1
        else:
            self.image_ids.append(look.image_id)
            self.names.append(look.name)
            self.fingerprints.append(look.fingerprint)
            self._sizes.extend(look.image_size)
            self._counts.append(len(look.boxes))
            self._ids.extend(look.class_ids.tolist())
            self._boxes.extend(look.boxes.ravel().tolist())
            self._crowd.extend(look.is_crowd.tolist())
            self._cut.extend(look.is_cut.tolist())

    @property
    def pictures(self) -> int:
        """P."""
        return len(self.image_ids)

    # Views of what has been taken up; nothing may be added afterwards.

    @cached_property
    def image_sizes(self) -> np.ndarray:
        """[P, 2] int32, (height, width)."""
        return np.frombuffer(self._sizes, np.int32).reshape(-1, 2)

    @cached_property
    def ends(self) -> np.ndarray:
        """[P + 1] int64: picture i has the boxes from `ends[i]` to `ends[i + 1]`."""
        return np.concatenate([[0], np.cumsum(np.frombuffer(self._counts, np.int32), dtype=np.int64)])

    @cached_property
    def boxes(self) -> np.ndarray:
        """[N, 4] float32, pixels."""
        return np.frombuffer(self._boxes, np.float32).reshape(-1, 4)

    @cached_property
    def class_ids(self) -> np.ndarray:
        """[N] int32."""
        return np.frombuffer(self._ids, np.int32)

    @cached_property
    def is_object(self) -> np.ndarray:
        """[N] bool: no crowd region."""
        return ~np.frombuffer(self._crowd, bool)

    @cached_property
    def is_cut(self) -> np.ndarray:
        """[N] bool: not wholly in the picture."""
        return np.frombuffer(self._cut, bool)

    @cached_property
    def image_of_box(self) -> np.ndarray:
        """[N] int64: the number of each box's picture."""
        return np.repeat(np.arange(self.pictures), np.diff(self.ends))

    @property
    def empty(self) -> int:
        """Pictures without any box."""
        return int((np.diff(self.ends) == 0).sum())


def count_pictures(source: Source, split: str) -> int | None:
    """About how many pictures a split has, when that is cheap to know."""
    try:
        return source.image_count(split)
    except DataError:  # damaged records: the survey says so
        return None


def survey_split(
    source: Source, split: str, *, workers: int = 1, on_progress: Callable[[int], object] | None = None
) -> SplitSurvey:
    """Looks at every picture of a split.

    Args:
        source: the data set.
        split: one of its splits.
        workers: processes side by side.
        on_progress: called with 1 after each picture.
    """
    survey = SplitSurvey(split)
    if isinstance(source, LayoutSource):
        items = _until_failure(_wanted(source, split), "annotations_unreadable", survey)
        looks = map_chunks(partial(look_at_annotated, source.classes), items, workers=workers)
    else:
        looks = map_chunks(partial(look_at_records, source.classes), _records(source, survey), workers=workers)
    for look in looks:
        survey.add(look)
        if on_progress is not None:
            on_progress(1)
    return survey


def _wanted(source: LayoutSource, split: str) -> Iterator[AnnotatedImage | Finding]:
    """What a transform would not leave out."""
    names = set(source.classes)
    for item in source.pictures(split):
        is_picture = isinstance(item, AnnotatedImage)
        if not (is_picture and source.reader.only_listed_classes and item.shows_only_others(names)):
            yield item


def _until_failure(items: Iterator, topic: str, survey: SplitSurvey) -> Iterator:
    """Passes on what can be read; that it ends early is no end of the check."""
    try:
        yield from items
    except DataError as error:
        survey.failures.append(Concern(topic, Severity.BREAKS, str(error)))


def _records(source: Source, survey: SplitSurvey) -> Iterator[tuple[str, bytes]]:
    try:
        files = find_records(source.path, survey.split)
    except DataError as error:
        survey.failures.append(Concern("records_incomplete", Severity.BREAKS, str(error)))
        return
    for file in files:
        records = _until_failure(read_records([file]), "records_damaged", survey)
        for number, record in enumerate(records, 1):
            yield f"{Path(file).name} record {number}", record


def object_counts(surveys: Sequence[SplitSurvey], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """[S, C] int64 each: the objects of each class in each split, and the pictures that have one."""
    objects = np.zeros((len(surveys), classes), np.int64)
    pictures = np.zeros_like(objects)
    for row, survey in enumerate(surveys):
        ids, images = survey.class_ids[survey.is_object], survey.image_of_box[survey.is_object]
        objects[row] = np.bincount(ids, minlength=classes)
        pictures[row] = np.bincount(np.unique(images * classes + ids) % classes, minlength=classes)
    return objects, pictures
