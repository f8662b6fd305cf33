"""Small data sets on disk for the tests: the same pictures and boxes in each format, good and damaged."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from luminoth.data.readers.imagenet import class_names

FORMATS = ("pascal", "coco", "csv", "yolo", "flat", "imagenet", "openimages", "taggerine")
OPTIONS = {"openimages": {"download": "false"}}  # what a reader needs to be told of these sets


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
        _WRITERS[format](folder, split, pictures)
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


def _xml(picture: Picture, first: int = 1) -> str:
    """One-based and inclusive, as VOC writes: one is added to the upper left corner."""

    def shifted(value):
        return value if isinstance(value, str) else value + first

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


def _write_openimages(folder: Path, split: str, pictures: list[Picture]) -> None:
    """Sorted by picture, in fractions of the picture as it is; a picture without objects is one where no car was."""
    _write_pictures(folder / split, pictures)
    descriptions = folder / "class-descriptions-boxable.csv"
    earlier = descriptions.read_text("utf-8").splitlines() if descriptions.exists() else []
    labels = {item.label for picture in pictures for item in picture.objects} | {"car"}
    labels |= {line.partition(",")[2] for line in earlier}
    descriptions.write_text("".join(f"/m/{label},{label}\n" for label in sorted(labels)), "utf-8")
    boxes = ["ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction"]
    verified = ["ImageID,Source,LabelName,Confidence"]
    for picture in sorted(pictures, key=lambda picture: picture.stem):
        for item in picture.objects:
            x_min, y_min, x_max, y_max = _fractions(picture, item)
            boxes.append(f"{picture.stem},xclick,/m/{item.label},1,{x_min},{x_max},{y_min},{y_max},0,0,0,0")
            verified.append(f"{picture.stem},verification,/m/{item.label},1")
        if not picture.objects:
            verified.append(f"{picture.stem},verification,/m/car,0")
    for ending, lines in (("bbox", boxes), ("human-imagelabels-boxable", verified)):
        (folder / split / f"{split}-annotations-{ending}.csv").write_text("\n".join(lines) + "\n", "utf-8")


def _actual_size(picture: Picture) -> tuple[int, int]:
    """(height, width) of the upright picture, to which fractions refer; as annotated when it cannot be opened."""
    try:
        with Image.open(io.BytesIO(picture.encoded or b"")) as image:
            width, height = ImageOps.exif_transpose(image).size
    except OSError:
        return picture.size
    return height, width


def _fractions(picture: Picture, item: Object) -> tuple[float, ...]:
    height, width = _actual_size(picture)
    return tuple(float(value) / side for value, side in zip(item.box, (width, height) * 2, strict=True))


def _write_yolo(folder: Path, split: str, pictures: list[Picture]) -> None:
    names = _yolo_names(folder / "data.yaml", pictures)
    _write_pictures(folder / "images" / split, pictures)
    _write_yolo_labels(folder / "labels" / split, pictures, names)
    splits = {each.name: f"images/{each.name}" for each in (folder / "images").iterdir()}
    # JSON is YAML
    (folder / "data.yaml").write_text(json.dumps({**splits, "nc": len(names), "names": names}), "utf-8")


def _yolo_names(description: Path, pictures: list[Picture]) -> list[str]:
    names = json.loads(description.read_text("utf-8"))["names"] if description.exists() else []
    labels = sorted({item.label for picture in pictures for item in picture.objects} | {"car"})
    return names + [label for label in labels if label not in names]


def _write_yolo_labels(folder: Path, pictures: list[Picture], names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        lines = []
        for item in picture.objects:
            x_min, y_min, x_max, y_max = _fractions(picture, item)
            box = ((x_min + x_max) / 2, (y_min + y_max) / 2, x_max - x_min, y_max - y_min)
            lines.append(" ".join(map(str, (names.index(item.label), *box))) + "\n")
        (folder / f"{picture.stem}.txt").write_text("".join(lines), "utf-8")


def _write_flat(folder: Path, split: str, pictures: list[Picture]) -> None:
    _write_pictures(folder / split, pictures)
    for picture in pictures:
        rects = [
            {**dict(zip(("x1", "y1", "x2", "y2"), item.box, strict=True)), "label": item.label}
            for item in picture.objects
        ]
        (folder / split / f"{picture.stem}.json").write_text(json.dumps({"rects": rects}), "utf-8")


def _write_taggerine(folder: Path, split: str, pictures: list[Picture]) -> None:
    _write_pictures(folder / split, pictures)
    entries = []
    for picture in pictures:
        boxes = []
        for item in picture.objects:
            x_min, y_min, x_max, y_max = _fractions(picture, item)
            box = {"label": item.label, "x": x_min, "y": y_min, "width": x_max - x_min, "height": y_max - y_min}
            boxes.append(box)
        entries.append({"filename": picture.listed_name, "gt_boxes": boxes})
    (folder / f"{split}.json").write_text(json.dumps(entries), "utf-8")


def _write_imagenet(folder: Path, split: str, pictures: list[Picture]) -> None:
    """A class that is not ImageNet's stands under its name, as an id that nobody knows."""
    ids = {name: wordnet_id for wordnet_id, name in class_names().items()}
    _write_pictures(folder / "Data" / "DET" / split, pictures)
    for name in ("ImageSets/DET", f"Annotations/DET/{split}"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = [f"{picture.stem} {number}\n" for number, picture in enumerate(pictures, 1)]
    (folder / "ImageSets" / "DET" / f"{split}.txt").write_text("".join(lines), "utf-8")
    for picture in pictures:
        objects = [replace(item, label=ids.get(item.label, item.label)) for item in picture.objects]
        text = _xml(replace(picture, objects=objects), first=0)
        (folder / "Annotations" / "DET" / split / f"{picture.stem}.xml").write_text(text, "utf-8")


_WRITERS = {
    "pascal": _write_pascal,
    "coco": _write_coco,
    "csv": _write_csv,
    "yolo": _write_yolo,
    "flat": _write_flat,
    "imagenet": _write_imagenet,
    "openimages": _write_openimages,
    "taggerine": _write_taggerine,
}


# --- Sets without splits ------------------------------------------------------------

# name of a layout -> its format
LAYOUTS_WITHOUT_SPLITS = {
    "pascal in JPEGImages": "pascal",
    "pascal in images": "pascal",
    "pascal beside": "pascal",
    "csv in images": "csv",
    "csv beside": "csv",
    "coco in images": "coco",
    "coco in annotations": "coco",
    "coco export": "coco",
    "flat beside": "flat",
    "yolo in images": "yolo",
    "yolo beside": "yolo",
    "taggerine in images": "taggerine",
    "taggerine beside": "taggerine",
}


def write_set_without_splits(layout: str, folder: Path, pictures: list[Picture]) -> Path:
    """Writes a set in one of `LAYOUTS_WITHOUT_SPLITS`; returns the folder."""
    format, _, place = layout.partition(" ")
    write_set(format, folder, train=pictures)
    {
        "pascal": _undivide_pascal,
        "csv": _undivide_list,
        "coco": _undivide_coco,
        "flat": _undivide_flat,
        "yolo": _undivide_yolo,
        "taggerine": _undivide_list,
    }[format](folder, place)
    return folder


def _move(folder: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.rename(target / path.name)
    folder.rmdir()


def _undivide_pascal(folder: Path, place: str) -> None:
    (folder / "ImageSets" / "Main" / "train.txt").unlink()
    (folder / "ImageSets" / "Main").rmdir()
    (folder / "ImageSets").rmdir()
    if place == "in images":
        (folder / "JPEGImages").rename(folder / "images")
    elif place == "beside":
        _move(folder / "JPEGImages", folder / "Annotations")


def _undivide_list(folder: Path, place: str) -> None:
    (path,) = [*folder.glob("train.csv"), *folder.glob("train.json")]
    path.rename(path.with_stem("labels"))
    _move(folder / "train", folder / "images" if place == "in images" else folder)


def _undivide_coco(folder: Path, place: str) -> None:
    path = folder / "annotations" / "instances_train2017.json"
    if place == "in annotations":
        path.rename(path.with_name("result.json"))
    else:
        path.rename(folder / ("_annotations.coco.json" if place == "export" else "result.json"))
        (folder / "annotations").rmdir()
    _move(folder / "train2017", folder if place == "export" else folder / "images")


def _undivide_flat(folder: Path, place: str) -> None:
    _move(folder / "train", folder)


def _undivide_yolo(folder: Path, place: str) -> None:
    names = json.loads((folder / "data.yaml").read_text("utf-8"))["names"]
    (folder / "data.yaml").unlink()
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
    for part in ("images", "labels"):
        _move(folder / part / "train", folder / part if place == "in images" else folder)
        if place == "beside":
            (folder / part).rmdir()
