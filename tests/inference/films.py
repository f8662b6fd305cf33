"""Small videos of known frames, written by PyAV and nothing of ours."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_BITS = 8


def write_film(
    path: Path,
    count: int = 30,
    rate: int | Fraction = 25,
    *,
    codec: str = "libx264",
    sound: str | None = None,
    sound_rate: int = 44100,
    sound_seconds: float | None = None,
    key_frames: int = 10,
    size: tuple[int, int] = (32, 64),
    picture=None,
    times=None,
) -> None:
    """A video whose frames show their numbers, see `numbered`, with a tone of 440 Hz.

    Args:
        path: its ending says the container.
        sound: codec of the tone; None: there is none.
        key_frames: how many frames apart they are.
        picture: gives frame number i, uint8 [H, W, 3], in place of its number.
        times: of the frames, in seconds, in place of an even rate.
    """
    options = {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream(codec, rate=rate)
        video.height, video.width = size
        video.pix_fmt = "yuv420p"
        if codec == "libx264":
            video.options = {"g": str(key_frames), "crf": "18"}
        if times is not None:
            video.codec_context.time_base = Fraction(1, 90_000)
        audio = container.add_stream(sound, rate=sound_rate) if sound else None
        for index in range(count):
            pixels = numbered(index, size) if picture is None else picture(index)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(times[index] * 90_000), Fraction(1, 90_000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            write_tone(container, audio, float(count / rate) if sound_seconds is None else sound_seconds)


def write_tone(container: av.container.OutputContainer, audio: av.AudioStream, seconds: float) -> None:
    """A tone of 440 Hz, in blocks of 1024 samples."""
    context, total, done = audio.codec_context, round(seconds * audio.codec_context.sample_rate), 0
    resampler = av.AudioResampler(context.format.name, context.layout.name, context.sample_rate, context.frame_size)
    while done < total:
        samples = min(1024, total - done)
        tone = np.sin(2 * np.pi * 440 * np.arange(done, done + samples) / context.sample_rate)
        frame = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None] / 2, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = context.sample_rate, done, Fraction(1, context.sample_rate)
        for converted in resampler.resample(frame):
            container.mux(audio.encode(converted))
        done += samples
    for converted in resampler.resample(None):
        container.mux(audio.encode(converted))
    container.mux(audio.encode(None))


def numbered(index: int, size: tuple[int, int] = (32, 64)) -> np.ndarray:
    """Eight upright stripes, dark and bright, the lowest bit of the number on the left: no codec blurs that."""
    stripes = np.repeat([40 + 170 * (index >> bit & 1) for bit in range(_BITS)], -(-size[1] // _BITS))[: size[1]]
    return np.broadcast_to(stripes[None, :, None], (*size, 3)).astype(np.uint8)


def number_of(pixels: np.ndarray) -> int:
    """Which frame these pixels are."""
    stripes = np.array_split(pixels.mean(axis=(0, 2)), _BITS)
    return sum((stripe.mean() > 125) << bit for bit, stripe in enumerate(stripes))


def tone_of(path: Path) -> tuple[str, float, float, float]:
    """A file's sound: codec, seconds at which it begins, its length in seconds, and its pitch in Hz."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
        rate = stream.codec_context.sample_rate
        samples = np.concatenate([frame.to_ndarray().reshape(len(frame.layout.channels), -1)[0] for frame in frames])
        middle = samples[len(samples) // 4 : -len(samples) // 4]
        pitch = np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax() * rate / len(middle)
        return stream.codec_context.name, frames[0].time, len(samples) / rate, pitch
