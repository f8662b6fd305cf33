"""The hidden folder in which an output is made: moved out when whole, kept when interrupted, gone after an error."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from luminoth.errors import DownloadError, LuminothError, OutputError, WorkerError

_SETTINGS = "run.json"
_LOCK = "lock"
_PASSING = (DownloadError, OutputError, WorkerError)  # what may be otherwise the next time


class Workspace:
    """`.partial` within a folder that is being written: on the same file system, whatever is mounted where.

    What an interrupted run with equal settings left there stays; what one with others left is deleted. At the end of
    the `with` block the folder is deleted, unless an interruption ended it: an error of the data will come again, but
    Ctrl-C, a full disk or a lack of memory will not, and then the work that is done shall not be lost.

    Args:
        target: the folder to be written.
        settings: what the content depends on, as JSON.

    Raises:
        OutputError: there can be no folder at `target`, or another run is writing there.
    """

    def __init__(self, target: Path, settings: Mapping[str, object]) -> None:
        self._target, self._settings = target, json.loads(json.dumps(settings))
        self.folder = target.absolute() / ".partial"

    def __enter__(self) -> Workspace:
        self._made = [folder for folder in self.folder.parents if not folder.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.folder / _LOCK)
            if self._read_settings() != self._settings:
                self.clear()
        except BlockingIOError as error:
            raise OutputError(f"{self._target}: another run is writing there; wait for it or stop it") from error
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"{self._target}: cannot be written ({reason}); choose another folder") from error
        return self

    def clear(self) -> None:
        """Deletes what an interrupted run left."""
        for path in self.folder.iterdir():
            if path.name != _LOCK:
                path.unlink()
        (self.folder / _SETTINGS).write_text(json.dumps(self._settings), encoding="utf-8")

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        is_interrupted = kind is not None and (not issubclass(kind, LuminothError) or issubclass(kind, _PASSING))
        os.close(self._lock)
        if is_interrupted and any(path.stat().st_size for path in self.folder.glob("*.journal")):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        if kind is not None:
            for empty in self._made:
                with suppress(OSError):
                    empty.rmdir()

    def _read_settings(self) -> object:
        try:
            return json.loads((self.folder / _SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def _lock(path: Path) -> int:
    """Holds a file, so that a second run finds it taken; the system frees it however the program ends.

    Raises:
        BlockingIOError: another run holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be deleted by another run anyway
        return descriptor
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
