"""Runs in a bucket: their checkpoints are read and written in a copy of the run's folder on this disk.

    folder = at_hand("gs://my-bucket/jobs/first")     a folder of this disk with the run's checkpoints
    upload_changes(folder)                            brings what is new in it to the bucket

Cloud Storage knows neither renames nor appends, but a single file appears as a whole or not at all, and who lists or
reads afterwards sees it. So a checkpoint is whole in the bucket from the moment its `state.json` is there, which is
written after all else and removed before all else; it holds the weights' checksum, by which training knows a checkpoint
that is damaged all the same. What is in the bucket without a `state.json` is the rest of an upload that was cut short.
Nothing is removed from the bucket but what was named to `will_remove`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
    ChangedError,
    download,
    exists,
    join,
    keep_copy,
    list_names,
    local_root,
    name_of,
    parent_of,
    read_bytes,
    remove,
    stands_for,
    stat_all,
    upload,
)

_log = logging.getLogger(__name__)

_CHECKPOINT = re.compile(r"ckpt-(\d+)")
# Of a run, besides its checkpoints: what other commands read. Curves and reports stay in the bucket.
_OF_RUN = (CONFIG_FILE, CLASSES_FILE)
_OF_CHECKPOINT = (WEIGHTS_FILE, CONFIG_FILE, CLASSES_FILE, METADATA_FILE, STATE_FILE)
_EVALUATIONS = "eval"
_CURVES = "metrics.jsonl"  # training goes on with it
_PROBE = ".writable"


def at_hand(address: str) -> Path:
    """A folder of this disk with what there is of a run at an address, the same one at each call.

    Raises:
        CheckpointError: the bucket cannot be read, or there is no room.
    """
    copy = _copy_at(address)
    if not copy.is_complete:
        copy.refresh()
    return copy.folder


def checkpoint_at_hand(address: str) -> Path | None:
    """The folder of a checkpoint at an address, of the newest one of a run there, or None: there is neither.

    Raises:
        CheckpointError: as `at_hand`.
    """
    address = address.rstrip("/")
    if _CHECKPOINT.fullmatch(name_of(address)):
        return _copy_at(parent_of(address)).checkpoint(name_of(address))
    copy = _copy_at(address)
    return copy.published() or copy.newest_checkpoint()


def refresh(folder: Path) -> None:
    """Brings what is new at the address of a run into its folder here; nothing where it is not in a bucket.

    Raises:
        CheckpointError: as `at_hand`.
    """
    if copy := _copy_of(folder):
        copy.refresh()


def upload_changes(folder: Path | None) -> None:
    """Brings what is new in the folder of a run to its address; nothing where it is not in a bucket.

    Raises:
        OutputError: it cannot be written there. It stays on this disk, also after the end of this process unless a
            later call succeeds.
    """
    if folder is not None and (copy := _copy_of(folder)):
        copy.upload_changes()


def will_remove(checkpoints: Iterable[Path]) -> None:
    """Notes that checkpoints, which are not here any more, are to be removed by the next `upload_changes`, too."""
    for folder in checkpoints:
        if copy := _copy_of(folder):
            copy.to_remove.add(folder.name)


def take_over(folder: Path) -> None:
    """Makes sure that the address of a run can be written to, brings what training goes on with, and removes what is
    left there of uploads that were cut short. Only for the process that trains this run.

    Raises:
        CheckpointError: as `at_hand`.
        OutputError: it cannot be written to.
    """
    if copy := _copy_of(folder):
        copy.take_over()


def address_of(path: Path) -> str:
    """The address of a file or folder of a run in a bucket; of others the path."""
    copy = _copy_of(path)
    return copy.address_of(path) if copy else str(path)


def is_copy(folder: Path) -> bool:
    """Whether a folder is a copy of what is in a bucket."""
    return _copy_of(folder) is not None


class _Copy:
    """A run's folder in a bucket, and what of it is here.

    Attributes:
        address: in the bucket.
        folder: here.
        is_complete: whether all checkpoints were brought here at some time.
        to_remove: names of checkpoints that shall not be in the bucket any more.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self.is_complete = False
        self.to_remove: set[str] = set()
        self._same: dict[Path, tuple[int, int]] = {}  # the files that are in the bucket as they are here
        self._is_behind = False

    def address_of(self, path: Path) -> str:
        relative = path.relative_to(self.folder).as_posix()
        return self.address if relative == "." else join(self.address, relative)

    # --- From the bucket: all of these raise CheckpointError -----------------------------------

    def refresh(self) -> None:
        with _reading(self.address):
            self.folder.mkdir(parents=True, exist_ok=True)
            names = list_names(self.address)
            there = {name for name in _checkpoints_among(names) if self._fetch_checkpoint(name)}
            for folder in self.folder.glob("ckpt-*"):
                if folder.name not in there and folder / STATE_FILE in self._same:  # training has removed it
                    self._forget(folder)
                    shutil.rmtree(folder, ignore_errors=True)
            evaluations = list_names(join(self.address, _EVALUATIONS)) if f"{_EVALUATIONS}/" in names else []
            results = [f"{_EVALUATIONS}/{name}" for name in evaluations if name.endswith(".json")]
            self._fetch([*(name for name in _OF_RUN if name in names), *results])
            self.is_complete = True

    def checkpoint(self, name: str) -> Path | None:
        """One checkpoint alone."""
        with _reading(self.address):
            return self.folder / name if self._fetch_checkpoint(name) else None

    def newest_checkpoint(self) -> Path | None:
        """The newest one alone."""
        with _reading(self.address):
            names = reversed(_checkpoints_among(list_names(self.address)))
            return next((self.folder / name for name in names if self._fetch_checkpoint(name)), None)

    def published(self) -> Path | None:
        """What stands at the address itself, if that is a checkpoint."""
        with _reading(self.address):
            if not exists(join(self.address, STATE_FILE)):
                return None
            names = list_names(self.address)
            self._fetch([name for name in _OF_CHECKPOINT if name in names])
            return self.folder if WEIGHTS_FILE in names else None

    def _fetch_checkpoint(self, name: str) -> bool:
        """Brings one checkpoint here, or what has changed of it; False where there is none, or no longer."""
        address, folder = join(self.address, name), self.folder / name
        beside = self.folder / f"{UNFINISHED_PREFIX}{name}.fetched"
        try:
            state = read_bytes(join(address, STATE_FILE))
            if is_checkpoint(folder) and _weights_of(state) == _weights_of((folder / STATE_FILE).read_bytes()):
                self._take(folder / STATE_FILE, state)
                return True
            shutil.rmtree(beside, ignore_errors=True)
            files = [each for each in list_names(address) if each in _OF_CHECKPOINT and each != STATE_FILE]
            download({join(address, each): beside / each for each in files}, address)
            if WEIGHTS_FILE not in files or _weights_of(read_bytes(join(address, STATE_FILE))) != _weights_of(state):
                raise ChangedError("is being written or removed", address)
        except (FileNotFoundError, ChangedError):
            # Left by an upload that was cut short, or written or removed by a training in this moment.
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
        paths = {join(self.address, name): self.folder / name for name in names}
        there = stat_all([address for address, path in paths.items() if path.is_file()])
        wanted = {
            address: path
            for address, path in paths.items()
            if address not in there or tuple(there[address]) != _signature(path)
        }
        download(wanted, self.address)
        for path in wanted.values():
            self._same[path] = _signature(path)

    # --- To the bucket: all of these raise OutputError -----------------------------------------

    def upload_changes(self) -> None:
        self._is_behind = True
        try:
            for folder in sorted(self.folder.glob("ckpt-*")):
                if (folder / STATE_FILE).is_file():
                    self._upload_checkpoint(folder)
            for path in _files_beside_checkpoints(self.folder):
                self._upload_file(path)
            for name in sorted(self.to_remove):
                self._remove_checkpoint(name)
                self.to_remove.discard(name)
        except OSError as error:
            raise OutputError(
                f"{error.filename or self.address}: cannot be written ({error.strerror}); it stays on this disk"
            ) from error
        self._is_behind = False

    def _upload_checkpoint(self, folder: Path) -> None:
        self.to_remove.discard(folder.name)
        state = folder / STATE_FILE
        files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
        changed = [path for path in files if path != state and self._has_changed(path)]
        if changed:
            if self._same.pop(state, None):
                remove(self.address_of(state))
            for path in changed:
                self._upload_file(path)
        self._upload_file(state)

    def _upload_file(self, path: Path) -> None:
        if self._has_changed(path):
            before = _signature(path)  # curves may grow meanwhile
            upload(path, self.address_of(path))
            self._same[path] = before

    def _has_changed(self, path: Path) -> bool:
        return self._same.get(path) != _signature(path)

    def _remove_checkpoint(self, name: str) -> None:
        address = join(self.address, name)
        remove(join(address, STATE_FILE))
        for each in list_names(address):
            remove(join(address, each))
        self._forget(self.folder / name)

    def take_over(self) -> None:
        try:
            (self.folder / _PROBE).touch()
            upload(self.folder / _PROBE, join(self.address, _PROBE))
            remove(join(self.address, _PROBE))
            names = list_names(self.address)
            for name in _checkpoints_among(names):
                if not exists(join(self.address, name, STATE_FILE)):
                    self._remove_checkpoint(name)
        except OSError as error:
            raise OutputError(
                f"{self.address}: the run's folder cannot be written ({error.strerror}); see train.job_dir"
            ) from error
        with _reading(self.address):
            self._fetch([name for name in names if name == _CURVES])

    def _forget(self, folder: Path) -> None:
        self._same = {path: same for path, same in self._same.items() if folder not in path.parents}

    def may_go(self) -> bool:
        """Whether the bucket has all that is here."""
        if self._is_behind:
            _log.warning("%s stays on this disk: not all of it could be brought to %s", self.folder, self.address)
        return not self._is_behind


_copies: dict[str, _Copy] = {}


def _copy_at(address: str) -> _Copy:
    address = address.rstrip("/")
    if address not in _copies:
        folder = local_root() / "runs" / hashlib.sha256(address.encode()).hexdigest()[:16] / name_of(address)
        copy = _copies[address] = _Copy(address, folder)
        stands_for(folder, address)
        keep_copy(folder, unless=copy.may_go)
    return _copies[address]


def _copy_of(path: Path) -> _Copy | None:
    """The copy that a file or folder belongs to."""
    return next((copy for copy in _copies.values() if path == copy.folder or copy.folder in path.parents), None)


@contextmanager
def _reading(address: str) -> Iterator[None]:
    """Turns what Cloud Storage refuses into a CheckpointError."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"{error.filename or address}: cannot be copied ({error.strerror})") from error


def _checkpoints_among(names: Iterable[str]) -> list[str]:
    """The names of checkpoints, by step."""
    found = [match for name in names if (match := _CHECKPOINT.fullmatch(name.rstrip("/")))]
    return [match.group() for match in sorted(found, key=lambda match: int(match.group(1)))]


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
