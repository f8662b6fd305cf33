"""Runs in a bucket: their checkpoints are read and written in a copy of the run's folder on this disk.

    folder = at_hand("gs://my-bucket/jobs/first")     a folder of this disk with the run's checkpoints
    publish(folder)                                   brings what is new in it to the bucket

Cloud Storage knows neither renames nor appends, but a single file appears as a whole or not at all, and who lists or
reads afterwards sees it. So a checkpoint is whole in the bucket from the moment its `state.json` is there, which is
written after all else and removed before all else; it holds the weights' checksum, by which training knows a checkpoint
that is damaged all the same. What is in the bucket without a `state.json` is the rest of an upload that was cut short.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luminoth.checkpoints.folder import (
    CLASSES_FILE,
    CONFIG_FILE,
    METADATA_FILE,
    STATE_FILE,
    UNFINISHED_PREFIX,
    WEIGHTS_FILE,
    is_checkpoint,
)
from luminoth.errors import CheckpointError, OutputError
from luminoth.storage import (
    download,
    join,
    list_names,
    local_root,
    name_of,
    parent_of,
    read_bytes,
    remove,
    stat,
    upload,
    when_done,
)

_log = logging.getLogger(__name__)

_CHECKPOINT = re.compile(r"ckpt-\d+")
# What a training goes on from, and evaluations look at, besides the checkpoints; and those of a published checkpoint,
# which may be at the address instead of a run. Curves and reports stay there.
_FILES = (CONFIG_FILE, CLASSES_FILE, "metrics.jsonl", STATE_FILE, WEIGHTS_FILE, METADATA_FILE)
_EVALUATIONS = "eval"
_PROBE = ".writable"


def at_hand(address: str) -> Path:
    """A folder of this disk with what there is of a run or a checkpoint at an address, the same one at each call.

    Raises:
        CheckpointError: the bucket cannot be read, or there is no room.
    """
    address = address.rstrip("/")
    if _CHECKPOINT.fullmatch(name_of(address)):
        return at_hand(parent_of(address)) / name_of(address)
    if address not in _copies:
        folder = local_root() / "runs" / hashlib.sha256(address.encode()).hexdigest()[:16] / name_of(address)
        copy = _Copy(address, folder)
        copy.refresh()
        _copies[address] = copy
        when_done(copy.may_go)
    return _copies[address].folder


def checkpoint_at_hand(address: str) -> Path | None:
    """The folder of a checkpoint at an address, of the newest one of a run there, or None: there is neither.

    Raises:
        CheckpointError: as `at_hand`.
    """
    from luminoth.checkpoints.runs import latest_checkpoint

    folder = at_hand(address)
    return folder if is_checkpoint(folder) else latest_checkpoint(folder)


def refresh(folder: Path) -> None:
    """Brings what is new at the address of a run into its folder here; nothing where it is not in a bucket.

    Raises:
        CheckpointError: as `at_hand`.
    """
    if copy := _copy_of(folder):
        copy.refresh()


def publish(folder: Path | None) -> None:
    """Brings what is new in the folder of a run to its address; nothing where it is not in a bucket.

    Raises:
        OutputError: it cannot be written there. It stays in the folder, also after the end of this process unless a
            later call succeeds.
    """
    if folder is not None and (copy := _copy_of(folder)):
        copy.publish()


def take_over(folder: Path) -> None:
    """Makes sure that the address of a run can be written to, and removes what is left there of uploads that were cut
    short. Only for the process that trains this run.

    Raises:
        OutputError: it cannot be written to.
    """
    if copy := _copy_of(folder):
        copy.take_over()


def shown(path: Path | None) -> str:
    """The name of a file or folder for people: its address, where it is of a run in a bucket."""
    copy = path and _copy_of(path)
    return copy.address_of(path) if copy else str(path)


class _Copy:
    """A run's folder in a bucket, and what of it is here.

    Attributes:
        address: in the bucket.
        folder: here.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self._same: dict[Path, tuple[int, int]] = {}  # the files that are in the bucket as they are here
        self._there: set[str] = set()  # whole checkpoints in the bucket
        self._is_behind = False

    def address_of(self, path: Path) -> str:
        relative = path.relative_to(self.folder).as_posix()
        return self.address if relative == "." else join(self.address, relative)

    # --- From the bucket -----------------------------------------------------------------------

    def refresh(self) -> None:
        """Raises CheckpointError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = list_names(self.address)
            checkpoints = [name.rstrip("/") for name in names if _CHECKPOINT.fullmatch(name.rstrip("/"))]
            self._there = {name for name in checkpoints if self._fetch_checkpoint(name)}
            for folder in self.folder.glob("ckpt-*"):
                if folder.name not in self._there and folder / STATE_FILE in self._same:  # training has removed it
                    self._forget(folder)
                    shutil.rmtree(folder, ignore_errors=True)
            evaluations = list_names(join(self.address, _EVALUATIONS)) if f"{_EVALUATIONS}/" in names else []
            self._fetch(
                [*(name for name in names if name in _FILES),
                 *(f"{_EVALUATIONS}/{name}" for name in evaluations if name.endswith(".json"))]
            )  # fmt: skip
        except OSError as error:
            raise CheckpointError(f"{error.filename or self.address}: cannot be copied ({error.strerror})") from error

    def _fetch_checkpoint(self, name: str) -> bool:
        """Brings one checkpoint here, or what has changed of it; False where there is none, or no longer."""
        address, folder = join(self.address, name), self.folder / name
        try:
            state = read_bytes(join(address, STATE_FILE))
        except FileNotFoundError:
            return False  # being uploaded, or left by an upload that was cut short
        if folder.is_dir() and _weights_of(state) == _weights_of((folder / STATE_FILE).read_bytes()):
            self._take(folder / STATE_FILE, state)
            return True
        beside = self.folder / f"{UNFINISHED_PREFIX}{name}.fetched"
        shutil.rmtree(beside, ignore_errors=True)
        try:
            files = [each for each in list_names(address) if each != STATE_FILE and not each.endswith("/")]
            download({join(address, each): beside / each for each in files}, address)
        except FileNotFoundError:  # training has removed it in this moment
            shutil.rmtree(beside, ignore_errors=True)
            return False
        (beside / STATE_FILE).write_bytes(state)
        shutil.rmtree(folder, ignore_errors=True)
        beside.rename(folder)
        for each in folder.iterdir():
            self._same[each] = _signature(each)
        return True

    def _take(self, path: Path, content: bytes) -> None:
        if path.read_bytes() != content:
            beside = path.with_name(f".{path.name}.partial")
            beside.write_bytes(content)
            os.replace(beside, path)
            self._same[path] = _signature(path)

    def _fetch(self, names: list[str]) -> None:
        """Brings single files here that are not here yet, or are newer there."""
        wanted = {}
        for name in names:
            path, address = self.folder / name, join(self.address, name)
            if path not in self._same or tuple(stat(address)) != _signature(path):
                wanted[address] = path
        download(wanted, self.address)
        for path in wanted.values():
            self._same[path] = _signature(path)

    # --- To the bucket -------------------------------------------------------------------------

    def publish(self) -> None:
        """Raises OutputError."""
        self._is_behind = True
        try:
            checkpoints = [folder for folder in self.folder.glob("ckpt-*") if (folder / STATE_FILE).is_file()]
            for folder in checkpoints:
                self._publish_checkpoint(folder)
            for path in _files_beside_checkpoints(self.folder):
                self._publish_file(path)
            for name in self._there - {folder.name for folder in checkpoints}:
                self._remove_checkpoint(name)
                self._forget(self.folder / name)
        except OSError as error:
            raise OutputError(
                f"{error.filename or self.address}: cannot be written ({error.strerror}). All of it is in {self.folder}"
            ) from error
        self._is_behind = False

    def _publish_checkpoint(self, folder: Path) -> None:
        changed = [path for path in sorted(folder.iterdir()) if self._has_changed(path)]
        state = folder / STATE_FILE
        if any(path != state for path in changed) and folder.name in self._there:
            remove(self.address_of(state))
            self._there.discard(folder.name)
        for path in changed:
            if path != state:
                self._publish_file(path)
        if changed:
            self._publish_file(state)
            self._there.add(folder.name)

    def _publish_file(self, path: Path) -> None:
        if self._has_changed(path):
            before = _signature(path)  # curves may grow meanwhile
            upload(path, self.address_of(path))
            self._same[path] = before

    def _has_changed(self, path: Path) -> bool:
        return self._same.get(path) != _signature(path)

    def _remove_checkpoint(self, name: str) -> None:
        address = join(self.address, name)
        remove(join(address, STATE_FILE))
        self._there.discard(name)
        for each in list_names(address):
            remove(join(address, each))

    def take_over(self) -> None:
        """Raises OutputError."""
        probe = join(self.address, _PROBE)
        try:
            (self.folder / _PROBE).touch()
            upload(self.folder / _PROBE, probe)
            remove(probe)
            for name in list_names(self.address):
                if _CHECKPOINT.fullmatch(name.rstrip("/")) and name.rstrip("/") not in self._there:
                    self._remove_checkpoint(name.rstrip("/"))
        except OSError as error:
            raise OutputError(
                f"{self.address}: the run's folder cannot be written ({error.strerror}); see train.job_dir"
            ) from error

    def _forget(self, folder: Path) -> None:
        self._same = {path: same for path, same in self._same.items() if folder not in path.parents}

    def may_go(self) -> bool:
        """Whether the bucket has all that is here."""
        if self._is_behind:
            _log.warning("%s stays on this disk: not all of it could be brought to %s", self.folder, self.address)
        return not self._is_behind


_copies: dict[str, _Copy] = {}


def _copy_of(path: Path) -> _Copy | None:
    """The copy that a file or folder belongs to."""
    return next((copy for copy in _copies.values() if path == copy.folder or copy.folder in path.parents), None)


def _files_beside_checkpoints(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not parts[0].startswith("ckpt-") and not any(part.startswith(".") for part in parts):
            yield path


def _signature(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _weights_of(state: bytes) -> Any:
    """What a `state.json` says of the weights, by which a checkpoint is the same one."""
    try:
        return json.loads(state)["weights"]
    except (ValueError, KeyError, TypeError):
        return state
