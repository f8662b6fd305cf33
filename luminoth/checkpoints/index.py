"""The entries of all checkpoints in a store, with a file that spares reading each of them anew.

The folders say what there is. `index.json` holds what was read from each, with a stamp of the folder; where the
stamp does not fit, or there is no index, the folder is read. So the index may be missing, damaged or old without
anyone noticing, and a crash between a change and its index does no harm.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from luminoth import __version__
from luminoth.checkpoints.entry import Entry, Status, read_entry
from luminoth.checkpoints.folder import METADATA_FILE, is_checkpoint
from luminoth.errors import CheckpointError

INDEX_FILE = "index.json"

_FORMAT = 1


def read_store(folder: Path) -> tuple[list[Entry], dict[str, CheckpointError]]:
    """The entries of the checkpoints in a folder, by id, and what is wrong with those that cannot be read.

    Changes nothing and waits for nobody: a checkpoint that is being deleted meanwhile is in the result or not.
    """
    known = _read_index(folder)
    entries, problems = [], {}
    for path in _checkpoints(folder):
        try:
            stamp = _stamp(path)
            cached = known.get(path.name)
            is_known = cached is not None and cached["stamp"] == stamp
            entries.append(_from_index(cached["entry"], path) if is_known else read_entry(path))
        except OSError:
            continue  # deleted meanwhile
        except CheckpointError as error:
            if path.exists():
                problems[path.name] = error
    return entries, problems


def index_content(folder: Path) -> dict[str, Any]:
    """What `index.json` should hold now; only meaningful while nobody else changes the store."""
    entries, _ = read_store(folder)
    rows = {entry.id: {"stamp": _stamp(entry.folder), "entry": entry.to_dict()} for entry in entries}
    return {"format": _FORMAT, "luminoth": __version__, "checkpoints": rows}


def _checkpoints(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and is_checkpoint(path)]
    except OSError:  # there is no store yet
        return []


def _stamp(folder: Path) -> list[int]:
    """Changes whenever a file comes, goes or is replaced, and when the metadata is edited in place."""
    metadata = folder / METADATA_FILE
    edited = metadata.stat() if metadata.exists() else None
    return [folder.stat().st_mtime_ns, edited.st_mtime_ns if edited else 0, edited.st_size if edited else 0]


def _read_index(folder: Path) -> Mapping[str, Any]:
    try:
        index = json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))
        is_ours = index["format"] == _FORMAT and index["luminoth"] == __version__
        return {name: row for name, row in index["checkpoints"].items() if row["stamp"]} if is_ours else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _from_index(values: Mapping[str, Any], path: Path) -> Entry:
    try:
        entry = Entry(**values)
        return replace(entry, id=path.name, folder=path, status=Status(entry.status), paper=tuple(entry.paper))
    except (TypeError, ValueError):
        return read_entry(path)
