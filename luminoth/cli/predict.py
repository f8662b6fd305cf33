"""`lumi predict`: finds objects in images, folders, videos, cameras and streams."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from luminoth.cli.bucket_files import show_copies
from luminoth.cli.predict_options import AGNOSTIC_IOU, OVERLAP, RESUMABLE_FORMATS, Wanted, check_usage, with_options
from luminoth.cli.tensorflow_start import load_tensorflow
from luminoth.cli.terminal import say
from luminoth.errors import DataError, ImageError

if TYPE_CHECKING:
    from luminoth.cli.predict_run import Run
    from luminoth.inference.detector import Detector
    from luminoth.inference.resume import Earlier
    from luminoth.inference.sources import MediaFile, MediaList
    from luminoth.inference.tiling import TiledDetector

_DEFAULT_CHECKPOINT = "accurate"


@click.command()
@with_options
def predict(**options: Any) -> int:
    """Find objects in images, folders, videos, cameras and streams.

    PATHS are files, folders, patterns in quotes, text files with a path a line, - for such lines on standard input,
    and addresses (https, gs, rtsp). Without --checkpoint and -c it is the checkpoint `accurate`, which is downloaded
    the first time.

    Writes one line of JSON for each image, and one for each frame of a video:

    \b
      {"file": "a.jpg", "objects": [{"bbox": [x_min, y_min, x_max, y_max], "label": "car", "prob": 0.98}]}
      {"file": "v.mp4", "frame": 0, "time": 0.0, "objects": []}

    \b
    Examples:
      lumi predict street.jpg --checkpoint toytown
      lumi predict street.mp4 -k car -k bus --checkpoint toytown -d predictions/
      lumi predict photos/ -r -c my-run.yml -f objects.csv --min-prob 0.7 --resume
      lumi predict street.mp4 --start 1:30 --end 2:00 --stride 5 --crops objects/
      lumi predict street.mp4 --track --count-line 0,300,640,300 -d counted/
      lumi predict aerial.tif --tile 800 --min-prob 0.6 --min-prob car=0.4
      lumi predict --camera 0 --checkpoint fast -d recorded/
    """
    wanted = Wanted(**options)
    check_usage(wanted)
    files = _find_files(wanted)
    earlier = _read_earlier(wanted, files)
    left, left_images, left_videos = _count_left(files, earlier)
    say(f"Found {len(files)} files to predict.")
    for problem in files.problems:
        say(f"Error: {problem}")
    if earlier is not None:
        say(f"{len(files) - left} of them are done already, {left} are left.")
    if left == 0:
        return _tell_end(wanted, len(files), 0, files.problems)
    detector = _load_detector(wanted)
    from luminoth.cli.predict_outputs import Outputs
    from luminoth.cli.predict_progress import Display
    from luminoth.cli.predict_run import Run

    with (
        tempfile.TemporaryDirectory(prefix="lumi-predict-", ignore_cleanup_errors=True) as folder,
        Outputs(wanted, files, detector.class_names, earlier) as outputs,
        Display(left_images, left_videos) as display,
    ):
        run = Run(wanted, _with_tiles(detector, wanted), detector.lowest_scores, outputs, display, Path(folder))
        for file in _done_already(files, earlier):
            outputs.skip(file)
        try:
            run.predict(_left(files, earlier))
        except KeyboardInterrupt:
            display.say(_interrupted(wanted, run, left))
            raise
    return _tell_end(wanted, len(files), run.failed, files.problems)


def _find_files(wanted: Wanted) -> MediaList:
    from luminoth.inference.sources import MediaList

    files = MediaList(
        wanted.arguments,
        recursive=wanted.recursive,
        leave_out=[folder for folder in (wanted.media_dir, wanted.crops_dir) if folder is not None],
        standard_input=sys.stdin,
    )
    if wanted.strict and files.problems:
        raise DataError(files.problems[0])
    if wanted.resume and files.live:
        raise click.UsageError("--resume does not go with streams: what was not looked at is gone")
    output = wanted.results_path
    is_config = output is not None and output.resolve() in [Path(file).resolve() for file in wanted.configs]
    if output is not None and (files.holds(output) or is_config):
        raise click.UsageError(f"-f {output}: is one of the files given, which the results would replace; name another")
    return files


def _load_detector(wanted: Wanted) -> Detector:
    from luminoth.cli.checkpoint_fetch import chosen_checkpoint

    checkpoint = wanted.checkpoint
    if not wanted.configs and checkpoint is None:
        say(f"Neither checkpoint nor config specified, assuming `{_DEFAULT_CHECKPOINT}`.")
        checkpoint = _DEFAULT_CHECKPOINT
    if wanted.configs:
        show_copies()
    else:  # a wrong name shows before TensorFlow is loaded
        checkpoint = chosen_checkpoint(checkpoint, yes=wanted.yes, offline=wanted.offline)
    load_tensorflow()
    from luminoth.inference.detector import Detector
    from luminoth.models.precision import find_doubt

    if doubt := find_doubt(wanted.precision or ""):
        say(f"Warning: {doubt}")
    class_probs = wanted.own_min_probs
    if wanted.thresholds is not None:
        class_probs = _thresholds_of(wanted) | class_probs
    return Detector(
        checkpoint,
        wanted.configs or None,
        wanted.min_prob,
        wanted.only or None,
        ignore_classes=wanted.ignored or None,
        batch_size=wanted.batch_size,
        precision=wanted.precision,
        class_probs=class_probs,
        agnostic_nms=AGNOSTIC_IOU if wanted.agnostic_nms else None,
    )


def _with_tiles(detector: Detector, wanted: Wanted) -> Detector | TiledDetector:
    if wanted.tile is None:
        return detector
    from luminoth.inference.tiling import TiledDetector

    overlap = OVERLAP if wanted.overlap is None else wanted.overlap
    return TiledDetector(detector, wanted.tile, overlap, agnostic_nms=AGNOSTIC_IOU if wanted.agnostic_nms else None)


def _thresholds_of(wanted: Wanted) -> dict[str, float]:
    from luminoth.inference.thresholds import read_thresholds

    thresholds = read_thresholds(wanted.thresholds)
    shown = ", ".join(f"{name} {threshold:.2f}" for name, threshold in thresholds.items())
    say(f"Lowest probabilities of {wanted.thresholds}: {shown or 'none'}; of other classes {wanted.min_prob:g}")
    return thresholds


# --- Resuming ---------------------------------------------------------------------------------------------------


def _read_earlier(wanted: Wanted, files: MediaList) -> Earlier | None:
    """What an earlier run has done; its last video may have been interrupted, and is done again unless it is whole."""
    if not wanted.resume:
        return None
    from luminoth.cli.predict_outputs import format_of
    from luminoth.inference.resume import read_earlier

    earlier = read_earlier(wanted.results_path, format_of(wanted))
    if earlier is None or earlier.unfinished is None:
        return earlier
    last = next((file for file in files if file.name == earlier.unfinished), None)
    if last is not None and _has_no_more_frames(wanted, last, earlier.last_frame):
        return earlier.with_unfinished()
    return earlier


def _has_no_more_frames(wanted: Wanted, file: MediaFile, last_frame: int) -> bool:
    """Whether a video certainly ends with a frame."""
    from luminoth.inference.video import VideoReader

    if file.is_address or wanted.end is not None:
        return False
    try:
        with VideoReader(file.source) as reader:
            return reader.frame_count is not None and last_frame + wanted.stride >= reader.frame_count
    except ImageError:
        return False


def _count_left(files: MediaList, earlier: Earlier | None) -> tuple[int, int, int]:
    """How many files are left to do; of these, how many images and how many others."""
    if earlier is None:
        return len(files), files.images, files.videos + files.live
    images = others = 0
    for file in _left(files, earlier):
        images += file.kind == "image"
        others += file.kind != "image"
    return images + others, images, others


def _left(files: MediaList, earlier: Earlier | None) -> Iterator[MediaFile]:
    return (file for file in files if earlier is None or file.name not in earlier.files)


def _done_already(files: MediaList, earlier: Earlier | None) -> Iterable[MediaFile]:
    return () if earlier is None else (file for file in files if file.name in earlier.files)


# --- The end ----------------------------------------------------------------------------------------------------


def _tell_end(wanted: Wanted, found: int, failed: int, problems: list[str]) -> int:
    """Says where everything is; the exit status."""
    for what, where in (
        ("Objects", wanted.results_path),
        ("Images and videos", wanted.media_dir),
        ("Pictures of the objects", wanted.crops_dir),
    ):
        if where is not None:
            say(f"{what} are in {where}")
    failed += len(problems)
    if failed:
        say(f"Error: {failed} of {found + len(problems)} files failed, see above")
    return 1 if failed else 0


def _interrupted(wanted: Wanted, run: Run, left: int) -> str:
    from luminoth.cli.predict_outputs import format_of

    can_resume = wanted.results_path is not None and format_of(wanted) in RESUMABLE_FORMATS
    hint = "; --resume goes on with the others" if can_resume else ""
    return f"Interrupted: {run.done} of {left} files are done{hint}."
