"""Small data sets on disk for the tests: the same pictures and boxes as Pascal VOC, COCO or CSV, good and damaged."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

FORMATS = ("pascal", "coco", "csv")


@dataclass
class Object:
    """One object; `box` is (x_min, y_min, x_max, y_max), continuous pixels, numbers or text."""

    label: str
    box: tuple
    crowd: bool = False
    difficult: bool = False


@dataclass
class Picture:
    """One picture of a set: file name and bytes (None: no such file), objects, (height, width) as annotated."""

    name: str
    encoded: bytes | None
    objects: list[Object]
    size: tuple[int, int] = (30, 40)
    listed_as: str = ""

    @property
    def listed_name(self) -> str:
        return self.listed_as or self.name

    @property
    def stem(self) -> str:
        return self.listed_name.rpartition(".")[0]


def picture_bytes(format: str = "JPEG", size=(30, 40), mode: str = "RGB", orientation: int | None = None) -> bytes:
    """A noisy picture of (height, width), encoded."""
    height, width = size
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), np.uint8)
    if mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(pixels).convert(mode)
    options = {}
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


CAR = Object("car", (4.0, 5.0, 20.0, 25.0))


def good_pictures() -> list[Picture]:
    """Three pictures without fault; the last has no objects."""
    return [
        Picture("first.jpg", picture_bytes(), [CAR, Object("traffic light", (0.0, 0.0, 8.0, 12.0))]),
        Picture("second.jpg", picture_bytes(size=(20, 50)), [Object("person", (30.0, 2.0, 50.0, 20.0))], (20, 50)),
        Picture("empty street.jpg", picture_bytes(), []),
    ]


def damaged_pictures() -> list[Picture]:
    """One picture for each kind of damage, and a good one."""
    whole, png = picture_bytes(), picture_bytes("PNG")
    bad_checksum = bytearray(png)
    bad_checksum[-14] ^= 1  # within the checksum of the last block of pixels
    return [
        Picture("good.jpg", whole, [CAR]),
        Picture("missing.jpg", None, [CAR]),
        Picture("cut.jpg", whole[: len(whole) // 2], [CAR]),
        Picture("noend.jpg", whole[:-2], [CAR]),
        Picture("text.jpg", b"<html>404 not found</html>", [CAR]),
        Picture("nothing.jpg", b"", [CAR]),
        Picture("rotated.jpg", picture_bytes(orientation=6), [Object("car", (1.0, 2.0, 30.0, 40.0))], (40, 30)),
        Picture("cmyk.jpg", picture_bytes(mode="CMYK"), [CAR]),
        Picture("deep.png", picture_bytes("PNG", mode="I;16"), [CAR]),
        Picture("checksum.png", bytes(bad_checksum), [CAR]),
        Picture("grey.jpg", picture_bytes(mode="L"), [CAR]),
        Picture("bitmap.jpg", picture_bytes("BMP"), [CAR]),
        Picture("UPPER.JPG", whole, [CAR], listed_as="upper.jpg"),
        Picture("Straße 東京.jpg", whole, [Object("straßenbahn", (4.0, 5.0, 20.0, 25.0))]),
        Picture("othersize.jpg", whole, [CAR], (60, 80)),
        Picture(
            "boxes.jpg",
            whole,
            [
                Object("car", (-3.0, 5.0, 45.0, 25.0)),
                Object("car", (41.0, 5.0, 50.0, 25.0)),
                Object("car", (20.0, 5.0, 4.0, 25.0)),
                Object("car", (4.0, 5.0, 4.0, 25.0)),
                Object("car", ("nan", 5.0, 4.0, 25.0)),
                CAR,
            ],
        ),
        Picture("empty.jpg", whole, []),
    ]


def write_set(format: str, folder: Path, **splits: list[Picture]) -> Path:
    """Writes the splits in one of `FORMATS`; returns the folder."""
    for split, pictures in splits.items():
        {"pascal": _write_pascal, "coco": _write_coco, "csv": _write_csv}[format](folder, split, pictures)
    return folder


def _write_pictures(folder: Path, pictures: list[Picture]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        if picture.encoded is not None:
            (folder / picture.name).write_bytes(picture.encoded)


def _write_pascal(folder: Path, split: str, pictures: list[Picture]) -> None:
    _write_pictures(folder / "JPEGImages", pictures)
    for name in ("ImageSets/Main", "Annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{p.stem}\n" for p in pictures), "utf-8")
    for picture in pictures:
        (folder / "Annotations" / f"{picture.stem}.xml").write_text(_xml(picture), "utf-8")


def _xml(picture: Picture) -> str:
    """One-based and inclusive, as VOC writes: one is added to the upper left corner."""

    def shifted(value):
        return value if isinstance(value, str) else value + 1

    objects = "".join(
        f"<object>\n<name>{item.label}</name><difficult>{int(item.difficult)}</difficult><bndbox>"
        f"<xmin>{shifted(item.box[0])}</xmin><ymin>{shifted(item.box[1])}</ymin>"
        f"<xmax>{item.box[2]}</xmax><ymax>{item.box[3]}</ymax></bndbox>\n"
        "<part><name>wheel</name></part></object>\n"
        for item in picture.objects
    )
    height, width = picture.size
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotation>\n<filename>{picture.name}</filename>\n'
        f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>\n{objects}</annotation>\n"
    )


def _write_csv(folder: Path, split: str, pictures: list[Picture]) -> None:
    _write_pictures(folder / split, pictures)
    with (folder / f"{split}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "xmin", "ymin", "xmax", "ymax", "label", "extra"])
        for picture in pictures:
            for item in picture.objects:
                writer.writerow([picture.listed_name, *item.box, item.label, "x"])
            if not picture.objects:
                writer.writerow([picture.listed_name, "", "", "", "", "", ""])


def _write_coco(folder: Path, split: str, pictures: list[Picture]) -> None:
    _write_pictures(folder / f"{split}2017", pictures)
    labels = sorted({item.label for picture in pictures for item in picture.objects} | {"car"})
    categories = [{"id": 3 * index + 1, "name": label, "supercategory": "thing"} for index, label in enumerate(labels)]
    images, annotations = [], []
    for index, picture in enumerate(pictures):
        height, width = picture.size
        images.append({"id": index, "file_name": picture.listed_name, "height": height, "width": width})
        for item in picture.objects:
            x_min, y_min, x_max, y_max = (float(value) for value in item.box)
            annotations.append(
                {
                    "id": len(annotations) + 100,
                    "image_id": index,
                    "category_id": 3 * labels.index(item.label) + 1,
                    "bbox": [x_min, y_min, x_max - x_min, y_max - y_min],
                    "iscrowd": int(item.crowd),
                    "segmentation": [[1, 2, 3, 4, 5, 6]],
                }
            )
    (folder / "annotations").mkdir(exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content), "utf-8")
