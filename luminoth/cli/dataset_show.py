"""`lumi dataset show`: contact sheets of pictures with their boxes, as they are stored or as a training sees them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from luminoth.cli.bucket_files import LocalPath, PathOrAddress, show_copies
from luminoth.cli.dataset_options import ReaderType, split_overrides
from luminoth.cli.dataset_source import read_config, say_recognised
from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import progress, say
from luminoth.errors import DataError, OutputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from luminoth.config import Config
    from luminoth.data.show.contact_sheet import Cell, Layout
    from luminoth.data.show.sample import Sample
    from luminoth.data.source import Source
    from luminoth.types import Example

_CELLS_A_SHEET = 36
_MOST_NAMES = 12  # boxes with a name on one picture; the others are told by their colour
_MOST_CLASSES = 20  # in the legend
_GREY = (170, 176, 184)
_FULL_SIZE = 500  # width of a cell at which lines and names are drawn in their usual size


@click.command()
@click.argument("path", type=PathOrAddress())
@click.option(
    "--type", "reader_type", type=ReaderType(),
    help="The layout of PATH.  [default: records if there are any, else it is recognised]",
)  # fmt: skip
@click.option("--split", "splits", multiple=True, help="A split; repeatable.  [default: all]")
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="A reader's setting.")
@click.option("-n", "--images", "count", type=click.IntRange(min=1), default=16, show_default=True,
              help="How many pictures of each split.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Which ones.")
@click.option("-k", "--only-class", "only", multiple=True, metavar="NAME",
              help="Only pictures with an object of this class. Repeatable.")  # fmt: skip
@click.option("-d", "--output-dir", type=LocalPath(file_okay=False), default=Path(),
              help="Folder for the sheets, <name>-<split>.png.  [default: the current one]")  # fmt: skip
@click.option("-f", "--output", type=LocalPath(dir_okay=False), metavar="FILE.png",
              help="A file, where there is but one sheet.")  # fmt: skip
@click.option("--columns", type=click.IntRange(min=1), help="Pictures side by side.  [default: as many as rows]")
@click.option("--size", type=click.IntRange(64, 2000), default=320, show_default=True,
              help="Width of a picture on the sheet, in pixels.")  # fmt: skip
@click.option("-c", "--config", "files", metavar="FILE", multiple=True,
              help="Configuration: show the pictures resized as the network sees them. Repeatable.")  # fmt: skip
@click.option("--augmented", is_flag=True, help="Show each picture, and what training makes of it, with -c.")
@click.option("--variants", type=click.IntRange(min=1), default=4, show_default=True,
              help="How often, with --augmented.")  # fmt: skip
@click.pass_context
def show(
    context: click.Context,
    path: Path,
    reader_type: str | None,
    splits: tuple[str, ...],
    overrides: tuple[str, ...],
    count: int,
    seed: int,
    only: tuple[str, ...],
    output_dir: Path,
    output: Path | None,
    columns: int | None,
    size: int,
    files: tuple[str, ...],
    augmented: bool,
    variants: int,
) -> None:
    """Draw pictures with their boxes on contact sheets.

    PATH is a folder of records, or a data set in a layout of its own. The pictures are drawn at random; the sheets
    are PNG files of up to 36 pictures. Crowd regions are dashed.

    With -c the pictures go through the pipeline of training, so what is shown is what the network gets; with
    --augmented as in training, random changes included, one row a picture.

    \b
    Examples:
      lumi dataset show toytown-tf --split train -f train.png
      lumi dataset show VOCdevkit/VOC2012 -n 36 -k cat -k dog -d sheets/
      lumi dataset show toytown-tf -c configs/toytown.yml --augmented -n 6
    """
    show_copies()
    options = split_overrides(overrides)
    _check_usage(context, files, augmented)
    look = _Look(size, columns, variants if augmented else 0)

    from luminoth.data.source import open_source

    config = _read_config(files, look) if files else None  # a wrong configuration shows before the pictures are read
    source = open_source(path, reader_type, options)
    say_recognised(source, reader_type)
    chosen = source.choose_splits(splits)
    _check_classes(source, only)
    counts = {split: min(count, source.image_count(split) or count) for split in chosen}
    sheets_of = {split: -(-number // look.pictures_a_sheet(number)) for split, number in counts.items()}
    if output is not None and sum(sheets_of.values()) > 1:
        raise click.UsageError(
            f"-f {output} is one sheet, but there are {sum(sheets_of.values())}, of {', '.join(chosen)}; "
            "choose with --split and -n, or give -d FOLDER."
        )
    if config is not None:
        load_tensorflow()
    name = (path.rstrip("/").rpartition("/")[2] if isinstance(path, str) else path.resolve().name) or "sheet"
    with progress("Drawing", sum(counts.values())) as bar:
        for split in chosen:
            sample = _draw_sample(source, split, counts[split], seed, only)
            sheets = _sheets(sample, source, config, look, seed, f"{name}, {split}")
            is_only = len(sample.examples) <= look.pictures_a_sheet(len(sample.examples))
            for number, (sheet, pictures) in enumerate(sheets, start=1):
                file = output or output_dir / f"{name}-{split}{'' if is_only else f'-{number}'}.png"
                _save(sheet, file)
                click.echo(file)
                bar.advance(pictures)


@dataclass(frozen=True)
class _Look:
    """What was asked for: width of a cell, columns, and how often each picture is shown changed (0: not at all)."""

    size: int
    columns_asked: int | None
    variants: int

    def columns(self, count: int) -> int:
        if self.variants:
            return self.variants + 1
        return self.columns_asked or min(6, math.isqrt(max(count, 1) - 1) + 1)

    def pictures_a_sheet(self, count: int) -> int:
        if self.variants:
            return max(1, _CELLS_A_SHEET // (self.variants + 1))
        return self.columns(count) * max(1, _CELLS_A_SHEET // self.columns(count))


def _check_usage(context: click.Context, files: Sequence[str], augmented: bool) -> None:
    if augmented and not files:
        raise click.UsageError("--augmented needs a configuration that says how: -c config.yml")
    if not augmented and context.get_parameter_source("variants") is not ParameterSource.DEFAULT:
        raise click.UsageError("--variants is of no use without --augmented.")
    if augmented and context.get_parameter_source("columns") is not ParameterSource.DEFAULT:
        raise click.UsageError("--columns is of no use with --augmented, where a picture has a row; see --variants.")
    given = [context.get_parameter_source(name) is not ParameterSource.DEFAULT for name in ("output", "output_dir")]
    if all(given):
        raise click.UsageError("give -f or -d, not both.")
    output = context.params["output"]
    if output is not None and output.suffix.lower() != ".png":
        raise click.UsageError(f"-f {output}: sheets are PNG files; the name must end in .png")


def _read_config(files: Sequence[str], look: _Look) -> Config:
    config = read_config(files)
    if look.variants and not config.dataset.data_augmentation:
        say("Warning: dataset.data_augmentation is empty in this configuration: training changes nothing but the size")
    return config


def _check_classes(source: Source, only: Sequence[str]) -> None:
    unknown = [name for name in only if name not in source.classes]
    if unknown:
        raise DataError(f"-k {unknown[0]}: there is no such class; there are: {', '.join(source.classes)}")


def _draw_sample(source: Source, split: str, count: int, seed: int, only: Sequence[str]) -> Sample:
    from luminoth.data.show.sample import draw_sample

    sample = draw_sample(source, split, count, seed=seed, only_classes=only)
    for finding in sample.dropped:
        say(f"Warning: {finding}")
    if not sample.examples:
        what = f"no picture with {' or '.join(only)}" if only else "no picture that can be shown"
        raise DataError(f"{source.path}: {split}: {what}")
    return sample


def _save(sheet: Image.Image, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(file, "PNG", optimize=True)
    except OSError as error:
        raise OutputError(f"{file}: cannot be written ({error.strerror or error})") from error


# --- From examples to sheets ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Shown:
    """A picture as it goes into a cell: pixels uint8 RGB [H, W, 3], objects as `draw_objects` takes them."""

    pixels: np.ndarray
    objects: list[dict[str, Any]]
    name: str
    note: str


def _rows(
    examples: Sequence[Example], classes: Sequence[str], config: Config | None, look: _Look, seed: int
) -> Iterator[list[_Shown]]:
    """The cells of each picture: one, or with --augmented the picture and its variants."""
    if config is None:
        yield from ([_as_stored(example, classes)] for example in examples)
        return
    from luminoth.data.show.as_trained import augmented_pictures, resized_pictures
    from luminoth.resize import ResizeRule

    resize = ResizeRule(**config.dataset.image_preprocessing.model_dump())
    if not look.variants:
        for example, picture in zip(examples, resized_pictures(examples, classes, resize), strict=True):
            yield [_as_seen(picture, classes, _file_name(example), f"{_size(example.image_size)} -> ")]
        return
    augmentations = [augmentation.model_dump() for augmentation in config.dataset.data_augmentation]
    variants = augmented_pictures(examples, classes, resize, augmentations, variants=look.variants, seed=seed)
    for example, pictures in zip(examples, variants, strict=True):
        seen = [_as_seen(each, classes, f"in training, {number}") for number, each in enumerate(pictures, start=1)]
        yield [_as_stored(example, classes), *seen]


def _as_stored(example: Example, classes: Sequence[str]) -> _Shown:
    from luminoth.image import read_image

    objects = _objects(example.boxes, example.class_ids, example.is_crowd, classes)
    return _Shown(read_image(example.encoded), objects, _file_name(example), _note(example.image_size, objects))


def _as_seen(picture, classes: Sequence[str], name: str, before: str = "") -> _Shown:
    objects = _objects(picture.boxes, picture.class_ids, picture.is_crowd, classes)
    return _Shown(picture.pixels, objects, name, before + _note(picture.pixels.shape[:2], objects))


def _file_name(example: Example) -> str:
    return example.filename or example.image_id


def _objects(boxes: np.ndarray, class_ids: np.ndarray, is_crowd: np.ndarray, classes: Sequence[str]) -> list[dict]:
    return [
        {"bbox": box.tolist(), "label": classes[class_id], "is_crowd": bool(crowd), "note": "(crowd)" if crowd else ""}
        for box, class_id, crowd in zip(boxes, class_ids, is_crowd, strict=True)
    ]


def _note(size: tuple[int, int], objects: list[dict]) -> str:
    count = len(objects)
    return f"{_size(size)}, {'no objects' if count == 0 else '1 object' if count == 1 else f'{count} objects'}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"


def _sheets(
    sample: Sample, source: Source, config: Config | None, look: _Look, seed: int, title: str
) -> Iterator[tuple[Image.Image, int]]:
    """Sheets, each with the number of its pictures; one is in memory at a time, its pictures already small."""
    from luminoth.data.show.contact_sheet import choose_layout, draw_sheet

    examples = sample.examples
    layout = choose_layout([example.image_size for example in examples], look.columns(len(examples)), look.size)
    a_sheet = look.pictures_a_sheet(len(examples))
    title += f": {len(examples)} of {sample.found} pictures"
    for first in range(0, len(examples), a_sheet):
        part = examples[first : first + a_sheet]
        cells, counts = [], Counter()
        for row in _rows(part, source.classes, config, look, seed):
            cells += [_cell(each, layout) for each in row]
            counts.update(each["label"] for each in row[0].objects)
        numbers = f", {first + 1} to {first + len(part)}" if a_sheet < len(examples) else ""
        yield draw_sheet(cells, layout, title + numbers, _legend(counts)), len(part)


def _cell(shown: _Shown, layout: Layout) -> Cell:
    """Boxes are drawn on the small picture, so that lines and names suit it."""
    from luminoth.data.show.contact_sheet import Cell, fit
    from luminoth.inference.draw import draw_objects

    pixels = fit(shown.pixels, layout.cell_size)
    y_factor, x_factor = pixels.shape[0] / shown.pixels.shape[0], pixels.shape[1] / shown.pixels.shape[1]
    factors = (x_factor, y_factor, x_factor, y_factor)
    objects = [
        {**each, "bbox": [value * factor for value, factor in zip(each["bbox"], factors, strict=True)]}
        for each in shown.objects
    ]
    # The smallest last, over the others; names for the largest only, where there are many.
    objects.sort(key=lambda each: -_area(each["bbox"]))
    scale = (layout.cell_size[1] / _FULL_SIZE) ** 0.5
    draw_objects(pixels, objects, labels=False, scale=scale, fill=30)
    draw_objects(pixels, objects[:_MOST_NAMES], scale=scale)
    return Cell(pixels, shown.name, shown.note)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _legend(counts: Counter[str]) -> list[tuple[str, tuple[int, int, int]]]:
    """The classes on the sheet and how many objects of each, the most frequent first."""
    from luminoth.inference.draw import class_colour

    entries = [(f"{name}: {count}", class_colour(name)) for name, count in counts.most_common(_MOST_CLASSES)]
    more = len(counts) - len(entries)
    return [*entries, (f"and {more} more classes", _GREY)] if more else entries
