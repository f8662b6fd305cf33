"""Writers of data sets in the layouts that `luminoth.data.readers` reads: one file a format, named in `WRITERS`.

A writer puts examples into files, picture by picture, and keeps no picture. What a format cannot hold is counted, never
dropped in silence.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from luminoth.errors import DataError

if TYPE_CHECKING:
    from luminoth.data.writers.base import Writer

# format -> "module:class"; imported only when asked for
WRITERS = {
    "coco": "luminoth.data.writers.coco:CocoWriter",
    "pascal": "luminoth.data.writers.pascal:PascalWriter",
    "yolo": "luminoth.data.writers.yolo:YoloWriter",
    "csv": "luminoth.data.writers.csv_writer:CsvWriter",
}


def writer_class(name: str) -> type[Writer]:
    """The writer of a format.

    Raises:
        DataError: there is no such format.
    """
    if name not in WRITERS:
        raise DataError(f"unknown format {name!r}: there are {', '.join(WRITERS)}")
    module, _, attribute = WRITERS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
