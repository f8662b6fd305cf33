"""From pydantic's complaints to lines a person can act on: where, which key, what was found, what is accepted."""

from __future__ import annotations

import difflib
import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import Tag, ValidationError

from luminoth.config.fields import TAG_START, Section, accepted, sections_of
from luminoth.config.rules import WHOLE_SECTIONS
from luminoth.config.yaml_text import Stated, write_value
from luminoth.errors import ConfigError

_LONGEST_VALUE = 60
# Kinds of complaint whose message says it all (raised by the schema's own validators).
_OWN_WORDS = frozenset(
    {"lengths", "order", "both_or_neither", "either", "one_key", "units", "not_yet", "not_measured", "stride"}
)


def as_config_error(lines: list[str]) -> ConfigError:
    """One error for all problems, one line each."""
    if len(lines) == 1:
        return ConfigError(lines[0])
    return ConfigError("\n  ".join([f"{len(lines)} problems in the configuration:", *lines]))


def describe_problems(error: ValidationError, tree: dict[str, Any], schema: type[Section]) -> list[str]:
    """A line for each problem, in the order of the file.

    Args:
        error: what pydantic found wrong with the values of `tree`.
        tree: nested dicts down to `Stated` values.
        schema: the class the values were checked against.
    """
    complaints = error.errors(include_url=False)
    if any(complaint["type"] == "not_yet" and complaint["loc"] == ("model", "type") for complaint in complaints):
        # Another detector's keys under `model` are no mistake of their own.
        complaints = [
            complaint for complaint in complaints if complaint["loc"][0] != "model" or complaint["type"] == "not_yet"
        ]
    # What is wrong with a key that only follows another is said of that one.
    complaints = [
        complaint for complaint in complaints if not getattr(_found(tree, complaint["loc"]), "follows", False)
    ]
    placed = [_describe(complaint, tree, schema) for complaint in complaints]
    placed.sort(key=lambda item: item[0])
    return list(dict.fromkeys(line for _, line in placed))


def _describe(complaint: dict[str, Any], tree: dict[str, Any], schema: type[Section]) -> tuple[tuple, str]:
    """Where a complaint belongs, for the order of lines, and its line."""
    location, kind = tuple(complaint["loc"]), complaint["type"]
    annotation, reached = _walk(location, schema)
    keys = _names(reached)
    if kind == "extra_forbidden":
        keys = _names(location)
        sentence = _unknown_key(location, schema)
    elif kind == "union_tag_invalid" or (kind == "literal_error" and _names_a_kind(keys)):
        keys, sentence = _unknown_kind(location, tree, schema)
    elif kind in _OWN_WORDS:
        sentence = f"{_dotted(keys)} {complaint['msg']}"
    elif kind == "missing" and reached == location:
        sentence = f"{_dotted(keys)} is missing; accepted: {accepted(annotation)}"
    else:
        sentence = f"{_dotted(keys)} is {_show(_found(tree, keys))}; accepted: {accepted(annotation)}"
    stated = _who_stated(tree, keys)
    if stated is None:
        return ("", 0), sentence
    line = f":{stated.line}" if stated.line is not None else ""
    return (stated.source, stated.line or 0), f"{stated.source}{line}: {sentence}"


def _names_a_kind(keys: tuple) -> bool:
    return WHOLE_SECTIONS.get(_dotted(keys[:-1])) == keys[-1]


def _unknown_kind(location: tuple, tree: dict[str, Any], schema: type[Section]) -> tuple[tuple, str]:
    """For a section with kinds: the keys that lead to the kind, and which kinds there are."""
    at_union = next((count for count, item in enumerate(location) if _is_tag(item)), len(location))
    section_keys = _names(location[:at_union])
    keys = (*section_keys, WHOLE_SECTIONS[_dotted(section_keys)])
    kinds = ", ".join(tag.strip("<>") for tag in _tags(_walk(location[:at_union], schema)[0]))
    return keys, f"{_dotted(keys)} is {_show(_found(tree, keys))}; accepted: one of {kinds}"


def _unknown_key(location: tuple, schema: type[Section]) -> str:
    """Names the nearest known key: of the same section, else of the whole file."""
    names = _names(location)
    path, name = _dotted(names), str(names[-1])
    if path in known_keys(schema) and "." in name:
        return (
            f"{path} is not a known key when written with dots; accepted: {name.replace('.', ': {')}: ..."
            + "}" * name.count(".")
        )
    section = sections_of(_walk(location[:-1], schema)[0])[0]
    kind_key = WHOLE_SECTIONS.get(_dotted(names[:-1]))
    if kind_key is not None:
        kind = section.model_fields[kind_key].default
        return f"{path} is not a key of {kind_key} {kind}; accepted: {', '.join(section.model_fields)}"
    siblings = {known: _dotted((*names[:-1], known)) for known in section.model_fields}
    nearest = _nearest(name, siblings, known_keys(schema), path)
    if nearest:
        return f"{path} is not a known key; did you mean {nearest}?"
    return f"{path} is not a known key; accepted: {', '.join(siblings)}"


