"""Tables and bars for the terminal, plain enough to be piped."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """The first columns, `texts` of them, to the left, numbers to the right; ends with a line break."""
    from rich.cells import cell_len  # a Chinese class name is twice as wide as it has characters

    widths = [max(cell_len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        room = [width - cell_len(cell) for cell, width in zip(row, widths, strict=True)]
        left = [cell + " " * space for cell, space in zip(row[:texts], room[:texts], strict=True)]
        right = [" " * space + cell for cell, space in zip(row[texts:], room[texts:], strict=True)]
        lines.append("  ".join([*left, *right]).rstrip())
    return "\n".join(lines) + "\n"


def bars(labels: Sequence[str], counts: Sequence[int], width: int) -> str:
    """A histogram lying down: a line for each label, with a bar and its count; ends with a line break.

    Args:
        labels: what is counted, one text a line.
        counts: as many.
        width: of the whole, in characters.
    """
    label_width = max(map(len, labels), default=0)
    count_width = max((len(str(count)) for count in counts), default=0)
    room = max(width - label_width - count_width - 4, 1)
    largest = max(max(counts, default=0), 1)
    lines = [
        f"{label.rjust(label_width)}  {str(count).rjust(count_width)}  {_bar(count / largest * room)}".rstrip()
        for label, count in zip(labels, counts, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _bar(length: float) -> str:
    """In eighths of a character, where standard output has such characters; something is never shown as nothing."""
    eighths = max(round(length * 8), 1 if length > 0 else 0)
    try:
        "█▏".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return "#" * -(-eighths // 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + " ▏▎▍▌▋▊▉"[rest].strip()
