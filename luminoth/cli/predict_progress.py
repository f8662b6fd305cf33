"""How far `lumi predict` is: one bar for all images, one for each video, or one for files of both kinds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from luminoth.cli.terminal import Progress, say

if TYPE_CHECKING:
    from luminoth.inference.sources import MediaFile


class Display:
    """Shows how far the files are; a context manager.

    Args:
        images: how many there are.
        videos: of these, cameras and streams included.
    """

    def __init__(self, images: int, videos: int) -> None:
        self._images, self._videos = images, videos
        self._bar: Progress | None = None  # of all files; there is none where all are videos

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin_images(self, first: MediaFile) -> None:
        """Tells that images come now."""
        if self._bar is None and self._videos:
            self._bar = Progress(
                f"Predicting {self._images + self._videos} files", self._images + self._videos, "files"
            )
        elif self._bar is None:
            label = f"{self._images} images" if self._images > 1 else first.relative.name
            self._bar = Progress(f"Predicting {label}", self._images, "images")

    def advance(self, images: int) -> None:
        """Counts images that are done, or have failed."""
        self._bar.advance(images)

    def say(self, line: str) -> None:
        """Writes a line above the bar."""
        (say if self._bar is None else self._bar.say)(line)

    @contextmanager
    def video(self, file: MediaFile) -> Iterator[VideoDisplay]:
        """What to show the progress of a video with; tells at its end how fast it was."""
        if self._images and self._videos:
            self.begin_images(file)
        shown = VideoDisplay(file.relative.name, self._bar)
        try:
            yield shown
        finally:
            shown.close()
            if shown.frames:
                fps = f"fps: {shown.frames / max(time.monotonic() - shown.started, 1e-9):.1f}"
                if self._bar is None:
                    say(fps)
                else:
                    self._bar.say(f"{file.name}: {shown.frames} frames, {fps}")


class VideoDisplay:
    """Shows how far one video is.

    Args:
        name: of the video.
        bar: that of all files, of which it is one; None: it gets a bar of its own.

    Attributes:
        frames: how many are done.
        started: when this was made, by `time.monotonic`.
    """

    def __init__(self, name: str, bar: Progress | None) -> None:
        self._name, self._all = name, bar
        self._own: Progress | None = None
        self._share = 0.0  # of the video, that the bar of all files shows
        self.frames, self._total = 0, None
        self.started = time.monotonic()

    def begin(self, total: int | None) -> None:
        """The video is open; `total` is an estimate of its frames."""
        self._total = total
        if self._all is None:
            self._own = Progress(f"Predicting {self._name}", total, "frames")

    def advance(self, frames: int) -> None:
        """Counts frames that are done."""
        self.frames += frames
        if self._own is not None:
            self._own.advance(frames)
            return
        of_total = f" of {self._total}" if self._total else ""
        share = min(self.frames / self._total, 1.0) if self._total else 0.0
        self._all.advance(share - self._share, note=f"{self._name}: frame {self.frames}{of_total}")
        self._share = share

    def say(self, line: str) -> None:
        """Writes a line above the bar."""
        bar = self._own or self._all
        (say if bar is None else bar.say)(line)

    def finish(self) -> None:
        """It was done to its end."""
        if self._own is not None:
            self._own.finish()

    def close(self) -> None:
        """Leaves its own bar as it is; with that of all files it counts as done, whatever became of it."""
        if self._own is not None:
            self._own.close()
        elif self._all is not None:
            self._all.advance(1 - self._share)
