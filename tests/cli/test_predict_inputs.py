"""What `lumi predict` can be pointed at, and which of it is looked at."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from luminoth.inference import live
from tests.cli import predicting
from tests.cli.predicting import frames_of, interrupt_at, lines, save, save_video
from tests.inference.bright_rectangle import picture
from tests.inference.films import write_film
from tests.inference.test_fetch import serving

lumi = predicting.lumi

CHECKPOINT = ("--checkpoint", "x")


def files_of(out):
    return [record["file"] for record in lines(out)]


def moving(index):
    """As `save_video`'s frames."""
    return picture(64, 96, (2 * index, 16, 2 * index + 32, 48), (250, 0, 0))


def test_phone_pictures_and_clips_want_no_thought(lumi):
    """Any endings, sideways and grey pictures, a picture without an ending, formats of every sort, in one folder."""
    save("in/IMG_10.JPG", box=(4, 8, 20, 24))
    sideways = Image.fromarray(np.rot90(picture(32, 48, (4, 8, 20, 24)), 1))  # stored turned to the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned to the right
    sideways.save("in/IMG_2.jpg", exif=exif, quality=95)
    for ending in ("PNG", "bmp", "webp", "TIFF", "gif", "jfif"):
        save(f"in/a.{ending}", box=(4, 8, 20, 24))
    write_film(Path("in/CLIP.MOV"), 3, codec="mpeg4", picture=moving, size=(64, 96))
    Path("in/Thumbs.db").write_bytes(b"x")
    status, out, err = lumi("predict", "in", *CHECKPOINT, "-d", "out")
    assert (status, out) == (0, "")
    assert err.splitlines()[0] == "Found 9 files to predict."
    assert "CLIP.MOV: 3 frames, fps: " in err
    assert sorted(os.listdir("out")) == [
        *("CLIP.mp4", "IMG_10.JPG", "IMG_2.jpg"),
        # of the BMP, GIF, JFIF, PNG, TIFF and WebP of one name
        *("a-2.png", "a-3.PNG", "a-4.png", "a-5.png", "a.jpg", "a.png"),
        "objects.json",
    ]
    for record in json.loads(Path("out/objects.json").read_text()):
        if "frame" not in record:
            np.testing.assert_allclose(record["objects"][0]["bbox"], [4, 8, 20, 24], atol=1)


def test_lists_patterns_and_standard_input(lumi, monkeypatch):
    for name in ("a.png", "b.png", "c.JPG", "d.png"):
        save(f"in/{name}")
    Path("list.txt").write_text("in/b.png\nin/a.png\n")
    assert files_of(lumi("predict", "list.txt", "in/*.jpg", *CHECKPOINT)[1]) == ["in/b.png", "in/a.png", "in/c.JPG"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("in/d.png\nin/gone.png\n"))
    status, out, err = lumi("predict", "-", *CHECKPOINT)
    assert (status, files_of(out)) == (1, ["in/d.png"])
    assert "Error: in/gone.png: there is no such file\n" in err


def test_addresses(lumi, tmp_path):
    save("a.png")
    save_video("v.mp4", 4)
    with serving() as server:
        server.files = {"/a.png": Path("a.png").read_bytes(), "/watch?v=1": Path("v.mp4").read_bytes()}
        addresses = [f"{server.address}/a.png", f"{server.address}/missing.png", f"{server.address}/watch?v=1"]
        status, out, err = lumi("predict", *addresses, *CHECKPOINT, "-d", "out", "-f", "-")
        assert status == 1
        assert files_of(out) == [addresses[0], *[addresses[2]] * 4]
        assert f"Error: {addresses[1]}: cannot be fetched (HTTP 404 " in err
        assert sorted(os.listdir("out")) == ["a.png", "watch.mp4"]
        server.asked.clear()
        status, out, err = lumi("predict", addresses[0], "a.png", *CHECKPOINT, "--offline")
        assert (status, files_of(out), server.asked) == (1, ["a.png"], [])
        assert f"Error: {addresses[0]}: is not on this machine, and --offline was given" in err


def test_a_camera_until_ctrl_c(lumi, monkeypatch):
    monkeypatch.setattr(live, "camera_input", lambda name: ("testsrc=size=64x48:rate=10", "lavfi", {}))
    interrupt_at(monkeypatch, 6)
    status, out, err = lumi("predict", "--camera", "0", *CHECKPOINT, "-d", "out", "-f", "-")
    assert status == 0
    records = lines(out)
    assert [record["file"] for record in records] == ["camera:0"] * 5
    assert all(record["time"] == pytest.approx(record["frame"] / 10) for record in records)
    assert "camera:0: ended by Ctrl-C after 5 frames" in err
    assert len(frames_of("out/camera-0.mp4")) == 5


