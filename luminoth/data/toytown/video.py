"""Films of toytown, and the objects in each of their frames."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np

from luminoth.data.toytown.dataset import check_image_size
from luminoth.data.toytown.scene import render
from luminoth.data.toytown.street import Street
from luminoth.data.toytown.visibility import SceneObject, visible_objects
from luminoth.errors import DataError, OutputError

VIDEO_SIZE = (480, 720)
VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv")


def write_toytown_video(
    path: str | os.PathLike,
    *,
    seconds: float = 8.0,
    fps: int = 25,
    seed: int = 0,
    image_size: tuple[int, int] = VIDEO_SIZE,
    progress: Callable[[], None] | None = None,
) -> list[list[SceneObject]]:
    """Draws a street with moving objects and writes it as H.264 (yuv420p).

    It is written beside `path` and renamed when whole.

    Args:
        path: the file, which does not exist yet, with one of `VIDEO_SUFFIXES`.
        seconds: the length, above 0.
        fps: frames a second, 1 or more.
        seed: which street.
        image_size: (height, width) in pixels, both even. The larger it is, the more detail; the things
            in it keep their share of the picture.
        progress: called after each frame.

    Returns:
        For each frame the objects in it, as `draw_scene` gives them.

    Raises:
        DataError: an argument is not acceptable.
        OutputError: the file is there already, or its suffix is not known.
    """
    target = Path(path)
    check_video_arguments(target, seconds=seconds, fps=fps, image_size=image_size)
    unfinished = target.with_name(f".{target.stem}-unfinished{target.suffix}")
    truth = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _VideoFile(unfinished, fps, image_size) as video:
            for pixels, objects in animate(seed, count_frames(seconds, fps), fps, image_size):
                video.write(pixels)
                truth.append(objects)
                if progress is not None:
                    progress()
        os.replace(unfinished, target)
    except OSError as error:  # PyAV's are of this kind too
        raise OutputError(f"{target}: cannot be written ({error.strerror or error}); name another file") from error
    finally:
        with suppress(OSError):  # as when its folder is none
            unfinished.unlink(missing_ok=True)
    return truth


def check_video_arguments(
    path: str | os.PathLike, *, seconds: float, fps: int, image_size: tuple[int, int] = VIDEO_SIZE
) -> None:
    """Raises what `write_toytown_video` would raise for these arguments, before anything is drawn."""
    target, (height, width) = Path(path), image_size
    if not 0 < seconds < math.inf:
        raise DataError(f"seconds: got {seconds}; accepted is more than 0")
    if fps < 1:
        raise DataError(f"fps: got {fps}; accepted is 1 or more")
    check_image_size(image_size)
    if height % 2 or width % 2:
        raise DataError(f"image size: {width} x {height} pixels; a video's width and height must be even")
    if target.suffix.lower() not in VIDEO_SUFFIXES:
        raise OutputError(f"{target}: not the name of a video; accepted are {', '.join(VIDEO_SUFFIXES)}")
    if target.exists():
        raise OutputError(f"{target}: the file is there already; name a new one, or delete this one first")


def count_frames(seconds: float, fps: int) -> int:
    """How many frames a film has; at least one."""
    return max(1, round(seconds * fps))


def animate(seed: int, frames: int, fps: int, size: tuple[int, int]) -> Iterator[tuple[np.ndarray, list[SceneObject]]]:
    """Yields each frame, [H, W, 3] uint8 RGB, with the objects that can be seen in it."""
    street = Street(Random(f"toytown video {seed}"), size)
    for _ in range(frames):
        actors = street.actors()
        yield render(street.backdrop, actors), visible_objects(actors, size)
        street.advance(1 / fps)


class _VideoFile:
    """Takes RGB frames and writes them as H.264."""

    def __init__(self, path: Path, fps: int, image_size: tuple[int, int]) -> None:
        import av  # here, since it is only needed for films

        self._av = av
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("h264", rate=fps, options={"crf": "21", "preset": "medium"})
        self._stream.height, self._stream.width = image_size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.thread_count = 2  # the encoder's output depends on how many there are

    def write(self, pixels: np.ndarray) -> None:
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def __enter__(self) -> _VideoFile:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
