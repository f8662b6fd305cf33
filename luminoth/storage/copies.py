"""Copies of a bucket's files on this disk, for as long as this process runs."""

from __future__ import annotations

import atexit
import errno
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

from luminoth.storage.objects import Stat, read_blocks, stat

# What is copied and its bytes -> a block in which the bytes that came are told.
OnCopy = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

_FILES_AT_ONCE = 8
_SPARED = 1 << 28  # bytes that stay free on the disk


def _tell_nobody(what: str, size: int) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda count: None)


_on_copy: OnCopy = _tell_nobody
_when_done: list[Callable[[], bool]] = []


@contextmanager
def copies_told(on_copy: OnCopy) -> Iterator[None]:
    """Within the block `on_copy` is told of what is copied from buckets, wherever in the program that happens."""
    global _on_copy
    before, _on_copy = _on_copy, on_copy
    try:
        yield
    finally:
        _on_copy = before


@cache
def local_root() -> Path:
    """A folder of this process for copies; it is removed when the process ends, unless `when_done` objects."""
    root = Path(tempfile.mkdtemp(prefix="lumi-bucket-"))
    owner = os.getpid()

    def clean_up() -> None:
        answers = [may_go() for may_go in _when_done]  # all are asked, since each may say something
        if os.getpid() == owner and all(answers):  # a forked process has this function, too
            shutil.rmtree(root, ignore_errors=True)

    atexit.register(clean_up)
    return root


def when_done(may_go: Callable[[], bool]) -> None:
    """Asks `may_go` at the end of the process whether the copies may be removed."""
    _when_done.append(may_go)


def download(files: Mapping[str, Path], what: str) -> dict[str, Stat]:
    """Copies files, several at once; each appears under its name when it is whole, with the time it has there.

    Args:
        files: address -> where to, in folders that exist or can be made.
        what: they are, for whoever watches.

    Returns:
        Size and time of each.

    Raises:
        OSError: one cannot be read or written, or they do not fit on the disk.
    """
    if not files:
        return {}
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        found = dict(zip(files, pool.map(stat, files), strict=True))
        size = sum(each.size for each in found.values())
        _check_room(next(iter(files.values())).parent, size, what)
        with _on_copy(what, size) as advance:
            lock = threading.Lock()

            def told(count: int) -> None:
                with lock:
                    advance(count)

            copying = [
                pool.submit(_download_one, address, path, found[address], told) for address, path in files.items()
            ]
            try:
                for each in copying:
                    each.result()
            finally:
                for each in copying:
                    each.cancel()
    return found


def _download_one(address: str, path: Path, there: Stat, told: Callable[[int], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    try:
        with beside.open("wb") as file:
            for block in read_blocks(address):
                file.write(block)
                told(len(block))
        if (size := beside.stat().st_size) != there.size:
            raise OSError(errno.EIO, f"changed while it was read ({size} bytes came, {there.size} were there)", address)
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
            f"{needed / 1e9:.1f} GB are to be copied to {existing}, where {free / 1e9:.1f} GB are free; set TMPDIR to "
            "a folder on a larger disk (in Google Cloud --disk-gb makes it larger)",
            what,
        )
