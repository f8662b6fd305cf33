"""The options of `lumi predict`: what they are called, what they accept, which go together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from luminoth.cli.bucket_files import LocalPath, PathOrAddress

RESULTS_NAME = "objects.json"
STANDARD_OUTPUT = Path("-")
FORMATS = ("jsonl", "json", "csv", "coco")
OVERLAP = 0.2
# IoU above which --agnostic-nms takes two objects for one.
AGNOSTIC_IOU = 0.5
_MIN_PROB = 0.5
RESUMABLE_FORMATS = ("jsonl", "json", "csv")


@dataclass(frozen=True)
class Wanted:
    """What a user wants; the options of the same names."""

    paths: tuple[str, ...]
    camera: str | None
    recursive: bool
    start: float
    end: float | None
    stride: int
    max_pixels: int
    configs: tuple[Path | str, ...]
    checkpoint: str | None
    precision: str | None
    batch_size: int
    yes: bool
    offline: bool
    only: tuple[str, ...]
    ignored: tuple[str, ...]
    min_probs: tuple[tuple[str | None, float], ...]
    thresholds: Path | None
    max_prob: float
    max_detections: int
    agnostic_nms: bool
    tile: int | None
    overlap: float | None
    track: bool
    count_lines: tuple[tuple[float, float, float, float], ...]
    output: Path | None
    format: str | None
    media_dir: Path | None
    labels_only: bool
    line_width: int | None
    font_scale: float
    crops_dir: Path | None
    crop_margin: float
    resume: bool
    strict: bool

    @property
    def arguments(self) -> tuple[str, ...]:
        """What to look at, in the words of `MediaList`."""
        return (*self.paths, *(() if self.camera is None else (f"camera:{self.camera}",)))

    @property
    def min_prob(self) -> float:
        """The lowest probability of classes for which none of their own is given."""
        return next((prob for name, prob in reversed(self.min_probs) if name is None), _MIN_PROB)

    @property
    def own_min_probs(self) -> dict[str, float]:
        """Those of single classes that were given as NAME=P."""
        return {name: prob for name, prob in self.min_probs if name is not None}

    @property
    def tracks(self) -> bool:
        """Whether objects are followed through videos."""
        return self.track or bool(self.count_lines)

    @property
    def results_path(self) -> Path | None:
        """The file for the objects found; None: standard output."""
        if self.output is None:
            return None if self.media_dir is None else self.media_dir / RESULTS_NAME
        return None if self.output == STANDARD_OUTPUT else self.output


class _Seconds(click.ParamType):
    """`90`, `1:30` or `0:01:30.5`, as seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            parts = [float(part) for part in str(value).split(":")]
        except ValueError:
            parts = []
        if not 1 <= len(parts) <= 3 or any(not 0 <= part < float("inf") for part in parts):
            self.fail(f"{value!r} is no time; accepted are seconds and h:m:s, as in 90, 1:30 or 0:01:30.5", param, ctx)
        return sum(part * 60**power for power, part in enumerate(reversed(parts)))


class _MinProb(click.ParamType):
    """`0.6`, or `car=0.6` for one class; as (class name or None, probability)."""

    name = "probability"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | None, float]:
        name, is_own, number = str(value).rpartition("=")
        try:
            prob = float(number)
        except ValueError:
            prob = -1.0
        if not 0 <= prob <= 1 or (is_own and not name):
            self.fail(f"{value!r} is no probability; accepted: 0 to 1, or of one class as in car=0.6", param, ctx)
        return (name if is_own else None), prob


class _Line(click.ParamType):
    """`x0,y0,x1,y1` in pixels."""

    name = "line"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            numbers = tuple(float(part) for part in str(value).split(","))
        except ValueError:
            numbers = ()
        if len(numbers) != 4 or numbers[:2] == numbers[2:]:
            self.fail(
                f"{value!r} is no line; accepted: its two ends in pixels, as in 0,300,640,300 (x0,y0,x1,y1)", param, ctx
            )
        return numbers


