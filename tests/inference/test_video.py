from fractions import Fraction

import av
import numpy as np
import pytest

from luminoth.errors import ImageError
from luminoth.inference.video import VideoReader
from tests.inference.films import number_of, write_film, write_tone

RED, BLUE = (200, 30, 30), (30, 30, 200)


def halves(index):
    """Left half red, right half blue; the upper quarter grey, brighter from frame to frame."""
    pixels = np.empty((48, 64, 3), np.uint8)
    pixels[:, :32], pixels[:, 32:] = RED, BLUE
    pixels[:12] = index * 8 % 256
    return pixels


def read(path, **window):
    with VideoReader(path, **window) as reader:
        return list(reader)


@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001)])
def test_pixels_rate_and_times(tmp_path, rate):
    path = tmp_path / "a.mp4"
    write_film(path, rate=rate, picture=halves, size=(48, 64))
    with VideoReader(path) as reader:
        assert (float(reader.rate), reader.frame_count) == (pytest.approx(float(rate), rel=1e-4), 30)
        assert reader.picture_size == (48, 64)
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / float(rate), atol=1e-4)
    assert frames[0].pixels.dtype == np.uint8
    assert frames[0].pixels.shape == (48, 64, 3)
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(frame.pixels[30, 8], RED, atol=6)
        np.testing.assert_allclose(frame.pixels[30, 56], BLUE, atol=6)
        np.testing.assert_allclose(frame.pixels[4, 10], index * 8 % 256, atol=8)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        *[("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.avi", "mpeg4"), ("a.mkv", "libx264"), ("a.webm", "libvpx")],
        *[("a.ts", "libx264"), ("a.mpg", "mpeg2video")],
    ],
)
def test_a_part_has_exactly_its_frames_whatever_the_file(tmp_path, name, codec):
    path = tmp_path / name
    write_film(path, count=60, codec=codec)
    assert [number_of(frame.pixels) for frame in read(path)] == list(range(60))
    for start, end, stride, expected in (
        (1.0, 1.2, 1, range(25, 30)),  # 1.0 is the time of frame 25, and 1.2 that of frame 30
        (1.01, 1.39, 1, range(26, 35)),
        (0.4, None, 7, range(10, 60, 7)),  # frame 10 is a key frame
        (0.0, 0.3, 2, range(0, 8, 2)),
        (2.36, None, 1, [59]),
    ):
        with VideoReader(path, start=start, end=end, stride=stride) as reader:
            frames = list(reader)
            assert name == "a.mpg" or reader.frame_count == pytest.approx(len(expected), abs=2)
        assert [frame.index for frame in frames] == list(expected)
        assert [number_of(frame.pixels) for frame in frames] == list(expected)
        np.testing.assert_allclose([frame.time for frame in frames], np.array(expected) / 25, atol=2e-3)


def test_a_part_of_a_video_of_variable_rate(tmp_path):
    path, times = tmp_path / "a.mp4", [0.0, 0.04, 0.5, 0.52, 1.25, 3.0, 3.5, 3.6]
    write_film(path, count=8, times=times, key_frames=3)
    assert [frame.time for frame in read(path)] == pytest.approx(times, abs=1e-4)
    frames = read(path, start=0.52, end=3.5)
    assert [(frame.index, number_of(frame.pixels)) for frame in frames] == [(3, 3), (4, 4), (5, 5)]
    assert [frame.time for frame in frames] == pytest.approx(times[3:6], abs=1e-4)


def test_frames_before_a_start_are_counted_and_not_decoded(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    write_film(path, count=100)
    decoded = []
    plain = VideoReader._decoded

    def counted(reader):
        for frame in plain(reader):
            decoded.append(frame.time)
            yield frame

    monkeypatch.setattr(VideoReader, "_decoded", counted)
    assert [frame.index for frame in read(path, start=3.3, end=3.4)] == [83, 84]
    assert decoded == pytest.approx([0.0, *(index / 25 for index in range(80, 86))], abs=1e-4)


def test_a_start_behind_the_end(tmp_path):
    write_film(tmp_path / "a.mp4")
    with pytest.raises(ImageError, match=r"a\.mp4: the video has no frame from 9 s on; it is 1\.20 s long$"):
        read(tmp_path / "a.mp4", start=9.0)


def test_rotation_is_honoured(tmp_path):
    """A phone held upright stores the turn as a matrix in the track's header, here written by hand.

    QuickTime's (x, y) -> (a x + c y, b x + d y) with a, b, c, d = 0, 1, -1, 0 takes the stored left edge to the
    top: what is red on the left is red above.
    """
    path = tmp_path / "a.mp4"
    write_film(path, count=3, picture=halves, size=(48, 64))
    encoded = bytearray(path.read_bytes())
    matrix = encoded.index(b"tkhd") + 4 + 40
    one = 0x10000
    for place, value in zip((0, 1, 3, 4), (0, one, -one, 0), strict=True):
        encoded[matrix + 4 * place : matrix + 4 * place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(encoded)
    frame = read(path)[0]
    assert frame.pixels.shape == (64, 48, 3)
    np.testing.assert_allclose(frame.pixels[8, 10], RED, atol=6)
    np.testing.assert_allclose(frame.pixels[56, 10], BLUE, atol=6)
    np.testing.assert_allclose(frame.pixels[30, 44], 0, atol=8)  # the grey top came to the right


def test_unknown_length(tmp_path):
    """A stream that was recorded: H.264 and nothing around it, so no times, no length, no index."""
    path = tmp_path / "a.h264"
    write_film(path, count=30)
    with VideoReader(path) as reader:
        assert reader.frame_count is None
        assert [(frame.index, number_of(frame.pixels)) for frame in reader] == [(i, i) for i in range(30)]
    frames = read(path, start=0.4, end=0.8)
    assert [(frame.index, number_of(frame.pixels)) for frame in frames] == [(i, i) for i in range(10, 20)]


def noise(index):
    return np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_video_cut_in_the_middle_gives_the_frames_before_the_cut(tmp_path, name):
    path = tmp_path / name
    write_film(path, count=100, picture=noise, size=(48, 64))
    encoded = path.read_bytes()
    path.write_bytes(encoded[: len(encoded) // 2])
    frames = []
    with VideoReader(path, name="mine") as reader, pytest.raises(ImageError) as error:  # noqa: PT012
        for frame in reader:
            frames.append(frame)
    assert 30 < len(frames) < 70
    assert [frame.index for frame in frames] == list(range(len(frames)))
    message = str(error.value)
    assert message.startswith("mine: the video ")
    assert message.endswith(f"{len(frames)} frames up to {frames[-1].time:.2f} s could be read")
    # Who wants only what is before the cut has no reason to complain.
    assert [frame.index for frame in read(path, start=0.2, end=0.4)] == list(range(5, 10))


def test_sound_that_lasts_longer_is_no_damage(tmp_path):
    write_film(tmp_path / "a.mp4", count=10, sound="aac", sound_seconds=5)
    assert len(read(tmp_path / "a.mp4")) == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "the file is empty"),
        (b"this is a text\n" * 100, "not a video that can be read"),
    ],
)
def test_what_is_no_video_is_named(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"a\.mp4: {message}"):
        VideoReader(path)


def test_a_file_without_pictures(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        write_tone(container, container.add_stream("aac", rate=8000), 1)
    with pytest.raises(ImageError, match="holds no video stream"):
        VideoReader(tmp_path / "a.mp4")
