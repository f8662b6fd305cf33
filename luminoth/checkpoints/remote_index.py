"""The form of an index of what can be downloaded, and what is wrong with one that has another form.

    {"format": 1, "checkpoints": [{
        "id": "0123456789ab",                      of the checkpoint that it becomes
        "kind": "torchvision",                     or detectron2: weights of others, converted here; or luminoth: a .tar
        "model": "fasterrcnn_resnet50_fpn",        which published model; not for luminoth
        "url": "https://...", "mirrors": [],       of the file
        "sha256": "258fb6c6",                      or md5: its beginning; for luminoth the whole SHA-256
        "name": "...", "licence": "...",           one line each
        "alias": "", "description": "", "source": "", "size": bytes, "paper": [], "scores": {}, "data": {}
    }]}

What stands first must be there. Fields that are not named here mean nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from luminoth import __version__
from luminoth.checkpoints.convert.published import PUBLISHED, PublishedModel
from luminoth.checkpoints.downloading import Checksum
from luminoth.checkpoints.entry import Entry, Status
from luminoth.checkpoints.naming import check_fields
from luminoth.errors import CheckpointError

LUMINOTH = "luminoth"

_FORMAT = 1
_ID = re.compile(r"[0-9a-f]{12}")
_KINDS = (LUMINOTH, *sorted({model.family for model in PUBLISHED.values()}))
_DIGESTS = {"sha256": 64, "md5": 32}
_FEWEST_DIGITS = 6  # that a published file's name has of its hash


@dataclass(frozen=True)
class RemoteCheckpoint:
    """One row of the index.

    Attributes:
        id: of the checkpoint that it becomes.
        kind: `luminoth`, or the library whose weights are converted.
        model: the published model that it is; empty for `luminoth`.
        addresses: of the file, the first one first.
        checksum: of the file.
        size: of the file in bytes, or thereabouts; 0: not known.
        name, alias, description, source, licence, paper, scores, data: see `metadata.py`.
    """

    id: str
    kind: str
    model: str
    addresses: tuple[str, ...]
    checksum: Checksum
    name: str
    licence: str
    alias: str = ""
    description: str = ""
    source: str = ""
    size: int = 0
    paper: tuple[str, ...] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def file_name(self) -> str:
        """Of the file that is fetched, without anything that could lead out of a folder."""
        return re.sub(r"[^\w.-]", "_", self.addresses[0].partition("?")[0].rpartition("/")[2]).lstrip(".") or self.id

    @property
    def called(self) -> str:
        """What a user types."""
        return self.alias or self.id

    @property
    def needs_conversion(self) -> bool:
        """Whether it is weights of others, and not a checkpoint of Luminoth's own."""
        return self.kind != LUMINOTH

    def is_called(self, name: str) -> bool:
        return name in {self.id, self.alias, self.model} - {""}

    def entry(self) -> Entry:
        return Entry(
            id=self.id,
            name=self.name,
            alias=self.alias,
            description=self.description,
            source=self.source or self.addresses[0],
            licence=self.licence,
            model=self.model,
            paper=self.paper,
            scores=self.scores,
            data=self.data,
            status=Status.NOT_DOWNLOADED,
            bytes=self.size,
            url=self.addresses[0],
        )