_INPUTS = (
    click.argument("paths", nargs=-1),
    click.option("-r", "--recursive", is_flag=True, help="Search folders deeper."),
    click.option(
        "--camera", metavar="N",
        help="Look at a camera until Ctrl-C: its number, from 0, or what the system calls it.",
    ),
    click.option("--start", metavar="TIME", type=_Seconds(), default=0.0, help="Begin videos here: seconds, or h:m:s."),
    click.option("--end", metavar="TIME", type=_Seconds(), help="End videos, cameras and streams here."),
    click.option(
        "--stride", metavar="N", type=click.IntRange(1), default=1, show_default=True,
        help="Look at every N-th frame of videos.",
    ),
    click.option(
        "--max-pixels", type=click.IntRange(1), default=500_000_000, show_default=True,
        help="Refuse larger pictures, before they are decoded.",
    ),
)  # fmt: skip

_MODEL = (
    click.option(
        "-c", "--config", "configs", multiple=True, type=PathOrAddress(), metavar="FILE",
        help="Configuration file of a run: its newest checkpoint is used. Repeatable, merged left to right.",
    ),
    click.option("--checkpoint", metavar="NAME", help="Alias or id of a checkpoint, or the folder of one or of a run."),
    click.option(
        "--precision", type=click.Choice(["float32", "bfloat16", "float16"]),
        help="What the network computes in: bfloat16 is faster where the processor knows it, float16 is for GPUs. "
        "[default: as the checkpoint says]",
    ),
    click.option(
        "--batch-size", type=click.IntRange(1), default=4, show_default=True,
        help="Most images or frames that go through the network at once.",
    ),
    click.option("-y", "--yes", is_flag=True, help="Download the checkpoint without asking when it is not here."),
    click.option("--offline", is_flag=True, help="Never use the network; as LUMI_OFFLINE=1 does."),
)  # fmt: skip

_OBJECTS = (
    click.option(
        "-k", "--only-class", "only", multiple=True, metavar="NAME", help="Report only this class. Repeatable.",
    ),
    click.option(
        "-K", "--ignore-class", "ignored", multiple=True, metavar="NAME", help="Leave this class out. Repeatable.",
    ),
    click.option(
        "--min-prob", "min_probs", metavar="P|NAME=P", type=_MinProb(), multiple=True,
        help=f"Lowest probability, of all classes or of one, as in car=0.6. Repeatable. [default: {_MIN_PROB}]",
    ),
    click.option(
        "--thresholds", type=LocalPath(dir_okay=False), metavar="FILE",
        help="Take each class's lowest probability from an evaluation's JSON, eval/<split>-<step>.json of a run.",
    ),
    click.option(
        "--max-prob", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Highest probability.",
    ),
    click.option(
        "--max-detections", type=click.IntRange(min=1), default=100, show_default=True,
        help="Most objects of an image or frame, the surest ones.",
    ),
    click.option(
        "--agnostic-nms", is_flag=True,
        help="Of objects of different classes at one place report the surest only.",
    ),
    click.option(
        "--tile", metavar="PIXELS", type=click.IntRange(32),
        help="Look at large pictures in tiles of that side, and once as a whole: finds small objects.",
    ),
    click.option(
        "--overlap", metavar="SHARE", type=click.FloatRange(0, 0.9),
        help=f"Least share of a tile that the next one shows as well. [default: {OVERLAP}]",
    ),
    click.option("--track", is_flag=True, help="Follow objects through videos: each gets a number, and is counted."),
    click.option(
        "--count-line", "count_lines", metavar="X0,Y0,X1,Y1", type=_Line(), multiple=True,
        help="Count objects that cross this line, in pixels of the frame. Repeatable; means --track.",
    ),
)  # fmt: skip

