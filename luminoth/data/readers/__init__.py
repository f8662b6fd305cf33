"""Readers of data sets as people have them on disk: one file a format, named in `READERS`.

A reader says what the annotations say, nothing more: splits, class names, and for each picture its file and boxes.
What is done about bad input (a missing picture, a box outside, ...) is the same for all and lives in `checks.py`.

To add a format here: a module with a subclass of `base.Reader`, and its line in `READERS`. Other packages add theirs
with an entry point in the group `luminoth.readers` (docs/datasets.md, "Your own format").
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from luminoth.errors import DataError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from luminoth.data.readers.base import Reader

# type -> "module:class"; imported only when asked for
READERS = {
    "pascal": "luminoth.data.readers.pascal:PascalReader",
    "coco": "luminoth.data.readers.coco:CocoReader",
    "csv": "luminoth.data.readers.csv_reader:CsvReader",
    "yolo": "luminoth.data.readers.yolo:YoloReader",
    "flat": "luminoth.data.readers.flat:FlatReader",
    "imagenet": "luminoth.data.readers.imagenet:ImageNetReader",
    "openimages": "luminoth.data.readers.openimages:OpenImagesReader",
    "taggerine": "luminoth.data.readers.taggerine:TaggerineReader",
}
ENTRY_POINTS = "luminoth.readers"
AUTO = "auto"


def reader_names() -> list[str]:
    """The types of data sets: those built in, then those of installed packages, sorted. Imports no reader."""
    return [*READERS, *sorted({point.name for point in _entry_points()} - set(READERS))]


def reader_class(name: str) -> type[Reader]:
    """The reader of a type of data set.

    Raises:
        DataError: there is no such type, several packages bring it, or the package's reader cannot be used.
    """
    points = [point for point in _entry_points() if point.name == name]
    if name in READERS and not points:
        module, _, attribute = READERS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    if not points:
        names = reader_names()
        near = difflib.get_close_matches(name.lower(), names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataError(f"unknown data set type {name!r}: there are {', '.join(names)}{hint}")
    if name in READERS or len(points) > 1:
        owners = [f"package {_owner(point)}" for point in points]
        owners += ["Luminoth itself"] if name in READERS else []
        raise DataError(f"data set type {name!r} is claimed by {' and by '.join(owners)}; uninstall the package")
    return _load(points[0])


def recognise_type(data_dir: str | os.PathLike) -> tuple[str, str]:
    """The type of a data set by its layout.

    Returns:
        its name, and in a few words what was recognised.

    Raises:
        DataError: there is no such folder, or not exactly one type fits it.
    """
    folder = Path(data_dir)
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "there is no such folder"
        raise DataError(f"{folder}: {what}; give the folder of a data set")
    readers = {name: reader_class(name) for name in reader_names()}
    recognised = {name: what for name, reader in readers.items() if (what := reader.recognise(folder)) is not None}
    if len(recognised) == 1:
        return next(iter(recognised.items()))
    if recognised:
        found = "; ".join(f"{name} ({what})" for name, what in recognised.items())
        choices = " or ".join(f"--type {name}" for name in recognised)
        raise DataError(f"{folder}: fits several layouts: {found}; say which: {choices}")

    from luminoth.data.readers.base import describe_folder

    looked_for = "".join(f"\n  {name:12}{reader.layout}" for name, reader in readers.items())
    raise DataError(
        f"{folder}: no known layout, found {describe_folder(folder)}; name the type with --type, or lay the files out "
        f"as one of these:{looked_for}"
    )


def open_reader(name: str, data_dir: str | os.PathLike, options: Mapping[str, object] | None = None) -> Reader:
    """Opens a data set.

    Args:
        name: one of `reader_names`, or `auto` for what `recognise_type` finds.
        data_dir: the folder that holds the data set.
        options: the reader's own settings; values may be text, as they come from the command line.

    Raises:
        DataError: unknown type or option, no such folder, or its layout does not fit the type.
    """
    if name == AUTO:
        name, _ = recognise_type(data_dir)
    return reader_class(name)(data_dir, options)


# --- Readers of other packages ------------------------------------------------------------


def _entry_points() -> tuple[EntryPoint, ...]:
    return _find_entry_points(tuple(sys.path))


@lru_cache(maxsize=1)
def _find_entry_points(path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Those of the packages on `path`, which is Python's; it is looked through once."""
    from importlib import metadata  # takes longer than all else here

    return tuple(metadata.entry_points(group=ENTRY_POINTS))


def _load(point: EntryPoint) -> type[Reader]:
    from luminoth.data.readers.base import Reader

    try:
        reader = point.load()
    except Exception as error:  # whatever the package does when it is imported
        problem = f"{type(error).__name__}: {error}"
        raise DataError(
            f"data set type {point.name!r} of package {_owner(point)} cannot be loaded from {point.value} ({problem})"
        ) from error
    if not (isinstance(reader, type) and issubclass(reader, Reader)):
        raise DataError(
            f"data set type {point.name!r} of package {_owner(point)}: {point.value} is no subclass of "
            "luminoth.data.readers.base.Reader"
        )
    return reader


def _owner(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
