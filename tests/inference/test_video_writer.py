import contextlib
import os
import resource
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from luminoth.errors import ImageError, OutputError
from luminoth.inference.video import VideoReader
from luminoth.inference.video_writer import SoundTrack, VideoWriter
from tests.inference.films import number_of, numbered, tone_of, write_film


def noise(index):
    return np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def write(path, count=30, rate=30, size=(32, 64), sound=None, picture=None):
    with VideoWriter(path, rate, sound) as video:
        for index in range(count):
            video.write(picture(index) if picture else numbered(index, size))


def read(path):
    with VideoReader(path) as reader:
        return list(reader)


@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001), 12.5])
def test_round_trip_keeps_pixels_rate_and_times(tmp_path, rate):
    write(tmp_path / "a.mp4", rate=rate)
    with VideoReader(tmp_path / "a.mp4") as reader:
        assert (float(reader.rate), reader.frame_count) == (pytest.approx(float(rate), rel=1e-4), 30)
        frames = list(reader)
    assert [number_of(frame.pixels) for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / float(rate), atol=1e-4)


def test_written_for_every_player(tmp_path):
    write(tmp_path / "a.mp4", size=(47, 63))
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 64, 48)
        assert container.streams.video[0].frames == 30  # one index, not one of each fragment
        assert container.streams.video[0].start_time == 0
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("times", [[7.0, 7.04, 7.5, 7.52, 8.25], [7, 7.2, 307, 607, 901], [7, 8], [7]])
def test_times_of_a_variable_rate_are_kept(tmp_path, times):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 25) as video:
        for index, time in enumerate(times):
            video.write(numbered(index), time)
    assert [frame.time + 7 for frame in read(path)] == pytest.approx(times, abs=1e-4)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_video_is_whole(tmp_path, error):
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", 25) as video:  # noqa: PT012
        for index in range(7):
            video.write(numbered(index))
        raise error
    assert len(read(tmp_path / "a.mp4")) == 7


def test_a_killed_process_leaves_a_video_that_plays(tmp_path):
    code = (
        "import os, sys, numpy as np; from luminoth.inference.video_writer import VideoWriter, SoundTrack\n"
        "video = VideoWriter(sys.argv[1], 25, SoundTrack(sys.argv[2], 0.0))\n"
        "random = np.random.default_rng(0)\n"
        "for index in range(200): video.write(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))\n"
        "os.kill(os.getpid(), 9)"
    )
    write_film(tmp_path / "source.mp4", count=200, sound="aac")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.mp4", tmp_path / "source.mp4"])
    assert done.returncode == -9
    assert sorted(os.listdir(tmp_path)) == ["a.mp4.unfinished.mp4", "source.mp4"]
    with av.open(str(tmp_path / "a.mp4.unfinished.mp4")) as container:
        assert len(list(container.decode(video=0))) >= 100  # whole fragments of 2 s each, of 8 s
    assert tone_of(tmp_path / "a.mp4.unfinished.mp4")[2] > 4
    write(tmp_path / "a.mp4")  # takes the place of what was left
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "source.mp4"]


def test_no_frames_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_named(tmp_path):
    with (
        pytest.raises(OutputError, match=r"missing/a\.mp4: the video cannot be written \(No such file"),
        VideoWriter(tmp_path / "missing/a.mp4", 25) as video,
    ):
        video.write(numbered(0))