_OUTPUTS = (
    click.option(
        "-f", "--output", type=LocalPath(allow_dash=True),
        help=f"File for the objects found; `-` is standard output. [default: standard output; with -d: {RESULTS_NAME} "
        "there]",
    ),
    click.option(
        "--format", type=click.Choice(FORMATS),
        help="How they are written. [default: by the ending of -f, .json, .jsonl or .csv; else jsonl]",
    ),
    click.option(
        "-d", "--save-media-to", "media_dir", type=LocalPath(file_okay=False), metavar="DIR",
        help="Folder for the images and videos with boxes drawn on them.",
    ),
    click.option("--labels-only", is_flag=True, help="Draw the names of objects without their probabilities."),
    click.option(
        "--line-width", type=click.IntRange(1), metavar="PIXELS",
        help="Width of the lines drawn. [default: suits the picture's size]",
    ),
    click.option(
        "--font-scale", type=click.FloatRange(0.1, 20), default=1.0, show_default=True,
        help="Enlarges what is written, which suits the picture's size at 1.",
    ),
    click.option(
        "--crops", "crops_dir", type=LocalPath(file_okay=False), metavar="DIR",
        help="Folder for each object as a picture of its own.",
    ),
    click.option(
        "--crop-margin", type=click.FloatRange(0, 10), default=0.0, show_default=True, metavar="SHARE",
        help="What is kept around an object in --crops, as a share of its size.",
    ),
    click.option("--resume", is_flag=True, help="Go on with the files that have no record in -f yet."),
    click.option("--strict", is_flag=True, help="Stop at the first file that cannot be read."),
)  # fmt: skip


def with_options(command: Callable) -> Callable:
    """Gives a function the options of `lumi predict`."""
    for option in reversed((*_INPUTS, *_MODEL, *_OBJECTS, *_OUTPUTS)):
        command = option(command)
    return command


def check_usage(wanted: Wanted) -> None:
    """Refuses options that contradict each other.

    Raises:
        click.UsageError: some do.
    """
    if not wanted.arguments:
        raise click.UsageError("Missing argument 'PATHS...': images, videos, folders, or --camera 0")
    if wanted.configs and wanted.checkpoint is not None:
        raise click.UsageError("give either --checkpoint or --config, not both: a checkpoint carries its own")
    if both := sorted(set(wanted.only) & set(wanted.ignored)):
        raise click.UsageError(f"{', '.join(both)}: given to both --only-class and --ignore-class")
    if wanted.min_prob > wanted.max_prob:
        raise click.UsageError(
            f"--min-prob {wanted.min_prob} is above --max-prob {wanted.max_prob}: nothing could be found"
        )
    if wanted.overlap is not None and wanted.tile is None:
        raise click.UsageError("--overlap is about --tile: give the side of the tiles, as in --tile 800")
    if wanted.end is not None and wanted.end <= wanted.start:
        raise click.UsageError(f"--end {wanted.end:g} s is not after --start {wanted.start:g} s: nothing is between")
    for option, is_given in (
        ("--labels-only", wanted.labels_only),
        ("--line-width", wanted.line_width is not None),
        ("--font-scale", wanted.font_scale != 1),
    ):
        if is_given and wanted.media_dir is None:
            raise click.UsageError(f"{option} is about drawn images and videos: give their folder with -d")
    if wanted.crop_margin and wanted.crops_dir is None:
        raise click.UsageError("--crop-margin is about --crops: give their folder with --crops")
    if wanted.resume:
        _check_resume(wanted)


def _check_resume(wanted: Wanted) -> None:
    if wanted.results_path is None:
        raise click.UsageError("--resume reads from the file of -f (or -d) what is done: name it")
    if wanted.format == "coco":
        raise click.UsageError("--resume does not go with --format coco, which says nothing of images without objects")
    if wanted.camera is not None:
        raise click.UsageError("--resume does not go with --camera: what was not looked at is gone")
