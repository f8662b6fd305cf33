"""`lumi dataset transform`: from a data set as it is on disk to TFRecords."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from luminoth.cli.bucket_files import LocalPath
from luminoth.cli.dataset_options import CommaList, ReaderType, split_overrides, workers_option
from luminoth.cli.terminal import Progress, progress, say
from luminoth.errors import DataError

if TYPE_CHECKING:
    from luminoth.data.readers.base import Reader
    from luminoth.data.report import SplitReport
    from luminoth.data.transform.run import TransformReport

_PATH = LocalPath()
_FILES_NAMED = 3


class _Words(click.ParamType):
    """Words as a shell would split them."""

    name = "options"

    def convert(self, value, param, context) -> tuple[str, ...]:
        return value if isinstance(value, tuple) else tuple(shlex.split(value))


@click.command()
@click.option(
    "--type", "reader_type", type=ReaderType(), default="auto", help="The layout of the data set.  [default: auto]"
)
@click.option("--data-dir", type=_PATH, required=True, help="The folder that holds it.")
@click.option("--output-dir", "--output", "output_dir", metavar="DIR", required=True, help="Where records go.")
@click.option("--split", "splits", multiple=True, help="A split to convert; repeatable.  [default: all]")
@click.option(
    "--split-ratio", metavar="A/B", help="Divide the pictures anew: 0.8/0.2 (train, val), 0.8/0.1/0.1, a=0.5/b=0.5."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another one, another division.")
@click.option("--only-classes", type=CommaList(), default=(), help="Keep only these classes: a,b,...")
@click.option("--only-images", type=CommaList(), default=(), help="Keep only these pictures: ids or file names.")
@click.option("--limit-examples", type=click.IntRange(min=1), help="At most so many records a split.")
@click.option("--class-examples", type=click.IntRange(min=1), help="Stop once each class has about so many boxes.")
@click.option("--max-size", type=click.IntRange(min=16), help="Shrink pictures whose longer side has more pixels.")
@click.option(
    "--shards",
    type=click.IntRange(1, 99_999),
    help="Record files a split.  [default: one for each 10,000 pictures or 1 GB]",
)
@workers_option
@click.option("-o", "--override", "overrides", multiple=True, metavar="KEY=VALUE", help="A reader's setting.")
@click.option("--strict", is_flag=True, help="Fail instead of dropping a picture or a box.")
@click.option(
    "--runner",
    type=click.Choice(("local", "beam")),
    default="local",
    show_default=True,
    help="Where pictures are read: here, or by an Apache Beam pipeline (extra `beam`).",
)
@click.option(
    "--beam-options",
    type=_Words(),
    default=(),
    help="Beam's options: \"--runner=DataflowRunner --project=...\"  [default: Beam's local runner]",
)
@click.option(
    "--remote-data-dir", metavar="URL", default="", help="Where Beam's workers see --data-dir: gs://bucket/set."
)
@click.pass_context
def transform(
    context: click.Context,
    reader_type: str,
    data_dir: Path,
    output_dir: str,
    splits: tuple[str, ...],
    split_ratio: str | None,
    seed: int,
    only_classes: tuple[str, ...],
    only_images: tuple[str, ...],
    limit_examples: int | None,
    class_examples: int | None,
    max_size: int | None,
    shards: int | None,
    workers: int | None,
    overrides: tuple[str, ...],
    strict: bool,
    runner: str,
    beam_options: tuple[str, ...],
    remote_data_dir: str,
) -> None:
    """Turn a data set into TFRecords for training.

    Writes <split>.tfrecords, classes.json and <split>.report.json, which lists every picture and box that was
    dropped or changed. Pictures without objects are kept. Interrupted, the same command goes on where it stopped.

    \b
    Layouts and settings (-o):
      pascal      ImageSets/Main/<split>.txt, JPEGImages/<id>.jpg, Annotations/<id>.xml
                  one_based=true|false
      coco        annotations/instances_<split><year>.json and <split><year>/, or
                  <split>/_annotations.coco.json beside the pictures
                  year=2017  use_supercategory=true|false
      csv         <split>.csv (image_id,xmin,ymin,xmax,ymax,label) and pictures in <split>/
                  headers=true|false  columns=a,b,...  delimiter=,  unlisted=keep|skip
      yolo        data.yaml or classes.txt, images/<split>/ and labels/<split>/<id>.txt, or
                  <split>/images/ and <split>/labels/
                  data=data.yaml
      flat        <split>/<id>.json ({"rects": [{"x1", "y1", "x2", "y2", "label"}]}) and pictures
                  objects_key=rects  x_min_key=x1  y_min_key=y1  x_max_key=x2  y_max_key=y2
                  label_key=label  default_class=NAME  annotation_type=json  unlisted=keep|skip
      imagenet    ImageSets/DET/<split>.txt, Data/DET/<split>/<id>.JPEG,
                  Annotations/DET/<split>/<id>.xml
      openimages  class-descriptions-boxable.csv, <split>/<split>-annotations-bbox.csv, and
                  pictures in <split>/; those that are absent are downloaded
                  keep_groups=no|crowd  negatives=keep|skip  download=true|false
                  images_url=https://.../{split}/{id}.jpg
      taggerine   <split>.json ([{"filename", "gt_boxes": [...]}]) and pictures in <split>/
                  default_class=NAME
      all         classes=a,b,...
    Sets without splits (one .csv or .json and images/; images/ and labels/; Annotations/*.xml
    and pictures) are one split, `all`; --split-ratio cuts it.

    \b
    Examples:
      lumi dataset transform --data-dir VOC2012 --output-dir tf/ --split train --split val
      lumi dataset transform --data-dir photos --output-dir tf/ --split-ratio 0.8/0.2
      lumi dataset transform --type coco --data-dir coco --output-dir tf/ --only-classes car,bus
      lumi dataset transform --type csv --data-dir mine --output-dir tf/ -o headers=false
      lumi dataset transform --data-dir large --output-dir tf/ --max-size 1600 --shards 8
      lumi dataset transform --data-dir coco --output-dir gs://bucket/tf --runner beam
    """
    _refuse_useless(context, runner, split_ratio)
    reader = _open_reader(reader_type, data_dir, split_overrides(overrides))
    if split_ratio is not None:
        reader, splits = _divide(reader, splits, split_ratio, seed, only_classes, workers), ()

    from luminoth.data.transform.selection import Filters

    filters = Filters(only_classes, only_images, limit_examples, class_examples)
    settings = {"filters": filters, "strict": strict, "shards": shards, "max_size": max_size}
    started = time.monotonic()
    if runner == "beam":
        run = partial(_load_beam(), remote_data_dir=remote_data_dir, beam_options=beam_options)
        report = run(reader, output_dir, splits, **settings)
    else:
        if output_dir.startswith("gs://"):
            raise click.UsageError(
                f"--output-dir {output_dir}: only --runner beam writes to a bucket; write to a folder and copy it with "
                "`gcloud storage cp -r`"
            )
        report = _run_here(reader, Path(output_dir), splits, workers, settings)
    seconds = time.monotonic() - started
    pictures = sum(split.images_found for split in report.splits) - report.resumed
    say(f"Read {pictures} pictures in {seconds:.1f} s, {pictures / seconds:.0f} images/s")
    _print_report(report)


def _open_reader(reader_type: str, data_dir: Path, options: dict[str, str]) -> Reader:
    from luminoth.data.readers import AUTO, open_reader, recognise_type

    if reader_type == AUTO:
        reader_type, what = recognise_type(data_dir)
        say(f"Recognised {reader_type}: {what}")
    return open_reader(reader_type, data_dir, options)


def _run_here(
    reader: Reader, output_dir: Path, splits: tuple[str, ...], workers: int | None, settings: dict[str, Any]
) -> TransformReport:
    from luminoth.data.parallel import default_workers
    from luminoth.data.transform.run import transform

    try:
        with _SplitProgress() as bars:
            return transform(
                reader,
                output_dir,
                splits,
                workers=workers or default_workers(),
                on_progress=bars.update,
                **settings,
            )
    except KeyboardInterrupt:
        say("The same command goes on where this one stopped.")
        raise


def _load_beam() -> Callable[..., TransformReport]:
    chatter = logging.getLogger()
    if chatter.level == logging.WARNING:  # not with --debug
        chatter.setLevel(logging.ERROR)
    try:
        from luminoth.data.transform.beam import transform_on_beam
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise DataError(
            '--runner beam: Apache Beam is not installed; in the source tree: pip install ".[beam]"'
        ) from error
    return transform_on_beam


def _divide(
    reader: Reader, splits: tuple[str, ...], ratio: str, seed: int, only_classes: tuple[str, ...], workers: int | None
) -> Reader:
    from luminoth.data.parallel import default_workers
    from luminoth.data.transform.splitting import parse_ratios, split_reader

    ratios = parse_ratios(ratio)
    with _SplitProgress() as bars:
        divided = split_reader(
            reader,
            ratios,
            seed,
            splits=splits,
            only_classes=only_classes,
            workers=workers or default_workers(),
            on_progress=bars.update,
        )
    if divided.kept_together and divided.kept_together[0] > 1:
        groups = [size for size in divided.kept_together if size > 1]
        say(f"Kept together: {sum(groups)} pictures that look alike, in {len(groups)} groups of up to {groups[0]}")
    return divided


def _refuse_useless(context: click.Context, runner: str, split_ratio: str | None) -> None:
    """Says so when an option was typed that nothing would heed."""
    useless = {"local": ["beam_options", "remote_data_dir"], "beam": []}[runner]
    if runner == "beam" and split_ratio is None:
        useless.append("workers")
    for name in useless:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} is of no use with --runner {runner}.")
    if split_ratio is None and context.get_parameter_source("seed") is not ParameterSource.DEFAULT:
        raise click.UsageError("--seed is of no use without --split-ratio.")


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


def _print_report(report: TransformReport) -> None:
    if report.resumed:
        say(f"Went on with an interrupted run, which had done {report.resumed} pictures.")
    for split in report.splits:
        _print_split(report, split)
    click.echo(f"{len(report.classes)} classes, in {report.output_dir / 'classes.json'}")
    split = next((split.split for split in report.splits if split.images_written), "train")
    if [each.split for each in report.splits] == ["all"]:
        say("It is one split; --split-ratio 0.8/0.2 makes train and val of it.")
    say("Next, train on them:")
    folder = shlex.quote(f"dataset.dir={report.output_dir}")
    click.echo(f"  lumi train -c config.yml -o {folder} -o dataset.split={split}")


def _print_split(report: TransformReport, split: SplitReport) -> None:
    if split.images_written:
        empty = f", {split.images_empty} of them without objects" if split.images_empty else ""
        click.echo(
            f"{split.split}: {split.images_written} of {split.images_found} pictures{empty}, "
            f"{split.boxes_written} boxes -> {_describe_files(report.record_files(split.split))}"
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


def _describe_files(paths: list[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{len(paths)} shards, {paths[0]} ..."
