"""`metrics.jsonl` in a run's folder: the curves of a training as lines of JSON, for scripts.

One line a point, appended when it is known and never changed:

    {"kind": "train", "step": 200, "epoch": 2.13, "time": "2024-05-17T09:21:44+00:00", "total_loss": 0.41, ...}
    {"kind": "val", "step": 200, "epoch": 2.13, "time": ..., "AP": 0.31, "AP50": 0.52, ...}

Imports neither TensorFlow nor Keras.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from luminoth.errors import OutputError
from luminoth.training.watching.whole_appends import WholeAppends

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends points to a run's `metrics.jsonl`, or nowhere at all. A context manager.

    What an earlier attempt wrote of steps that are done anew from here on is cut off, so that the file has each step
    once; so is a line that a killed process left half-written. The file is replaced as a whole then.

    Args:
        folder: the run's folder, made when it is missing; None: nothing is written.
        step: updates done, of the checkpoint that training goes on from.

    Raises:
        OutputError: the file cannot be read or written.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._file = None
        if folder is None:
            return
        self._path = Path(folder) / METRICS_FILE
        try:
            _cut_off(self._path, step)
            self._file = WholeAppends(self._path)
        except OSError as error:
            raise self._error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, kind: str, step: int, epoch: float, values: Mapping[str, float | None]) -> None:
        """Appends a line.

        Args:
            kind: "train", or the split of an evaluation.
            step: updates done.
            epoch: times that training went over its split.
            values: further keys; what is not known or not finite becomes null.

        Raises:
            OutputError: the file cannot be written; it is as it was then.
        """
        if self._file is None:
            return
        time = datetime.now(UTC).isoformat(timespec="seconds")
        point = {"kind": kind, "step": step, "epoch": round(epoch, 4), "time": time}
        line = json.dumps(point | {name: _as_json(value) for name, value in values.items()})
        try:
            self._file.append(line.encode() + b"\n")
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> OutputError:
        return OutputError(f"{self._path}: cannot be written ({error.strerror or error})")


def _as_json(value: float | None) -> float | None:
    """A float32 is known to seven digits, and JSON knows neither NaN nor infinity."""
    return float(f"{value:.7g}") if value is not None and math.isfinite(value) else None


def _cut_off(path: Path, step: int) -> None:
    """Leaves only whole lines of steps up to `step`."""
    if not path.exists():
        return
    unfinished = path.with_name(f".{path.name}.unfinished")
    with path.open("rb") as before, unfinished.open("wb") as after:
        after.writelines(_kept_lines(before, step))
        after.flush()
        os.fsync(after.fileno())
    os.replace(unfinished, path)


def _kept_lines(lines: Iterator[bytes], step: int) -> Iterator[bytes]:
    for line in lines:
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                yield line
        except (ValueError, KeyError, TypeError):
            continue  # cut off when a process was killed
