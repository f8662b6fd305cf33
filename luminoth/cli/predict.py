"""`lumi predict`: finds objects in images, folders and videos."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import Progress, progress, say
from luminoth.errors import ImageError, OutputError

if TYPE_CHECKING:
    from luminoth.inference.detector import Detector
    from luminoth.inference.results import ResultFile, ResultStream
    from luminoth.inference.sources import MediaFile, OutputNames
    from luminoth.inference.video import Frame, VideoReader
    from luminoth.types import Detections

T = TypeVar("T")

# Also how many decoded pictures wait before the network, and as many behind it: a phone's are 36 MB each.
_BATCH_SIZE = 4
_RESULTS_NAME = "objects.json"
_DEFAULT_CHECKPOINT = "accurate"


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-c", "--config", "configs", multiple=True, type=click.Path(path_type=Path),
    help="Configuration file of a run: its newest checkpoint is used. Repeatable, merged left to right.",
)  # fmt: skip
@click.option("--checkpoint", metavar="NAME", help="Alias or id of a checkpoint, or the folder of one or of a run.")
@click.option(
    "-f", "--output", type=click.Path(path_type=Path, allow_dash=True),
    help=f"File for the objects found, as JSON lines; `-` is standard output. "
    f"[default: standard output; with -d: {_RESULTS_NAME} there]",
)  # fmt: skip
@click.option(
    "-d", "--save-media-to", "media_dir", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
    help="Folder for the images and videos with boxes drawn on them.",
)  # fmt: skip
@click.option("-k", "--only-class", "only", multiple=True, metavar="NAME", help="Report only this class. Repeatable.")
@click.option(
    "-K", "--ignore-class", "ignored", multiple=True, metavar="NAME", help="Leave this class out. Repeatable."
)
@click.option("--min-prob", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Lowest probability.")
@click.option("--max-prob", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Highest probability.")
@click.option(
    "--max-detections", type=click.IntRange(min=1), default=100, show_default=True,
    help="Most objects of an image or frame, the surest ones.",
)  # fmt: skip
@click.option(
    "--precision", type=click.Choice(["float32", "bfloat16", "float16"]),
    help="What the network computes in: bfloat16 is faster where the processor knows it, float16 is for GPUs. "
    "[default: as the checkpoint says]",
)  # fmt: skip
@click.option("-r", "--recursive", is_flag=True, help="Search folders deeper.")
@click.option("-y", "--yes", is_flag=True, help="Download the checkpoint without asking when it is not here.")
@click.option("--offline", is_flag=True, help="Never use the network; as LUMI_OFFLINE=1 does.")
def predict(
    paths: tuple[Path, ...],
    configs: tuple[Path, ...],
    checkpoint: str | None,
    output: Path | None,
    media_dir: Path | None,
    only: tuple[str, ...],
    ignored: tuple[str, ...],
    min_prob: float,
    max_prob: float,
    max_detections: int,
    precision: str | None,
    recursive: bool,
    yes: bool,
    offline: bool,
) -> int:
    """Find objects in images, folders and videos.

    Without --checkpoint and -c it is the checkpoint `accurate`, which is downloaded the first time.

    Writes one line of JSON for each image, and one for each frame of a video:

    \b
      {"file": "a.jpg", "objects": [{"bbox": [x_min, y_min, x_max, y_max], "label": "car", "prob": 0.98}]}
      {"file": "v.mp4", "frame": 0, "time": 0.0, "objects": []}

    \b
    Examples:
      lumi predict street.jpg --checkpoint toytown
      lumi predict street.mp4 -k car -k bus --checkpoint toytown -d predictions/
      lumi predict photos/ -r -c my-run.yml -f objects.json --min-prob 0.7
    """
    _check_usage(configs, checkpoint, only, ignored, min_prob, max_prob)
    from luminoth.cli.checkpoint_fetch import chosen_checkpoint
    from luminoth.inference.sources import OutputNames, find_media

    files = find_media(paths, recursive=recursive, leave_out=media_dir)
    _keep_inputs(output, [*(file.path for file in files), *configs])
    say(f"Found {len(files)} files to predict.")
    if not configs and checkpoint is None:
        say("Neither checkpoint nor config specified, assuming `accurate`.")
    if not configs:  # a wrong name shows before TensorFlow is loaded
        name = _DEFAULT_CHECKPOINT if checkpoint is None else checkpoint
        checkpoint = chosen_checkpoint(name, yes=yes, offline=offline)
    load_tensorflow()
    from luminoth.inference.detector import Detector

    detector = Detector(
        checkpoint,
        configs or None,
        min_prob,
        only or None,
        ignore_classes=ignored or None,
        batch_size=_BATCH_SIZE,
        precision=precision,
    )
    if media_dir is not None:
        media_dir.mkdir(parents=True, exist_ok=True)
        output = output or media_dir / _RESULTS_NAME
    with _open_results(output) as results:
        names = None if media_dir is None else OutputNames(media_dir, files, reserved=[_RESULTS_NAME])
        run = _Run(detector, results, names, max_prob, max_detections)
        try:
            run.predict(files)
        except KeyboardInterrupt:
            say(f"Interrupted: {run.done} of {len(files)} files are done.")
            raise
    for what, where in (("Objects", output if output != Path("-") else None), ("Images and videos", media_dir)):
        if where is not None:
            say(f"{what} are in {where}")
    if run.failed:
        say(f"Error: {run.failed} of {len(files)} files failed, see above")
    return 1 if run.failed else 0


def _check_usage(
    configs: tuple[Path, ...],
    checkpoint: str | None,
    only: tuple[str, ...],
    ignored: tuple[str, ...],
    min_prob: float,
    max_prob: float,
) -> None:
    if configs and checkpoint is not None:
        raise click.UsageError("give either --checkpoint or --config, not both: a checkpoint carries its own")
    if both := sorted(set(only) & set(ignored)):
        raise click.UsageError(f"{', '.join(both)}: given to both --only-class and --ignore-class")
    if min_prob > max_prob:
        raise click.UsageError(f"--min-prob {min_prob} is above --max-prob {max_prob}: nothing could be found")


def _keep_inputs(output: Path | None, inputs: Iterable[Path]) -> None:
    if output is not None and output.resolve() in {path.resolve() for path in inputs}:
        raise click.UsageError(f"-f {output}: is one of the files given, which the results would replace; name another")


def _open_results(output: Path | None) -> ResultFile | ResultStream:
    from luminoth.inference.results import ResultFile, ResultStream

    if output is not None and output != Path("-"):
        return ResultFile(output)

    def write(line: str) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()

    return ResultStream(write)


@dataclass
class _Run:
    """One call of the command: goes through the files and counts.

    Attributes:
        names: gives the drawn pictures and videos their paths; None: nothing is drawn.
        done: files finished.
        failed: files that could not be read, or not to their end.
        frames: done of the present video.
    """

    detector: Detector
    results: ResultFile | ResultStream
    names: OutputNames | None
    max_prob: float
    max_detections: int
    done: int = field(default=0, init=False)
    failed: int = field(default=0, init=False)
    frames: int = field(default=0, init=False)

    def predict(self, files: list[MediaFile]) -> None:
        for kind, run in groupby(files, key=lambda file: file.kind):
            if kind == "image":
                self._predict_images(list(run))
            else:
                for file in run:
                    self._predict_video(file)

    def _predict_images(self, files: list[MediaFile]) -> None:
        from luminoth.inference.background import InBackground, read_ahead

        label = f"Predicting {files[0].path.name}" if len(files) == 1 else f"Predicting {len(files)} images"
        with progress(label, len(files), "images") as bar, InBackground(_BATCH_SIZE) as background:
            for group in _in_groups(read_ahead(_decoded(files), _BATCH_SIZE)):
                for error in (outcome for _, outcome in group if isinstance(outcome, ImageError)):
                    bar.say(f"Error: {error}")
                    self.failed += 1
                pictures = [(file, pixels) for file, pixels in group if not isinstance(pixels, ImageError)]
                found = self._detect([pixels for _, pixels in pictures])
                for (file, pixels), detections in zip(pictures, found, strict=True):
                    self.results.write({"file": os.fspath(file.path), "objects": detections.to_dicts()})
                    if self.names is not None:
                        background(_save_picture, self._picture_path(file), pixels, detections)
                    self.done += 1
                bar.advance(len(group))

    def _predict_video(self, file: MediaFile) -> None:
        from luminoth.inference.video import VideoReader

        label = f"Predicting {file.path.name}"
        started, self.frames = time.monotonic(), 0
        try:
            with VideoReader(file.path) as reader, progress(label, reader.frame_count, "frames") as bar:
                self._predict_frames(file, reader, bar)
            self.done += 1
        except ImageError as error:
            say(f"Error: {error}")
            self.failed += 1
        finally:
            if self.frames:
                say(f"fps: {self.frames / max(time.monotonic() - started, 1e-9):.1f}")

    def _predict_frames(self, file: MediaFile, reader: VideoReader, bar: Progress) -> None:
        from luminoth.inference.background import InBackground, read_ahead
        from luminoth.inference.draw import draw_objects
        from luminoth.inference.video import VideoWriter

        with ExitStack() as stack:
            video = None
            if self.names is not None:
                path = self.names.path_for(file, ".mp4")
                path.parent.mkdir(parents=True, exist_ok=True)
                video = stack.enter_context(VideoWriter(path, reader.rate))
            background = stack.enter_context(InBackground(2 * _BATCH_SIZE))  # left before the video is finished

            def write_drawn(frame: Frame, detections: Detections) -> None:
                draw_objects(frame.pixels, detections)
                video.write(frame.pixels, frame.time)

            # Closed before the reader is: a thread is reading.
            frames = stack.enter_context(closing(read_ahead(reader, 2 * _BATCH_SIZE)))
            for group in _in_groups(frames):
                found = self._detect([frame.pixels for frame in group])
                for frame, detections in zip(group, found, strict=True):
                    place = {"file": os.fspath(file.path), "frame": frame.index, "time": frame.time}
                    self.results.write({**place, "objects": detections.to_dicts()})
                    if video is not None:
                        background(write_drawn, frame, detections)
                self.frames += len(group)
                bar.advance(len(group))

    def _detect(self, pictures: list[Any]) -> list[Detections]:
        return [
            found.select((found.scores <= self.max_prob).nonzero()[0][: self.max_detections])
            for found in self.detector.detect(pictures)
        ]

    def _picture_path(self, file: MediaFile) -> Path:
        suffix = file.path.suffix
        return self.names.path_for(file, suffix if suffix.lower() in (".jpg", ".jpeg", ".png") else ".png")


def _decoded(files: Iterable[MediaFile]) -> Iterator[tuple[MediaFile, Any]]:
    """Each file with its pixels, or with the error that says why it has none."""
    from luminoth.image import read_image

    for file in files:
        try:
            yield file, read_image(file.path)
        except ImageError as error:
            yield file, error


def _in_groups(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of `_BATCH_SIZE`; what came before an error is yielded before the error is raised."""
    group: list[T] = []
    failure = None
    try:
        for item in items:
            group.append(item)
            if len(group) == _BATCH_SIZE:
                yield group
                group = []
    except ImageError as error:
        failure = error
    if group:
        yield group
    if failure is not None:
        raise failure


def _save_picture(path: Path, pixels: Any, detections: Detections) -> None:
    from luminoth.inference.draw import vis_objects

    unfinished = path.with_name(f".{path.name}.unfinished")
    picture_format = "PNG" if path.suffix.lower() == ".png" else "JPEG"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        vis_objects(pixels, detections).save(unfinished, picture_format, quality=92)
        os.replace(unfinished, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        unfinished.unlink(missing_ok=True)
