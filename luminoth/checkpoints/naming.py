"""What checkpoints are called: ids, aliases, and the other fields that a user may state."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

from luminoth.errors import CheckpointError

EDITABLE = ("name", "alias", "description", "source", "licence")
_RESERVED_ALIASES = ("best", "last")  # what `lumi eval --checkpoint` means by them
_ALIAS = re.compile(r"[^\W_][\w.+-]*")
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
_OWN_ID = re.compile(r"[0-9a-f]{12}")


def new_id() -> str:
    """An id that nobody has: 12 hexadecimal digits."""
    return secrets.token_hex(6)


def is_id(text: str) -> bool:
    """Whether a text may be the id of a checkpoint, and so the name of a folder in the store and of nothing else."""
    return _ID.fullmatch(text) is not None


def check_fields(fields: Mapping[str, str]) -> dict[str, Any]:
    """Facts for `metadata.json` from what a user states as `field=value`.

    Args:
        fields: any of `EDITABLE`, and `dataset.name`, as Luminoth has it.

    Raises:
        CheckpointError: a field is not known or cannot be stated, or the alias could not be used as one.
    """
    facts: dict[str, Any] = {}
    for field, value in fields.items():
        if field in EDITABLE:
            facts[field] = value.strip()
        elif field == "dataset.name":
            facts["data"] = {"name": value.strip()}
        elif field == "dataset.num_classes":
            raise CheckpointError("dataset.num_classes: is counted from the checkpoint's classes; leave it out")
        else:
            accepted = ", ".join((*EDITABLE, "dataset.name"))
            raise CheckpointError(f"{field}: no field that can be set; there are: {accepted}")
    alias = facts.get("alias", "")
    if alias and (not _ALIAS.fullmatch(alias) or alias in _RESERVED_ALIASES or _OWN_ID.fullmatch(alias)):
        raise CheckpointError(
            f"alias={alias}: an alias is one word of letters, digits, `_`, `.`, `+` and `-` that begins with a letter "
            f"or digit, not `best` or `last`, and not 12 hexadecimal digits as ids are"
        )
    return facts
