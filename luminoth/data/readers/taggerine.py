"""Taggerine's JSON: one file a split, in fractions of the picture's width and height.

    [{"filename": "street.jpg", "gt_boxes": [{"label": "car", "x": 0.1, "y": 0.2, "width": 0.5, "height": 0.25}]}]

A box may also be `{"label", "x_min", "y_min", "x_max", "y_max"}`, and the file as Taggerine itself writes it:
`{"street.jpg": [{"label": "car", ...}]}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from luminoth.data.readers.base import ONE_SPLIT, AnnotatedBox, AnnotatedImage, Option, Reader, parse_number
from luminoth.data.readers.files import FileFinder, files_in, read_json, read_start, subfolders
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError

_EXTENSIONS = ("", ".jpg", ".jpeg", ".png")
_CORNERS = ("x_min", "y_min", "x_max", "y_max")
_FILES_LOOKED_INTO = 10  # to recognise the layout: some may be of another kind
# How a mapping from file names to lists of boxes starts.
_START_OF_MAPPING = re.compile(r'\{\s*"[^"]+\.\w+"\s*:\s*\[')


@dataclass(frozen=True)
class _SplitFiles:
    """Where a split is: its JSON files and the folder of its pictures."""

    annotations: tuple[Path, ...]
    pictures: Path


class TaggerineReader(Reader):
    """Reads `<split>.json`, and the pictures in `<split>/`, `images/` or the root.

    The JSON file may also lie in `<split>/`. One file without a folder of its name is a set without splits.
    """

    layout = '<split>.json ([{"filename", "gt_boxes": [{"label", "x", "y", "width", "height"}]}]), pictures in <split>/'
    options: ClassVar = {"default_class": Option("", "the class of boxes that name none")}

    @classmethod
    def recognise(cls, folder: Path) -> str | None:
        places = (folder, *subfolders(folder))
        some = (path for place in places for path in islice(files_in(place, {".json"}), _FILES_LOOKED_INTO))
        names = [path.relative_to(folder).as_posix() for path in some if _is_taggerine(path)]
        return f"{', '.join(sorted(names)[:3])}, Taggerine's JSON" if names else None

    def splits(self) -> list[str]:
        if not self._files:
            raise self.layout_error("<split>.json or <split>/*.json")
        return list(self._files)

    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        """The labels in the files of all splits of the folder, sorted; so a later run finds the same."""
        names = {
            self._label(box)
            for split in self.splits()
            for _, entry in self._entries(split)
            for box in _boxes_of(entry) or ()
            if isinstance(box, dict)
        }
        if names == {""}:
            raise DataError(f"{self.data_dir}: no box has a 'label'; name their class: -o default_class=car")
        return sorted(names - {""})

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        finder = FileFinder(self._files[split].pictures)
        for number, (file, entry) in enumerate(self._entries(split), 1):
            name, boxes = _name_of(entry), _boxes_of(entry)
            where = f"{self.relative_name(file)} {name or f'picture {number}'}"
            if not name or boxes is None:
                missing = "`gt_boxes`" if name else "`filename` or `image_id`"
                yield Finding(Kind.DAMAGED_ANNOTATION, name, where, f"has no {missing}", boxes=len(boxes or ()))
                continue
            known = []
            for index, box in enumerate(boxes, 1):
                if isinstance(box, dict):
                    known.append(self._box(box, f"{where} box {index}"))
                else:
                    yield Finding(Kind.UNREADABLE_BOX, name, f"{where} box {index}", "is no mapping")
            yield self._image(entry, tuple(known), where, finder)

    def _image(
        self, entry: Mapping[str, Any], boxes: tuple[AnnotatedBox, ...], where: str, finder: FileFinder
    ) -> AnnotatedImage:
        name = _name_of(entry)
        image_id = _text(entry.get("image_id")) or name
        path = finder.find(name, _EXTENSIONS) or finder.find(name.replace("\\", "/").rpartition("/")[2], _EXTENSIONS)
        findings = []
        if path is not None and path not in [finder.folder / (name + extension) for extension in _EXTENSIONS]:
            findings.append(Finding(Kind.OTHER_NAME, image_id, self.relative_name(path), f"looked for {name}"))
        path = path or finder.folder / name
        return AnnotatedImage(image_id, path, boxes, where, relative=True, findings=tuple(findings))

    def _box(self, entry: Mapping[str, Any], where: str) -> AnnotatedBox:
        if "width" in entry and "height" in entry:
            x, y, width, height = (parse_number(entry.get(key)) for key in ("x", "y", "width", "height"))
            corners = (x, y, x + width, y + height)
        else:
            x_min, y_min, x_max, y_max = (parse_number(entry.get(key)) for key in _CORNERS)
            corners = (x_min, y_min, x_max, y_max)
        return AnnotatedBox(corners, self._label(entry), where)

    def _label(self, entry: Mapping[str, Any]) -> str:
        label = entry.get("label")
        return str(self.settings["default_class"] if label is None else label)

    # -- files ---------------------------------------------------------------------------------------------

    @cached_property
    def _files(self) -> dict[str, _SplitFiles]:
        return _find_splits(self.data_dir)

    def _entries(self, split: str) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        """The pictures of a split, each as a mapping, with the file that lists them."""
        for path in self._files[split].annotations:
            content = read_json(path)
            if isinstance(content, dict):
                content = [{"filename": name, "gt_boxes": boxes} for name, boxes in content.items()]
            if not isinstance(content, list):
                raise DataError(f"{path}: must be a list of pictures; found a {type(content).__name__}")
            for entry in content:
                yield path, entry if isinstance(entry, dict) else {}


def _find_splits(folder: Path) -> dict[str, _SplitFiles]:
    in_root = [path for path in sorted(folder.glob("*.json")) if path.is_file()]
    common = folder / "images" if (folder / "images").is_dir() else folder
    if len(in_root) == 1 and not (folder / in_root[0].stem).is_dir():
        return {ONE_SPLIT: _SplitFiles((in_root[0],), common)}
    if in_root:
        places = {path: folder / path.stem for path in in_root}
        return {path.stem: _SplitFiles((path,), place if place.is_dir() else common) for path, place in places.items()}
    within = {split: tuple(sorted(split.glob("*.json"))) for split in subfolders(folder)}
    return {split.name: _SplitFiles(files, split) for split, files in within.items() if files}


def _is_taggerine(path: Path) -> bool:
    start = read_start(path).lstrip()
    return (start.startswith("[") and '"gt_boxes"' in start) or _START_OF_MAPPING.match(start) is not None


def _name_of(entry: Mapping[str, Any]) -> str:
    return _text(entry.get("filename")) or _text(entry.get("image_id"))


def _boxes_of(entry: Mapping[str, Any]) -> list[Any] | None:
    boxes = entry.get("gt_boxes")
    return boxes if isinstance(boxes, list) else None


def _text(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) else ""
