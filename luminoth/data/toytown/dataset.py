"""Writes toytown scenes as the source data that people have on disk: Pascal VOC, COCO or CSV."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from xml.etree import ElementTree

from PIL import Image

from luminoth.data.toytown.scene import CLASSES, DEFAULT_SIZE, draw_scene, jpeg_quality
from luminoth.data.toytown.visibility import SceneObject
from luminoth.errors import DataError, OutputError

FORMATS = ("pascal", "coco", "csv")
SMALLEST_SIDE = 64
_COCO_YEAR = 2017
_SUPERCATEGORIES = {"person": "person", "traffic light": "outdoor"}


@dataclass(frozen=True)
class ToytownSummary:
    """What was written.

    Attributes:
        output_dir: where.
        format: one of `FORMATS`.
        images: how many pictures each split has; a split without any is not there.
        boxes: how many boxes each class has, over all splits.
        empty_images: how many pictures show no object.
    """

    output_dir: Path
    format: str
    images: dict[str, int]
    boxes: dict[str, int]
    empty_images: int


@dataclass(frozen=True)
class _Picture:
    image_id: str
    image_size: tuple[int, int]
    objects: list[SceneObject]


class _Writer(Protocol):
    def image_path(self, split: str, image_id: str) -> Path: ...

    def write_annotations(self, split: str, pictures: Sequence[_Picture]) -> None: ...


def write_toytown(
    output_dir: str | os.PathLike,
    *,
    images: int,
    seed: int = 0,
    format: str = "pascal",
    val_fraction: float = 0.2,
    image_size: tuple[int, int] = DEFAULT_SIZE,
    progress: Callable[[], None] | None = None,
) -> ToytownSummary:
    """Draws a data set. Equal arguments give equal bytes; the last pictures are the val split.

    It is written beside `output_dir` and renamed when whole.

    Args:
        output_dir: a folder that does not exist yet, or an empty one.
        images: how many pictures, of both splits together; 1 or more.
        seed: which pictures; picture i depends on the seed and i alone.
        format: one of `FORMATS`.
        val_fraction: the share of the pictures for val, 0 to 1; the rest is train.
        image_size: (height, width) in pixels.
        progress: called after each picture.

    Raises:
        DataError: an argument is not acceptable.
        OutputError: `output_dir` holds something already.
    """
    target = Path(output_dir)
    _check_arguments(images, format, val_fraction, image_size)
    _refuse_to_overwrite(target)
    unfinished = _folder_beside(target)
    try:
        writer = _WRITERS[format](unfinished)
        splits = _split(images, val_fraction)
        pictures = {}
        for split, indices in splits.items():
            pictures[split] = [_write_picture(writer, split, seed, i, image_size, progress) for i in indices]
            writer.write_annotations(split, pictures[split])
        if target.exists():
            target.rmdir()  # empty, as was made sure; some systems do not rename onto an empty folder
        os.replace(unfinished, target)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return _summarise(target, format, pictures)


def check_image_size(image_size: tuple[int, int]) -> None:
    """Raises DataError unless both sides are large enough for things to be recognised and at most 4 : 1."""
    height, width = image_size
    if min(height, width) < SMALLEST_SIDE:
        raise DataError(f"image size: {width} x {height} pixels; accepted are sides of {SMALLEST_SIDE} pixels and more")
    if not 0.5 <= width / height <= 4:
        raise DataError(f"image size: {width} x {height} pixels; accepted are widths of half to 4 times the height")


def _check_arguments(images: int, format: str, val_fraction: float, image_size: tuple[int, int]) -> None:
    if images < 1:
        raise DataError(f"images: got {images}; accepted is 1 or more")
    if format not in FORMATS:
        raise DataError(f"format: got {format!r}; accepted are {', '.join(FORMATS)}")
    if not 0 <= val_fraction <= 1:
        raise DataError(f"val_fraction: got {val_fraction}; accepted is 0 (all train) to 1 (all val)")
    check_image_size(image_size)


def _refuse_to_overwrite(target: Path) -> None:
    if target.is_dir():
        if any(target.iterdir()):
            raise OutputError(f"{target}: the folder is not empty; name a new one, or delete this one first")
    elif target.exists():
        raise OutputError(f"{target}: there is a file of this name; name a new folder")


def _folder_beside(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-unfinished-", dir=target.parent))
        folder.chmod(0o777 & ~_umask())  # mkdtemp lets nobody else in
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error}); name another folder") from error
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _split(images: int, val_fraction: float) -> dict[str, range]:
    """The indices of each split; a fraction strictly between 0 and 1 leaves neither empty if it can."""
    in_val = round(images * val_fraction)
    if 0 < val_fraction < 1 and images > 1:
        in_val = min(max(in_val, 1), images - 1)
    splits = {"train": range(images - in_val), "val": range(images - in_val, images)}
    return {split: indices for split, indices in splits.items() if indices}


def _write_picture(writer: _Writer, split: str, seed: int, index: int, image_size, progress) -> _Picture:
    image_id = f"toytown_{seed}_{index:06d}"
    pixels, objects = draw_scene(seed, index, image_size)
    path = writer.image_path(split, image_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=jpeg_quality(seed, index))
    if progress is not None:
        progress()
    return _Picture(image_id, image_size, objects)


def _summarise(target: Path, format: str, pictures: dict[str, list[_Picture]]) -> ToytownSummary:
    everything = [picture for split in pictures.values() for picture in split]
    labels = [item.label for picture in everything for item in picture.objects]
    return ToytownSummary(
        output_dir=target,
        format=format,
        images={split: len(of_split) for split, of_split in pictures.items()},
        boxes={name: labels.count(name) for name in CLASSES},
        empty_images=sum(not picture.objects for picture in everything),
    )


@dataclass
class _PascalWriter:
    """`JPEGImages/<id>.jpg`, `Annotations/<id>.xml`, `ImageSets/Main/<split>.txt`; 1-based, inclusive corners."""

    root: Path

    def image_path(self, split: str, image_id: str) -> Path:
        return self.root / "JPEGImages" / f"{image_id}.jpg"

    def write_annotations(self, split: str, pictures: Sequence[_Picture]) -> None:
        for folder in ("Annotations", "ImageSets/Main"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        for picture in pictures:
            _write_text(self.root / "Annotations" / f"{picture.image_id}.xml", _voc_xml(picture))
        listed = "".join(f"{picture.image_id}\n" for picture in pictures)
        _write_text(self.root / "ImageSets" / "Main" / f"{split}.txt", listed)


def _voc_xml(picture: _Picture) -> str:
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", f"{picture.image_id}.jpg")
    _add(_add(root, "source"), "database", "toytown")
    size = _add(root, "size")
    for name, value in zip(("width", "height", "depth"), (*picture.image_size[::-1], 3), strict=True):
        _add(size, name, value)
    _add(root, "segmented", 0)
    for item in picture.objects:
        element = _add(root, "object")
        _add(element, "name", item.label)
        _add(element, "pose", "Unspecified")
        _add(element, "truncated", int(item.truncated))
        _add(element, "difficult", int(item.difficult))
        corners = _add(element, "bndbox")
        x_min, y_min, x_max, y_max = item.box
        # VOC counts pixels from 1 and names the last one that still belongs to the object
        for name, value in (("xmin", x_min + 1), ("ymin", y_min + 1), ("xmax", x_max), ("ymax", y_max)):
            _add(corners, name, value)
    ElementTree.indent(root, "\t")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(parent: ElementTree.Element, name: str, text: object = None) -> ElementTree.Element:
    element = ElementTree.SubElement(parent, name)
    element.text = None if text is None else str(text)
    return element


@dataclass
class _CocoWriter:
    """`annotations/instances_<split>2017.json` and `<split>2017/<id>.jpg`."""

    root: Path

    def image_path(self, split: str, image_id: str) -> Path:
        return self.root / f"{split}{_COCO_YEAR}" / f"{image_id}.jpg"

    def write_annotations(self, split: str, pictures: Sequence[_Picture]) -> None:
        images, annotations = [], []
        for number, picture in enumerate(pictures, start=1):
            height, width = picture.image_size
            name = f"{picture.image_id}.jpg"
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            for item in picture.objects:
                x_min, y_min, x_max, y_max = item.box
                box = [x_min, y_min, x_max - x_min, y_max - y_min]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": CLASSES.index(item.label) + 1,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
        categories = [
            {"id": number, "name": name, "supercategory": _SUPERCATEGORIES.get(name, "vehicle")}
            for number, name in enumerate(CLASSES, start=1)
        ]
        contents = {
            "info": {"description": "toytown", "year": _COCO_YEAR},
            "licenses": [],
            "images": images,
            "annotations": annotations,
            "categories": categories,
        }
        (self.root / "annotations").mkdir(exist_ok=True)
        _write_text(self.root / "annotations" / f"instances_{split}{_COCO_YEAR}.json", json.dumps(contents))


@dataclass
class _CsvWriter:
    """`<split>.csv` with a line a box, and `<split>/<id>.jpg`; a picture without objects has no line."""

    root: Path

    def image_path(self, split: str, image_id: str) -> Path:
        return self.root / split / f"{image_id}.jpg"

    def write_annotations(self, split: str, pictures: Sequence[_Picture]) -> None:
        with open(self.root / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("image_id", "xmin", "ymin", "xmax", "ymax", "label"))
            for picture in pictures:
                table.writerows((f"{picture.image_id}.jpg", *item.box, item.label) for item in picture.objects)


_WRITERS: dict[str, Callable[[Path], _Writer]] = {"pascal": _PascalWriter, "coco": _CocoWriter, "csv": _CsvWriter}


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
