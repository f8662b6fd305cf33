"""A split's records while they are being written, so that an interrupted run can go on where it stopped.

Beside the part files of `ShardWriter` stands a journal: a line of JSON for each picture that is done with, saying what
became of it and where its record ended. A line is written once the record is, so what it says is true after any
interruption of the program.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from luminoth.data.transform.outcomes import Outcome, outcome_from_json, outcome_to_json
from luminoth.data.transform.shards import Place, ShardWriter

_FLUSHED_EVERY = 64  # pictures: so many does an interruption cost at most


class SplitStore:
    """Takes the outcomes of one split, in order, and writes their records.

    First `replay` gives what an interrupted run did; it must be drawn to its end. Then `keep` takes what is new.

    Args:
        folder: where part files and journal are.
        split: the split's name.
        shards: see `ShardWriter`.
    """

    def __init__(self, folder: Path, split: str, shards: int | None) -> None:
        self._path = folder / f"{split}.journal"
        self._writer = ShardWriter(folder, split, shards)
        self._journal: BinaryIO | None = None
        self._unflushed = 0
        self.replayed = 0

    def replay(self) -> Iterator[Outcome]:
        """The outcomes that are on disk, without their records.

        Ends before the first line that is not whole, or whose record is not whole on disk; what stands behind is cut
        off.
        """
        self._path.touch()
        with self._path.open("rb") as lines:
            end = 0
            for line in lines:
                entry = _decode(line) if line.endswith(b"\n") else None
                if entry is None or not self._is_on_disk(entry[1]):
                    break
                outcome, place = entry
                if place is not None:
                    self._writer.skip(place)
                end += len(line)
                self.replayed += 1
                yield outcome
        self._journal = self._path.open("r+b")
        self._journal.truncate(end)
        self._journal.seek(0, os.SEEK_END)

    def keep(self, outcome: Outcome, is_wanted: bool) -> None:
        """Writes an outcome's record, if it has one and is wanted, and notes that it is done with.

        While `replay` is being drawn from, outcomes are on disk already and nothing happens.
        """
        if self._journal is None:
            return
        place = self._writer.write(outcome.record) if outcome.record and is_wanted else None
        self._journal.write(_encode(outcome, place))
        self._unflushed += 1
        if self._unflushed >= _FLUSHED_EVERY:
            self._flush()

    def close(self) -> dict[Path, str]:
        """Closes everything; part file -> the name that it has in a folder of records."""
        if self._journal is not None:
            self._flush()
            self._journal.close()
        self._writer.close()
        return self._writer.final_files()

    def _flush(self) -> None:
        self._writer.flush()
        self._journal.flush()
        self._unflushed = 0

    def _is_on_disk(self, place: Place | None) -> bool:
        return place is None or self._writer.part_size(place.shard) >= place.end


def _encode(outcome: Outcome, place: Place | None) -> bytes:
    return json.dumps((*outcome_to_json(outcome), place), separators=(",", ":")).encode("ascii") + b"\n"


def _decode(line: bytes) -> tuple[Outcome, Place | None]:
    *values, place = json.loads(line)
    return outcome_from_json(values), None if place is None else Place(*place)
