"""`lumi dataset toytown`: draw a data set of street scenes, or a film of one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from luminoth.cli.bucket_files import LocalPath
from luminoth.cli.terminal import progress, say

if TYPE_CHECKING:
    from luminoth.data.toytown import ToytownSummary

_PATH = LocalPath()
_FORMATS = ("pascal", "coco", "csv")  # those of luminoth.data.toytown, which --help must not import
_FOR_PICTURES = ("images", "format", "val_fraction")
_FOR_VIDEO = ("seconds", "fps")


@click.command()
@click.option("--output-dir", "--output", "output_dir", type=_PATH, help="A new folder for the data set.")
@click.option("--images", type=click.IntRange(min=1), default=300, show_default=True, help="How many pictures.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones: equal seeds, equal files.")
@click.option("--format", type=click.Choice(_FORMATS), default="pascal", show_default=True, help="The layout.")
@click.option(
    "--val-fraction",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="The share of the pictures for the val split; the rest is train.",
)
@click.option("--video", type=_PATH, help="A new file for a film: .mp4, .m4v, .mov or .mkv.")
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=8.0, show_default=True, help="Its length."
)
@click.option("--fps", type=click.IntRange(min=1), default=25, show_default=True, help="Its frames a second.")
@click.option("--width", type=click.IntRange(min=1), help="In pixels.  [default: 480; of a film 720]")
@click.option("--height", type=click.IntRange(min=1), help="In pixels.  [default: 320; of a film 480]")
@click.pass_context
def toytown(
    context: click.Context,
    output_dir: Path | None,
    images: int,
    seed: int,
    format: str,
    val_fraction: float,
    video: Path | None,
    seconds: float,
    fps: int,
    width: int | None,
    height: int | None,
) -> None:
    """Draw street scenes with known boxes, to try everything on.

    The classes are car, bus, truck, person, bicycle and traffic light; the scenes have clutter, occlusion, day and
    night, fog and noise. Picture number i depends on the seed and on i alone. 300 pictures take about 15 seconds.

    \b
    Examples:
      lumi dataset toytown --output-dir toytown --images 300 --seed 1
      lumi dataset toytown --output-dir unseen --images 100 --seed 2 --val-fraction 1
      lumi dataset toytown --output-dir toytown-coco --format coco --width 640 --height 400
      lumi dataset toytown --video street.mp4 --seconds 8 --fps 25
    """
    if output_dir is None and video is None:
        raise click.UsageError("nothing to draw: give --output-dir for pictures, --video for a film, or both.")
    if output_dir is None:
        _refuse_given(context, _FOR_PICTURES, "--output-dir")
    if video is None:
        _refuse_given(context, _FOR_VIDEO, "--video")

    from luminoth.data.toytown import (
        DEFAULT_SIZE,
        VIDEO_SIZE,
        check_video_arguments,
        count_frames,
        write_toytown,
        write_toytown_video,
    )

    video_size = (height or VIDEO_SIZE[0], width or VIDEO_SIZE[1])
    if video is not None:  # before the pictures are drawn
        check_video_arguments(video, seconds=seconds, fps=fps, image_size=video_size)
    if output_dir is not None:
        with progress("Drawing pictures", total=images) as bar:
            summary = write_toytown(
                output_dir,
                images=images,
                seed=seed,
                format=format,
                val_fraction=val_fraction,
                image_size=(height or DEFAULT_SIZE[0], width or DEFAULT_SIZE[1]),
                progress=bar.advance,
            )
        _print_summary(summary)
    if video is not None:
        with progress("Drawing a film", total=count_frames(seconds, fps), unit="frames") as bar:
            frames = write_toytown_video(
                video, seconds=seconds, fps=fps, seed=seed, image_size=video_size, progress=bar.advance
            )
        objects = sum(map(len, frames)) / len(frames)
        click.echo(
            f"{video}: {len(frames)} frames, {len(frames) / fps:.1f} s, {video_size[1]} x {video_size[0]} pixels, "
            f"{objects:.1f} objects a frame"
        )
        say("Next, find what is in it:")
        click.echo(f"  lumi predict {shlex.quote(str(video))} --checkpoint toytown -d predictions/")


def _refuse_given(context: click.Context, names: tuple[str, ...], missing: str) -> None:
    """Says so when an option was typed that nothing would heed."""
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name.replace('_', '-')} is of no use without {missing}.")


def _print_summary(summary: ToytownSummary) -> None:
    splits = ", ".join(f"{split} {count}" for split, count in summary.images.items())
    click.echo(f"{summary.output_dir}: {sum(summary.images.values())} pictures ({splits})")
    click.echo("  boxes: " + ", ".join(f"{name} {count}" for name, count in summary.boxes.items()))
    if summary.empty_images:
        click.echo(f"  without objects: {summary.empty_images} pictures")
    say("Next, turn them into records:")
    folder = summary.output_dir
    records = folder.with_name(f"{folder.name}-tf")
    click.echo(
        f"  lumi dataset transform --type {summary.format} --data-dir {shlex.quote(str(folder))} "
        f"--output-dir {shlex.quote(str(records))}"
    )
