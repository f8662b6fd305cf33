"""What can be downloaded: the rows of an index, and how they are called.

`remote_index.json` comes with the package and lists the published detectors that can be converted. Another one
(`remote_index.py` has the form) may have been fetched to `$LUMI_HOME/remote_index.json`, see remote.py; where both have
a row of one id, that one is right.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from luminoth.checkpoints.downloading import readable_size
from luminoth.checkpoints.entry import Entry
from luminoth.checkpoints.remote_index import RemoteCheckpoint, read_index
from luminoth.errors import CheckpointError

INDEX_FILE = "remote_index.json"
SHIPPED_INDEX = Path(__file__).parent / INDEX_FILE

_log = logging.getLogger(__name__)


def home_folder() -> Path:
    """`$LUMI_HOME`."""
    return Path(os.environ.get("LUMI_HOME") or "~/.luminoth").expanduser()


def remote_checkpoints() -> list[RemoteCheckpoint]:
    """All that can be downloaded: those of the fetched index first, then those of the package.

    A fetched index that cannot be read is left out with a warning: the package's own is enough to work with.
    """
    found = {}
    path = home_folder() / INDEX_FILE
    if path.exists():
        try:
            found = {each.id: each for each in read_index(path)[0]}
        except CheckpointError as error:
            _log.warning("%s; it is left out, `lumi checkpoint refresh` fetches it anew", error)
    for each in read_index(SHIPPED_INDEX)[0]:
        found.setdefault(each.id, each)
    return list(found.values())


def remote_entries() -> list[Entry]:
    """The same as entries that are not on this machine."""
    return [each.entry() for each in remote_checkpoints()]


def find_remote(name: str) -> RemoteCheckpoint | None:
    """What can be downloaded under an id, an alias or the name of a published model; None: nothing."""
    named = [each for each in remote_checkpoints() if each.is_called(name)]
    return next((each for each in named if name in (each.id, each.alias)), named[0] if named else None)


def not_here(remote: RemoteCheckpoint) -> str:
    """What to do about a checkpoint that is not on this machine, in one line."""
    size = f" ({readable_size(remote.size)})" if remote.size else ""
    return (
        f"the checkpoint `{remote.called}` is not on this machine: `lumi checkpoint download {remote.called}` "
        f"fetches {'and converts ' if remote.needs_conversion else ''}it{size}"
    )