def test_a_full_disk_leaves_what_plays(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"a\.mp4: the video cannot be (written|finished) \(File too large\)"):
            write(tmp_path / "a.mp4", count=500, picture=noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["a.mp4.unfinished.mp4"]
    frames = []
    with contextlib.suppress(ImageError), VideoReader(tmp_path / "a.mp4.unfinished.mp4") as reader:
        for frame in reader:
            frames.append(frame)
    assert len(frames) >= 50


# --- Sound ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sound", "rate", "kept_as"),
    [
        ("a.mp4", "aac", 44100, "aac"),
        ("a.ts", "aac", 44100, "aac"),  # of broadcasts, encoded anew
        ("a.mkv", "libmp3lame", 44100, "mp3float"),
        ("a.mkv", "pcm_s16le", 22050, "aac"),
        ("a.webm", "libopus", 48000, "aac"),
        ("a.avi", "pcm_u8", 8000, "aac"),
    ],
)
def test_sound_is_kept(tmp_path, name, sound, rate, kept_as):
    codec = {"a.webm": "libvpx", "a.avi": "mpeg4"}.get(name, "libx264")
    write_film(tmp_path / name, count=75, codec=codec, sound=sound, sound_rate=rate)
    for begin, count in ((0.0, 75), (1.4, 20)):
        with VideoReader(tmp_path / name, start=begin) as reader:
            frames = [frame for frame, _ in zip(reader, range(count), strict=False)]
            sound_track = SoundTrack(tmp_path / name, reader.origin + frames[0].time)
        with VideoWriter(tmp_path / "out.mp4", 25, sound_track) as video:
            for frame in frames:
                video.write(frame.pixels, frame.time)
        codec_name, start, seconds, pitch = tone_of(tmp_path / "out.mp4")
        assert codec_name == kept_as
        assert start == pytest.approx(0, abs=0.05)
        assert seconds == pytest.approx(count / 25, abs=0.1)
        assert pitch == pytest.approx(440, abs=3)
        assert [number_of(frame.pixels) for frame in read(tmp_path / "out.mp4")] == [frame.index for frame in frames]
        assert sound_track.damage is None


def test_sound_is_where_it_was(tmp_path):
    """Silence until 1 s, then a tone, of which the copy begins at 0.6 s: there the tone begins at 0.4 s."""
    source = tmp_path / "a.mp4"
    write_film(source, count=50)
    with av.open(str(source)) as film, av.open(str(tmp_path / "b.mp4"), "w") as both:
        video, audio = both.add_stream_from_template(film.streams.video[0]), both.add_stream("aac", rate=8000)
        for packet in film.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                both.mux(packet)
        tone = np.sin(np.arange(16000) * 0.9).astype(np.float32)[None] * (np.arange(16000) >= 8000)
        frame = av.AudioFrame.from_ndarray(tone.astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        both.mux(audio.encode(frame))
        both.mux(audio.encode(None))
    with VideoReader(tmp_path / "b.mp4", start=0.6) as reader, VideoWriter(tmp_path / "out.mp4", 25) as video:
        for frame in reader:
            video._sound = video._sound or SoundTrack(tmp_path / "b.mp4", reader.origin + frame.time)
            video.write(frame.pixels, frame.time)
    with av.open(str(tmp_path / "out.mp4")) as container:
        loud = [frame.time for frame in container.decode(audio=0) if np.abs(frame.to_ndarray()).max() > 0.3]
    assert loud[0] == pytest.approx(0.4, abs=0.13)  # a block of AAC lasts 0.128 s at this rate


def test_sound_that_lasts_longer_ends_with_the_pictures_unless_it_is_asked_for(tmp_path):
    write_film(tmp_path / "a.mp4", count=10, sound="aac", sound_seconds=3)
    for rest, expected in ((False, 0.4), (True, 3.0)):
        with VideoWriter(tmp_path / "out.mp4", 25, SoundTrack(tmp_path / "a.mp4", 0.0)) as video:
            for index in range(10):
                video.write(numbered(index))
            if rest:
                video.write_rest_of_sound()
        assert tone_of(tmp_path / "out.mp4")[2] == pytest.approx(expected, abs=0.06)


def test_a_video_without_sound(tmp_path):
    write_film(tmp_path / "a.mp4", count=10)
    write(tmp_path / "out.mp4", 10, sound=SoundTrack(tmp_path / "a.mp4", 0.0))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.audio) == 0
    assert len(read(tmp_path / "out.mp4")) == 10