def test_a_part_of_a_video(lumi):
    write_film(Path("v.mp4"), 30, picture=moving, size=(64, 96), sound="aac")
    status, out, _ = lumi(
        *("predict", "v.mp4", *CHECKPOINT, "--start", "0:00:00.4", "--end", "0:0.8", "--stride", "3"),
        *("-d", "out", "-f", "-", "--crops", "crops"),
    )
    assert status == 0
    records = lines(out)
    assert [record["frame"] for record in records] == [10, 13, 16, 19]
    assert [record["time"] for record in records] == pytest.approx([0.4, 0.52, 0.64, 0.76], abs=1e-3)
    boxes = [record["objects"][0]["bbox"] for record in records]
    np.testing.assert_allclose(boxes, [[2 * i, 16, 2 * i + 32, 48] for i in (10, 13, 16, 19)], atol=2)
    np.testing.assert_allclose([frame.time for frame in frames_of("out/v.mp4")], [0, 0.12, 0.24, 0.36], atol=1e-3)
    assert sorted(os.listdir("crops/red thing/v.mp4")) == [f"0000{i}-1.jpg" for i in (10, 13, 16, 19)]
    status, _, err = lumi("predict", "v.mp4", *CHECKPOINT, "--start", "1:00")
    assert (status, "v.mp4: the video has no frame from 60 s on; it is 1.2" in err) == (1, True)


def test_too_many_pixels(lumi):
    save("a.png", size=(32, 48))
    save("b.png", size=(20, 30))
    status, out, err = lumi("predict", "a.png", "b.png", *CHECKPOINT, "--max-pixels", "1000")
    assert (status, files_of(out)) == (1, ["b.png"])
    assert "Error: a.png: 48 x 32 pixels is more than the accepted 1,000; shrink it" in err


def test_arguments_that_lead_nowhere_are_told_and_the_rest_is_done(lumi):
    save("a.png")
    os.mkdir("empty")
    status, out, err = lumi("predict", "a.png", "empty", "gone.png", "*.gif", *CHECKPOINT)
    assert (status, files_of(out)) == (1, ["a.png"])
    assert err.splitlines()[0] == "Found 1 files to predict."
    assert err.splitlines()[-1] == "Error: 3 of 4 files failed, see above"
    for problem in ("no images or videos found in empty", "gone.png: there is no such", "*.gif: no image or video"):
        assert f"Error: {problem}" in err
    assert lumi("predict", "a.png", "gone.png", *CHECKPOINT, "--strict")[:2] == (1, "")


def test_strict_stops_at_the_first_bad_file(lumi):
    save("a.png")
    save("c.png")
    Path("b.png").write_text("hello")
    status, out, err = lumi("predict", "a.png", "b.png", "c.png", *CHECKPOINT, "--strict", "--batch-size", "1")
    assert (status, files_of(out)) == (1, ["a.png"])
    assert err.splitlines()[-1].startswith("Error: b.png: not a picture that can be read")


def test_pictures_of_all_shapes_in_batches(lumi):
    for index in range(23):
        save(f"in/{index}.png", box=(index, 3, index + 9, 12), size=(32, 48) if index % 3 else (40, 32))
    status, out, _ = lumi("predict", "in", *CHECKPOINT, "--batch-size", "3")
    assert status == 0
    assert files_of(out) == [f"in/{index}.png" for index in range(23)]
    for index, record in enumerate(lines(out)):
        assert record["objects"][0]["bbox"] == [index, 3, min(index + 9, 48 if index % 3 else 32), 12]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("a.png", "--start", "x"), "'x' is no time; accepted are seconds and h:m:s, as in 90, 1:30 or 0:01:30.5"),
        (("a.png", "--start", "1:2:3:4"), "is no time"),
        (("a.png", "--start", "5", "--end", "0:05"), "--end 5 s is not after --start 5 s"),
        (("a.png", "--labels-only"), "--labels-only is about drawn images and videos: give their folder with -d"),
        (("a.png", "--line-width", "3"), "--line-width is about drawn"),
        (("a.png", "--crop-margin", "1"), "--crop-margin is about --crops"),
        (("a.png", "--resume"), "--resume reads from the file of -f (or -d) what is done: name it"),
        (("a.png", "--resume", "-f", "a.json", "--format", "coco"), "--resume does not go with --format coco"),
        (("--camera", "0", "--resume", "-f", "a.json"), "--resume does not go with --camera"),
        (("rtsp://x/y", "--resume", "-f", "a.json"), "--resume does not go with streams"),
        (("a.png", "--stride", "0"), "0 is not in the range"),
    ],
)
def test_wrong_usage(lumi, options, message):
    save("a.png")
    status, out, err = lumi("predict", *CHECKPOINT, *options)
    assert (status, out) == (2, "")
    assert message in err
