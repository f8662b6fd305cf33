"""Pascal VOC: one XML file a picture, splits as lists of ids.

Coordinates in VOC are one-based and inclusive: a box of one pixel in the corner is `1 1 1 1`. As continuous coordinates
that is `[0, 0, 1, 1]`: one is taken off the upper left corner, the lower right one stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from luminoth.data.readers.base import ONE_SPLIT, AnnotatedBox, AnnotatedImage, Option, Reader
from luminoth.data.readers.files import FileFinder, holds_file, read_lines
from luminoth.data.readers.voc_xml import VocAnnotation, read_voc_xml
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError

_PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png")
_XML = frozenset({".xml"})


class PascalReader(Reader):
    """Reads `ImageSets/Main/<split>.txt`, `JPEGImages/<id>.jpg` and `Annotations/<id>.xml`.

    Without `ImageSets/Main` it is one split of all XML files in `Annotations/` (or in the folder itself), and the
    pictures are in `JPEGImages/`, `images/` or beside them.
    """

    layout = "ImageSets/Main/<split>.txt, JPEGImages/<id>.jpg, Annotations/<id>.xml (without the lists: one split)"
    options: ClassVar = {
        "one_based": Option(True, "coordinates count from 1, as in VOC proper; false for tools that count from 0"),
    }

    @classmethod
    def recognise(cls, folder: Path) -> str | None:
        lists = len(list(folder.glob("ImageSets/Main/*.txt")))
        if lists and (folder / "Annotations").is_dir() and (folder / "JPEGImages").is_dir():
            return f"ImageSets/Main with {lists} lists, JPEGImages/ and Annotations/"
        annotations = _folder_of_annotations(folder)
        if lists or annotations is None:
            return None
        name = "" if annotations == folder else f"{annotations.name}/"
        return f"{name}*.xml and pictures, without splits"

    def splits(self) -> list[str]:
        """The lists in `ImageSets/Main`, without VOC's lists of one class (`cat_train.txt`)."""
        if self._is_one_split:
            return [ONE_SPLIT]
        names = [path.stem for path in sorted(self._lists.glob("*.txt")) if not _is_list_of_one_class(path)]
        if not names:
            raise self.layout_error("ImageSets/Main/<split>.txt or Annotations/*.xml")
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
                    annotation = read_voc_xml(self._annotation(image_id), "")
                except (FileNotFoundError, DataError):
                    continue  # reported when its split is read
                names.update(box.label for box in annotation.boxes)
        return sorted(names - {""})

    def image_count(self, split: str) -> int:
        return len(self._image_ids(split))

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        one_based = bool(self.settings["one_based"])
        said_zero = False
        found: set[Path] = set()
        for image_id in self._image_ids(split):
            path = self._annotation(image_id)
            where = self.relative_name(path)
            try:
                annotation = read_voc_xml(path, where)
            except FileNotFoundError:
                yield Finding(Kind.MISSING_ANNOTATION, image_id, where)
                continue
            except DataError as error:
                yield Finding(Kind.DAMAGED_ANNOTATION, image_id, where, str(error))
                continue
            image = self._image(image_id, annotation, where, one_based)
            found.add(image.path)
            zero = None if said_zero or not one_based else _starts_at_zero(image)
            if zero is not None:
                said_zero = True
                yield Finding(Kind.COUNTS_FROM_ZERO, image_id, zero)
            yield image
        if self._is_one_split:
            yield from self._pictures_without_annotation(found)

    def _image(self, image_id: str, annotation: VocAnnotation, where: str, one_based: bool) -> AnnotatedImage:
        path = self._pictures.find(image_id, _PICTURE_EXTENSIONS)
        if path is None and self._is_one_split and annotation.filename:
            path = self._pictures.find(annotation.filename)
        findings = []
        if path is not None and path not in [self._pictures.folder / (image_id + ext) for ext in _PICTURE_EXTENSIONS]:
            findings.append(Finding(Kind.OTHER_NAME, image_id, self.relative_name(path), f"looked for {image_id}.jpg"))
        return AnnotatedImage(
            image_id=image_id,
            path=path or self._pictures.folder / f"{image_id}.jpg",
            boxes=tuple(_from_zero(box) if one_based else box for box in annotation.boxes),
            where=where,
            stated_size=annotation.stated_size,
            findings=tuple(findings),
        )

    def _pictures_without_annotation(self, found: set[Path]) -> Iterator[Finding]:
        """Where no list says what belongs to the set, a picture alone is one that nobody has annotated."""
        for path in self._pictures:
            name = path.relative_to(self._pictures.folder).with_suffix("").as_posix()
            # One whose annotation is there but damaged has been reported as such.
            if path not in found and self._annotations.find(name, (".xml",)) is None:
                yield Finding(Kind.MISSING_ANNOTATION, name, self.relative_name(path))

    # -- files ---------------------------------------------------------------------------------------------

    @cached_property
    def _lists(self) -> Path:
        return self.data_dir / "ImageSets" / "Main"

    @cached_property
    def _is_one_split(self) -> bool:
        return not holds_file(self._lists, {".txt"}) and _folder_of_annotations(self.data_dir) is not None

    @cached_property
    def _pictures(self) -> FileFinder:
        names = ("JPEGImages", "images", "Images") if self._is_one_split else ("JPEGImages",)
        there = [self.data_dir / name for name in names if (self.data_dir / name).is_dir()]
        return FileFinder(there[0] if there else self._annotations.folder)

    @cached_property
    def _annotations(self) -> FileFinder:
        folder = _folder_of_annotations(self.data_dir) if self._is_one_split else self.data_dir / "Annotations"
        return FileFinder(folder or self.data_dir, _XML)

    def _annotation(self, image_id: str) -> Path:
        return self._annotations.find(image_id, (".xml",)) or self._annotations.folder / f"{image_id}.xml"

    def _image_ids(self, split: str) -> list[str]:
        if self._is_one_split:
            folder = self._annotations.folder
            return [path.relative_to(folder).with_suffix("").as_posix() for path in self._annotations]
        return [line.strip() for line in read_lines(self._lists / f"{split}.txt") if line.strip()]


def _folder_of_annotations(folder: Path) -> Path | None:
    """Where the XML files of a set without lists are."""
    places = (folder / "Annotations", folder / "annotations", folder)
    return next((place for place in places if holds_file(place, _XML)), None)


def _is_list_of_one_class(path: Path) -> bool:
    """VOC's `<class>_<split>.txt` name each picture with 1 (has one), -1 (has none) or 0 (only difficult ones)."""
    with path.open("rb") as file:
        columns = next((line.split() for line in file if line.strip()), [])
    return len(columns) == 2 and columns[1] in (b"1", b"-1", b"0")


def _from_zero(box: AnnotatedBox) -> AnnotatedBox:
    x_min, y_min, x_max, y_max = box.corners
    return replace(box, corners=(x_min - 1.0, y_min - 1.0, x_max, y_max))


def _starts_at_zero(image: AnnotatedImage) -> str | None:
    """Where a box says that the file counts from 0, if one does."""
    return next((box.where for box in image.boxes if -1.0 in box.corners[:2]), None)
