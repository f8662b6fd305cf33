"""A file that only grows, by whole pieces."""

from __future__ import annotations

import os
from pathlib import Path


class WholeAppends:
    """Appends to a file without a buffer: a piece is with the operating system when `append` returns.

    A piece that does not fit (disk full) is taken back, so that what is appended later does not follow half of it.

    Args:
        path: the file; made, with its folder, when it is missing.

    Raises:
        OSError, from here and from `append`: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size

    def append(self, piece: bytes) -> None:
        """Writes all of it, or nothing."""
        try:
            rest = memoryview(piece)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(piece)

    def close(self) -> None:
        """Nothing is left to be written."""
        self._file.close()
