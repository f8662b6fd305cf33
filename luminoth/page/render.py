"""From a template to a page.

A report's template starts with `{% extends "frame.html" %}` and fills the blocks `title`, `summary` and `content`, and
`style` where it has rules of its own; the frame brings the style (`page.css`) inside the page, and macros:
`{% import "parts.html" as parts %}`.
"""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FRAME = Path(__file__).parent


def render_page(template: str | os.PathLike, **values: object) -> str:
    """Fills a template; text in `values` is escaped, a figure of `figures.as_svg` is not.

    Args:
        template: the template's file.
        values: what it names; a name that is not given raises jinja2's `UndefinedError`.
    """
    template = Path(template)
    environment = Environment(
        loader=FileSystemLoader([template.parent, _FRAME]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "short": short}
    return environment.get_template(template.name).render(**values)


def short(number: float) -> str:
    """A number without needless zeros: 0.5, 64."""
    return f"{number:.4g}"


def percent(share: float | None) -> str:
    """0.125 as `12.5 %`; None as a dash."""
    if share is None:
        return "–"
    return f"{100 * share:.0f} %" if share in (0, 1) else f"{100 * share:.1f} %"
