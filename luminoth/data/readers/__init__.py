"""Readers of data sets as people have them on disk: one file a format, named in `READERS`.

A reader says what the annotations say, nothing more: splits, class names, and for each picture its file and boxes.
What is done about bad input (a missing picture, a box outside, ...) is the same for all and lives in `checks.py`.

To add a format: a module with a subclass of `base.Reader`, and its line in `READERS`.
"""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from luminoth.errors import DataError

if TYPE_CHECKING:
    from luminoth.data.readers.base import Reader

# type -> "module:class"; imported only when asked for
READERS = {
    "pascal": "luminoth.data.readers.pascal:PascalReader",
    "coco": "luminoth.data.readers.coco:CocoReader",
    "csv": "luminoth.data.readers.csv_reader:CsvReader",
}


def reader_class(name: str) -> type[Reader]:
    """The reader of a type of data set.

    Raises:
        DataError: there is no such type.
    """
    if name not in READERS:
        near = difflib.get_close_matches(name.lower(), READERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise DataError(f"unknown data set type {name!r}: there are {', '.join(READERS)}{hint}")
    module, _, attribute = READERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def open_reader(name: str, data_dir: str | os.PathLike, options: Mapping[str, object] | None = None) -> Reader:
    """Opens a data set.

    Args:
        name: a key of `READERS`.
        data_dir: the folder that holds the data set.
        options: the reader's own settings; values may be text, as they come from the command line.

    Raises:
        DataError: unknown type or option, no such folder, or its layout does not fit the type.
    """
    return reader_class(name)(data_dir, options)
