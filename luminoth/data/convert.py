"""From records to a data set in another format, pictures included: whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from luminoth.data.checked_records import read_examples
from luminoth.data.record_files import find_records, list_splits, read_classes
from luminoth.data.staging import move_into, staging_folder
from luminoth.data.writers import writer_class
from luminoth.data.writers.base import WrittenSplit
from luminoth.errors import DataError
from luminoth.types import Example

ProgressCallback = Callable[[], None]


@dataclass
class ConvertReport:
    """What was written.

    Attributes:
        output_dir: the new data set's folder.
        format: its format.
        classes: the records' class list.
        class_option_needed: the format's reader needs `-o classes=...` to find the same list again.
        splits: one account each.
    """

    output_dir: Path
    format: str
    classes: list[str]
    class_option_needed: bool = False
    splits: list[WrittenSplit] = field(default_factory=list)


def convert(
    records_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    to: str,
    splits: Sequence[str] = (),
    *,
    on_picture: ProgressCallback | None = None,
) -> ConvertReport:
    """Writes the records of a folder as a data set of another format.

    Records are read one by one and pictures are written as they are in them, so memory does not grow with the data.

    Args:
        records_dir: a folder that `lumi dataset transform` wrote.
        output_dir: the new data set's folder: not there yet, or empty.
        to: a key of `luminoth.data.writers.WRITERS`.
        splits: which; none given means every split of the folder.
        on_picture: called after each picture.

    Raises:
        DataError: the records are damaged or do not fit `classes.json`, a split is not there, or the output folder
            holds something.
        OutputError: the output cannot be written. Nothing is left then.
    """
    records_dir, output_dir = Path(records_dir), Path(output_dir)
    files = find_splits(records_dir, splits)
    classes = read_classes(records_dir)
    _check_output(output_dir)
    writer_type = writer_class(to)
    with staging_folder(output_dir) as staged:
        writer = writer_type(staged, classes)
        report = ConvertReport(output_dir, to, classes)
        for split, paths in files.items():
            report.splits.append(writer.write_split(split, _examples(paths, classes, on_picture)))
        writer.finish(list(files))
        move_into(staged, output_dir)
    named = {name for split in report.splits for name in split.boxes_per_class}
    report.class_option_needed = not writer_type.keeps_class_list and sorted(named) != classes
    return report


def find_splits(records_dir: str | os.PathLike, splits: Sequence[str] = ()) -> dict[str, list[str]]:
    """Split -> its record files, of those asked for, or of all that a folder has.

    Raises:
        DataError: the folder holds no records, or not of a split that was asked for.
    """
    folder = Path(records_dir)
    if not splits and folder.is_dir() and not list_splits(folder):
        raise DataError(
            f"{folder}: there is no .tfrecords file in it; make records first: "
            f"lumi dataset transform --type auto --data-dir {folder} --output-dir {folder}-tf"
        )
    wanted = dict.fromkeys(splits) or list_splits(folder) or ["train"]
    return {split: find_records(folder, split) for split in wanted}


def _check_output(output_dir: Path) -> None:
    if output_dir.exists() and not output_dir.is_dir():
        raise DataError(f"{output_dir}: is a file; the output must be a new folder")
    if output_dir.is_dir() and any(output_dir.iterdir()):
        raise DataError(f"{output_dir}: is not empty; a data set is written into a new folder only")


def _examples(paths: Sequence[str], classes: Sequence[str], on_picture: ProgressCallback | None) -> Iterator[Example]:
    for path in paths:
        for example in read_examples(path, classes):
            yield example
            if on_picture is not None:
                on_picture()
