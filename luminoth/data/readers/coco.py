"""COCO: one JSON file a split, for all its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from luminoth.data.readers.base import (
    ONE_SPLIT,
    AnnotatedBox,
    AnnotatedImage,
    Option,
    Reader,
    parse_flag,
    parse_number,
)
from luminoth.data.readers.files import FileFinder, holds_file, read_json, read_start
from luminoth.data.report import Finding, Kind
from luminoth.errors import DataError
from luminoth.image import IMAGE_EXTENSIONS

_INSTANCES = re.compile(r"instances_(.+?)(\d{4})?\.json")
_EXPORT = "_annotations.coco.json"
# How a COCO file starts; other JSON files (of `taggerine`, or `classes.json`) start otherwise.
_START = re.compile(r'\s*\{\s*"(info|licenses|images|annotations|categories|type)"')
_PREFERRED_YEAR = "2017"


@dataclass(frozen=True)
class _SplitFiles:
    """Where a split is: its JSON file and the folder of its pictures."""

    annotations: Path
    pictures: Path


class CocoReader(Reader):
    """Reads COCO's own layout and the plain export of labelling tools.

    * `annotations/instances_<split><year>.json`, or the same file in the root, and pictures in `<split><year>/`;
      the year may be absent;
    * `<split>/_annotations.coco.json` beside the pictures;
    * one JSON file of any name in the root or in `annotations/`, and pictures in `images/` or beside it: a set without
      splits.

    Classes are in the order of their category ids, which may have gaps.
    """

    layout = (
        "annotations/instances_<split><year>.json and pictures in <split><year>/, "
        f"or <split>/{_EXPORT} beside the pictures, or one COCO .json and images/"
    )
    options: ClassVar = {
        "year": Option("", "which year's files, when there are several (default: 2017 if it is there)"),
        "use_supercategory": Option(False, "take the supercategories as classes"),
    }

    def __init__(self, data_dir, options=None) -> None:
        super().__init__(data_dir, options)
        self._files = self._find_files()
        self._loaded: dict[str, dict[str, Any]] = {}

    @classmethod
    def recognise(cls, folder: Path) -> str | None:
        patterns = ("annotations/instances_*.json", "instances_*.json", f"*/{_EXPORT}")
        found = [path.relative_to(folder).as_posix() for pattern in patterns for path in sorted(folder.glob(pattern))]
        if found:
            return ", ".join(found[:3]) + (" ..." if len(found) > 3 else "")
        single = _find_single_file(folder)
        return f"{single.relative_to(folder).as_posix()} and pictures, without splits" if single else None

    def splits(self) -> list[str]:
        return sorted(self._files)

    def annotated_classes(self, splits: Sequence[str]) -> list[str]:
        """The categories of the splits asked for, which name all classes, also those without a box."""
        names: dict[str, None] = {}
        for split in splits:
            categories = self._load(split)["categories"]
            names.update(dict.fromkeys(_class_names(categories, bool(self.settings["use_supercategory"])).values()))
        return [name for name in names if name]

    def image_count(self, split: str) -> int:
        return len(self._load(split)["images"])

    def images(self, split: str) -> Iterator[AnnotatedImage | Finding]:
        content, files = self._load(split), self._files[split]
        name = self.relative_name(files.annotations)
        classes = _class_names(content["categories"], bool(self.settings["use_supercategory"]))
        boxes: dict[object, list[AnnotatedBox]] = {}  # by image id, as JSON writes it
        for index, annotation in enumerate(content["annotations"]):
            box = _box(annotation, classes, f"{name} annotation {annotation.get('id', f'number {index + 1}')}")
            boxes.setdefault(_as_key(annotation.get("image_id")), []).append(box)
        finder = FileFinder(files.pictures)
        for image in content["images"]:
            # Taken out, so that a picture listed twice has its boxes once, and what remains belongs to none.
            yield self._image(image, tuple(boxes.pop(_as_key(image.get("id")), ())), name, finder)
        for image_id, left in boxes.items():
            for box in left:
                yield Finding(Kind.ORPHAN_BOX, str(image_id), box.where, f"image_id {image_id}")

    def _image(
        self, image: Mapping[str, Any], boxes: tuple[AnnotatedBox, ...], name: str, finder: FileFinder
    ) -> AnnotatedImage | Finding:
        image_id, file_name = image.get("id"), image.get("file_name")
        where = f"{name} image {image_id}"
        if image_id is None or not isinstance(file_name, str) or not file_name:
            detail = "has no id or no file_name"
            return Finding(Kind.DAMAGED_ANNOTATION, str(image_id), where, detail, boxes=len(boxes))
        findings = []
        path = finder.find(file_name) or finder.find(Path(file_name.replace("\\", "/")).name)
        if path is not None and path not in (finder.folder / file_name, self.data_dir / file_name):
            finding = Finding(Kind.OTHER_NAME, str(image_id), self.relative_name(path), f"looked for {file_name}")
            findings.append(finding)
        return AnnotatedImage(
            image_id=str(image_id),
            path=path or finder.folder / file_name,
            boxes=boxes,
            where=where,
            stated_size=_stated_size(image),
            findings=tuple(findings),
        )

    # -- files ---------------------------------------------------------------------------------------------

    def _find_files(self) -> dict[str, _SplitFiles]:
        files = {path.parent.name: _SplitFiles(path, path.parent) for path in self.data_dir.glob(f"*/{_EXPORT}")}
        for split, by_year in self._instance_files().items():
            year = self._choose_year(split, by_year)
            if year is not None:
                files[split] = _SplitFiles(by_year[year], self._picture_folder(split, year))
        single = None if files else _find_single_file(self.data_dir)
        if single is not None:
            places = (self.data_dir / "images", single.parent)
            pictures = next((place for place in places if holds_file(place, IMAGE_EXTENSIONS)), self.data_dir)
            files[ONE_SPLIT] = _SplitFiles(single, pictures)
        if not files:
            raise self.layout_error(f"annotations/instances_<split>{self.settings['year']}.json and */{_EXPORT}")
        return files

    def _instance_files(self) -> dict[str, dict[str, Path]]:
        """split -> year (or "") -> file."""
        found: dict[str, dict[str, Path]] = {}
        for folder in (self.data_dir, self.data_dir / "annotations"):
            for path in sorted(folder.glob("instances_*.json")):
                if match := _INSTANCES.fullmatch(path.name):
                    found.setdefault(match[1], {})[match[2] or ""] = path
        return found

    def _choose_year(self, split: str, by_year: Mapping[str, Path]) -> str | None:
        asked = self.settings["year"]
        if asked:
            return next((year for year in (str(asked), "") if year in by_year), None)
        if len(by_year) > 1 and _PREFERRED_YEAR not in by_year:
            raise DataError(
                f"{self.data_dir}: {split} is there for {', '.join(sorted(by_year))}; choose with -o year=..."
            )
        return _PREFERRED_YEAR if _PREFERRED_YEAR in by_year else next(iter(by_year))

    def _picture_folder(self, split: str, year: str) -> Path:
        """The first folder there is; file names in the JSON are relative to it."""
        names = (f"{split}{year}", f"images/{split}{year}", split, f"images/{split}", "images")
        there = [self.data_dir / name for name in names if (self.data_dir / name).is_dir()]
        return there[0] if there else self.data_dir

    def _load(self, split: str) -> dict[str, Any]:
        """The JSON's lists `images`, `annotations` and `categories`."""
        if split not in self._loaded:
            path = self._files[split].annotations
            content = read_json(path, object_hook=_without_outlines)
            for key in ("images", "annotations", "categories"):
                if not isinstance(content, dict) or not isinstance(content.get(key), list):
                    found = ", ".join(content) if isinstance(content, dict) else f"a {type(content).__name__}"
                    raise DataError(f"{path}: must have lists `images`, `annotations` and `categories`; found {found}")
                if not all(isinstance(entry, dict) for entry in content[key]):
                    raise DataError(f"{path}: each entry of `{key}` must be a mapping")
            self._loaded[split] = content
        return self._loaded[split]


