"""The checkpoints that can be called by name: those in `$LUMI_HOME/checkpoints/<id>/`, and those in the package.

    entry, others = Store().resolve("traffic")       by id or alias
    folder = find_checkpoint("traffic")              also by the folder of a checkpoint or of a run

Every change is made beside, brought to the disk and renamed; one lock keeps changes apart, and readers need none. What
a writer that was killed has left is hidden, and goes with the next change. Neither TensorFlow nor Keras is imported.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from luminoth.checkpoints.downloadable import find_remote, home_folder, not_here
from luminoth.checkpoints.entry import Entry, Status, read_entry
from luminoth.checkpoints.folder import (
    METADATA_FILE,
    WEIGHTS_FILE,
    bring_to_disk,
    hash_files,
    is_checkpoint,
    sync,
    write_json,
)
from luminoth.checkpoints.in_bucket import checkpoint_at_hand
from luminoth.checkpoints.index import INDEX_FILE, index_content, read_store
from luminoth.checkpoints.metadata import FORMAT, is_sealed, read_metadata
from luminoth.checkpoints.naming import check_fields, is_id
from luminoth.checkpoints.runs import latest_checkpoint
from luminoth.errors import CheckpointError, OutputError
from luminoth.storage import is_address

EMBEDDED_FOLDER = Path(__file__).parent / "embedded"

_LOCK_FILE = ".lock"
_UNFINISHED, _REMOVED, _FILE = ".unfinished-", ".removed-", ".file-"
_LOCK_SECONDS = 60.0  # a change takes some hundredths of a second
_STALE_SECONDS = 24 * 3600.0


class Resolved(NamedTuple):
    """What a name means.

    Attributes:
        entry: the checkpoint of that id or alias; of several, see `choose`.
        others: those that have the same alias and were not taken.
    """

    entry: Entry
    others: list[Entry]


def published_folder() -> Path:
    """Where published checkpoints are kept, each in a folder named by its id: `$LUMI_HOME/checkpoints`."""
    return home_folder() / "checkpoints"


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint that a user named.

    Tried in this order: an id or alias in `$LUMI_HOME/checkpoints` or of a checkpoint in the package, a checkpoint's
    folder, a run's folder (its newest checkpoint). `./name` always means a folder. With a `gs://` address it is a copy,
    see `in_bucket`.

    Raises:
        CheckpointError: there is none of that name; says what there is.
    """
    name = os.fspath(name_or_path)
    store = Store()
    if os.sep not in name and (found := store.look_up(name)):
        return found.entry.folder
    if is_address(name):
        if found := checkpoint_at_hand(name):
            return found
        raise CheckpointError(
            f"{name}: neither a checkpoint nor a run with one is at this address (a file of "
            "another library's weights is read from this machine only)"
        )
    path = Path(name).expanduser()
    if is_checkpoint(path):
        return path
    if latest := latest_checkpoint(path):
        return latest
    raise CheckpointError(_not_found(name, path, store.entries()))


def choose(name: str, entries: Sequence[Entry]) -> Resolved | None:
    """What an id or alias means among some checkpoints; None: nothing.

    An id comes first. Of several with one alias those made here come before those that were downloaded, and those
    before what is still to be downloaded; among equals the newest is taken.
    """
    for entry in entries:
        if entry.id == name:
            return Resolved(entry, [])
    order = [Status.NOT_DOWNLOADED, Status.DOWNLOADED, Status.LOCAL]
    matching = sorted(
        (entry for entry in entries if name and name in (entry.alias, entry.model)),
        key=lambda entry: (order.index(entry.status), entry.created, entry.id),
        reverse=True,
    )
    return Resolved(matching[0], matching[1:]) if matching else None


