"""Joining record files of several data sets that have the same classes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

from luminoth.data.tfrecord import (
    CLASSES_FILE,
    count_records,
    find_records,
    list_splits,
    parse_record,
    read_classes,
    write_classes,
)
from luminoth.errors import DataError

_SUFFIX = ".tfrecords"


@dataclass
class MergeReport:
    """What a merge wrote.

    Attributes:
        classes: the class list that all sources share.
        records: record file written -> records in it.
        repeated_ids: picture ids that occur more than once in one file written, with how often.
    """

    classes: list[str]
    records: dict[Path, int] = field(default_factory=dict)
    repeated_ids: dict[str, int] = field(default_factory=dict)


def merge(sources: Sequence[str | os.PathLike], output: str | os.PathLike) -> MergeReport:
    """Joins record files into one, or folders of records split by split.

    Args:
        sources: record files, or folders that `lumi dataset transform` wrote; two or more. The `classes.json`
            beside each is compared: all must name the same classes in the same order.
        output: a record file when the sources are files, a folder when they are folders. What is there under
            the same name is replaced.

    Raises:
        DataError: the class lists differ, a file is damaged, or sources and output do not fit together.
    """
    paths, output = [Path(source) for source in sources], Path(output)
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
        if path.resolve() == output.resolve():
            raise DataError(f"{path}: is a source and the output; choose another output")
    if len({path.is_dir() for path in paths}) != 1:
        raise DataError("merge takes either record files or folders of records, not both at once")
    plan = _plan_folders(paths, output) if paths[0].is_dir() else _plan_files(paths, output)
    report = MergeReport(_same_classes(paths, output, set(plan)))
    for target, files in plan.items():
        report.records[target] = count_records(files)  # refuses damaged files before anything is written
    for files in plan.values():
        report.repeated_ids.update(_repeated_ids(files))
    for target in plan:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_classes(target.parent, report.classes)
    for target, files in plan.items():
        _concatenate(files, target)
    return report


def _plan_files(paths: Sequence[Path], output: Path) -> dict[Path, list[Path]]:
    if output.suffix != _SUFFIX or output.is_dir():
        raise DataError(f"{output}: merging files makes one file, whose name must end in {_SUFFIX}")
    return {output: list(paths)}


def _plan_folders(paths: Sequence[Path], output: Path) -> dict[Path, list[Path]]:
    if output.suffix == _SUFFIX or output.is_file():
        raise DataError(f"{output}: merging folders makes a folder; give the name of one")
    plan: dict[Path, list[Path]] = {}
    for folder in paths:
        splits = list_splits(folder)
        if not splits:
            raise DataError(f"{folder}: there is no {_SUFFIX} file in it")
        for split in splits:
            files = plan.setdefault(output / f"{split}{_SUFFIX}", [])
            files.extend(Path(path) for path in find_records(folder, split))
    return plan


def _same_classes(paths: Sequence[Path], output: Path, targets: set[Path]) -> list[str]:
    """The class list of all sources, and of records in the output folder that stay there."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    target_folder = next(iter(targets)).parent
    stays = target_folder.is_dir() and any(path not in targets for path in target_folder.glob(f"*{_SUFFIX}"))
    if stays and (target_folder / CLASSES_FILE).is_file():
        folders.append(target_folder)
    first = read_classes(folders[0])
    for folder in folders[1:]:
        classes = read_classes(folder)
        if classes != first:
            why = "name the same classes in another order" if sorted(classes) == sorted(first) else "differ"
            raise DataError(
                f"the class lists {why}: {folders[0] / CLASSES_FILE} has {', '.join(first)}; "
                f"{folder / CLASSES_FILE} has {', '.join(classes)}; "
                "write both again with the same `-o classes=...` of `lumi dataset transform`"
            )
    return first


def _repeated_ids(files: Sequence[Path]) -> dict[str, int]:
    records = tf.data.TFRecordDataset([str(path) for path in files])
    ids = records.map(lambda record: parse_record(record)["image_id"])
    try:
        counts = Counter(ids.as_numpy_iterator())
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise DataError(f"{', '.join(map(str, files))}: a record cannot be read ({error.message})") from error
    return {name.decode("utf-8", "replace"): count for name, count in counts.items() if count > 1}


def _concatenate(files: Sequence[Path], target: Path) -> None:
    """TFRecord files have no header: one after another they are a TFRecord file."""
    beside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with beside.open("wb") as joined:
            for path in files:
                with path.open("rb") as file:
                    shutil.copyfileobj(file, joined, 1 << 20)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
