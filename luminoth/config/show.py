"""A resolved configuration as a file to read: every value, and behind it where it comes from."""

from __future__ import annotations

from typing import Any

from luminoth.config.load import ResolvedConfig
from luminoth.config.yaml_text import write_value

_WIDEST_VALUES = 60  # a longer line has its comment behind it, out of the column


def show_config(resolved: ResolvedConfig) -> str:
    """YAML that loads back to the same configuration, each value with `# default`, `# file.yml` or `# -o`."""
    lines = _lines(resolved.config.model_dump(mode="json"), resolved.sources, "", 0)
    column = max(len(text) for text, source in lines if source and len(text) <= _WIDEST_VALUES)
    return "".join(f"{text:<{column}}  # {source}\n" if source else f"{text}\n" for text, source in lines)


def _lines(values: dict[str, Any], sources: dict[str, str], path: str, depth: int) -> list[tuple[str, str]]:
    """Pairs of a line and the source of its value; empty for lines that hold no value."""
    indent, lines = "  " * depth, []
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict):
            lines.append((f"{indent}{name}:", ""))
            lines += _lines(value, sources, here, depth + 1)
        elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
            lines.append((f"{indent}{name}:", sources[here]))
            lines += [(f"{indent}  - {write_value(entry)}", "") for entry in value]
        else:
            lines.append((f"{indent}{name}: {write_value(value)}", sources[here]))
    return lines
