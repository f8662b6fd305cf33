"""Copies of a bucket's files on this disk, for as long as this process runs."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

from luminoth.storage.objects import Stat, read_blocks, stat

# What is copied and its bytes -> a block in which the bytes that came are told.
OnCopy = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

_FILES_AT_ONCE = 8
_SPARED = 1 << 28  # bytes that stay free on the disk


class ChangedError(OSError):
    """A file is not what it was when it was looked at."""

    def __init__(self, what: str, address: str) -> None:
        super().__init__(errno.EIO, what, address)


# --- Where copies are -----------------------------------------------------------------------------------------

_addresses: dict[str, str] = {}  # folder here -> address
_kept: dict[Path, Callable[[], bool]] = {}


@cache
def local_root() -> Path:
    """A folder of this process for copies; it is removed when the process ends, but for what `keep_copy` keeps."""
    root = Path(tempfile.mkdtemp(prefix="lumi-bucket-"))
    owner = os.getpid()

    def clean_up() -> None:
        if os.getpid() == owner:  # a forked process has this function, too
            _remove_all_but(root, [folder for folder, may_go in _kept.items() if not may_go()])

    atexit.register(clean_up)
    return root


def keep_copy(folder: Path, *, unless: Callable[[], bool]) -> None:
    """Leaves a folder below `local_root` on the disk at the end of the process unless `unless` says that it may go."""
    _kept[folder] = unless


def stands_for(folder: Path, address: str) -> None:
    """Notes what a folder is a copy of, for `with_addresses`."""
    _addresses[str(folder)] = address


def with_addresses(text: str) -> str:
    """A text for people: what it says of copies it says of the addresses that they stand for."""
    for folder, address in _addresses.items():
        text = text.replace(folder, address)
    return text


def _remove_all_but(folder: Path, kept: list[Path]) -> None:
    if not any(folder == each or folder in each.parents for each in kept):
        shutil.rmtree(folder, ignore_errors=True)
    elif folder not in kept:
        for path in folder.iterdir():
            _remove_all_but(path, kept)


# --- Copying --------------------------------------------------------------------------------------------------


def _tell_nobody(what: str, size: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda count: None)


_on_copy: OnCopy = _tell_nobody


@contextmanager
def copies_told(on_copy: OnCopy) -> Iterator[None]:
    """Within the block `on_copy` is told of what is copied from buckets, wherever in the program that happens."""
    global _on_copy
    before, _on_copy = _on_copy, on_copy
    try:
        yield
    finally:
        _on_copy = before


def stat_all(addresses: Iterable[str]) -> dict[str, Stat]:
    """Size and time of files, several asked for at once.

    Raises:
        OSError: one is not there, or cannot be seen.
    """
    addresses = list(addresses)
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        return dict(zip(addresses, pool.map(stat, addresses), strict=True))


def download(files: Mapping[str, Path], what: str) -> None:
    """Copies files, several at once; each appears under its name when it is whole, with the time it has there.

    Args:
        files: address -> where to, in folders that exist or can be made.
        what: they are, for whoever watches.

    Raises:
        ChangedError: one was written anew meanwhile.
        OSError: one cannot be read or written, or they do not fit on the disk.
    """
    if not files:
        return
    found = stat_all(files)
    size = sum(each.size for each in found.values())
    _check_room(next(iter(files.values())).parent, size, what)
    stop, lock = threading.Event(), threading.Lock()
    with _on_copy(what, size) as advance, ThreadPoolExecutor(_FILES_AT_ONCE) as pool:

        def came(count: int) -> None:
            with lock:
                advance(count)

        copying = [
            pool.submit(_download_one, address, path, found[address], came, stop) for address, path in files.items()
        ]
        try:
            for each in copying:
                each.result()
        finally:  # after an error or Ctrl-C, the others end at their next piece
            stop.set()
            for each in copying:
                each.cancel()


def _download_one(address: str, path: Path, there: Stat, came: Callable[[int], None], stop: threading.Event) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("wb") as file:
            for block in read_blocks(address):
                if stop.is_set():
                    return
                file.write(block)
                came(len(block))
        if (size := beside.stat().st_size) != there.size:
            raise ChangedError(f"changed while it was read ({size} bytes came, {there.size} were there)", address)
        os.utime(beside, ns=(there.modified, there.modified))
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _check_room(folder: Path, needed: int, what: str) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if needed + _SPARED > free:
        raise OSError(
            errno.ENOSPC,
            f"{needed / 1e9:.1f} GB are to be copied to {tempfile.gettempdir()}, where {free / 1e9:.1f} GB are free; "
            "set TMPDIR to a folder on a larger disk (in Google Cloud --disk-gb makes it larger)",
            what,
        )
