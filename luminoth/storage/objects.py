"""Single files of a bucket, through `tf.io.gfile`; an `OSError` says what Cloud Storage refused, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from luminoth.web import is_offline

_BLOCK = 1 << 24


class Stat(NamedTuple):
    """Attributes: size: bytes. modified: nanoseconds since 1970."""

    size: int
    modified: int


def read_bytes(address: str) -> bytes:
    """The content of a file."""
    return b"".join(read_blocks(address))


def read_blocks(address: str) -> Iterator[bytes]:
    """The same piece by piece."""
    with _explained(address) as gfile, gfile.GFile(address, "rb") as file:
        while block := file.read(_BLOCK):
            yield block


def upload(path: Path, address: str) -> None:
    """Writes a file with the content of one of this machine; nobody ever sees a part of it."""
    # Not through a `GFile`: when an upload has failed, TensorFlow tries it again while it frees that, and all of
    # Python waits.
    with _explained(address) as gfile:
        gfile.copy(os.fspath(path), address, overwrite=True)


def stat(address: str) -> Stat:
    """Size and time of a file."""
    with _explained(address) as gfile:
        found = gfile.stat(address)
        return Stat(found.length, found.mtime_nsec)


def exists(address: str) -> bool:
    """Whether there is such a file."""
    try:
        stat(address)
    except FileNotFoundError:
        return False
    return True


def list_names(address: str) -> list[str]:
    """The names of what is below an address, sorted, those of folders with `/` at the end; [] where nothing is."""
    try:
        with _explained(address) as gfile:
            gfile.stat(address)  # `listdir` and `isdir` take a refusal for a folder that is not there
            return sorted(name for name in gfile.listdir(address) if name.strip("/"))
    except FileNotFoundError:
        return []


def remove(address: str) -> None:
    """Removes a file, if it is there."""
    try:
        with _explained(address) as gfile:
            gfile.remove(address)
    except FileNotFoundError:
        pass


@contextmanager
def _explained(address: str) -> Iterator[Any]:
    """`tf.io.gfile`; its errors become those of Python for files of this machine."""
    if is_offline():
        raise OSError(errno.ENETDOWN, "LUMI_OFFLINE is set, so Cloud Storage is not asked", address)
    import tensorflow as tf

    try:
        yield tf.io.gfile
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "there is no such file, or no such bucket", address) from error
    except (tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError) as error:
        raise PermissionError(
            errno.EACCES,
            f"Cloud Storage refuses: {_reason(error)}; log in with `gcloud auth application-default login`, or give "
            "this account the right on the bucket (roles/storage.objectAdmin writes, roles/storage.objectViewer reads)",
            address,
        ) from error
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, f"Cloud Storage: {_reason(error)}", address) from error


def _reason(error: Any) -> str:
    """Its first line, which TensorFlow gives all it knows in."""
    line = (str(error.message or "").splitlines() or [type(error).__name__])[0]
    return line if len(line) <= 300 else f"{line[:300]}..."
