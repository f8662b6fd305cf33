"""Reads videos through PyAV, which carries FFmpeg: nothing has to be installed beside it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from luminoth.errors import ImageError

_DEFAULT_RATE = Fraction(25)
# They have an index, so that frames can be sought, and their headers state the length of the video exactly, so that one
# that was cut off can be told. (Sought in an MPEG program stream, frames come with the times of others.)
_INDEXED_FORMATS = ("mp4", "matroska", "avi")
# Seconds by which a frame may lie before a start that was asked for: files keep times in steps of up to 1/1000 s.
_TOLERANCE = 0.0006


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

    Args:
        path: the file.
        name: what errors call it; by default its path.
        start: seconds since the first frame of the video; frames before are left out. In MP4, MOV, MKV, WebM and AVI
            the nearest key frame before is sought, and the frames up to there are counted without being decoded.
        end: seconds; this frame and later ones are left out.
        stride: of the frames that are left every `stride`-th one is yielded, from the first on.
        container: FFmpeg's name of the container; None: FFmpeg finds out. In any case nothing but this file is opened,
            whatever stands in it.

    Attributes:
        rate: frames per second, as the file states it (the average, when it varies).
        frame_count: how many frames there should be; an estimate, or None when the file does not tell.
        picture_size: (height, width) as stored, which a rotation may exchange.
        origin: time of the first frame on the file's own clock, in seconds; known once a frame was yielded.

    Raises:
        ImageError: the file is missing, no video, or holds no video stream.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        name: str | None = None,
        start: float = 0.0,
        end: float | None = None,
        stride: int = 1,
        container: str | None = None,
    ) -> None:
        self.path, self._container_name = Path(path), container
        self._name = name or os.fspath(path)
        self._start, self._stop, self._stride = start, math.inf if end is None else end, stride
        self._container = self._open()
        self._stream = self._video_stream()
        self.rate: Fraction = self._stream.average_rate or self._stream.guessed_rate or _DEFAULT_RATE
        self.picture_size = (self._stream.height or 0, self._stream.width or 0)
        self.frame_count = self._estimated_count()
        self.origin = 0.0
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
        first, count, time = None, 0, 0.0
        is_at_end = True
        for frame, index, time in self._from_start():
            if time >= self._stop - _TOLERANCE:
                is_at_end = False
                break
            first = index if first is None else first
            if (index - first) % self._stride == 0:
                yield Frame(upright(frame), index, round(time, 6))
                count += 1
        damage = self._damage or (self._missing_end() if is_at_end else None)
        if first is None and damage is None and self._start > 0:
            raise ImageError(f"{self._name}: the video has no frame from {self._start:g} s on{self._length()}")
        if first is None:
            raise ImageError(f"{self._name}: no frame of the video can be decoded; it {damage or 'is empty'}")
        if damage:
            raise ImageError(f"{self._name}: the video {damage}; {count} frames up to {time:.2f} s could be read")

    def _from_start(self) -> Iterator[tuple[av.VideoFrame, int, float]]:
        """Frames from the start that was asked for, each with its index and time."""
        skipped = self._seek()
        index = skipped or 0
        is_first = True
        for frame in self._decoded():
            if frame.time is not None and is_first and skipped is None:
                self.origin = frame.time
            time = frame.time - self.origin if frame.time is not None else float(index / self.rate)
            if skipped is not None and is_first and time > self._start + float(1 / self.rate):
                self._rewind()  # sought too far, as happens where the file has no index
                yield from self._counted(self._decoded())
                return
            is_first = False
            if time >= self._start - _TOLERANCE:
                yield frame, index, time
                index += 1
            elif skipped is None:
                index += 1
        if is_first and skipped is not None:  # sought behind the last key frame
            self._rewind()
            yield from self._counted(self._decoded())

    def _counted(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, int, float]]:
        for index, frame in enumerate(frames):
            time = frame.time - self.origin if frame.time is not None else float(index / self.rate)
            if time >= self._start - _TOLERANCE:
                yield frame, index, time

    def _seek(self) -> int | None:
        """Goes to the last key frame before the start; the number of frames before the start.

        None: it stays at the beginning, for nothing is to be left out or nothing can be sought.
        """
        if self._start <= 0 or not self._is_indexed():
            return None
        first = next(self._decoded(), None)
        skipped = None
        if first is not None and first.time is not None:
            self.origin = first.time
            skipped = self._count_frames_before(self.origin + self._start - _TOLERANCE)
        try:
            at = 0.0 if skipped is None else self.origin + self._start
            self._container.seek(int(at / self._stream.time_base), stream=self._stream)
        except av.FFmpegError:
            skipped = None
        if skipped is None:
            self._rewind()
        self._damage = None  # what was met before the start is not missed
        return skipped

    def _count_frames_before(self, time: float) -> int | None:
        """Packets are frames; none are decoded. None: they have no times."""
        count = 0
        with self._open() as container:
            stream = container.streams.video[0]
            try:
                for packet in container.demux(stream):
                    if packet.pts is None and packet.size:
                        return None
                    if packet.dts is not None and packet.dts * packet.time_base >= time:
                        break  # no later packet is shown earlier than it is decoded
                    count += bool(packet.size) and not packet.is_discard and packet.pts * packet.time_base < time
            except av.FFmpegError:
                return None
        return count

    def _rewind(self) -> None:
        self._container.close()
        self._container = self._open()
        self._stream = self._video_stream()

    def _open(self) -> av.container.InputContainer:
        try:
            if self.path.stat().st_size == 0:
                raise ImageError(f"{self._name}: the file is empty")
            # Names and comments in other encodings than UTF-8 are common; a play list names files and addresses.
            return av.open(
                os.fspath(self.path),
                format=self._container_name,
                options={"protocol_whitelist": "file"},
                metadata_errors="replace",
            )
        except FileNotFoundError as error:
            raise ImageError(f"{self._name}: there is no such file") from error
        except (av.FFmpegError, OSError) as error:
            raise ImageError(f"{self._name}: not a video that can be read ({reason_of(error)})") from error

    def _video_stream(self) -> av.VideoStream:
        streams = self._container.streams.video
        if not streams:
            self._container.close()
            raise ImageError(f"{self._name}: holds no video stream")
        streams[0].thread_type = "AUTO"
        return streams[0]

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
                    self._damage = f"is damaged ({reason_of(error)})"
                else:
                    yield from frames
        except av.FFmpegError as error:
            self._damage = f"breaks off ({reason_of(error)})"

    def _estimated_count(self) -> int | None:
        """Of the frames that are asked for."""
        duration = self._container.duration  # in microseconds
        seconds = duration / av.time_base if duration else None
        count = self._stream.frames or (seconds and round(seconds * self.rate)) or None
        if count is None:
            return None
        if self._start > 0 or self._stop < math.inf:
            seconds = float(count / self.rate) if seconds is None else seconds
            share = (min(self._stop, seconds) - self._start) / max(seconds, 1e-9)
            count = round(count * max(share, 0.0))
        return -(-count // self._stride) or None

    def _is_indexed(self) -> bool:
        return any(name in self._container.format.name for name in _INDEXED_FORMATS)

    def _length(self) -> str:
        return f"; it is {self._container.duration / av.time_base:.2f} s long" if self._container.duration else ""

    def _missing_end(self) -> str | None:
        """What is wrong when the file stops earlier than its header says."""
        duration = self._container.duration
        if not duration or not self._is_indexed():
            return None
        stated = (duration + (self._container.start_time or 0)) / av.time_base
        if self._end >= stated - max(0.5, 0.02 * stated):
            return None
        return f"is cut off (its header says {stated:.2f} s)"


def upright(frame: av.VideoFrame) -> np.ndarray:
    """The pixels of a decoded frame, uint8 RGB [H, W, 3], turned as the file says."""
    pixels = frame.to_ndarray(format="rgb24")
    quarter_turns = round(frame.rotation / 90) % 4  # counterclockwise, as NumPy counts
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns)) if quarter_turns else pixels


def reason_of(error: Exception) -> str:
    """What an error of FFmpeg or of the system says."""
    return str(getattr(error, "strerror", "") or error)
