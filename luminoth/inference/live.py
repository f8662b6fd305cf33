"""Cameras and streams: videos without an end, which do not wait for who looks at them."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import av

from luminoth.errors import ImageError
from luminoth.inference.sources import MediaFile
from luminoth.inference.video import Frame, reason_of, upright
from luminoth.web import is_offline

_DEFAULT_RATE = Fraction(25)
_TIMEOUT_SECONDS = 10.0
# Before each further attempt to reach a stream that was lost; a camera that starts anew takes half a minute.
_WAITS_SECONDS = (1, 2, 4, 8, 16, 32)
_OPTIONS = {"rtsp_flags": "prefer_tcp"}  # UDP loses packets, and routers drop it


class LiveReader:
    """Iterates over the frames of a camera or a stream as they come, until `stop` is called; a context manager.

    A stream that is lost is asked for again for a minute; frames go on being numbered.

    Args:
        file: of the kind `live`.
        end: seconds after which to end.
        stride: every `stride`-th frame is yielded.
        on_notice: gets a line when the stream is lost and when it is there again.

    Attributes:
        rate: frames per second, as the camera or stream states it.
        frame_count: None; for its end is not known.
        picture_size: (height, width).

    Raises:
        ImageError: there is no such camera or stream.
    """

    frame_count = None

    def __init__(
        self,
        file: MediaFile,
        *,
        end: float | None = None,
        stride: int = 1,
        on_notice: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._file = file
        self._end, self._stride, self._on_notice = end, stride, on_notice
        self._stopped = threading.Event()
        self._container = self._open()
        stream = self._container.streams.video[0]
        self.rate: Fraction = stream.average_rate or stream.guessed_rate or _DEFAULT_RATE
        self.picture_size = (stream.height or 0, stream.width or 0)

    def __enter__(self) -> LiveReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._container.close()

    def stop(self) -> None:
        """Ends the iteration with the frame that is being waited for; from any thread."""
        self._stopped.set()

    def __iter__(self) -> Iterator[Frame]:
        """Yields frames; `time` counts from the first one and goes on while a stream is lost.

        Raises:
            ImageError: the stream was lost and did not come back.
        """
        started, index, now = time.monotonic(), 0, 0.0
        while True:
            zero = None
            began = max(time.monotonic() - started, now + float(1 / self.rate)) if index else 0.0
            loss = "it ended"
            try:
                for frame in self._container.decode(video=0):
                    at = frame.time if frame.time is not None else float(index / self.rate)
                    zero = at if zero is None else zero
                    now = began + at - zero
                    if self._stopped.is_set() or (self._end is not None and now >= self._end):
                        return
                    if index % self._stride == 0:
                        yield Frame(upright(frame), index, round(now, 6))
                    index += 1
            except av.FFmpegError as error:
                loss = reason_of(error)
            if self._stopped.is_set() or not self._comes_back(loss, index):
                return

    def _comes_back(self, loss: str, frames: int) -> bool:
        """Opens the stream again; False: it was stopped meanwhile."""
        name = self._file.name
        if name.startswith("camera:"):
            raise ImageError(f"{name}: gives no more pictures after {frames} frames ({loss})")
        self._container.close()
        self._on_notice(f"{name}: lost after {frames} frames ({loss}), asking for it again")
        for wait in _WAITS_SECONDS:
            if self._stopped.wait(wait):
                return False
            try:
                self._container = self._open()
            except ImageError:
                continue
            self._on_notice(f"{name}: is there again")
            return True
        raise ImageError(
            f"{name}: lost after {frames} frames ({loss}); it did not come back in {sum(_WAITS_SECONDS)} s"
        )

    def _open(self) -> av.container.InputContainer:
        name = self._file.name
        if name.startswith("camera:"):
            place, kind, options = camera_input(name.partition(":")[2])
            accepted = "; --camera 0 is the first one"
        else:
            if is_offline():
                raise ImageError(f"{name}: LUMI_OFFLINE is set, so it was not asked for")
            place, kind, options, accepted = self._file.source, None, _OPTIONS, ""
        try:
            container = av.open(place, format=kind, options=options, timeout=_TIMEOUT_SECONDS)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise ImageError(f"{name}: cannot be opened ({reason_of(error)}){accepted}") from error
        if not container.streams.video:
            container.close()
            raise ImageError(f"{name}: holds no video stream")
        return container


def camera_input(camera: str) -> tuple[str, str, dict[str, str]]:
    """What FFmpeg calls a camera on this system: the device, the kind of input, and options for it.

    Args:
        camera: its number, from 0, or what the system calls it.
    """
    if sys.platform == "darwin":
        return f"{camera}:none", "avfoundation", {"framerate": "30"}
    if sys.platform == "win32":
        return f"video={_windows_name(camera)}", "dshow", {}
    return f"/dev/video{camera}" if camera.isdecimal() else camera, "v4l2", {}


def _windows_name(camera: str) -> str:
    if not camera.isdecimal():
        return camera
    devices = [each for each in av.enumerate_input_devices("dshow") if "video" in str(each.media_types).lower()]
    if int(camera) >= len(devices):
        names = ", ".join(each.description for each in devices) or "none"
        raise ValueError(f"cameras here: {names}")
    return devices[int(camera)].description
