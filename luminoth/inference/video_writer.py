"""Writes videos through PyAV, with the sound of the video that they were made of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from luminoth.errors import OutputError
from luminoth.inference.video import reason_of

# 1/90,000 s, as in MPEG: all common rates, and frames at irregular times, fall on it.
_TICKS_PER_SECOND = 90_000
_SECONDS_PER_FRAGMENT = 2
# FFmpeg's decoders of the sound that every player plays in an MP4; other kinds are encoded anew.
_KEPT_SOUND = ("aac", "mp3", "mp3float", "ac3", "eac3", "alac")


class VideoWriter:
    """Writes an MP4 video that plays everywhere: H.264, yuv420p; a context manager.

    The file is written beside its place, as `name.mp4.unfinished.mp4`, and renamed when it is finished. That happens
    also when the block is left by an error or Ctrl-C: what was written until then is a whole, shorter video. It is
    written in fragments of two seconds, which become one when it is finished, so that the unfinished file plays as
    well, but for its last seconds: after a power failure, or on a full disk. Without any frame there is no file.

    Args:
        path: ends in `.mp4`.
        rate: frames per second.
        sound: goes into the file as well.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike, rate: Fraction | float, sound: SoundTrack | None = None) -> None:
        self.path = Path(path)
        self._unfinished = self.path.with_name(f"{self.path.name}.unfinished.mp4")
        self._rate = Fraction(rate).limit_denominator(100_000)
        self._sound = sound
        self._container: av.container.OutputContainer | None = None
        self._zero: float | None = None
        self._last_tick = -1

    def write(self, pixels: np.ndarray, time: float | None = None) -> None:
        """Adds a frame.

        Args:
            pixels: uint8 RGB [H, W, 3]; all frames are of the first one's size. An odd height or width, which
                yuv420p cannot hold, is made even by repeating the last row or column.
            time: in seconds, so that videos of variable rate keep their pace; the first frame's counts as 0. By
                default the next frame of an even rate.
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
            self._write_sound(frame.pts / _TICKS_PER_SECOND)
            self._write_encoded(frame, self._container)
        except (av.FFmpegError, OSError) as error:
            raise OutputError(f"{self.path}: the video cannot be written ({reason_of(error)})") from error

    def write_rest_of_sound(self) -> None:
        """Adds the sound that lasts longer than the pictures; without this it ends with them."""
        try:
            self._write_sound(float("inf"))
        except (av.FFmpegError, OSError) as error:
            raise OutputError(f"{self.path}: the video cannot be written ({reason_of(error)})") from error

    def close(self) -> None:
        """Finishes the file and gives it its name."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            try:
                self._write_sound(self._last_tick / _TICKS_PER_SECOND + float(1 / self._rate), container)
                self._write_encoded(None, container)
            finally:
                container.close()
            os.replace(self._unfinished, self.path)
        except (av.FFmpegError, OSError) as error:
            raise OutputError(
                f"{self.path}: the video cannot be finished ({reason_of(error)}); "
                f"what was written until then is in {self._unfinished.name}"
            ) from error
        finally:
            if self._sound is not None:
                self._sound.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except OutputError:
            if kind is None:  # an error of the block itself is the one to tell
                raise

    def _open(self, height: int, width: int) -> None:
        self._container = av.open(
            os.fspath(self._unfinished),
            "w",
            format="mp4",
            options={
                "movflags": "+hybrid_fragmented+delay_moov",
                "frag_duration": str(_SECONDS_PER_FRAGMENT * 1_000_000),
                "flush_packets": "1",
            },
        )
        self._stream = self._container.add_stream("libx264", rate=self._rate)
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        # Without frames out of their order: at varying rates MP4 would lose the last of them.
        self._stream.options = {"crf": "20", "preset": "veryfast", "bf": "0"}
        context = self._stream.codec_context
        context.time_base = Fraction(1, _TICKS_PER_SECOND)
        # Said in the file: players guess otherwise, and differently.
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        context.color_range = 1  # 16 to 235
        if self._sound is not None:
            self._sound.add_to(self._container)
        self._container.start_encoding()  # opens the file: says at the first frame that it cannot

    def _write_encoded(self, frame: av.VideoFrame | None, container: av.container.OutputContainer) -> None:
        for packet in self._stream.encode(frame):
            # Without one the last frame would last no time, and players would leave it out.
            packet.duration = packet.duration or round(_TICKS_PER_SECOND / self._rate)
            container.mux(packet)

    def _write_sound(self, until: float, container: av.container.OutputContainer | None = None) -> None:
        if self._sound is not None:
            for packet in self._sound.packets(until):
                (container or self._container).mux(packet)

    def _tick(self, time: float | None) -> int:
        if time is not None:
            self._zero = time if self._zero is None else self._zero
            tick = round((time - self._zero) * _TICKS_PER_SECOND)
        else:
            tick = 0 if self._last_tick < 0 else self._last_tick + round(_TICKS_PER_SECOND / self._rate)
        self._last_tick = max(tick, self._last_tick + 1)
        return self._last_tick


