"""What is known of one checkpoint that can be called by name, here or to be downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from luminoth.checkpoints.folder import (
    CLASSES_FILE,
    CONFIG_FILE,
    METADATA_FILE,
    STATE_FILE,
    WEIGHTS_FILE,
    read_checkpoint_classes,
)
from luminoth.checkpoints.metadata import read_metadata
from luminoth.errors import CheckpointError

FILES = (METADATA_FILE, WEIGHTS_FILE, STATE_FILE, CONFIG_FILE, CLASSES_FILE)


class Status(StrEnum):
    """Where a checkpoint is."""

    LOCAL = "LOCAL"  # created, imported or converted on this machine, or part of the package
    DOWNLOADED = "DOWNLOADED"
    NOT_DOWNLOADED = "NOT_DOWNLOADED"


@dataclass(frozen=True)
class Entry:
    """One checkpoint.

    Attributes:
        id: 12 hexadecimal digits; a folder that was put into the store by hand goes by its own name.
        name, alias, description, source, licence, created, luminoth: see `metadata.py`; empty when not known.
        model: name of the published model whose weights it has; empty for others.
        paper: what to cite.
        scores: {"data_set": ..., "AP": 0.467, ...}, fractions of 1.
        data: {"name", "classes", "images", "hash"}, what is known of what it was trained on.
        environment: the versions that trained it.
        status: see `Status`.
        bytes: of its files; of a remote one, of what is downloaded; 0: not known.
        url: where it comes from or came from; empty for those made here.
        folder: where it is; None: not on this machine.
        is_embedded: whether it is part of the package, which nobody changes.
    """

    id: str
    name: str = ""
    alias: str = ""
    description: str = ""
    source: str = ""
    licence: str = ""
    model: str = ""
    paper: tuple[str, ...] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    luminoth: str = ""
    status: Status = Status.LOCAL
    bytes: int = 0
    url: str = ""
    folder: Path | None = None
    is_embedded: bool = False

    @property
    def is_remote(self) -> bool:
        """Whether it comes from elsewhere; Luminoth's `source` is `remote` then."""
        return self.status is not Status.LOCAL

    @property
    def is_here(self) -> bool:
        """Whether it can be used without the network."""
        return self.folder is not None

    @property
    def average_precision(self) -> float | None:
        """Box AP at IoU 0.5 to 0.95, a fraction of 1; None: not known."""
        value = self.scores.get("AP")
        return float(value) if isinstance(value, (int, float)) else None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        values = asdict(self) | {
            "paper": list(self.paper),
            "status": str(self.status),
            "folder": self.folder and str(self.folder),
        }
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def read_entry(folder: Path, *, is_embedded: bool = False) -> Entry:
    """The entry of a checkpoint's folder.

    Raises:
        CheckpointError: its metadata or its classes cannot be read, or are of a newer version.
    """
    metadata = read_metadata(folder)
    data = dict(metadata["data"])
    if "classes" not in data:
        data["classes"] = len(read_checkpoint_classes(folder))
    return Entry(
        **{
            name: metadata[name]
            for name in ("name", "alias", "description", "source", "licence", "created", "luminoth")
        },
        id=metadata["id"] if is_embedded else folder.name,  # what the store can be asked for, whatever the file says
        model=metadata.get("model", ""),
        paper=tuple(metadata["paper"]),
        scores=metadata["scores"],
        data=data,
        environment=metadata["environment"],
        status=Status.DOWNLOADED if metadata["origin"] == "downloaded" else Status.LOCAL,
        bytes=_size(folder),
        url=metadata.get("url", ""),
        folder=folder,
        is_embedded=is_embedded,
    )


def _size(folder: Path) -> int:
    try:
        return sum((folder / name).stat().st_size for name in FILES if (folder / name).exists())
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be read ({error.strerror or error})") from error
