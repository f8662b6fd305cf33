"""`lumi dataset`: make, convert and merge data sets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luminoth.cli.dataset_toytown import toytown
from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import Progress, progress, say

if TYPE_CHECKING:
    from luminoth.data.merge import MergeReport
    from luminoth.data.report import SplitReport
    from luminoth.data.transform import TransformReport

_PATH = click.Path(path_type=Path)
_FILES_NAMED = 3


class _ReaderType(click.ParamType):
    """The name of a reader; the table is light but still only looked into when it is needed."""

    name = "type"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        from luminoth.data.readers import READERS

        return f"[{'|'.join(READERS)}]"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> str:
        from luminoth.data.readers import READERS

        if value not in READERS:
            self.fail(f"{value!r} is not one of {', '.join(READERS)}.", param, context)
        return value


class _CommaList(click.ParamType):
    """`a,b,c`"""

    name = "names"

    def convert(self, value, param, context) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(part.strip() for part in value.split(",") if part.strip())
        if not names:
            self.fail("needs at least one name", param, context)
        return names


@click.group()
def dataset() -> None:
    """Make, convert and merge data sets.

    \b
    Examples:
      lumi dataset toytown --output-dir toytown
      lumi dataset transform --type pascal --data-dir toytown --output-dir toytown-tf
      lumi dataset merge day/ night/ both/
    """


dataset.add_command(toytown)


@dataset.command()
@click.option("--type", "reader_type", type=_ReaderType(), required=True, help="The layout of the data set.")
@click.option("--data-dir", type=_PATH, required=True, help="The folder that holds it.")
@click.option(
    "--output-dir",
    "--output",
    "output_dir",
    type=click.Path(path_type=Path),
    required=True,
    help="Where records go.",
)
@click.option("--split", "splits", multiple=True, help="A split to convert; repeatable. Default: all.")
@click.option("--only-classes", type=_CommaList(), default=(), help="Keep only these classes: a,b,...")
@click.option(
    "--only-images",
    type=_CommaList(),
    default=(),
    help="Keep only these pictures: ids or file names.",
)
@click.option("--limit-examples", type=click.IntRange(min=1), help="At most so many records a split.")
@click.option("--class-examples", type=click.IntRange(min=1), help="Stop once each class has about so many boxes.")
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="A reader's setting.")
@click.option("--strict", is_flag=True, help="Fail instead of dropping a picture or a box.")
def transform(
    reader_type: str,
    data_dir: Path,
    output_dir: Path,
    splits: tuple[str, ...],
    only_classes: tuple[str, ...],
    only_images: tuple[str, ...],
    limit_examples: int | None,
    class_examples: int | None,
    overrides: tuple[str, ...],
    strict: bool,
) -> None:
    """Turn a data set into TFRecords for training.

    Writes <split>.tfrecords, classes.json and <split>.report.json, which lists every picture and box that was
    dropped or changed. Pictures without objects are kept.

    \b
    Layouts and settings (-o):
      pascal  ImageSets/Main/<split>.txt, JPEGImages/<id>.jpg, Annotations/<id>.xml
              one_based=true|false
      coco    annotations/instances_<split><year>.json and <split><year>/, or
              <split>/_annotations.coco.json beside the pictures
              year=2017  use_supercategory=true|false
      csv     <split>.csv (image_id,xmin,ymin,xmax,ymax,label) and pictures in <split>/
              headers=true|false  columns=a,b,...  delimiter=,  unlisted=keep|skip
      all     classes=a,b,...

    \b
    Examples:
      lumi dataset transform --type pascal --data-dir VOC2012 --output-dir tf/ --split train --split val
      lumi dataset transform --type coco --data-dir coco --output-dir tf/ --only-classes car,bus
      lumi dataset transform --type csv --data-dir mine --output-dir tf/ -o headers=false
    """
    options = _split_overrides(overrides)

    from luminoth.data.readers import open_reader

    reader = open_reader(reader_type, data_dir, options)  # a wrong layout shows before TensorFlow is loaded
    load_tensorflow()
    from luminoth.data.transform import Filters
    from luminoth.data.transform import transform as run_transform

    filters = Filters(only_classes, only_images, limit_examples, class_examples)
    with _SplitProgress() as bars:
        report = run_transform(reader, output_dir, splits, filters=filters, strict=strict, on_progress=bars.update)
    _print_report(report)


@dataset.command()
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.argument("output", type=_PATH)
def merge(sources: tuple[Path, ...], output: Path) -> None:
    """Join record files, or folders of them.

    SOURCES are .tfrecords files (OUTPUT is then a file) or folders that `lumi dataset transform` wrote (OUTPUT
    is then a folder, joined split by split). Their classes.json must be equal.

    \b
    Examples:
      lumi dataset merge day/train.tfrecords night/train.tfrecords both/train.tfrecords
      lumi dataset merge day/ night/ both/
    """
    load_tensorflow()
    from luminoth.data.merge import merge as run_merge

    _print_merge(run_merge(sources, output))


# --- What is printed ------------------------------------------------------------


class _SplitProgress:
    """One progress bar a split, made when its first picture is done."""

    def __init__(self) -> None:
        self._split: str | None = None
        self._bar: Progress | None = None
        self._done = 0

    def __enter__(self) -> _SplitProgress:
        return self

    def update(self, split: str, done: int, total: int | None) -> None:
        if split != self._split:
            self._close()
            self._context = progress(split, total)
            self._split, self._bar, self._done = split, self._context.__enter__(), 0
        self._bar.advance(done - self._done)
        self._done = done

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __exit__(self, *_: object) -> None:
        self._close()


def _split_overrides(overrides: tuple[str, ...]) -> dict[str, str]:
    options = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise click.UsageError(f"-o {override}: must be key=value")
        options[key] = value
    return options


def _print_report(report: TransformReport) -> None:
    for split in report.splits:
        _print_split(report, split)
    click.echo(f"{len(report.classes)} classes, in {report.output_dir / 'classes.json'}")
    split = next((split.split for split in report.splits if split.images_written), "train")
    say("Next, train on them:")
    folder = shlex.quote(f"dataset.dir={report.output_dir}")
    click.echo(f"  lumi train -c config.yml -o {folder} -o dataset.split={split}")


def _print_split(report: TransformReport, split: SplitReport) -> None:
    if split.images_written:
        empty = f", {split.images_empty} of them without objects" if split.images_empty else ""
        click.echo(
            f"{split.split}: {split.images_written} of {split.images_found} pictures{empty}, "
            f"{split.boxes_written} boxes -> {report.records_file(split.split)}"
        )
        counts = split.boxes_per_class
        click.echo("  boxes: " + (", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none"))
        if absent := [name for name, count in counts.items() if not count]:
            click.echo(f"  no box of: {', '.join(absent)}")
    else:
        click.echo(f"{split.split}: no record, so no file; {split.images_found} pictures in the annotations")
    if split.images_left_out:
        click.echo(f"  left out by the filters: {split.images_left_out} pictures")
    if split.stopped_early:
        click.echo("  stopped at the limit; the rest was not read")
    for kind, findings in split.by_kind().items():
        named = ", ".join(finding.where for finding in findings[:_FILES_NAMED])
        more = ", ..." if len(findings) > _FILES_NAMED else ""
        click.echo(f"  {kind.effect.value}: {kind.label}: {len(findings)} ({named}{more})")
    if split.findings:
        click.echo(f"  all of them: {report.output_dir / f'{split.split}.report.json'}")


def _print_merge(report: MergeReport) -> None:
    for path, count in report.records.items():
        click.echo(f"{path}: {count} records")
    click.echo(f"{len(report.classes)} classes: {', '.join(report.classes)}")
    if report.repeated_ids:
        names = list(report.repeated_ids)
        some = ", ".join(names[:_FILES_NAMED])
        say(f"Warning: {len(names)} picture ids occur more than once, such as {some}")