def read_index(path: Path, where: str | None = None) -> tuple[list[RemoteCheckpoint], list[str]]:
    """The checkpoints of an index, and what this version cannot use, a line each.

    Args:
        path: of the file.
        where: how messages name it; None: by its path.

    Raises:
        CheckpointError: it is no index, of a newer format, or a field is wrong; names the field.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{where or path}: is no index of checkpoints ({error})") from error
    return parse_index(content, where or str(path))


def parse_index(content: Any, where: str) -> tuple[list[RemoteCheckpoint], list[str]]:
    """The same from what the file holds; `where` is named in messages."""
    index = _Fields(content, where, "")
    version = index.number("format", required=True)
    if version > _FORMAT:
        raise CheckpointError(
            f"{where}: an index of format {version}; this is Luminoth {__version__}, which reads up to format "
            f"{_FORMAT}: update Luminoth"
        )
    found: dict[str, RemoteCheckpoint] = {}
    passed_over = []
    for position, row in enumerate(index.rows("checkpoints")):
        fields = _Fields(row, where, f"checkpoints[{position}].")
        checkpoint = _parse_row(fields)
        if isinstance(checkpoint, str):
            passed_over.append(checkpoint)
        elif checkpoint.id in found:
            raise fields.wrong("id", "another one in the index has it, too")
        else:
            found[checkpoint.id] = checkpoint
    return list(found.values()), passed_over


def index_of(models: Mapping[str, PublishedModel]) -> dict[str, Any]:
    """The index of published models, as it is shipped."""
    rows = [
        {
            "id": model.id,
            "alias": model.alias,
            "name": model.title,
            "kind": model.family,
            "model": model.name,
            "url": model.url,
            model.digest: model.digest_start,
            "size": model.file_size,
            "licence": model.licence,
            "paper": list(model.papers),
            "scores": model.scores,
            "data": {"name": "COCO", "classes": len(model.classes)},
        }
        for model in models.values()
    ]
    return {"format": _FORMAT, "checkpoints": rows}


def _parse_row(fields: _Fields) -> RemoteCheckpoint | str:
    identifier, kind = fields.text("id", required=True), fields.text("kind", required=True)
    if not _ID.fullmatch(identifier):
        raise fields.wrong("id", f"{identifier!r} is not 12 hexadecimal digits, in small letters")
    if kind not in _KINDS:
        return f"{identifier}: of kind `{kind}`, this version knows {', '.join(_KINDS)}"
    model = fields.text("model", required=True) if kind != LUMINOTH else ""
    if model and (model not in PUBLISHED or PUBLISHED[model].family != kind):
        return f"{identifier}: {kind}'s model `{model}`, which this version cannot convert"
    return RemoteCheckpoint(
        id=identifier,
        kind=kind,
        model=model,
        addresses=(fields.address("url"), *fields.addresses("mirrors")),
        checksum=fields.checksum(whole=kind == LUMINOTH),
        name=fields.text("name", required=True),
        licence=fields.text("licence", required=True),
        alias=fields.alias(),
        description=fields.text("description"),
        source=fields.text("source"),
        size=fields.number("size"),
        paper=fields.texts("paper"),
        scores=fields.plain("scores"),
        data=fields.plain("data"),
    )


class _Fields:
    """The fields of one object of an index, each asked for with what it must be; `null` is as good as absent."""

    def __init__(self, content: Any, where: str, prefix: str) -> None:
        self._where, self._prefix = where, prefix
        if not isinstance(content, dict):
            raise CheckpointError(
                f"{where}: {prefix.rstrip('.') or 'it'} is {_shown(content)}, expected an object with fields; is it an "
                "index of checkpoints?"
            )
        self._values = {name: value for name, value in content.items() if value is not None}

    def wrong(self, name: str, why: str) -> CheckpointError:
        return CheckpointError(f"{self._where}: {self._prefix}{name}: {why}")

    def text(self, name: str, *, required: bool = False) -> str:
        value = self._get(name, str, "a text", required, "")
        if not value.isprintable():
            raise self.wrong(name, f"{_shown(value)} is not one line of printable text")
        if required and not value.strip():
            raise self.wrong(name, "is empty")
        return value

    def alias(self) -> str:
        try:
            return check_fields({"alias": self.text("alias")})["alias"]
        except CheckpointError as error:
            raise self.wrong("alias", str(error)) from error

    def number(self, name: str, *, required: bool = False) -> int:
        value = self._get(name, int, "a whole number from 0", required, 0)
        if isinstance(value, bool) or value < 0:
            raise self.wrong(name, f"{_shown(value)}, expected a whole number from 0")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self._get(name, list, "a list of texts", False, [])
        if not all(isinstance(value, str) and value.isprintable() for value in values):
            raise self.wrong(name, f"{_shown(values)}, expected a list of texts")
        return tuple(values)

    def plain(self, name: str) -> dict[str, Any]:
        values = self._get(name, dict, "an object of texts and numbers", False, {})
        if not all(
            isinstance(value, (int, float)) or (isinstance(value, str) and value.isprintable())
            for value in values.values()
        ):
            raise self.wrong(name, f"{_shown(values)}, expected an object of texts and numbers")
        return values

    def rows(self, name: str) -> list[Any]:
        return self._get(name, list, "a list", True, [])

    def address(self, name: str) -> str:
        return self._checked_address(name, self.text(name, required=True))

    def addresses(self, name: str) -> tuple[str, ...]:
        return tuple(self._checked_address(name, address) for address in self.texts(name))

    def checksum(self, *, whole: bool) -> Checksum:
        for digest in ("sha256",) if whole else _DIGESTS:
            if start := self.text(digest).lower():
                fewest, most = _DIGESTS[digest] if whole else _FEWEST_DIGITS, _DIGESTS[digest]
                if not re.fullmatch(rf"[0-9a-f]{{{fewest},{most}}}", start):
                    digits = f"{most}" if whole else f"{fewest} to {most}"
                    raise self.wrong(digest, f"{_shown(start)} is not {digits} hexadecimal digits")
                return Checksum(digest, start)
        raise self.wrong("sha256", "is missing: nothing is downloaded that cannot be verified")

    def _checked_address(self, name: str, address: str) -> str:
        if not re.match(r"https?://[^/\s]", address):
            raise self.wrong(name, f"{_shown(address)} is not an address of http or https")
        return address

    def _get(self, name: str, kind: type, expected: str, required: bool, default: Any) -> Any:
        if name not in self._values:
            if required:
                raise self.wrong(name, f"is missing, expected {expected}")
            return default
        if not isinstance(self._values[name], kind):
            raise self.wrong(name, f"{_shown(self._values[name])}, expected {expected}")
        return self._values[name]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
