"""`lumi predict` in an empty folder, with a model that finds bright rectangles; pictures and videos for it."""

from __future__ import annotations

import json
import os

import pytest
from PIL import Image

from luminoth.cli import main as cli
from luminoth.inference.detector import Detector
from luminoth.inference.video import VideoReader
from luminoth.inference.video_writer import VideoWriter
from tests.inference.bright_rectangle import install, picture


@pytest.fixture
def lumi(monkeypatch, tmp_path, capsys):
    """Runs `lumi` in an empty folder with a model that finds bright rectangles: (status, stdout, stderr)."""
    install(monkeypatch)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            cli.main([*map(str, arguments)])
        captured = capsys.readouterr()
        return exit.value.code, captured.out, captured.err

    return run


def save(path, box=(5, 6, 20, 16), colour=(255, 0, 0), size=(32, 48)):
    """A picture with one object: a red one is certain, a green one of brightness 204 has 0.8."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    Image.fromarray(picture(*size, box, colour)).save(path)


def save_video(path, count=10, rate=20):
    """A video of a red object that moves two pixels to the right from frame to frame."""
    with VideoWriter(path, rate) as video:
        for index in range(count):
            video.write(picture(64, 96, (2 * index, 16, 2 * index + 32, 48), (250, 0, 0)))


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def frames_of(path):
    with VideoReader(path) as reader:
        return list(reader)


def interrupt_at(monkeypatch, call):
    """Ctrl-C when the detector is called for the `call`-th time, from 1."""
    plain, calls = Detector.detect, []

    def detect(detector, images):
        calls.append(len(images))
        if len(calls) == call:
            raise KeyboardInterrupt
        return plain(detector, images)

    monkeypatch.setattr(Detector, "detect", detect)
