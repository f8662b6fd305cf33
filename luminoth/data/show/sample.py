"""A few pictures of a split, drawn at random: without reading the others where the files allow it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from luminoth.data.readers.base import AnnotatedImage
from luminoth.data.record_files import find_records
from luminoth.data.records import decode_example
from luminoth.data.report import Effect, Finding
from luminoth.data.source import RecordSource, Source
from luminoth.errors import DataError
from luminoth.types import Example

_HEADER_BYTES, _CHECKSUM_BYTES = 12, 4


@dataclass
class Sample:
    """Pictures of one split.

    Attributes:
        split: its name.
        examples: in the data set's order.
        found: how many there are to choose from.
        dropped: why some of those that were chosen cannot be shown.
    """

    split: str
    examples: list[Example]
    found: int
    dropped: list[Finding] = field(default_factory=list)


def draw_sample(source: Source, split: str, count: int, *, seed: int = 0, only_classes: Sequence[str] = ()) -> Sample:
    """Draws pictures of a split, each with the same chance.

    Args:
        source: the data set.
        split: one of its splits.
        count: how many; fewer when there are not so many.
        seed: equal seeds, equal pictures.
        only_classes: of pictures that have an object of one of these classes; () means any picture.

    Raises:
        DataError: a record is damaged or has a class outside the class list.
    """
    random = np.random.default_rng(seed)
    if isinstance(source, RecordSource) and not only_classes:
        found = source.image_count(split)
        numbers = sorted(random.choice(found, min(count, found), replace=False).tolist())
        chosen: list[Any] = list(_numbered_records(find_records(source.path, split), numbers))
    else:
        has_class = _class_test(source, only_classes)
        chosen, found = _reservoir(filter(has_class, source.pictures(split)), count, random)
    sample = Sample(split, [], found)
    for opened in source.opener()(chosen):
        findings = [opened] if isinstance(opened, Finding) else opened.findings
        sample.dropped.extend(each for each in findings if each.kind.effect is Effect.PICTURE_DROPPED)
        if not isinstance(opened, Finding) and opened.example is not None:
            _check_classes(opened.example, source)
            sample.examples.append(opened.example)
    return sample


def _class_test(source: Source, only_classes: Sequence[str]) -> Callable[[Any], bool]:
    """Whether a picture, as `source.pictures` gives it, has an object of one of the classes."""
    wanted = frozenset(only_classes)
    if not wanted:
        return lambda picture: isinstance(picture, (AnnotatedImage, bytes))
    wanted_ids = [number for number, name in enumerate(source.classes) if name in wanted]

    def has_class(picture: Any) -> bool:
        if isinstance(picture, bytes):
            return bool(np.isin(decode_example(picture).class_ids, wanted_ids).any())
        return isinstance(picture, AnnotatedImage) and any(box.label in wanted for box in picture.boxes)

    return has_class


def _reservoir(items: Iterable[Any], count: int, random: np.random.Generator) -> tuple[list[Any], int]:
    """`count` of the items, each with the same chance, in their order, and how many there are; holds no more than
    `count` of them (Vitter's algorithm R)."""
    kept: list[tuple[int, Any]] = []
    found = 0
    for number, item in enumerate(items):
        found += 1
        if number < count:
            kept.append((number, item))
        elif (place := int(random.integers(found))) < count:
            kept[place] = number, item
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])], found


def _numbered_records(files: Sequence[str], numbers: Sequence[int]) -> Iterator[bytes]:
    """The records of these numbers, ascending, counted over all files; the others are jumped over."""
    wanted = iter(numbers)
    number, position = next(wanted, None), 0
    for path in files:
        with open(path, "rb") as file:
            while number is not None and (header := file.read(_HEADER_BYTES)):
                length = struct.unpack("<Q", header[:8])[0]
                if position == number:
                    yield file.read(length)
                    number = next(wanted, None)
                    file.seek(_CHECKSUM_BYTES, 1)
                else:
                    file.seek(length + _CHECKSUM_BYTES, 1)
                position += 1


def _check_classes(example: Example, source: Source) -> None:
    highest = int(max(example.class_ids, default=0))
    if highest >= len(source.classes):
        raise DataError(
            f"{source.path}: image {example.image_id!r} has a box of class number {highest}, counted from 0, but "
            f"classes.json names only {len(source.classes)}: it is not the list of these records"
        )
