from fractions import Fraction

import av
import numpy as np
import pytest

from luminoth.errors import ImageError, OutputError
from luminoth.inference.video import VideoReader, VideoWriter

RED, BLUE = (200, 30, 30), (30, 30, 200)


def halves(height, width, top=0):
    """Left half red, right half blue; the upper quarter grey of brightness `top`."""
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, : width // 2], pixels[:, width // 2 :] = RED, BLUE
    pixels[: height // 4] = top
    return pixels


def write(path, count=30, rate=30, size=(48, 64), noise=0):
    random = np.random.default_rng(0)
    with VideoWriter(path, rate) as video:
        for index in range(count):
            pixels = halves(*size, top=index * 8 % 256)
            if noise:
                pixels = random.integers(0, 256, (*size, 3), dtype=np.uint8)
            video.write(pixels)


@pytest.mark.parametrize("rate", [25, Fraction(30000, 1001), 12.5])
def test_round_trip_keeps_pixels_rate_and_times(tmp_path, rate):
    path = tmp_path / "a.mp4"
    write(path, rate=rate)
    with VideoReader(path) as reader:
        assert (float(reader.rate), reader.frame_count) == (pytest.approx(float(rate), rel=1e-4), 30)
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / float(rate), atol=1e-4)
    assert frames[0].pixels.dtype == np.uint8
    assert frames[0].pixels.shape == (48, 64, 3)
    for index, frame in enumerate(frames):
        np.testing.assert_allclose(frame.pixels[30, 8], RED, atol=6)
        np.testing.assert_allclose(frame.pixels[30, 56], BLUE, atol=6)
        np.testing.assert_allclose(frame.pixels[4, 10], index * 8 % 256, atol=8)


def test_written_for_every_player(tmp_path):
    path = tmp_path / "a.mp4"
    write(path, size=(47, 63))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, context.width, context.height) == ("h264", "yuv420p", 64, 48)
    encoded = path.read_bytes()
    assert encoded.index(b"moov") < encoded.index(b"mdat")  # plays before it is loaded whole
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_times_of_a_variable_rate_are_kept(tmp_path):
    path, times = tmp_path / "a.mp4", [0.0, 0.04, 0.5, 0.52, 1.25]
    with VideoWriter(path, 25) as video:
        for time in times:
            video.write(halves(32, 32), time)
    with VideoReader(path) as reader:
        assert [frame.time for frame in reader] == pytest.approx(times, abs=1e-4)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_video_is_whole(tmp_path, error):
    path = tmp_path / "a.mp4"
    with pytest.raises(error), VideoWriter(path, 25) as video:  # noqa: PT012
        for _ in range(7):
            video.write(halves(32, 32))
        raise error
    with VideoReader(path) as reader:
        assert len(list(reader)) == 7


def test_no_frames_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_place_is_named(tmp_path):
    with (
        pytest.raises(OutputError, match=r"missing/a\.mp4: the video cannot be written \(No such file"),
        VideoWriter(tmp_path / "missing/a.mp4", 25) as video,
    ):
        video.write(halves(32, 32))


def test_rotation_is_honoured(tmp_path):
    """A phone held upright stores the turn as a matrix in the track's header, here written by hand.

    QuickTime's (x, y) -> (a x + c y, b x + d y) with a, b, c, d = 0, 1, -1, 0 takes the stored left edge to the
    top: what is red on the left is red above.
    """
    path = tmp_path / "a.mp4"
    write(path, count=3)
    encoded = bytearray(path.read_bytes())
    matrix = encoded.index(b"tkhd") + 4 + 40
    one = 0x10000
    for place, value in zip((0, 1, 3, 4), (0, one, -one, 0), strict=True):
        encoded[matrix + 4 * place : matrix + 4 * place + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(encoded)
    with VideoReader(path) as reader:
        frame = next(iter(reader))
    assert frame.pixels.shape == (64, 48, 3)
    np.testing.assert_allclose(frame.pixels[8, 10], RED, atol=6)
    np.testing.assert_allclose(frame.pixels[56, 10], BLUE, atol=6)
    np.testing.assert_allclose(frame.pixels[30, 44], 0, atol=8)  # the grey top came to the right


def read_until_error(path):
    frames = []
    with VideoReader(path) as reader, pytest.raises(ImageError) as error:  # noqa: PT012
        for frame in reader:
            frames.append(frame)
    return frames, str(error.value)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_video_cut_in_the_middle_gives_the_frames_before_the_cut(tmp_path, name):
    path = tmp_path / name
    write(tmp_path / "a.mp4", count=100, noise=1)
    if name == "a.mkv":
        copy_packets(tmp_path / "a.mp4", path)
    encoded = path.read_bytes()
    path.write_bytes(encoded[: len(encoded) // 2])
    frames, message = read_until_error(path)
    assert 30 < len(frames) < 70
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert message.startswith(f"{path}: the video ")
    assert message.endswith(f"{len(frames)} frames up to {frames[-1].time:.2f} s could be read")


def copy_packets(source, destination):
    with av.open(str(source)) as read, av.open(str(destination), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)


def test_sound_that_lasts_longer_is_no_damage(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=8000)
        video.width = video.height = 32
        for _ in range(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(halves(32, 32), format="rgb24")))
        container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 5), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with VideoReader(path) as reader:
        assert len(list(reader)) == 10


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
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(ImageError, match="holds no video stream"):
        VideoReader(path)
