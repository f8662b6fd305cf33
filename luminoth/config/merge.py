"""How stated values come together: mappings merge, everything else replaces, later goes before earlier.

A tree is nested dicts whose leaves are anything but dicts; the leaves are never looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from luminoth.errors import ConfigError

REPLACE = "_replace"


def merge(base: dict[str, Any], new: dict[str, Any], whole: Container[str] = (), path: str = "") -> dict[str, Any]:
    """`base` with the values of `new` over it; neither is changed.

    A mapping of `new` that says `_replace: true` replaces its counterpart; so do those whose dotted key is in
    `whole`, unless they say `_replace: false`. `_replace` itself is left out.
    """
    merged = {} if _replaces(new, whole, path) else dict(base)
    for name, value in new.items():
        if name == REPLACE:
            continue
        if isinstance(value, dict):
            below = merged.get(name)
            here = f"{path}.{name}" if path else name
            value = merge(below if isinstance(below, dict) else {}, value, whole, here)
        merged[name] = value
    return merged


def _replaces(mapping: dict[str, Any], whole: Container[str], path: str) -> bool:
    stated = mapping.get(REPLACE)
    says = getattr(stated, "value", stated)
    if says is None:
        return path in whole
    if not isinstance(says, bool):
        place = f"{stated.source}: " if hasattr(stated, "source") else ""
        name = f"{path}.{REPLACE}" if path else REPLACE
        raise ConfigError(f"{place}{name} is {says}; accepted: true or false")
    return says


def nest(path: str, value: Any) -> dict[str, Any]:
    """`nest("a.b", 1)` is `{"a": {"b": 1}}`."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return value


def part_at(tree: Any, path: str) -> Any:
    """What stands at a dotted key, a mapping or a leaf; None when nothing does."""
    for name in path.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def leaves(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` is `{"a.b": 1}`; empty mappings have none."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        here = f"{path}.{name}" if path else name
        found |= leaves(value, here) if isinstance(value, dict) else {here: value}
    return found


def map_leaves(tree: Any, change: Callable[[Any], Any]) -> Any:
    """The same tree with every leaf changed by `change`."""
    if isinstance(tree, dict):
        return {name: map_leaves(value, change) for name, value in tree.items()}
    return change(tree)
