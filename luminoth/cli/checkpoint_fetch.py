"""How commands come to a checkpoint that is not on this machine: asking, showing how it comes, preparing TensorFlow."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luminoth.cli.bucket_files import show_copies
from luminoth.cli.checkpoint_options import say_choice
from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import Progress, say
from luminoth.errors import CheckpointError

if TYPE_CHECKING:
    from luminoth.checkpoints.entry import Entry
    from luminoth.checkpoints.remote_index import RemoteCheckpoint

_MB = 1_000_000


def chosen_checkpoint(name: str, *, yes: bool, offline: bool) -> Path:
    """The folder of a checkpoint that a user named; one that can be downloaded is, if the user agrees.

    Args:
        name: an id or alias, or the folder of a checkpoint or of a run.
        yes: the user agrees.
        offline: nothing is fetched.

    Raises:
        CheckpointError: there is none of that name, or it is not here and not fetched; says what to do.
    """
    from luminoth.checkpoints.downloadable import find_remote, not_here
    from luminoth.checkpoints.store import Store, find_checkpoint
    from luminoth.storage import is_address
    from luminoth.web import is_offline

    if is_address(name):
        show_copies()
    if os.sep not in name and (found := Store().look_up(name)):
        return say_choice(name, found).folder
    try:
        return find_checkpoint(name)
    except CheckpointError:
        remote = find_remote(name)
        if remote is None:
            raise
    if offline or is_offline():
        why = "--offline" if offline else "LUMI_OFFLINE"
        raise CheckpointError(f"{not_here(remote)}, which {why} forbids here")
    if not yes:
        if not _is_terminal():
            raise CheckpointError(f"{not_here(remote)}; with --yes this command does it by itself")
        if not click.confirm(f"{_describe(remote)} is not on this machine. Download it?", err=True):
            raise CheckpointError(f"{not_here(remote)}; `lumi checkpoint list` shows what there is")
    return download(remote).folder


def download(remote: RemoteCheckpoint, *, keep_file: bool = False) -> Entry:
    """Downloads a checkpoint with a progress bar; see `download_checkpoint`."""
    from luminoth.checkpoints.remote import download_checkpoint

    bar = _Bytes(f"Downloading {remote.called}")

    def on_fetched() -> None:
        bar.close()
        if remote.needs_conversion:
            say(f"Converting {remote.file_name}")
            load_tensorflow()

    try:
        return download_checkpoint(remote, keep_file=keep_file, progress=bar.show, say=bar.say, on_fetched=on_fetched)
    finally:
        bar.close()


def _is_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _describe(remote: RemoteCheckpoint) -> str:
    """`accurate` (Faster R-CNN ..., 175 MB, licence: ...)."""
    from luminoth.checkpoints.downloading import readable_size

    size = [readable_size(remote.size)] if remote.size else []
    return f"`{remote.called}` ({', '.join([remote.name, *size, f'licence: {remote.licence}'])})"


class _Bytes:
    """A progress bar in MB, which begins with the first byte."""

    def __init__(self, label: str) -> None:
        self._label, self._bar, self._done = label, None, 0

    def show(self, done: int, total: int | None) -> None:
        """Shows that `done` bytes are there; fewer than before when it had to begin anew."""
        if self._bar is None:
            self._done = done
            self._bar = Progress(self._label, total and -(-total // _MB), "MB", done=done / _MB)
        self._bar.advance((done - self._done) / _MB)
        self._done = done

    def say(self, line: str) -> None:
        if self._bar is None:
            say(line)
        else:
            self._bar.say(line)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