def _find_single_file(folder: Path) -> Path | None:
    """The one COCO file of a set without splits."""
    found = [
        path
        for place in (folder, folder / "annotations")
        for path in sorted(place.glob("*.json"))
        if path.is_file() and not _INSTANCES.fullmatch(path.name) and _START.match(read_start(path))
    ]
    return found[0] if len(found) == 1 else None


def _as_key(value: object) -> object:
    """An id as JSON gives it, fit for a dictionary: damaged files have lists there."""
    return value if isinstance(value, (int, float, str)) else repr(value)


def _without_outlines(entry: dict[str, Any]) -> dict[str, Any]:
    """Outlines are nine tenths of COCO's files and are not needed: dropped while reading, to save the memory."""
    entry.pop("segmentation", None)
    return entry


def _class_names(categories: Sequence[Mapping[str, Any]], use_supercategory: bool) -> dict[object, str]:
    """category id -> class name, in the order of the ids."""
    key = "supercategory" if use_supercategory else "name"
    ordered = sorted(categories, key=lambda category: parse_number(category.get("id")))
    return {_as_key(category.get("id")): str(category.get(key) or category.get("name") or "") for category in ordered}


def _stated_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = parse_number(image.get("height")), parse_number(image.get("width"))
    return (int(height), int(width)) if 0 < height < float("inf") and 0 < width < float("inf") else None


def _box(annotation: Mapping[str, Any], classes: Mapping[object, str], where: str) -> AnnotatedBox:
    """COCO's boxes are x, y, width, height, continuous."""
    numbers = annotation.get("bbox")
    numbers = numbers if isinstance(numbers, list) and len(numbers) == 4 else [None] * 4
    x, y, width, height = (parse_number(number) for number in numbers)
    category = _as_key(annotation.get("category_id"))
    return AnnotatedBox(
        corners=(x, y, x + width, y + height),
        label=classes.get(category, f"category {category}"),
        where=where,
        is_crowd=bool(parse_flag(annotation.get("iscrowd"))),
        is_difficult=bool(parse_flag(annotation.get("difficult"))),
        is_truncated=bool(parse_flag(annotation.get("truncated"))),
    )
