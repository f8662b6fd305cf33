"""Downloading checkpoints: from a row of an index (see downloadable.py) to a checkpoint in the store; and a new index.

`LUMI_REMOTE_URL` names an index of another place, which `refresh_index` keeps.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from luminoth.checkpoints.downloadable import INDEX_FILE, home_folder, remote_checkpoints
from luminoth.checkpoints.downloading import Progress, Say, download_file, held, mirrored
from luminoth.checkpoints.entry import Entry, read_entry
from luminoth.checkpoints.remote_index import RemoteCheckpoint, read_index
from luminoth.checkpoints.store import Store
from luminoth.errors import CheckpointError, OutputError

URL_VARIABLE = "LUMI_REMOTE_URL"

_LARGEST_INDEX = 4_000_000


@dataclass(frozen=True)
class Refreshed:
    """What a new index brought.

    Attributes:
        url: where it came from; empty: there is none but the package's.
        added, removed, changed: ids.
        total: of all that can be downloaded now.
        passed_over: what this version cannot use, a line each.
    """

    url: str
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    total: int
    passed_over: tuple[str, ...]


def refresh_index(say: Say | None = None) -> Refreshed:
    """Fetches the index that `LUMI_REMOTE_URL` names; without it, goes back to the one of the package.

    Args:
        say: see `download_file`.

    Raises:
        DownloadError: it does not come.
        CheckpointError: what comes is no index, or a field of it is wrong; the index is as it was then.
        OutputError: it cannot be written.
    """
    url = os.environ.get(URL_VARIABLE, "").strip()
    before = {each.id: each for each in remote_checkpoints()}
    path = home_folder() / INDEX_FILE
    passed_over: list[str] = []
    if url:
        passed_over = _fetch_index(url, path, say)
    else:
        path.unlink(missing_ok=True)
    after = {each.id: each for each in remote_checkpoints()}
    return Refreshed(
        url=url,
        added=tuple(identifier for identifier in after if identifier not in before),
        removed=tuple(identifier for identifier in before if identifier not in after),
        changed=tuple(
            identifier for identifier in after if after[identifier] != before.get(identifier, after[identifier])
        ),
        total=len(after),
        passed_over=tuple(passed_over),
    )


def download_checkpoint(
    remote: RemoteCheckpoint,
    *,
    keep_file: bool = False,
    progress: Progress | None = None,
    say: Say | None = None,
    on_fetched: Callable[[], None] | None = None,
) -> Entry:
    """Fetches the file of a checkpoint, verifies it, converts it, and puts the result into the store.

    One that is there already stays as it is. What has come stays after an interruption, and the next call goes on
    from there. A second process that wants the same checkpoint waits for the first.

    Args:
        remote: see `find_remote`.
        keep_file: leave the file in `$LUMI_HOME/downloads/<id>/`.
        progress, say: see `download_file`.
        on_fetched: called when the file is there and verified, before the work on it, which needs TensorFlow unless it
            is a checkpoint of Luminoth's own.

    Returns:
        The entry in the store.

    Raises:
        DownloadError: the file does not come, or another one.
        CheckpointError: it is not what the index says it is; nothing is stored then.
        OutputError: it cannot be written.
    """
    path = _downloads() / remote.id / remote.file_name
    say = say or (lambda line: None)
    try:
        with held(
            _downloads() / f"{remote.id}.lock",
            lambda: say(f"Another process is downloading `{remote.called}`; waiting for it"),
        ):
            if entry := stored(remote):
                return entry
            addresses = [*mirrored(remote.addresses[0]), *remote.addresses]
            download_file(addresses, path, checksum=remote.checksum, progress=progress, say=say)
            if on_fetched is not None:
                on_fetched()
            try:
                entry = _install(remote, path)
            except CheckpointError:  # the next time it would be the same
                path.unlink(missing_ok=True)
                raise
            if not keep_file:
                path.unlink(missing_ok=True)
            return entry
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        _remove_if_empty(path.parent, _downloads())


def stored(remote: RemoteCheckpoint) -> Entry | None:
    """The entry of a checkpoint that can be downloaded and is on this machine."""
    found = Store().look_up(remote.id)
    return None if found is None or found.entry.id != remote.id else found.entry


def _fetch_index(url: str, path: Path, say: Say | None) -> list[str]:
    """Puts an index in its place when nothing is wrong with it; returns what this version cannot use of it."""
    fetched = _downloads() / INDEX_FILE
    try:
        fetched.unlink(missing_ok=True)  # one that an interrupted refresh left is old
        download_file([url], fetched, most=_LARGEST_INDEX, say=say)
        _, passed_over = read_index(fetched, url)
        fetched.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            fetched.unlink(missing_ok=True)
        _remove_if_empty(_downloads())
    return passed_over


def _install(remote: RemoteCheckpoint, path: Path) -> Entry:
    facts = {"id": remote.id, "name": remote.name, "licence": remote.licence, "url": remote.addresses[0]}
    further = {"alias": remote.alias, "description": remote.description, "source": remote.source}
    facts |= {"origin": "downloaded"} | {name: value for name, value in further.items() if value}
    if not remote.needs_conversion:
        from luminoth.checkpoints.archive import import_checkpoint

        return import_checkpoint(path, facts=facts).entry
    from luminoth.checkpoints.convert.converter import convert_source, read_source

    facts |= {"paper": list(remote.paper), "scores": dict(remote.scores)}
    facts.setdefault("source", remote.addresses[0])
    folder, _ = convert_source(read_source(path, remote.model), facts=facts)
    return read_entry(folder)


def _downloads() -> Path:
    return home_folder() / "downloads"


def _remove_if_empty(*folders: Path) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
