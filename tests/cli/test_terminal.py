import io
import re
import sys

import pytest

from luminoth.cli import terminal

NOTE = "loss 3.024, 61.71 images/s (rpn_cls 0.696, rpn_reg 0.149, rcnn_cls 1.946, rcnn_reg 0.081)"


class Screen(io.StringIO):
    """Stands in for standard error."""

    def isatty(self):
        return True

    def lines(self):
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue())
        return [line.rstrip() for line in plain.replace("\r", "\n").splitlines() if line.strip()]


@pytest.fixture
def make_screen(monkeypatch):
    def make(columns):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        screen = Screen()
        monkeypatch.setattr(sys, "stderr", screen)
        return screen

    return make


@pytest.mark.parametrize("columns", [80, 200])
def test_a_long_note_does_not_push_the_numbers_out(make_screen, columns):
    screen = make_screen(columns)
    with terminal.progress("Training", total=8000, unit="steps") as bar:
        bar.advance(400, NOTE)
    last = screen.lines()[-1]
    assert len(last) <= columns
    assert last.startswith("Training ")
    assert "5% 400/8000 steps" in last
    assert "steps/s" in last
    assert " loss" in last
    assert (NOTE in last) == (columns == 200)


def test_lines_above_the_bar(make_screen):
    screen = make_screen(80)
    with terminal.progress("Predicting [/b].mp4", total=2) as bar:
        bar.say("Error: [bold]a.jpg[/bold]: the file is empty")
    assert "Error: [bold]a.jpg[/bold]: the file is empty" in screen.lines()
    assert screen.lines()[-1].startswith("Predicting [/b].mp4 ")


def test_elsewhere_a_line_now_and_then(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now)
    with terminal.progress("Predicting", total=9) as bar:
        for now in (10.0, 20.0, 30.0, 40.0):  # noqa: B007 - the clock reads it
            bar.advance(2, note="a.jpg")
    assert capsys.readouterr() == (
        "",
        "Predicting: 4/9 images, 0.2 images/s a.jpg\nPredicting: 8/9 images, 0.2 images/s a.jpg\n",
    )