class SoundTrack:
    """The sound of a video file from a moment on, for another file.

    AAC, MP3, AC-3 and ALAC are taken as they are, other kinds are encoded as AAC. Where it is damaged it ends.

    Args:
        path: of the video.
        begin: where to begin, in seconds on the file's own clock.

    Attributes:
        damage: why it ends too early, or is not there at all; None: it is whole.
    """

    def __init__(self, path: str | os.PathLike, begin: float) -> None:
        self._begin = begin
        self.damage: str | None = None
        self._container = av.open(os.fspath(path))
        self._source = self._container.streams.best("audio")
        self._output: av.AudioStream | None = None
        if self._source is not None and self._source.codec_context is None:
            self.damage, self._source = "no decoder knows its codec", None
        self._encodes = self._source is not None and not _fits_mp4(self._source.codec_context)
        self._coming: Iterator[av.Packet] = iter(())
        self._waiting: av.Packet | None = None

    def add_to(self, container: av.container.OutputContainer) -> None:
        """Makes the stream in the file that the sound is for; none where there is no sound."""
        if self._source is None:
            return
        if self._encodes:
            given = self._source.codec_context
            layout = "mono" if given.channels == 1 else "stereo"
            self._output = container.add_stream("aac", rate=given.sample_rate, layout=layout)
            self._coming = self._encoded(av.AudioResampler("fltp", layout, given.sample_rate))
        else:
            self._output = container.add_stream_from_template(self._source)
            self._coming = self._kept()

    def packets(self, until: float) -> Iterator[av.Packet]:
        """What comes next, up to this many seconds from the beginning."""
        while (packet := self._waiting or next(self._coming, None)) is not None:
            is_later = packet.pts * packet.time_base > until
            self._waiting = packet if is_later else None
            if is_later:
                return
            yield packet

    def close(self) -> None:
        """Gives the file back."""
        self._container.close()

    def _kept(self) -> Iterator[av.Packet]:
        shift = round(self._begin / self._source.time_base)
        for packet in self._demuxed():
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            if packet.pts >= 0:
                packet.stream = self._output
                yield packet

    def _encoded(self, resampler: av.AudioResampler) -> Iterator[av.Packet]:
        encoder = self._output.codec_context
        samples = None  # that were encoded; their number is the time, in the rate's reciprocal
        for frame in self._resampled(resampler):
            if samples is None:
                samples = max(0, round((frame.time - self._begin) * encoder.sample_rate))
            frame.pts, frame.time_base = samples, Fraction(1, encoder.sample_rate)
            samples += frame.samples
            yield from self._output.encode(frame)
        yield from self._output.encode(None)

    def _resampled(self, resampler: av.AudioResampler) -> Iterator[av.AudioFrame]:
        """Frames from the beginning on."""
        for packet in self._demuxed():
            for frame in packet.decode():
                if frame.time is not None and frame.time + frame.samples / frame.sample_rate > self._begin:
                    yield from resampler.resample(frame)
        yield from resampler.resample(None)

    def _demuxed(self) -> Iterator[av.Packet]:
        """Packets with a time; after damage there are none."""
        try:
            if self._begin > 1:
                self._container.seek(int(self._begin * av.time_base))
            yield from (packet for packet in self._container.demux(self._source) if packet.pts is not None)
        except av.FFmpegError as error:
            self.damage = reason_of(error)


def _fits_mp4(sound: av.AudioCodecContext) -> bool:
    """AAC without extra data is that of broadcasts, which say in each packet what an MP4 says once."""
    return sound.name in _KEPT_SOUND and (sound.name != "aac" or bool(sound.extradata))
