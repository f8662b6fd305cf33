import socket
import threading

import pytest

from luminoth.errors import ImageError
from luminoth.inference import live
from luminoth.inference.live import LiveReader, camera_input
from luminoth.inference.sources import MediaFile, MediaList
from tests.inference.films import number_of, numbered, write_film


def file_of(source) -> MediaFile:
    (file,) = MediaList([source])
    return file


@pytest.fixture
def camera(monkeypatch):
    """FFmpeg's test picture in place of a camera: it comes as fast as it is asked for."""
    monkeypatch.setattr(live, "camera_input", lambda name: (f"testsrc=size=64x48:rate=10:n={name}", "lavfi", {}))
    return file_of("camera:2")


def test_a_camera_gives_frames_until_it_is_stopped(camera):
    with LiveReader(camera, stride=3) as reader:
        assert (reader.rate, reader.frame_count, reader.picture_size) == (10, None, (48, 64))
        frames = []
        for frame in reader:
            frames.append(frame)
            if len(frames) == 4:
                reader.stop()
    assert [frame.index for frame in frames] == [0, 3, 6, 9]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.3, 0.6, 0.9])
    assert frames[0].pixels.shape == (48, 64, 3)
    assert (frames[0].pixels != frames[3].pixels).any()


def test_it_ends_where_that_was_asked_for(camera):
    with LiveReader(camera, end=0.5) as reader:
        assert [frame.index for frame in reader] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("platform", "camera", "expected"),
    [
        ("linux", "0", ("/dev/video0", "v4l2")),
        ("linux", "/dev/video2", ("/dev/video2", "v4l2")),
        ("darwin", "1", ("1:none", "avfoundation")),
        ("win32", "Integrated Camera", ("video=Integrated Camera", "dshow")),
    ],
)
def test_cameras_are_called_as_the_system_does(monkeypatch, platform, camera, expected):
    monkeypatch.setattr(live.sys, "platform", platform)
    assert camera_input(camera)[:2] == expected


def test_what_is_not_there():
    with pytest.raises(ImageError, match=r"^camera:97: cannot be opened \(.*\); --camera 0 is the first one$"):
        LiveReader(file_of("camera:97"))
    with pytest.raises(ImageError, match=r"^tcp://127\.0\.0\.1:9: cannot be opened \(Connection refused\)$"):
        LiveReader(file_of("tcp://me:secret@127.0.0.1:9"))


def test_offline(monkeypatch):
    monkeypatch.setenv("LUMI_OFFLINE", "1")
    with pytest.raises(ImageError, match=r"rtsp://127\.0\.0\.1/a: LUMI_OFFLINE is set, so it was not asked for"):
        LiveReader(file_of("rtsp://127.0.0.1/a"))


def test_a_stream_that_is_lost_is_asked_for_again(monkeypatch, tmp_path):
    """A server that sends twenty frames to who connects, twice, and is gone."""
    monkeypatch.setattr(live, "_WAITS_SECONDS", (0.01, 0.01))
    recordings = []
    for first in (0, 100):
        write_film(tmp_path / "a.ts", count=20, codec="mpeg2video", picture=lambda i, first=first: numbered(first + i))
        recordings.append((tmp_path / "a.ts").read_bytes())
    server = socket.create_server(("127.0.0.1", 0))

    def broadcast():
        with server:
            for recording in recordings:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(recording)

    threading.Thread(target=broadcast, daemon=True).start()
    address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
    notices, frames = [], []

    def watch():
        with LiveReader(file_of(address), on_notice=notices.append) as reader:
            for frame in reader:
                frames.append(frame)

    with pytest.raises(ImageError, match=r"lost after 40 frames \(it ended\); it did not come back in 0\.02 s$"):
        watch()
    assert [frame.index for frame in frames] == list(range(40))
    assert [number_of(frame.pixels) for frame in frames] == [*range(20), *range(100, 120)]
    times = [frame.time for frame in frames]
    assert times == sorted(times)
    assert notices == [
        f"{address}: lost after 20 frames (it ended), asking for it again",
        f"{address}: is there again",
        f"{address}: lost after 40 frames (it ended), asking for it again",
    ]
