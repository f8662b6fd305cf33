"""The record files of one split while they are being written: one, or shards, with places to go on from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from luminoth.data.record_files import shard_names
from luminoth.data.records import frame

RECORDS_A_SHARD = 10_000
BYTES_A_SHARD = 1_000_000_000


class Place(NamedTuple):
    """Where a record ended: the shard's number, and its length in bytes with this record."""

    shard: int
    end: int


class ShardWriter:
    """Writes a split's records into part files of a folder.

    Without `shards`, a shard is full at 10,000 records or a gigabyte, and the next one begins. With it, records go
    to the shards in turn, so that all have about the same number.

    An interrupted run goes on in the same files: `skip` is told, in order, the place of each record that is known to
    be whole. Whatever stands behind the last of them is cut off.

    Args:
        folder: where the part files are.
        split: the split's name.
        shards: how many; None: as many as are needed.
    """

    def __init__(self, folder: Path, split: str, shards: int | None) -> None:
        self._folder, self._split, self._shards = folder, split, shards
        self._ends: list[int] = []
        self._counts: list[int] = []
        self._files: dict[int, BinaryIO] = {}
        self.count = 0

    def skip(self, place: Place) -> None:
        """Takes a record for written that an earlier run wrote."""
        self._begin_up_to(place.shard)
        self._ends[place.shard] = place.end
        self._counts[place.shard] += 1
        self.count += 1

    def write(self, serialized: bytes) -> Place:
        """Appends a record; where it ended."""
        shard = self._next_shard()
        self._begin_up_to(shard)
        framed = frame(serialized)
        self._file(shard).writelines(framed)
        self._ends[shard] += sum(map(len, framed))
        self._counts[shard] += 1
        self.count += 1
        return Place(shard, self._ends[shard])

    def flush(self) -> None:
        """Hands everything written so far to the system."""
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        """Closes the files; what `final_files` names is then whole."""
        for shard in range(len(self._ends)):
            self._file(shard)  # also one that an interrupted run finished: what stands behind its end goes
        for file in self._files.values():
            file.close()
        self._files.clear()

    def part_size(self, shard: int) -> int:
        """Bytes of a part file on disk."""
        path = self._part(shard)
        return path.stat().st_size if path.is_file() else 0

    def final_files(self) -> dict[Path, str]:
        """Part file -> the name that it has in a folder of records; empty when there is no record."""
        names = shard_names(self._split, len(self._ends))
        return {self._part(shard): name for shard, name in enumerate(names)}

    def _next_shard(self) -> int:
        if self._shards is not None:
            return self.count % self._shards
        last = len(self._ends) - 1
        is_full = last < 0 or self._counts[last] >= RECORDS_A_SHARD or self._ends[last] >= BYTES_A_SHARD
        return last + 1 if is_full else last

    def _begin_up_to(self, shard: int) -> None:
        while len(self._ends) <= shard:
            self._ends.append(0)
            self._counts.append(0)

    def _part(self, shard: int) -> Path:
        return self._folder / f"{self._split}.part-{shard:05d}"

    def _file(self, shard: int) -> BinaryIO:
        """The shard's file, at its end; what an interrupted run left behind that is gone."""
        if shard not in self._files:
            if self._shards is None:  # one after the other: those before are full
                for file in self._files.values():
                    file.close()
                self._files.clear()
            path = self._part(shard)
            path.touch()
            file = path.open("r+b")
            file.truncate(self._ends[shard])
            file.seek(0, os.SEEK_END)
            self._files[shard] = file
        return self._files[shard]
