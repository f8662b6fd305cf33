"""`lumi dataset convert`: records as a data set of another format, pictures included."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from luminoth.cli.bucket_files import LocalPath
from luminoth.cli.terminal import progress, say

if TYPE_CHECKING:
    from luminoth.data.convert import ConvertReport
    from luminoth.data.writers.base import WrittenSplit

_PATH = LocalPath()
_FORMATS = ("coco", "pascal", "yolo", "csv")  # those of luminoth.data.writers, which --help must not import


@click.command()
@click.argument("records_dir", type=_PATH)
@click.argument("output_dir", type=_PATH)
@click.option("--to", "format", type=click.Choice(_FORMATS), required=True, help="The format.")
@click.option("--split", "splits", multiple=True, help="A split; repeatable.  [default: all]")
def convert(records_dir: Path, output_dir: Path, format: str, splits: tuple[str, ...]) -> None:
    """Write records as a data set of another format.

    RECORDS_DIR is a folder that `lumi dataset transform` wrote; OUTPUT_DIR is a new one. So any format that
    transform reads becomes any of these. Pictures are written as the records hold them, to the last byte; nothing is
    left when it fails.

    \b
    Formats:
      coco    annotations/instances_<split>2017.json and pictures in <split>2017/; keys `difficult` and
              `truncated` where they are set
      pascal  ImageSets/Main/<split>.txt, JPEGImages/<id>.jpg, Annotations/<id>.xml, counting from 1;
              <crowd>1</crowd> in crowd regions; classes come back sorted, without those that have no box
      yolo    data.yaml, images/<split>/<id>.jpg, labels/<split>/<id>.txt; crowd regions are left out,
              `difficult` and `truncated` are lost, both counted
      csv     <split>.csv with is_crowd, is_difficult and is_truncated, pictures in <split>/; classes as in pascal

    Coordinates are rounded to 0.001 pixel, of yolo to 8 decimals of the picture's side. Where a format does not keep
    the class list, the command printed for reading it again does.

    \b
    Examples:
      lumi dataset convert voc-tf/ voc-yolo/ --to yolo
      lumi dataset convert tf/ coco/ --to coco --split val
    """
    from luminoth.data.convert import convert as run_convert
    from luminoth.data.convert import find_splits
    from luminoth.data.record_files import count_records

    files = find_splits(records_dir, splits)
    total = sum(count_records(paths) for paths in files.values())
    with progress("Converting", total) as bar:
        report = run_convert(records_dir, output_dir, format, splits, on_picture=bar.advance)
    _print_report(report)


def _print_report(report: ConvertReport) -> None:
    for split in report.splits:
        empty = f", {split.images_empty} of them without objects" if split.images_empty else ""
        boxes = split.boxes_per_class.total()
        click.echo(f"{split.split}: {split.images} pictures{empty}, {boxes} boxes -> {report.output_dir}")
        for loss in _losses(split, report.format):
            say(f"{split.split}: {loss}")
    say("Next, it can be read again:")
    click.echo("  " + shlex.join(_command_to_read_again(report)))
    if report.class_option_needed and any("," in name for name in report.classes):
        say("Warning: a class name has a comma, which -o classes=... cannot say: the order of the classes is lost")


def _losses(split: WrittenSplit, format: str) -> list[str]:
    """What the format could not hold."""
    losses = []
    if split.crowd_boxes_left_out:
        losses.append(f"{split.crowd_boxes_left_out} crowd boxes left out: {format} knows single objects only")
    lost = [f"{name} of {count} boxes" for name, count in split.flags_lost.items() if count]
    if lost:
        losses.append(f"lost, since {format} cannot say it: {', '.join(lost)}")
    return losses


def _command_to_read_again(report: ConvertReport) -> list[str]:
    folder = report.output_dir
    command = ["lumi", "dataset", "transform", "--type", report.format, "--data-dir", str(folder)]
    command += ["--output-dir", str(folder.with_name(f"{folder.name}-tf"))]
    if report.class_option_needed and not any("," in name for name in report.classes):
        command += ["-o", f"classes={','.join(report.classes)}"]
    return command
