"""The XML of Pascal VOC and its kin: one file a picture, an `object` with a `bndbox` for each box."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from luminoth.data.readers.base import AnnotatedBox, parse_flag, parse_number
from luminoth.errors import DataError

_LINE = "luminoth:line"  # an attribute no annotation has
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocAnnotation:
    """What one file says.

    Attributes:
        filename: the picture's, as the file states it, or "".
        stated_size: (height, width); None when absent or 0, as some tools write.
        boxes: the objects, with the coordinates as they stand there.
    """

    filename: str
    stated_size: tuple[int, int] | None
    boxes: tuple[AnnotatedBox, ...]


def read_voc_xml(path: Path, where: str) -> VocAnnotation:
    """Reads one annotation.

    Args:
        path: the file.
        where: how messages name it.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: it cannot be read, or is not XML.
    """
    try:
        root = _parse(path)
    except FileNotFoundError:
        raise
    except (OSError, expat.ExpatError, ValueError, LookupError) as error:
        raise DataError(str(error)) from error
    boxes = tuple(_box(element, where) for element in root.findall("object"))
    return VocAnnotation(_text(root, "filename"), _stated_size(root), boxes)


def _parse(path: Path) -> ET.Element:
    """The XML's root; every element carries its line in the attribute `_LINE`."""
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, _: builder.start(tag, {_LINE: str(parser.CurrentLineNumber)})
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.Parse(path.read_bytes(), True)
    return builder.close()


def _text(element: ET.Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _stated_size(root: ET.Element) -> tuple[int, int] | None:
    height, width = parse_number(root.findtext("size/height")), parse_number(root.findtext("size/width"))
    return (int(height), int(width)) if height > 0 and width > 0 and height + width < float("inf") else None


def _box(element: ET.Element, where: str) -> AnnotatedBox:
    x_min, y_min, x_max, y_max = (parse_number(element.findtext(f"bndbox/{side}")) for side in _SIDES)
    return AnnotatedBox(
        corners=(x_min, y_min, x_max, y_max),
        label=_text(element, "name"),
        where=f"{where} line {element.get(_LINE)}",
        is_crowd=bool(parse_flag(_text(element, "crowd"))),
        is_difficult=bool(parse_flag(_text(element, "difficult"))),
        is_truncated=bool(parse_flag(_text(element, "truncated"))),
    )
