"""Pascal VOC: one XML file a picture, splits as lists of ids.

Coordinates in VOC are one-based and inclusive: a box of one pixel in the corner is `1 1 1 1`. As continuous coordinates
that is `[0, 0, 1, 1]`: one is taken off the upper left corner, the lower right one stays.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar
from xml.parsers import expat

from luminoth.data.readers.base import AnnotatedBox, AnnotatedImage, Option, Reader, parse_number
from luminoth.data.readers.files import FileFinder
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError

_PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png")
_LINE = "luminoth:line"  # an attribute no annotation has


class PascalReader(Reader):
    """Reads `ImageSets/Main/<split>.txt`, `JPEGImages/<id>.jpg` and `Annotations/<id>.xml`."""

    layout = "ImageSets/Main/<split>.txt, JPEGImages/<id>.jpg, Annotations/<id>.xml"
    options: ClassVar = {
        "one_based": Option(True, "coordinates count from 1, as in VOC proper; false for tools that count from 0"),
    }

    def splits(self) -> list[str]:
        """The lists in `ImageSets/Main`, without VOC's lists of one class (`cat_train.txt`)."""
        folder = self.data_dir / "ImageSets" / "Main"
        names = [path.stem for path in sorted(folder.glob("*.txt")) if not _is_list_of_one_class(path)]
        if not names:
            raise self.layout_error("ImageSets/Main/<split>.txt")
        for needed in ("JPEGImages", "Annotations"):
            if not (self.data_dir / needed).is_dir():
                raise self.layout_error(f"{needed}/")
        return names

    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        """The names in the annotations of all splits of the folder, sorted.

        Of all, not only those asked for: so a later run for another split finds the same classes.
        """
        names, seen = set(), set()
        for split in self.splits():
            for image_id in self._image_ids(split):
                if image_id in seen:
                    continue
                seen.add(image_id)
                try:
                    root = _parse(self._annotation(image_id))
                except (OSError, expat.ExpatError, ValueError):
                    continue  # reported when its split is read
                names.update(label for element in root.findall("object") if (label := _text(element, "name")))
        return sorted(names)

    def image_count(self, split: str) -> int:
        return len(self._image_ids(split))

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        one_based = bool(self.settings["one_based"])
        said_zero = False
        for image_id in self._image_ids(split):
            path = self._annotation(image_id)
            where = self.relative_name(path)
            try:
                root = _parse(path)
            except FileNotFoundError:
                yield Finding(Kind.MISSING_ANNOTATION, image_id, where)
                continue
            except (OSError, expat.ExpatError, ValueError) as error:
                yield Finding(Kind.DAMAGED_ANNOTATION, image_id, where, str(error))
                continue
            image = self._image(image_id, root, where, one_based)
            zero = None if said_zero or not one_based else _starts_at_zero(image)
            if zero is not None:
                said_zero = True
                yield Finding(Kind.COUNTS_FROM_ZERO, image_id, zero)
            yield image

    def _image(self, image_id: str, root: ET.Element, where: str, one_based: bool) -> AnnotatedImage:
        path = self._pictures.find(image_id, _PICTURE_EXTENSIONS)
        findings = []
        if path is not None and path not in [self._pictures.folder / (image_id + ext) for ext in _PICTURE_EXTENSIONS]:
            findings.append(Finding(Kind.OTHER_NAME, image_id, self.relative_name(path), f"looked for {image_id}.jpg"))
        return AnnotatedImage(
            image_id=image_id,
            path=path or self._pictures.folder / f"{image_id}.jpg",
            boxes=tuple(_box(element, where, one_based) for element in root.findall("object")),
            where=where,
            stated_size=_stated_size(root),
            findings=tuple(findings),
        )

    @cached_property
    def _pictures(self) -> FileFinder:
        return FileFinder(self.data_dir / "JPEGImages")

    @cached_property
    def _annotations(self) -> FileFinder:
        return FileFinder(self.data_dir / "Annotations", {".xml"})

    def _annotation(self, image_id: str) -> Path:
        return self._annotations.find(image_id, (".xml",)) or self._annotations.folder / f"{image_id}.xml"

    def _image_ids(self, split: str) -> list[str]:
        path = self.data_dir / "ImageSets" / "Main" / f"{split}.txt"
        return [line.strip() for line in _read_lines(path) if line.strip()]


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from error


def _is_list_of_one_class(path: Path) -> bool:
    """VOC's `<class>_<split>.txt` name each picture with 1 (has one), -1 (has none) or 0 (only difficult ones)."""
    with path.open("rb") as file:
        columns = next((line.split() for line in file if line.strip()), [])
    return len(columns) == 2 and columns[1] in (b"1", b"-1", b"0")


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
    """(height, width); None when absent or 0, as some tools write."""
    height, width = parse_number(root.findtext("size/height")), parse_number(root.findtext("size/width"))
    return (int(height), int(width)) if height > 0 and width > 0 and height + width < float("inf") else None


def _box(element: ET.Element, where: str, one_based: bool) -> AnnotatedBox:
    first = 1.0 if one_based else 0.0
    x_min, y_min, x_max, y_max = (
        parse_number(element.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")
    )
    return AnnotatedBox(
        corners=(x_min - first, y_min - first, x_max, y_max),
        label=_text(element, "name"),
        where=f"{where} line {element.get(_LINE)}",
        is_difficult=_text(element, "difficult") == "1",
        is_truncated=_text(element, "truncated") == "1",
    )


def _starts_at_zero(image: AnnotatedImage) -> str | None:
    """Where a box says that the file counts from 0, if one does."""
    return next((box.where for box in image.boxes if -1.0 in box.corners[:2]), None)
