"""The fonts of what is written on pictures."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """A font that has the letters of a text, as far as there is one.

    Pillow's own has those of English; DejaVu Sans, which comes with Matplotlib, those of most alphabets (but not
    Chinese, Japanese or Korean).

    Args:
        text: what will be written.
        size: in pixels.
    """
    return _plain_font(size) if text.isascii() else _wide_font(size)


@lru_cache(32)
def _plain_font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


@lru_cache(32)
def _wide_font(size: int) -> ImageFont.FreeTypeFont:
    import matplotlib  # takes a tenth of a second, and is seldom needed

    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), round(size * 0.94))
