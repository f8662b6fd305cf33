"""The score thresholds that an evaluation found best, class by class."""

from __future__ import annotations

import json
import os
from pathlib import Path

from luminoth.errors import ConfigError


def read_thresholds(path: str | os.PathLike) -> dict[str, float]:
    """{class name: the threshold with the best F1} from an evaluation's JSON, `eval/<split>-<step>.json` of a run.

    Classes for which no threshold could be found, because the split shows none, are left out.

    Raises:
        ConfigError: there is no such file, or it is not of an evaluation.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    thresholds = content.get("thresholds") if isinstance(content, dict) else None
    if not isinstance(thresholds, dict):
        raise ConfigError(
            f"{path}: holds no `thresholds`; accepted: the JSON that `lumi eval` writes, eval/<split>-<step>.json in a "
            "run's folder"
        )
    found = {}
    for name, entry in thresholds.items():
        threshold = entry.get("threshold") if isinstance(entry, dict) else entry
        if threshold is None:
            continue
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
            raise ConfigError(f"{path}: the threshold of {name!r} is {threshold!r}; accepted: a number from 0 to 1")
        found[name] = float(threshold)
    return found