class Store:
    """The checkpoints of one folder, and those in the package.

    Args:
        folder: where they are kept; None: `$LUMI_HOME/checkpoints`. It is made with the first change.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = published_folder() if folder is None else Path(folder)

    # --- Reading ------------------------------------------------------------------------------------------------

    def entries(self) -> list[Entry]:
        """All of them, the newest first; those that cannot be read are left out, see `problems`."""
        stored, _ = read_store(self.folder)
        return sorted([*stored, *_embedded()], key=lambda entry: (entry.created, entry.id), reverse=True)

    def problems(self) -> dict[str, CheckpointError]:
        """What is wrong with those that cannot be read, by the name of their folder."""
        return read_store(self.folder)[1]

    def look_up(self, name: str) -> Resolved | None:
        """What an id or alias means here; None: nothing.

        Raises:
            CheckpointError: it is the id of one that cannot be read.
        """
        stored, problems = read_store(self.folder)
        if name in problems:
            raise problems[name]
        return choose(name, [*stored, *_embedded()])

    def resolve(self, name: str) -> Resolved:
        """What an id or alias means here.

        Raises:
            CheckpointError: nothing; says what there is.
        """
        found = self.look_up(name)
        if found is None:
            raise CheckpointError(_not_found(name, None, self.entries()))
        return found

    # --- Changing -----------------------------------------------------------------------------------------------

    @contextmanager
    def adding(self, checkpoint_id: str) -> Iterator[Path]:
        """Yields a hidden folder to write a checkpoint's files into; at the end of the block it is in the store.

        An error in the block leaves nothing.

        Args:
            checkpoint_id: see `is_id`.

        Raises:
            OutputError: there is one of that id, or the store cannot be written.
        """
        if not is_id(checkpoint_id):
            raise OutputError(f"{checkpoint_id!r} cannot be the id of a checkpoint: letters and digits, at most 64")
        self.refuse_existing(checkpoint_id)
        hidden, held = None, None
        try:
            with self._changing():
                hidden = self.folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
                hidden.mkdir()
                held = _hold(hidden)
            yield hidden
            bring_to_disk(hidden)
            with self._changing():
                self.refuse_existing(checkpoint_id)
                hidden.rename(self.folder / checkpoint_id)
                sync(self.folder)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        finally:
            if held is not None:
                os.close(held)
            if hidden is not None:
                shutil.rmtree(hidden, ignore_errors=True)

    def refuse_existing(self, checkpoint_id: str) -> None:
        """Raises OutputError when there is a checkpoint, or whatever, of that id; asked before the long work."""
        if os.path.lexists(self.folder / checkpoint_id) or any(entry.id == checkpoint_id for entry in _embedded()):
            raise OutputError(
                f"{self.folder / checkpoint_id}: exists already; to have it anew, delete it first with "
                f"`lumi checkpoint delete {checkpoint_id}`"
            )

    def edit(self, name: str, fields: Mapping[str, str]) -> Entry:
        """Changes what a checkpoint says of itself; its weights and the rest stay.

        Args:
            name: id or alias.
            fields: see `check_fields`.

        Returns:
            The entry as it is now.

        Raises:
            CheckpointError: there is none of that name, it belongs to the package, or a field cannot be set.
            OutputError: it cannot be written.
        """
        facts = check_fields(fields)
        entry = self._own(self.resolve(name).entry, "changed")
        try:
            with self._changing():
                metadata = read_metadata(entry.folder)
                metadata |= {**facts, "data": {**metadata["data"], **facts.get("data", {})}}
                if not is_sealed(metadata):  # of format 0: the new one has the files' hashes
                    metadata |= {"id": entry.id, "files": hash_files(entry.folder)}
                self._write(entry.folder / METADATA_FILE, metadata | {"format": FORMAT})
        except OSError as error:
            raise _cannot_write(entry.folder, error) from error
        return read_entry(entry.folder)

    def delete(self, name: str) -> Entry:
        """Removes a checkpoint from the store.

        Args:
            name: its id, or an alias that no other has.

        Returns:
            The entry it had.

        Raises:
            CheckpointError: there is none of that name or more than one, or it belongs to the package.
            OutputError: it cannot be removed.
        """
        entry = self.removable(name)
        place = self.folder / entry.id
        hidden = self.folder / f"{_REMOVED}{secrets.token_hex(8)}"
        try:
            with self._changing():
                place.rename(hidden)  # the entry itself: of a link the link, not where it leads
                sync(self.folder)
        except FileNotFoundError as error:
            raise CheckpointError(f"{place}: another process has deleted it meanwhile") from error
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        _discard(hidden)
        return entry

    def removable(self, name: str) -> Entry:
        """What `delete` would remove, with the same errors; to ask about it first."""
        found = self.resolve(name)
        own = [entry for entry in (found.entry, *found.others) if not entry.is_embedded]
        if len(own) > 1:
            raise CheckpointError(
                f"`{name}` is the alias of {len(own)} checkpoints; delete one by its id: "
                f"{', '.join(each.id for each in own)}"
            )
        return self._own(own[0] if own else found.entry, "deleted")

    def _own(self, entry: Entry, what: str) -> Entry:
        if entry.is_embedded:
            raise CheckpointError(f"`{entry.alias}` is part of the package and cannot be {what}")
        return entry

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Keeps other processes' changes out, and sees to leftovers before and to the index after the block."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = _wait_for(self.folder / _LOCK_FILE)
        try:
            self._clear_leftovers()
            yield
            self._write(self.folder / INDEX_FILE, index_content(self.folder))
        finally:
            os.close(lock)

    def _clear_leftovers(self) -> None:
        for path in self.folder.glob(".*-*"):
            if path.name.startswith(_UNFINISHED):
                if _is_abandoned(path):
                    _discard(path)
            elif path.name.startswith((_REMOVED, _FILE)):
                _discard(path)

    def _write(self, path: Path, content: Any) -> None:
        """Replaces a JSON file in one step; only while changing."""
        beside = self.folder / f"{_FILE}{secrets.token_hex(8)}"
        write_json(beside, content)
        sync(beside)
        beside.replace(path)
        sync(path.parent)


# --- Details ------------------------------------------------------------------------------------------------


def _embedded() -> list[Entry]:
    return [read_entry(path, is_embedded=True) for path in sorted(EMBEDDED_FOLDER.glob("*")) if is_checkpoint(path)]


def _not_found(name: str, path: Path | None, entries: Sequence[Entry]) -> str:
    names = [entry.alias or entry.id for entry in entries]
    available = f"available: {', '.join(dict.fromkeys(names))}" if names else "none is installed"
    if remote := find_remote(name):
        return f"{not_here(remote)}; {available}, or give the folder of a run or of a checkpoint"
    if path is None:
        return f"no checkpoint has the id or alias `{name}`; {available}"
    if path.is_dir():
        return f"{path} holds no checkpoint: looked for {WEIGHTS_FILE} in it and in ckpt-<step>; {available}"
    return f"no checkpoint `{name}`: neither a folder nor a known name; {available}"


def _cannot_write(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder}: the store of checkpoints cannot be changed ({error.strerror or error}); free space, allow writing "
        "there, or keep checkpoints elsewhere with LUMI_HOME"
    )


def _discard(path: Path) -> None:
    """Deletes a file, a link or a folder; links in it are deleted, not followed."""
    if path.is_symlink() or not path.is_dir():
        with suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _wait_for(path: Path) -> int:
    """Holds the lock of the store, waiting until others let go; the system frees it however a program ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    deadline = time.monotonic() + _LOCK_SECONDS
    while not _take(descriptor):
        if time.monotonic() > deadline:
            os.close(descriptor)
            raise OutputError(
                f"{path}: another process has been changing the store for {_LOCK_SECONDS:.0f} s; wait for it or stop it"
            )
        time.sleep(0.02)
    return descriptor


def _take(descriptor: int) -> bool:
    """Locks an open file or folder; False: somebody else has it."""
    try:
        import fcntl
    except ImportError:  # Windows: renames alone keep changes apart there
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _hold(folder: Path) -> int | None:
    """Marks a hidden folder as being written by a living process."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return None
    _take(descriptor)
    return descriptor


def _is_abandoned(folder: Path) -> bool:
    """Whether the process that wrote it has ended, as far as the system can tell."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return time.time() - folder.stat().st_mtime > _STALE_SECONDS
    return True
