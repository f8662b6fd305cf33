"""ImageNet's detection task (ILSVRC DET): VOC-like XML whose classes are WordNet ids, splits as lists of ids.

The boxes of some pictures were drawn on a smaller or larger copy: the XML states that copy's size, and they are
stretched to the picture's. Coordinates are taken as continuous, as they stand.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path

from luminoth.data.readers.base import AnnotatedBox, AnnotatedImage, Reader
from luminoth.data.readers.files import FileFinder, read_lines
from luminoth.data.readers.voc_xml import VocAnnotation, read_voc_xml
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError

_EXTENSIONS = (".JPEG", ".jpg", ".jpeg", ".png")
# ImageNet's lists of one class (`train_17.txt`, `train_pos_17.txt`) are no splits.
_LIST_OF_ONE_CLASS = re.compile(r".+_((pos|neg)_)?\d+")
# Some releases number the lines of their lists.
_NUMBER_AFTER = re.compile(r"\s+-?\d+$")
# `extra1/...` and, as in the archives, `ILSVRC2013_train_extra1/...`
_NOT_ANNOTATED = re.compile(r"(^|[/_])extra")


class ImageNetReader(Reader):
    """Reads `ImageSets/DET/<split>.txt`, `Data/DET/<split>/<id>.JPEG` and `Annotations/DET/<split>/<id>.xml`.

    Ids that start with `extra` have no annotations: those pictures are taken as empty.
    """

    layout = "ImageSets/DET/<split>.txt, Data/DET/<split>/<id>.JPEG, Annotations/DET/<split>/<id>.xml"

    @classmethod
    def recognise(cls, folder: Path) -> str | None:
        names = _list_splits(folder)
        is_there = names and (folder / "Data" / "DET").is_dir() and (folder / "Annotations" / "DET").is_dir()
        return f"ImageSets/DET with {', '.join(names)}, Data/DET/ and Annotations/DET/" if is_there else None

    def splits(self) -> list[str]:
        """The lists in `ImageSets/DET`, without those of one class (`train_17.txt`)."""
        names = _list_splits(self.data_dir)
        if not names:
            raise self.layout_error("ImageSets/DET/<split>.txt")
        for needed in ("Data/DET", "Annotations/DET"):
            if not (self.data_dir / needed).is_dir():
                raise self.layout_error(f"{needed}/")
        return names

    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        """The classes in the annotations of all splits of the folder, sorted; so a later run finds the same."""
        names: set[str] = set()
        for split in self.splits():
            annotations = self._annotations(split)
            for image_id in self._image_ids(split):
                path = annotations.find(image_id, (".xml",))
                if path is None:
                    continue
                try:
                    annotation = read_voc_xml(path, "")
                except (FileNotFoundError, DataError):
                    continue  # reported when its split is read
                names.update(_named(box).label for box in annotation.boxes)
        return sorted(names - {""})

    def image_count(self, split: str) -> int:
        return len(self._image_ids(split))

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        pictures = FileFinder(self.data_dir / "Data" / "DET" / split)
        annotations = self._annotations(split)
        for image_id in self._image_ids(split):
            path = annotations.find(image_id, (".xml",))
            where = self.relative_name(path or annotations.folder / f"{image_id}.xml")
            if path is None and not _NOT_ANNOTATED.search(image_id):
                yield Finding(Kind.MISSING_ANNOTATION, image_id, where)
                continue
            try:
                annotation = read_voc_xml(path, where) if path else VocAnnotation("", None, ())
            except (FileNotFoundError, DataError) as error:
                yield Finding(Kind.DAMAGED_ANNOTATION, image_id, where, str(error))
                continue
            yield self._image(image_id, annotation, where, pictures)

    def _image(self, image_id: str, annotation: VocAnnotation, where: str, pictures: FileFinder) -> AnnotatedImage:
        path = pictures.find(image_id, _EXTENSIONS)
        findings = []
        if path is not None and path not in [pictures.folder / (image_id + extension) for extension in _EXTENSIONS]:
            finding = Finding(Kind.OTHER_NAME, image_id, self.relative_name(path), f"looked for {image_id}.JPEG")
            findings.append(finding)
        return AnnotatedImage(
            image_id=image_id,
            path=path or pictures.folder / f"{image_id}.JPEG",
            boxes=tuple(_named(box) for box in annotation.boxes),
            where=where,
            stated_size=annotation.stated_size,
            rescale=True,
            findings=tuple(findings),
        )

    def _annotations(self, split: str) -> FileFinder:
        return FileFinder(self.data_dir / "Annotations" / "DET" / split, {".xml"})

    def _image_ids(self, split: str) -> list[str]:
        lines = read_lines(self.data_dir / "ImageSets" / "DET" / f"{split}.txt")
        return [_NUMBER_AFTER.sub("", line.strip()) for line in lines if line.strip()]


@cache
def class_names() -> dict[str, str]:
    """WordNet id -> English name of the 200 classes."""
    table = resources.files("luminoth.data.readers").joinpath("imagenet_classes.csv").read_text(encoding="utf-8")
    return {row["wordnet_id"]: row["name"] for row in csv.DictReader(table.splitlines())}


def _list_splits(folder: Path) -> list[str]:
    lists = (path.stem for path in sorted(folder.glob("ImageSets/DET/*.txt")))
    return [name for name in lists if not _LIST_OF_ONE_CLASS.fullmatch(name)]


def _named(box: AnnotatedBox) -> AnnotatedBox:
    """With the class's name for its WordNet id; a class outside the table keeps its id."""
    return replace(box, label=class_names().get(box.label, box.label))
