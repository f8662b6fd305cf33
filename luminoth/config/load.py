"""Reading configuration files: defaults, files left to right, `-o` overrides; and writing them back.

config = load_config(["base.yml", "mine.yml"], ["train.batch_size=2"])
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from luminoth.config.merge import leaves, map_leaves, merge
from luminoth.config.overrides import apply_overrides
from luminoth.config.problems import as_config_error, describe_problems
from luminoth.config.rules import WHOLE_SECTIONS, add_followers, drop_empty_sections, drop_without_effect, rename
from luminoth.config.schema import Config
from luminoth.config.yaml_text import DEFAULT, Stated, read_yaml, write_yaml
from luminoth.errors import ConfigError
from luminoth.storage import is_address, read_bytes

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResolvedConfig:
    """A configuration and where it comes from.

    Attributes:
        config: the configuration.
        sources: dotted key of each value (lists are one value) -> "default", the file as it was named, or "-o".
        warnings: what was accepted but has no effect; one line each.
    """

    config: Config
    sources: dict[str, str]
    warnings: list[str] = field(default_factory=list)


def load_config(files: Sequence[str | os.PathLike] = (), overrides: Sequence[str] = ()) -> Config:
    """Reads and checks a configuration; see `resolve_config`. Warnings go to the log."""
    resolved = resolve_config(files, overrides)
    for warning in resolved.warnings:
        _log.warning(warning)
    return resolved.config


def resolve_config(
    files: Sequence[str | os.PathLike] = (),
    overrides: Sequence[str] = (),
    *,
    base: Mapping[str, Any] | None = None,
    base_source: str = "base",
) -> ResolvedConfig:
    """Reads and checks a configuration, and says where each value comes from.

    Args:
        files: YAML files, paths or `gs://` addresses; what a later one states goes before an earlier one and the
            defaults.
        overrides: `a.b.c=value` each, going before all files; the value is YAML and may contain `=`.
        base: nested plain values that go before the defaults and after all files.
        base_source: what `base` is called in `sources` and in messages.

    Raises:
        ConfigError: names every problem, with file, line, key, value found and what is accepted.
    """
    tree: dict[str, Any] = map_leaves(_as_dicts(base or {}), lambda value: Stated(value, base_source))
    for name in files:
        tree = merge(tree, _read_file(name), WHOLE_SECTIONS)
    return _check(apply_overrides(tree, overrides))


def config_from_dict(values: Mapping[str, Any], source: str = "configuration") -> Config:
    """A configuration from nested plain values, by the rules of a file; `source` names them in messages.

    Raises:
        ConfigError: as `resolve_config`.
    """
    tree = map_leaves(_as_dicts(values), lambda value: Stated(value, source))
    return _check(merge({}, tree)).config


def dump_config(config: Config) -> str:
    """The whole configuration as YAML, defaults included; loads back to an equal `Config`."""
    return write_yaml(config.model_dump(mode="json"))


def _read_file(name: str | os.PathLike) -> dict[str, Any]:
    source = os.fspath(name)
    try:
        text = read_bytes(source).decode("utf-8-sig") if is_address(source) else Path(name).read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{source}: there is no such configuration file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: is not text in UTF-8 (byte {error.start}); accepted: a YAML file") from error
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}") from error
    return drop_empty_sections(read_yaml(text, source), Config)


def _check(tree: dict[str, Any]) -> ResolvedConfig:
    tree, without_effect = drop_without_effect(rename(tree))
    completed = add_followers(tree)
    values = map_leaves(completed, lambda stated: stated.value)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise as_config_error(describe_problems(error, completed, Config)) from None
    stated = {path: leaf.source for path, leaf in leaves(completed).items()}
    sources = {path: stated.get(path, DEFAULT) for path in leaves(config.model_dump(mode="json"))}
    warnings = [f"no effect on TensorFlow 2, ignored: {', '.join(without_effect)}"] if without_effect else []
    return ResolvedConfig(config, sources, warnings)


def _as_dicts(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: _as_dicts(value) for name, value in values.items()}
    return list(values) if isinstance(values, tuple) else values
