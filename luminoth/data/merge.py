"""Joining record files of several data sets; classes are the same when their names are.

class list of each source, renamed ──> joined list ──> which id becomes which, source by source
a source whose ids stay as they are ──> its files' bytes, one after the other
the others                          ──> record by record, labels exchanged, all else untouched
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from luminoth.data.checked_records import read_examples
from luminoth.data.example_proto import SequenceExample
from luminoth.data.record_files import (
    CLASSES_FILE,
    count_records,
    find_records,
    list_splits,
    read_classes,
    write_classes,
)
from luminoth.data.records import frame, read_records
from luminoth.data.staging import move_into, staging_folder
from luminoth.errors import DataError

_SUFFIX = ".tfrecords"
_COPY_BYTES = 1 << 20
_SAME_TO_PEOPLE = re.compile(r"[\s_-]+")

ProgressCallback = Callable[[], None]


class Relabelled(NamedTuple):
    """A class whose id or name is another in the joined list; ids count from 0."""

    old_name: str
    old_id: int
    new_name: str
    new_id: int


@dataclass
class MergeReport:
    """What a merge wrote.

    Attributes:
        classes: the class list of the records written.
        records: record file written -> records in it.
        relabelled: source folder -> its classes whose id or name is another now.
        repeated_ids: picture ids that occur more than once in one file written, with how often.
    """

    classes: list[str]
    records: dict[Path, int] = field(default_factory=dict)
    relabelled: dict[Path, list[Relabelled]] = field(default_factory=dict)
    repeated_ids: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Relabelling:
    """What becomes of the classes of one source.

    Attributes:
        classes: the source's class names, by id.
        new_names: those in the joined list, by the old id.
        new_ids: [C] int64, by the old id.
    """

    classes: list[str]
    new_names: list[str]
    new_ids: np.ndarray

    def changes(self) -> list[Relabelled]:
        """The classes whose name or id is another now."""
        all_classes = map(Relabelled, self.classes, count(), self.new_names, self.new_ids.tolist())
        return [each for each in all_classes if (each.old_name, each.old_id) != (each.new_name, each.new_id)]


def merge(
    sources: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    renames: Mapping[str, str] | None = None,
    on_record: ProgressCallback | None = None,
) -> MergeReport:
    """Joins record files into one, or folders of records split by split.

    Where the `classes.json` beside the sources differ, the joined list has the names in order of first appearance,
    and the labels of the records are exchanged for those of that list.

    Args:
        sources: record files, or folders that `lumi dataset transform` wrote; two or more.
        output: a record file when the sources are files, a folder when they are folders. What is there under
            the same name is replaced.
        renames: old class name -> new one, each looked up once; two classes with one new name become one class.
        on_record: called after each record that was checked, before anything is written.

    Raises:
        DataError: names differ only in case, spaces, `_` or `-`; a class that is renamed is not there; a file is
            damaged; or sources and output do not fit together.
        OutputError: the output cannot be written. Nothing is left then.
    """
    paths, output, renames = [Path(source) for source in sources], Path(output), dict(renames or {})
    _check_paths(paths, output)
    plan = _plan_folders(paths, output) if paths[0].is_dir() else _plan_files(paths, output)
    folders = list(dict.fromkeys(path if path.is_dir() else path.parent for path in paths))
    lists = {folder: read_classes(folder) for folder in folders}
    _check_renames(lists, renames)
    _check_names_apart(lists, renames)
    classes = list(dict.fromkeys(renames.get(name, name) for names in lists.values() for name in names))
    target_folder = next(iter(plan)).parent
    _check_target(target_folder, set(plan), classes)
    relabellings = {folder: _relabelling(names, classes, renames) for folder, names in lists.items()}

    report = MergeReport(classes)
    report.relabelled = {folder: changes for folder, each in relabellings.items() if (changes := each.changes())}
    for target, files in plan.items():
        report.records[target] = count_records(files)  # a glance at all files before the first one is read
    for files in plan.values():
        report.repeated_ids.update(_check_records(files, relabellings, on_record))
    with staging_folder(target_folder) as staged:
        for target, files in plan.items():
            with (staged / target.name).open("wb") as joined:
                for path in files:
                    _append(path, relabellings[path.parent], joined)
        target_folder.mkdir(parents=True, exist_ok=True)
        # The class list goes first: records are never seen without it.
        os.replace(write_classes(staged, classes), target_folder / CLASSES_FILE)
        move_into(staged, target_folder)
    return report


# --- What goes where ------------------------------------------------------------


def _check_paths(paths: Sequence[Path], output: Path) -> None:
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: there is no such file or folder")
        if path.resolve() == output.resolve():
            raise DataError(f"{path}: is a source and the output; choose another output")
    if len({path.is_dir() for path in paths}) != 1:
        raise DataError("merge takes either record files or folders of records, not both at once")


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
            files.extend(folder / Path(path).name for path in find_records(folder, split))
    return plan


def _check_target(folder: Path, targets: set[Path], classes: list[str]) -> None:
    """Records that stay in the output folder must have the joined class list, and not be shards of what is written."""
    if not folder.is_dir():
        return
    for target in targets:
        if any(folder.glob(f"{target.stem}-?????-of-?????{_SUFFIX}")):
            raise DataError(f"{folder}: holds shards of {target.stem}; delete them or choose another output")
    stays = sorted(path.name for path in folder.glob(f"*{_SUFFIX}") if path not in targets)
    if not stays or not (folder / CLASSES_FILE).is_file():
        return
    there = read_classes(folder)
    if there != classes:
        raise DataError(
            f"{folder}: the class lists differ: {CLASSES_FILE} there, of {', '.join(stays[:3])}, has "
            f"{', '.join(there)}; the joined records have {', '.join(classes)}; choose another output"
        )


# --- Classes ------------------------------------------------------------


def _check_renames(lists: Mapping[Path, list[str]], renames: Mapping[str, str]) -> None:
    there = list(dict.fromkeys(name for names in lists.values() for name in names))
    for old, new in renames.items():
        if old not in there:
            raise DataError(f"--rename {old}={new}: no source has a class {old!r}; there are: {', '.join(there)}")


def _check_names_apart(lists: Mapping[Path, list[str]], renames: Mapping[str, str]) -> None:
    """Refuses two spellings of what is most likely one class, unless one source has both."""
    spellings: dict[str, dict[str, Path]] = {}
    renamed = {folder: [renames.get(name, name) for name in names] for folder, names in lists.items()}
    for folder, names in renamed.items():
        for name in names:
            spellings.setdefault(_SAME_TO_PEOPLE.sub("", name).casefold(), {}).setdefault(name, folder)
    advice = []
    for names in spellings.values():
        first, *others = names
        for other in others:
            if not any({first, other} <= set(each) for each in renamed.values()):
                advice.append((first, other, names[first], names[other]))
    if advice:
        first, other, first_folder, other_folder = advice[0]
        options = " ".join(f"--rename {shlex.quote(f'{other}={first}')}" for first, other, *_ in advice)
        raise DataError(
            f"{first_folder / CLASSES_FILE} has the class {first!r}, {other_folder / CLASSES_FILE} has {other!r}: "
            f"names that differ only in case, spaces, _ or - are not joined unasked; if they mean the same: {options}"
        )


def _relabelling(names: list[str], classes: list[str], renames: Mapping[str, str]) -> _Relabelling:
    new_names = [renames.get(name, name) for name in names]
    return _Relabelling(names, new_names, np.asarray([classes.index(name) for name in new_names], np.int64))


# --- Records ------------------------------------------------------------


def _check_records(
    files: Sequence[Path], relabellings: Mapping[Path, _Relabelling], on_record: ProgressCallback | None
) -> dict[str, int]:
    """Reads every record; gives the picture ids that occur more than once, with how often."""
    counts: Counter[str] = Counter()
    for path in files:
        for example in read_examples(path, relabellings[path.parent].classes):
            counts[example.image_id] += 1
            if on_record is not None:
                on_record()
    return {name: times for name, times in counts.items() if times > 1}


def _append(path: Path, relabelling: _Relabelling, joined: BinaryIO) -> None:
    """TFRecord files have no header: one after another they are a TFRecord file."""
    if relabelling.changes():
        for serialized in read_records([path]):
            joined.writelines(frame(_relabelled(serialized, relabelling)))
    else:
        with path.open("rb") as file:
            shutil.copyfileobj(file, joined, _COPY_BYTES)


def _relabelled(serialized: bytes, relabelling: _Relabelling) -> bytes:
    """A record of either form with other labels.

    On the wire an `Example`'s features are a `SequenceExample`'s context, so one message reads and writes both.
    """
    message = SequenceExample.FromString(serialized)
    context, lists = message.context.feature, message.feature_lists.feature_list
    if "image/object/class/label" in context:
        labels = context["image/object/class/label"].int64_list.value
        old_ids = [label - 1 for label in labels]
        labels[:] = (relabelling.new_ids[old_ids] + 1).tolist()
        if "image/object/class/text" in context:
            context["image/object/class/text"].bytes_list.value[:] = [
                relabelling.new_names[old_id].encode() for old_id in old_ids
            ]
    if "label" in lists:  # Luminoth's form counts from 0
        for feature in lists["label"].feature:
            labels = feature.int64_list.value
            labels[:] = relabelling.new_ids[list(labels)].tolist()
    return message.SerializeToString(deterministic=True)
