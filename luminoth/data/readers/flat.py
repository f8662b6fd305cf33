"""Flat, as Luminoth called it: one JSON file a picture, beside it.

    train/street.jpg
    train/street.json    {"rects": [{"x1": 4, "y1": 5, "x2": 20, "y2": 25, "label": "car"}]}

Coordinates are continuous pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from luminoth.data.readers.base import ONE_SPLIT, AnnotatedBox, AnnotatedImage, Option, Reader, parse_number
from luminoth.data.readers.files import FileFinder, files_in, holds_file, read_json, read_start, subfolders
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from luminoth.image import IMAGE_EXTENSIONS

_EXTENSIONS = ("", ".jpg", ".jpeg", ".png")
_FILES_LOOKED_INTO = 10  # to recognise the layout: some may be of another kind


class FlatReader(Reader):
    """Reads `<split>/<id>.json` beside `<split>/<id>.<ext>`; without such folders, files beside each other in the root.

    A picture without a JSON file has no objects.
    """

    layout = '<split>/<id>.json ({"rects": [{"x1", "y1", "x2", "y2", "label"}]}) beside the pictures'
    options: ClassVar = {
        "annotation_type": Option("json", "the extension of the annotation files, which hold JSON"),
        "objects_key": Option("rects", "the key of the list of objects"),
        "x_min_key": Option("x1", "the key of an object's left edge"),
        "y_min_key": Option("y1", "the key of its top edge"),
        "x_max_key": Option("x2", "the key of its right edge"),
        "y_max_key": Option("y2", "the key of its bottom edge"),
        "label_key": Option("label", "the key of its class"),
        "default_class": Option("", "the class of objects that name none"),
        "unlisted": Option("keep", "pictures without a JSON file: keep as empty, or skip", choices=("keep", "skip")),
    }

    @classmethod
    def recognise(cls, folder: Path) -> str | None:
        names = [f"{split.name}/" for split in subfolders(folder) if _is_flat(split)]
        if names:
            return f"JSON files beside the pictures in {', '.join(names)}"
        return "JSON files beside the pictures, without splits" if _is_flat(folder) else None

    def splits(self) -> list[str]:
        names = [folder.name for folder in subfolders(self.data_dir) if self._holds_annotations(folder)]
        if not names and self._holds_annotations(self.data_dir):
            return [ONE_SPLIT]
        if not names:
            raise self.layout_error(f"<split>/<id>{self._suffix} beside the pictures")
        return names

    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        """The labels in the files of all splits of the folder, sorted; so a later run finds the same."""
        names: set[str] = set()
        for split in self.splits():
            for path in self._annotations(split):
                try:
                    objects = self._read(path)
                except DataError:
                    continue  # reported when its split is read
                names.update(self._label(entry) for entry in objects if isinstance(entry, dict))
        if names == {""}:
            key = self.settings["label_key"]
            raise DataError(f"{self.data_dir}: no object has a {key!r}; name their class: -o default_class=car")
        return sorted(names - {""})

    def image_count(self, split: str) -> int:
        return len(self._annotations(split))

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        """In the order of the JSON files' names; then the pictures without one."""
        folder = self._folder(split)
        pictures = FileFinder(folder)
        annotated: set[Path] = set()
        for path in self._annotations(split):
            image_id, where = path.relative_to(folder).as_posix().removesuffix(path.suffix), self.relative_name(path)
            picture = pictures.find(image_id, _EXTENSIONS)
            annotated.update([picture] if picture else [])
            try:
                objects = self._read(path)
            except DataError as error:
                yield Finding(Kind.DAMAGED_ANNOTATION, image_id, where, str(error))
                continue
            boxes = []
            for number, entry in enumerate(objects, 1):
                if isinstance(entry, dict):
                    boxes.append(self._box(entry, f"{where} object {number}"))
                else:
                    yield Finding(Kind.UNREADABLE_BOX, image_id, f"{where} object {number}", "is no mapping")
            yield self._image(image_id, picture or folder / f"{image_id}.jpg", tuple(boxes), where)
        if self.settings["unlisted"] == "keep":
            yield from self._unlisted(pictures, annotated)

    def _image(self, image_id: str, path: Path, boxes: tuple[AnnotatedBox, ...], where: str) -> AnnotatedImage:
        findings = []
        if path.name.removesuffix(path.suffix) != image_id.rpartition("/")[2] and path.name != image_id:
            findings.append(Finding(Kind.OTHER_NAME, image_id, self.relative_name(path), f"looked for {image_id}"))
        return AnnotatedImage(image_id, path, boxes, where, findings=tuple(findings))

    def _unlisted(self, pictures: FileFinder, annotated: set[Path]) -> Iterator[AnnotatedImage]:
        for path in pictures:
            if path not in annotated:
                name, where = path.relative_to(pictures.folder).as_posix(), self.relative_name(path)
                yield AnnotatedImage(name, path, (), where, findings=(Finding(Kind.UNLISTED, name, where),))

    def _read(self, path: Path) -> list[Any]:
        """The objects of a picture; raises DataError."""
        content, key = read_json(path), self.settings["objects_key"]
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            found = ", ".join(content) if isinstance(content, dict) else f"a {type(content).__name__}"
            raise DataError(f"has no list {key!r}; found {found or 'nothing'} (see -o objects_key=)")
        return content[key]

    def _box(self, entry: Mapping[str, Any], where: str) -> AnnotatedBox:
        keys = (self.settings[f"{side}_key"] for side in ("x_min", "y_min", "x_max", "y_max"))
        x_min, y_min, x_max, y_max = (parse_number(entry.get(key)) for key in keys)
        return AnnotatedBox((x_min, y_min, x_max, y_max), self._label(entry), where)

    def _label(self, entry: Mapping[str, Any]) -> str:
        label = entry.get(self.settings["label_key"])
        return str(self.settings["default_class"] if label is None else label)

    # -- files ---------------------------------------------------------------------------------------------

    @property
    def _suffix(self) -> str:
        return "." + str(self.settings["annotation_type"]).lower().removeprefix(".")

    def _holds_annotations(self, folder: Path) -> bool:
        return holds_file(folder, {self._suffix})

    def _folder(self, split: str) -> Path:
        folder = self.data_dir / split
        return folder if split != ONE_SPLIT or self._holds_annotations(folder) else self.data_dir

    def _annotations(self, split: str) -> FileFinder:
        return FileFinder(self._folder(split), {self._suffix})


def _is_flat(folder: Path) -> bool:
    """Whether some JSON file in a folder has a picture beside it and lists `rects`."""
    return any(
        _has_picture_beside(path) and '"rects"' in read_start(path, 1 << 16)
        for path in islice(files_in(folder, {".json"}), _FILES_LOOKED_INTO)
    )


def _has_picture_beside(path: Path) -> bool:
    endings = (ending for suffix in IMAGE_EXTENSIONS for ending in (suffix, suffix.upper()))
    return any(path.with_suffix(ending).is_file() for ending in endings)
