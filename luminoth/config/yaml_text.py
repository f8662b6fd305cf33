"""YAML in and out: safe, with line numbers, refusing duplicate keys, and reading scalars as people mean them.

PyYAML follows YAML 1.1, where `1e-3` is text, `010` is 8, `1_0` is 10, `12:30` is 750 and `2024-01-01` a
date. Here `1e-3` is a number and the others are text; `yes`, `no`, `on`, `off` stay true and false, as
Luminoth's files have them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

from luminoth.errors import ConfigError

_MAP_TAG = "tag:yaml.org,2002:map"
_INT_TAG, _FLOAT_TAG = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")
_FLOAT = re.compile(
    r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9]+[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_UNICODE_BREAKS = frozenset("\x85\u2028\u2029\ufeff")
_ONE_LINE = 10**9
_DIGITS = "-+0123456789"


# Who stated a value, where it is not a file.
DEFAULT, OVERRIDE = "default", "-o"


@dataclass(frozen=True)
class Stated:
    """A value and who stated it: a file (with the line), `OVERRIDE` or `DEFAULT`.

    `follows` is true of the value of a key that only follows another, stated one (see `rules.FOLLOWERS`).
    """

    value: Any
    source: str
    line: int | None = None
    follows: bool = False


class _Loader(yaml.SafeLoader):
    # A resolver maps the first character of a scalar to the (tag, pattern) pairs to try.
    yaml_implicit_resolvers: ClassVar = {
        start: [
            (tag, pattern) for tag, pattern in pairs if tag not in (_INT_TAG, _FLOAT_TAG, "tag:yaml.org,2002:timestamp")
        ]
        for start, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(_INT_TAG, _INT, _DIGITS)
_Loader.add_implicit_resolver(_FLOAT_TAG, _FLOAT, _DIGITS + ".")
_Loader.add_constructor(_INT_TAG, lambda loader, node: int(loader.construct_scalar(node)))


class _ValueDumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or the loader above would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.Node:
        # PyYAML writes Unicode's line breaks bare, and reads them as spaces; between double quotes they are escaped.
        style = '"' if _UNICODE_BREAKS.intersection(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


class _FileDumper(_ValueDumper):
    """Lists of plain values stand on one line, as people write them; everything else on lines of its own."""

    def represent_list(self, data: list) -> yaml.Node:
        flow = not any(isinstance(entry, dict) for entry in data)
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


for _dumper in (_ValueDumper, _FileDumper):
    _dumper.add_implicit_resolver(_FLOAT_TAG, _FLOAT, _DIGITS + ".")
    _dumper.add_representer(str, _ValueDumper.represent_text)
_FileDumper.add_representer(list, _FileDumper.represent_list)


def write_yaml(value: Any) -> str:
    """Plain values as the text of a file; `read_yaml` and other readers take them back as they were."""
    return yaml.dump(
        value,
        Dumper=_FileDumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=_ONE_LINE,
    )


def write_value(value: Any) -> str:
    """One value on one line: `0.0003`, `null`, `[0.5, 1.0]`, `{flip: {prob: 0.5}}`."""
    text = yaml.dump(  # as a list of one, which spares it the marks of a document's end
        [value],
        Dumper=_ValueDumper,
        sort_keys=False,
        default_flow_style=True,
        allow_unicode=True,
        width=_ONE_LINE,
    )
    return text.strip()[1:-1]


def read_value(text: str, source: str) -> Any:
    """The value of an override, as YAML; its mappings as plain dicts.

    Raises:
        ConfigError: it is not YAML, or a mapping in it has a key twice.
    """
    return _plain(_compose(text, source, with_line=False))


def read_yaml(text: str, source: str) -> dict[str, Any]:
    """A file's mapping: nested dicts down to `Stated` values.

    Raises:
        ConfigError: the file is empty, is not YAML, is no mapping, or has a key twice; names file and line.
    """
    tree = _compose(text, source)
    if isinstance(tree, Stated):
        if tree.value is None:
            raise ConfigError(f"{source}: is empty; accepted: a mapping with the sections train, dataset, model, eval")
        found = write_value(tree.value)[:60]
        raise ConfigError(f"{source}: found {found}; accepted: a mapping with the sections train, dataset, model, eval")
    return tree


def _compose(text: str, source: str, with_line: bool = True) -> Any:
    """Nested dicts down to `Stated` values, or a single `Stated` when the text is no mapping."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return Stated(None, source)
            _refuse_duplicates(node, set())
            return _tree(loader, node, source, ())
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{source}:{mark.line + 1}" if mark is not None and with_line else source
        raise ConfigError(f"{place}: {_describe(error)}") from error
    except RecursionError:
        raise ConfigError(f"{source}: is nested too deeply") from None


def _tree(loader: _Loader, node: yaml.Node, source: str, above: tuple[yaml.Node, ...]) -> Any:
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        return Stated(loader.construct_object(node, deep=True), source, line)
    if node.tag != _MAP_TAG:
        raise _refusal(node, f"the tag {node.tag} is not accepted")
    if node in above:
        raise _refusal(node, "the mapping contains itself")
    loader.flatten_mapping(node)  # `<<: *anchor`
    return {
        _key(loader, key_node): _tree(loader, value_node, source, (*above, node)) for key_node, value_node in node.value
    }


def _key(loader: _Loader, node: yaml.Node) -> str:
    name = loader.construct_object(node, deep=True)
    if not isinstance(name, str):
        raise _refusal(node, f"the key {name!r} is not text")
    return name


def _refuse_duplicates(node: yaml.Node, seen: set[int]) -> None:
    """Looks through a node and all below it, each once however many aliases lead to it."""
    if id(node) in seen or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        below = node.value
    else:
        _refuse_duplicates_here(node)
        below = [value_node for _, value_node in node.value]
    for inner in below:
        _refuse_duplicates(inner, seen)


def _refuse_duplicates_here(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key_node, _ in node.value:
        name = key_node.value
        if not isinstance(name, str):
            continue
        if name in lines:
            raise _refusal(key_node, f"the key {name} is stated twice, first in line {lines[name]}")
        lines[name] = key_node.start_mark.line + 1


def _plain(tree: Any) -> Any:
    """The tree without who stated what."""
    if isinstance(tree, Stated):
        return tree.value
    return {name: _plain(value) for name, value in tree.items()}


def _refusal(node: yaml.Node, message: str) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)


def _describe(error: yaml.YAMLError) -> str:
    """The complaint on one line."""
    parts = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    words = ", ".join(parts) or " ".join(str(error).split())
    return words if isinstance(error, yaml.constructor.ConstructorError) else f"not YAML: {words}"