def _nearest(name: str, siblings: dict[str, str], everywhere: list[str], path: str) -> str | None:
    """The known key that was most likely meant: a slip, a key in the wrong section, or something like it."""
    for cutoff in (0.8, 0.55):
        near = difflib.get_close_matches(name, siblings, n=1, cutoff=cutoff)
        if near:
            return siblings[near[0]]
        same_name = [known for known in everywhere if known.rpartition(".")[2] == name]
        if same_name:
            return same_name[0]
    return next(iter(difflib.get_close_matches(path, everywhere, n=1, cutoff=0.6)), None)


def known_keys(schema: type[Section], path: str = "") -> list[str]:
    """Every dotted key of a schema, sections included; of a section with kinds, the keys of all kinds."""
    found: list[str] = []
    for name, field in schema.model_fields.items():
        here = f"{path}.{name}" if path else name
        found.append(here)
        if get_origin(field.annotation) is tuple:
            continue  # the keys of a list's entries have no dotted name
        for nested in sections_of(field.annotation):
            found += known_keys(nested, here)
    return list(dict.fromkeys(found))


def _walk(location: tuple, schema: type[Section]) -> tuple[Any, tuple]:
    """The annotation at a location, and how much of the location leads somewhere.

    Behind a plain union (`true, false or a number`) pydantic adds the name of each alternative; that part
    leads nowhere and is cut off.
    """
    annotation: Any = schema
    for count, item in enumerate(location):
        following = _step(annotation, item)
        if following is None:
            return annotation, location[:count]
        annotation = following
    return annotation, location


def _step(annotation: Any, item: Any) -> Any:
    """The annotation one key, index or tag further, or None."""
    if _is_tag(item):
        return _tags(annotation).get(item)
    plain = _without_wrapping(annotation)
    if isinstance(item, int):
        return get_args(plain)[0] if get_origin(plain) is tuple else None
    if isinstance(plain, type) and issubclass(plain, Section) and item in plain.model_fields:
        field = plain.model_fields[item]
        return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return None


def _without_wrapping(annotation: Any) -> Any:
    """`Annotated[X, ...] | None` is X."""
    while True:
        arguments = [argument for argument in get_args(annotation) if argument is not type(None)]
        if get_origin(annotation) is Annotated or (
            get_origin(annotation) in (Union, types.UnionType) and len(arguments) == 1
        ):
            annotation = arguments[0]
        else:
            return annotation


def _tags(annotation: Any) -> dict[str, Any]:
    """The alternatives of a union that is chosen by a key, by tag."""
    return {
        mark.tag: alternative
        for alternative in get_args(_without_wrapping(annotation))
        for mark in get_args(alternative)[1:]
        if isinstance(mark, Tag)
    }


def _is_tag(item: Any) -> bool:
    return isinstance(item, str) and item.startswith(TAG_START)


def _names(location: tuple) -> tuple:
    return tuple(item for item in location if not _is_tag(item))


def _dotted(names: tuple) -> str:
    text = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names)
    return text.removeprefix(".")


def _found(tree: Any, names: tuple) -> Any:
    """The value at a location; None when it is not there."""
    for name in names:
        if isinstance(tree, Stated):
            tree = tree.value
        try:
            tree = tree[name]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _who_stated(tree: dict[str, Any], names: tuple) -> Stated | None:
    """The statement at a location, else the first one of the nearest section around it that states anything."""
    around: list[Any] = [tree]
    for name in names:
        if not isinstance(around[-1], dict) or name not in around[-1]:
            break
        around.append(around[-1][name])
    return next((stated for part in reversed(around) if (stated := _first_statement(part)) is not None), None)


def _first_statement(tree: Any) -> Stated | None:
    if isinstance(tree, dict):
        return next((found for part in tree.values() if (found := _first_statement(part)) is not None), None)
    return tree


def _show(value: Any) -> str:
    value = _plain(value)
    if value is None:
        return "empty (null)"
    if value == "":
        return "empty text"
    text = write_value(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _plain(value: Any) -> Any:
    if isinstance(value, Stated):
        return value.value
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value
