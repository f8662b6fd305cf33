"""`/api/<model>/video/`: a clip comes in, a line of JSON for each frame goes out while it is read."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from itertools import chain
from typing import Any

import av
from flask import Request, Response

from luminoth.errors import ImageError
from luminoth.inference.video import Frame, VideoReader
from luminoth.server.answers import Wanted, full, ready_batcher, stopping, wait_for, whole_number
from luminoth.server.batching import Batcher, QueueFullError, StoppedError
from luminoth.server.problems import Problem, unforeseen
from luminoth.server.served import ServedModel
from luminoth.server.settings import Settings

_ACCEPTED = "accepted are MP4, MOV, WebM, MKV, AVI, Ogg and MPEG"

# In the frames of one clip that wait for the network; 64 million are 192 MB.
_MAX_WAITING_PIXELS = 64_000_000

# What PyAV raises on damaged files, each in its own way.
_DAMAGE = (av.FFmpegError, OSError, ValueError, ArithmeticError, LookupError, AttributeError)


def answer_video(request: Request, model: ServedModel, settings: Settings) -> Response:
    """The answer to a request with a clip.

    Raises:
        Problem: it is no clip, its frames are too large, or there is no room for it.
    """
    batcher = ready_batcher(model)
    wanted = Wanted.of(request, model, settings)
    stride = whole_number("stride", request.values.get("stride")) or 1
    with ExitStack() as stack:
        reader = _open_upload(request, stride, stack)
        height, width = reader.picture_size
        if height * width > settings.max_pixels:
            raise Problem(
                413, f"The frames have {width} x {height} pixels; accepted are {settings.max_pixels:,} in all."
            )
        window = _window(batcher, height * width)
        try:
            stack.enter_context(batcher.room(window, window * height * width))
        except QueueFullError:
            raise full() from None
        lines = _lines(iter(reader), batcher, window, wanted, settings)
        stack.callback(lines.close)
        first = list(_first(lines))  # what is wrong with the whole clip is told by the status
        response = Response(chain(first, _to_the_end(lines)), content_type="application/x-ndjson")
        response.call_on_close(stack.pop_all().close)
        return response


def _window(batcher: Batcher, pixels: int) -> int:
    """How many frames of so many pixels wait for the network at once."""
    return max(1, min(batcher.max_batch, batcher.max_queue, _MAX_WAITING_PIXELS // max(pixels, 1)))


def _open_upload(request: Request, stride: int, stack: ExitStack) -> VideoReader:
    """The clip in a file of our own, which is gone with `stack`, and what reads it."""
    kind = request.mimetype
    if kind == "multipart/form-data":
        file = request.files.get("video")
        if file is None:
            raise Problem(400, "The form has no file `video`.")
        source = file.stream
    elif kind.startswith("video/") or kind == "application/octet-stream":
        source = request.stream
    else:
        raise Problem(415, "Send a clip as multipart/form-data with a file named `video`, or as the body, video/... .")
    path = os.path.join(stack.enter_context(tempfile.TemporaryDirectory(prefix="lumi-clip-")), "clip")
    with open(path, "w+b") as copy:
        shutil.copyfileobj(source, copy)
        copy.seek(0)
        container = container_of(copy.read(376))
    if container is None:
        raise Problem(415, f"The file is not a video that can be read; {_ACCEPTED}.")
    try:
        return stack.enter_context(_UploadedVideo(path, container, stride))
    except (ImageError, *_DAMAGE):
        raise Problem(422, "The video is damaged, or holds no pictures.") from None


def container_of(begin: bytes) -> str | None:
    """FFmpeg's name of a container, by the first bytes of a file; None for what is not accepted.

    Left to guess, FFmpeg takes texts for play lists, and opens the files and addresses that they name.
    """
    if begin[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if begin.startswith(b"RIFF") and begin[8:12] == b"AVI ":
        return "avi"
    if begin.startswith(b"\x47") and begin[188:189] == b"\x47":
        return "mpegts"
    starts = {b"\x1a\x45\xdf\xa3": "matroska", b"OggS": "ogg", b"\x00\x00\x01\xba": "mpeg"}
    return starts.get(begin[:4])


class _UploadedVideo(VideoReader):
    """Reads a file that a stranger sent: as what its first bytes say, and nothing beside it."""

    def __init__(self, path: str, container: str, stride: int) -> None:
        super().__init__(path, name="the video", stride=stride, container=container)

    def __iter__(self) -> Iterator[Frame]:
        try:
            yield from super().__iter__()
        except _DAMAGE as error:
            raise ImageError("the video is damaged") from error


def _lines(
    frames: Iterator[Frame], batcher: Batcher, window: int, wanted: Wanted, settings: Settings
) -> Generator[dict[str, Any], None, None]:
    """What is found in each frame; up to `window` frames wait for the network at once."""
    waiting: deque = deque()

    def oldest() -> dict[str, Any]:
        frame, result = waiting.popleft()
        found = wait_for(result, time.monotonic() + settings.timeout)
        return {"frame": frame[0], "time": frame[1], "objects": wanted.select(found.detections).to_dicts()}

    problem = None
    try:
        try:
            for count, frame in enumerate(frames):
                if count == settings.max_frames:
                    problem = Problem(413, f"Accepted are {count} frames; ask with a greater `stride`.")
                    break
                waiting.append(((frame.index, frame.time), batcher.submit(frame.pixels)))
                if len(waiting) == window:
                    yield oldest()
        except ImageError:
            problem = Problem(422, "The video is damaged or cut off here.")
        except StoppedError:
            problem = stopping()
        while waiting:  # the problem comes after all that could be read
            yield oldest()
        if problem is not None:
            raise problem
    finally:
        for _, result in waiting:
            result.cancel()


def _first(lines: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for line in lines:
        yield _encoded(line)
        return


def _to_the_end(lines: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    """The status is sent by now: a problem becomes the last line."""
    try:
        for line in lines:
            yield _encoded(line)
    except Exception as error:
        problem = error if isinstance(error, Problem) else unforeseen(error)
        yield _encoded({"problem": {"status": problem.code, "detail": problem.description}})


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line).encode() + b"\n"
