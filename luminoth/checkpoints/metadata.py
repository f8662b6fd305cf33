"""`metadata.json`: what a published checkpoint says of itself.

    format        1
    id            12 hexadecimal digits
    name, alias, description, source, licence
    paper         what to cite, a list of texts
    scores        {"data_set": ..., "AP": 0.467, ...}; figures are fractions of 1
    created       when, ISO 8601 in UTC
    luminoth      the version that published it
    origin        how it came to be here: created, converted, downloaded, imported, embedded
    files         {name: {"sha256": ..., "bytes": ...}}, all but this one
    data          {"name": ..., "classes": how many, "images": how many, "hash": of the records}, what is known of it
    environment   {"luminoth": ..., "tensorflow": ..., ...}, the versions that trained it

Format 0, of development versions, had no `format` and no `files`, and `papers` for `paper`.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from luminoth import __version__
from luminoth.checkpoints.folder import (
    METADATA_FILE,
    hash_files,
    now,
    read_checkpoint_classes,
    read_json,
    read_state,
    write_json,
)
from luminoth.errors import CheckpointError

FORMAT = 1

_TEXTS = ("id", "name", "alias", "description", "source", "licence", "luminoth", "origin")
_LONGEST_TEXT = 2000
_JOINERS = "\u200c\u200d"  # part of words and of emoji; other invisible characters only mislead


def write_metadata(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Writes `metadata.json` beside the other files, which must be as they will stay.

    Args:
        folder: of the checkpoint.
        facts: id, name, alias, ...; format, files, and what the other files tell of data and environment are added.

    Returns:
        What was written.

    Raises:
        CheckpointError: another file cannot be read.
    """
    state = read_state(folder)
    data = state.get("data", {})
    told = {"classes": len(read_checkpoint_classes(folder))}
    told |= {key: data[key] for key in ("images", "hash") if key in data}
    metadata = {
        "created": now(),
        "luminoth": __version__,
        "environment": state.get("versions", {}),
        **facts,
        "data": {**facts.get("data", {}), **told},
        "files": hash_files(folder),
    }
    content = {"format": FORMAT, **_migrated(metadata | {"format": FORMAT})}
    write_json(folder / METADATA_FILE, content)
    return content


def read_metadata(folder: Path) -> dict[str, Any]:
    """A checkpoint's metadata in the present format, with every key; what is not known is empty.

    Raises:
        CheckpointError: it is damaged, or of a version of Luminoth that is newer than this one.
    """
    path = Path(folder) / METADATA_FILE
    return parse_metadata(read_json(path) if path.exists() else {}, folder)


def parse_metadata(content: Any, where: Path | str) -> dict[str, Any]:
    """The same from what `metadata.json` holds; `where` is named in messages.

    Raises:
        CheckpointError: as `read_metadata`.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"{where}: {METADATA_FILE} holds {type(content).__name__}, expected an object")
    version = content.get("format", 0)
    if not isinstance(version, int) or version < 0:
        raise CheckpointError(f"{where}: {METADATA_FILE} is of format {version!r}, expected a number up to {FORMAT}")
    if version > FORMAT:
        raise CheckpointError(
            f"{where}: its {METADATA_FILE} is of format {version}, written by Luminoth "
            f"{_clean(content.get('luminoth')) or '(newer)'}; this is {__version__}, which reads up to format "
            f"{FORMAT}: update Luminoth"
        )
    return {"format": FORMAT, **_migrated(content)}


def is_sealed(metadata: Mapping[str, Any]) -> bool:
    """Whether it has the files' hashes; those of format 0 have none."""
    return bool(metadata["files"])


def _migrated(content: Mapping[str, Any]) -> dict[str, Any]:
    """From any format to the present one, with values of the right types whatever the file held."""
    known = {name: _clean(content.get(name)) for name in _TEXTS}
    papers = content.get("paper", content.get("papers", []))
    known["paper"] = [_clean(each) for each in papers] if isinstance(papers, list) else [_clean(papers)]
    for name in ("scores", "data", "environment"):
        known[name] = _plain(content.get(name))
    known["created"] = _utc(content.get("created"))
    files = content.get("files")
    known["files"] = files if isinstance(files, dict) else {}
    further = {
        name: _clean(value)
        for name, value in content.items()
        if isinstance(name, str) and name not in {*known, "format", "papers"} and isinstance(value, str)
    }
    return {**known, **further}


def _plain(values: Any) -> dict[str, Any]:
    """Texts and finite numbers of a mapping."""
    if not isinstance(values, Mapping):
        return {}
    kept = {}
    for name, value in values.items():
        if isinstance(value, str):
            kept[_clean(name)] = _clean(value)
        elif isinstance(value, (int, float)) and math.isfinite(value):
            kept[_clean(name)] = value
    return kept


def _clean(value: Any) -> str:
    """A text on one line, without characters that steer a terminal: these files come from strangers, too."""
    if not isinstance(value, str):
        return ""
    shown = "".join(
        " " if unicodedata.category(letter).startswith("C") and letter not in _JOINERS else letter
        for letter in value[:_LONGEST_TEXT]
    )
    return " ".join(shown.split())


def _utc(value: Any) -> str:
    """A time in the form in which times can be compared as texts; empty when it is none."""
    try:
        time = datetime.fromisoformat(value)
        return (time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError):
        return ""
