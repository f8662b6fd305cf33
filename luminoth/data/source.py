"""A data set as `lumi dataset check`, `stats`, `show` and `convert` see it: records, or still in its own layout.

open_source("voc-tf")                    a folder of records
open_source("VOC2012", type="pascal")    a layout that a reader knows; `auto` recognises it
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from luminoth.data.parallel import map_chunks
from luminoth.data.readers import open_reader
from luminoth.data.readers.base import AnnotatedImage, Reader
from luminoth.data.readers.checks import Checked, make_example
from luminoth.data.record_files import count_records, find_records, list_splits, read_classes
from luminoth.data.records import decode_example, read_records
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from luminoth.storage import is_address

Measured = TypeVar("Measured")

_NOT_HERE = "not here yet; lumi dataset transform downloads it"


class Source(ABC):
    """A data set that can be walked through, split by split.

    Attributes:
        path: the folder, or its address.
        splits: their names.
        classes: the class list of all of them.
    """

    path: Path | str
    splits: list[str]
    classes: list[str]

    def choose_splits(self, asked: Sequence[str]) -> list[str]:
        """Those asked for, or all when none was; raises DataError for one that is not there."""
        missing = [split for split in asked if split not in self.splits]
        if missing:
            raise DataError(f"{self.path}: no split {', '.join(missing)}; there are: {', '.join(self.splits)}")
        return list(dict.fromkeys(asked)) or self.splits

    @abstractmethod
    def image_count(self, split: str) -> int | None:
        """About how many pictures a split has, when that is cheap to know."""

    @abstractmethod
    def pictures(self, split: str) -> Iterator[Any]:
        """A split's pictures, not opened; a `Finding` in place of one that cannot be had."""

    @abstractmethod
    def opener(self) -> Callable[[list[Any]], list[Checked | Finding]]:
        """What opens a list of `pictures`; it can be sent to another process."""

    def examine(
        self, split: str, measure: Callable[[Checked], Measured], *, workers: int = 1
    ) -> Iterator[Measured | Finding]:
        """`measure` of every picture of a split, in order, in `workers` processes.

        Args:
            split: one of `splits`.
            measure: a function of a module; what it gives travels between processes, so it should be small.
            workers: how many processes.

        Returns:
            What `measure` gave, and a `Finding` in place of each picture that the annotations do not allow to open.
        """
        function = partial(_open_and_measure, self.opener(), measure)
        return map_chunks(function, self.pictures(split), workers=workers)


class RecordSource(Source):
    """A folder that `lumi dataset transform` wrote, or records of another tool with a `classes.json`."""

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path if is_address(path) else Path(path)
        self.splits = list_splits(self.path)
        self.classes = read_classes(self.path)

    def image_count(self, split: str) -> int:
        return count_records(find_records(self.path, split))

    def pictures(self, split: str) -> Iterator[bytes]:
        return read_records(find_records(self.path, split))

    def opener(self) -> Callable[[list[bytes]], list[Checked | Finding]]:
        return _open_records


class LayoutSource(Source):
    """A data set in a layout that a reader knows; its pictures pass the same checks as in a transform."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.path = reader, reader.data_dir
        self.splits = reader.splits()
        self.classes = reader.classes(self.splits)

    def image_count(self, split: str) -> int | None:
        return self.reader.image_count(split)

    def pictures(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        return unique_pictures(self.reader, split)

    def opener(self) -> Callable[[list[AnnotatedImage | Finding]], list[Checked | Finding]]:
        return partial(_open_annotated, {name: index for index, name in enumerate(self.classes)})


def open_source(
    path: str | os.PathLike, type: str | None = None, options: Mapping[str, object] | None = None
) -> Source:
    """Opens a data set.

    Args:
        path: a folder of records, or its `gs://` address, or a folder in a layout that a reader knows.
        type: the layout; None: records when there are any, else the layout is recognised.
        options: the reader's settings.

    Raises:
        DataError: there is no such folder, it holds neither records nor a layout that is known, or options were
            given for records.
    """
    if type is None and holds_records(path):
        if options:
            raise DataError(f"-o {next(iter(options))}: {path} holds records; readers' settings are of no use there")
        return RecordSource(path)
    if is_address(path):
        raise DataError(f"{path}: there are no records; only records are read from a bucket, not other layouts")
    return LayoutSource(open_reader(type or "auto", path, options))


def holds_records(path: str | os.PathLike) -> bool:
    """Whether there is a folder, or something at a `gs://` address, with records in it."""
    return (is_address(path) or Path(path).is_dir()) and bool(list_splits(path))


def unique_pictures(reader: Reader, split: str) -> Iterator[AnnotatedImage | Finding]:
    """What a reader says of a split, with a finding in place of each picture that it lists again."""
    seen: set[str] = set()
    for item in reader.images(split):
        if isinstance(item, AnnotatedImage) and item.image_id in seen:
            yield Finding(Kind.DUPLICATE_ID, item.image_id, item.where, "the first one is kept", len(item.boxes))
        else:
            if isinstance(item, AnnotatedImage):
                seen.add(item.image_id)
            yield item


def _open_and_measure(opener, measure, pictures: list) -> list:
    return [measure(each) if isinstance(each, Checked) else each for each in opener(pictures)]


def _open_records(records: list[bytes]) -> list[Checked]:
    return [Checked(decode_example(record), []) for record in records]


def _open_annotated(class_ids: Mapping[str, int], pictures: list[AnnotatedImage | Finding]) -> list[Checked | Finding]:
    return [
        make_example(each, class_ids, not_fetched=_NOT_HERE if each.url else "")
        if isinstance(each, AnnotatedImage)
        else each
        for each in pictures
    ]
