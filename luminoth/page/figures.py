"""Plots of matplotlib in the page's own look: its colours in light and dark, its type, text that stays text.

    with page_style():
        figure, axes = new_figure(height=200)
        axes.bar(places, counts, color=COLOURS["accent"])
        svg = as_svg(figure, "counts", "Objects a picture")

matplotlib knows no CSS variables. So plots are drawn in colours that stand for them, `COLOURS`, and these are replaced
in the SVG text: `#010104` becomes `var(--accent)`.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# CSS variables of page.css, and the colours that stand for them. Nobody else draws in nearly-black of a number.
COLOURS = {
    name: f"#0101{number:02x}"
    for number, name in enumerate(
        ("ink", "muted", "line", "paper", "accent", "other", "small", "medium", "large"), start=1
    )
}
WIDTH = 400  # pixels of a figure: about that of a phone, and of half a page

_PIXELS_AN_INCH = 72  # an SVG of matplotlib counts in points
_FONT_SIZE = 11
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "luminoth",  # equal plots, equal files
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.size": _FONT_SIZE,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.labelsize": _FONT_SIZE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.8,
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.labelsize": _FONT_SIZE,
    "ytick.labelsize": _FONT_SIZE,
    "legend.frameon": False,
    "legend.fontsize": _FONT_SIZE,
    "lines.linewidth": 2.0,
}


@contextmanager
def page_style() -> Iterator[None]:
    """matplotlib's settings for the page, within the block only."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """A figure and its axes; needs no display and keeps no state.

    Args:
        height, width: in pixels. Figures are scaled to their column: what stands in half of one is half as wide.
    """
    figure = Figure((width / _PIXELS_AN_INCH, height / _PIXELS_AN_INCH), layout="constrained")
    return figure, figure.subplots()


def as_svg(figure: Figure, name: str, description: str) -> Markup:
    """A figure as an element to stand in a page: it scales with its column and takes the page's colours and type.

    Args:
        figure: drawn within `page_style`.
        name: letters and hyphens, unlike those of the page's other figures; its ids start with it.
        description: one line for those who do not see it.
    """
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # The browser has the glyphs that matplotlib's own type lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # Within HTML an SVG needs no namespaces, and its size is the column's.
    view_box = re.search(r'viewBox="[^"]*"', text).group()
    opening = f'<svg class="figure" role="img" {view_box}>\n <title>{escape(description)}</title>'
    text = re.sub(r"<svg[^>]*>", lambda _: opening, text, count=1)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    text = re.sub(r"(font: [^;\"]*?px) [^;\"]*", r"\1 var(--type)", text)
    for variable, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{variable})")
    return Markup(text)
