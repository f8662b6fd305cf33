"""`-o a.b.c=value`: single values set from the command line, after all files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from luminoth.config.fields import sections_of
from luminoth.config.merge import map_leaves, merge, nest, part_at
from luminoth.config.rules import WHOLE_SECTIONS
from luminoth.config.schema import Config
from luminoth.config.yaml_text import DEFAULT, OVERRIDE, Stated, read_value
from luminoth.errors import ConfigError


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """What the files state with the overrides over it.

    Files replace `learning_rate` and the like as a whole; an override of one key inside leaves the others as
    they are, unless it changes the kind: `-o train.optimizer.type=adam` drops settings adam does not know.

    Raises:
        ConfigError: an override has no `=`, no key, or a value that is not YAML.
    """
    files = tree
    for override in overrides:
        path, value = _parse(override)
        within = next((section for section in WHOLE_SECTIONS if path.startswith(f"{section}.")), None)
        if within is not None and part_at(tree, within) is None:
            tree = merge(tree, nest(within, _default_section(within)))
        whole = [section for section in WHOLE_SECTIONS if section != within]
        tree = merge(tree, nest(path, map_leaves(value, lambda leaf: Stated(leaf, OVERRIDE))), whole)
    for section in WHOLE_SECTIONS:
        tree = _follow_kind(tree, files, section)
    return tree


def _parse(override: str) -> tuple[str, Any]:
    path, equals, text = override.partition("=")
    path = path.strip()
    if not equals:
        raise ConfigError(f"{OVERRIDE} {override}: has no value; accepted: {OVERRIDE} section.key=value")
    if not all(path.split(".")):
        raise ConfigError(f"{OVERRIDE} {override}: {path!r} is no key; accepted: {OVERRIDE} section.key=value")
    if text.strip().lower() == "none":  # Luminoth's word for null on the command line
        return path, None
    return path, read_value(text, f"{OVERRIDE} {path}")


def _default_section(path: str) -> dict[str, Any]:
    section: Any = Config()
    for name in path.split("."):
        section = getattr(section, name)
    return map_leaves(section.model_dump(mode="json"), lambda value: Stated(value, DEFAULT))


def _follow_kind(tree: dict[str, Any], files: dict[str, Any], section: str) -> dict[str, Any]:
    """The tree without the settings of a section's former kind, where an override has changed the kind.

    What a file states and the new kind knows too (such as `learning_rate`) stays.
    """
    kind_path = f"{section}.{WHOLE_SECTIONS[section]}"
    kind = part_at(tree, kind_path)
    if not isinstance(kind, Stated) or kind.source != OVERRIDE:
        return tree
    former = part_at(files, kind_path) or part_at(nest(section, _default_section(section)), kind_path)
    known = _keys_of_kind(section, kind.value)
    if kind.value == getattr(former, "value", None) or known is None:
        return tree
    kept = {
        name: value
        for name, value in part_at(tree, section).items()
        if not isinstance(value, Stated) or value.source == OVERRIDE or (value.source != DEFAULT and name in known)
    }
    return merge(tree, nest(section, kept), whole=[section])


def _keys_of_kind(section: str, kind: Any) -> set[str] | None:
    """The keys of a section of that kind; None when there is no such kind."""
    annotation: Any = Config
    for name in section.split("."):
        annotation = sections_of(annotation)[0].model_fields[name].annotation
    for alternative in sections_of(annotation):
        if alternative.model_fields[WHOLE_SECTIONS[section]].default == ("none" if kind is None else kind):
            return set(alternative.model_fields)
    return None
