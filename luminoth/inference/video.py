"""Reads and writes videos through PyAV, which carries FFmpeg: nothing has to be installed beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from luminoth.errors import ImageError, OutputError

_DEFAULT_RATE = Fraction(25)
# Their headers state the length of the video exactly, so that one that was cut off can be told.
_EXACT_FORMATS = ("mp4", "matroska", "avi")
# 1/90,000 s, as in MPEG: all common rates, and frames at irregular times, fall on it.
_TICKS_PER_SECOND = 90_000


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a video.

    Attributes:
        pixels: uint8 RGB [H, W, 3], upright.
        index: from 0.
        time: seconds since the first frame.
    """

    pixels: np.ndarray
    index: int
    time: float


class VideoReader:
    """Iterates over the frames of a video file, once; a context manager.

    Attributes:
        rate: frames per second, as the file states it (the average, when it varies).
        frame_count: how many frames there should be; an estimate, or None when the file does not tell.

    Raises:
        ImageError: the file is missing, no video, or holds no video stream.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        try:
            if self.path.stat().st_size == 0:
                raise ImageError(f"{self.path}: the file is empty")
            self._container = av.open(os.fspath(self.path))
        except FileNotFoundError as error:
            raise ImageError(f"{self.path}: there is no such file") from error
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{self.path}: not a video that can be read ({_reason(error)})") from error
        streams = self._container.streams.video
        if not streams:
            self._container.close()
            raise ImageError(f"{self.path}: holds no video stream")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self.rate: Fraction = self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_RATE
        self.frame_count: int | None = self._stream.frames or self._estimated_count()
        self._damage: str | None = None  # what was met while decoding
        self._end = 0.0  # of the last packet, in seconds

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the file back; more than once does no harm."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yields every frame that can be decoded.

        Raises:
            ImageError: at the end, when parts of the video were damaged or missing; says how far it went.
        """
        start, index, time = None, 0, 0.0
        for frame in self._decoded():
            if start is None:
                start = frame.time or 0.0
            time = frame.time - start if frame.time is not None else float(index / self.rate)
            yield Frame(_upright(frame), index, round(time, 6))
            index += 1
        damage = self._damage or self._missing_end()
        if index == 0:
            raise ImageError(f"{self.path}: no frame of the video can be decoded; it {damage or 'is empty'}")
        if damage:
            raise ImageError(f"{self.path}: the video {damage}; {index} frames up to {time:.2f} s could be read")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Goes on after damage, which it notes, as long as the file can be read."""
        try:
            # All streams, not the pictures alone: sound may last longer, and tells where the file ends.
            for packet in self._container.demux():
                if packet.pts is not None:
                    end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                    self._end = max(self._end, end)
                if packet.stream is not self._stream:
                    continue
                try:
                    frames = packet.decode()
                except av.FFmpegError as error:  # the frames after a damaged one are often whole
                    self._damage = f"is damaged ({_reason(error)})"
                else:
                    yield from frames
        except av.FFmpegError as error:
            self._damage = f"breaks off ({_reason(error)})"

    def _estimated_count(self) -> int | None:
        duration = self._container.duration  # in microseconds
        return round(duration / av.time_base * self.rate) or None if duration else None

    def _missing_end(self) -> str | None:
        """What is wrong when the file stops earlier than its header says."""
        duration = self._container.duration
        if not duration or not any(name in self._container.format.name for name in _EXACT_FORMATS):
            return None
        stated = (duration + (self._container.start_time or 0)) / av.time_base
        if self._end >= stated - max(0.5, 0.02 * stated):
            return None
        return f"is cut off (its header says {stated:.2f} s)"


class VideoWriter:
    """Writes an MP4 video that plays everywhere: H.264, yuv420p, index at the front; a context manager.

    The file is written beside its place and renamed when it is finished. That happens also when the block is
    left by an error or Ctrl-C: what was written until then is a whole, shorter video. Without any frame there
    is no file.

    Args:
        path: ends in `.mp4`.
        rate: frames per second.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike, rate: Fraction | float) -> None:
        self.path = Path(path)
        self._unfinished = self.path.with_name(f".{self.path.name}.unfinished")
        self._rate = Fraction(rate).limit_denominator(100_000)
        self._container: av.container.OutputContainer | None = None
        self._last_tick = -1

    def write(self, pixels: np.ndarray, time: float | None = None) -> None:
        """Adds a frame.

        Args:
            pixels: uint8 RGB [H, W, 3]; all frames are of the first one's size. An odd height or width, which
                yuv420p cannot hold, is made even by repeating the last row or column.
            time: seconds since the start, so that videos of variable rate keep their pace; by default the next
                frame of an even rate.
        """
        try:
            if self._container is None:
                self._open(*pixels.shape[:2])
            height, width = pixels.shape[:2]
            if height % 2 or width % 2:
                pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(
                width=self._stream.width, height=self._stream.height, format="yuv420p", dst_colorspace="ITU709"
            )
            frame.pts, frame.time_base = self._tick(time), Fraction(1, _TICKS_PER_SECOND)
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise OutputError(f"{self.path}: the video cannot be written ({_reason(error)})") from error

    def close(self) -> None:
        """Finishes the file and gives it its name."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            try:
                container.mux(self._stream.encode(None))
            finally:
                container.close()
            os.replace(self._unfinished, self.path)
        except (av.FFmpegError, OSError) as error:
            raise OutputError(f"{self.path}: the video cannot be finished ({_reason(error)})") from error
        finally:
            self._unfinished.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except OutputError:
            if kind is None:  # an error of the block itself is the one to tell
                raise

    def _open(self, height: int, width: int) -> None:
        self._container = av.open(os.fspath(self._unfinished), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=self._rate)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "20", "preset": "veryfast"}
        context = self._stream.codec_context
        context.time_base = Fraction(1, _TICKS_PER_SECOND)
        # Said in the file: players guess otherwise, and differently.
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16 to 235
        self._container.start_encoding()  # opens the file: says at the first frame that it cannot

    def _tick(self, time: float | None) -> int:
        if time is not None:
            tick = round(time * _TICKS_PER_SECOND)
        else:
            tick = 0 if self._last_tick < 0 else self._last_tick + round(_TICKS_PER_SECOND / self._rate)
        self._last_tick = max(tick, self._last_tick + 1)
        return self._last_tick


def _upright(frame: av.VideoFrame) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4  # counterclockwise, as NumPy counts
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error)
