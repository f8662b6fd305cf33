"""Records whose labels are known to be in the class list beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from luminoth.data.record_files import CLASSES_FILE
from luminoth.data.records import decode_example, read_records
from luminoth.errors import DataError
from luminoth.types import Example


def read_examples(path: str | os.PathLike, class_names: Sequence[str]) -> Iterator[Example]:
    """The examples of one record file.

    Raises:
        DataError: the file or a record is damaged, or a box has a class that is not among `class_names`.
    """
    for serialized in read_records([path]):
        try:
            example = decode_example(serialized)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
        highest = int(max(example.class_ids, default=0))
        if highest >= len(class_names):
            raise DataError(
                f"{path}: image {example.image_id!r} has a box of class number {highest}, counted from 0, but "
                f"{CLASSES_FILE} beside it names only {len(class_names)}: it is not the list of these records"
            )
        yield example
