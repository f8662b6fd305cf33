"""What `lumi predict` writes: forms of results, drawn copies, objects; interrupted, resumed, on a full disk."""

import csv
import json
import os
import resource
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from luminoth.evaluation.coco_results import read_coco_results
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.inference.draw import class_colour
from tests.cli import predicting
from tests.cli.predicting import frames_of, interrupt_at, lines, save, save_video
from tests.inference.bright_rectangle import CLASSES, picture
from tests.inference.films import tone_of, write_film

lumi = predicting.lumi

CHECKPOINT = ("--checkpoint", "x")


def test_the_ending_says_the_form(lumi):
    save("a.png")
    save("b.png", colour=(0, 0, 90))  # below 0.5
    save_video("v.mp4", 2)
    inputs = ("a.png", "b.png", "v.mp4")
    for arguments in (("-f", "o.json"), ("-f", "o.jsonl"), ("-f", "o.csv"), ("-f", "o.dat")):
        assert lumi("predict", *inputs, *CHECKPOINT, *arguments)[:2] == (0, "")
    records = json.loads(Path("o.json").read_text())
    assert [record["file"] for record in records] == ["a.png", "b.png", "v.mp4", "v.mp4"]
    assert lines(Path("o.jsonl").read_text()) == records == lines(Path("o.dat").read_text())
    with open("o.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["file"], row["frame"], row["label"], row["x_max"]) for row in rows[:3]] == [
        ("a.png", "", "red thing", "20"),
        ("b.png", "", "", ""),
        ("v.mp4", "0", "red thing", str(records[2]["objects"][0]["bbox"][2])),
    ]
    status, out, _ = lumi("predict", *inputs, *CHECKPOINT, "--format", "json")
    assert (status, json.loads(out)) == (0, records)
    status, out, _ = lumi("predict", *inputs, *CHECKPOINT, "--format", "csv")
    assert out == Path("o.csv").read_text()
    assert lumi("predict", *inputs, *CHECKPOINT, "-d", "out", "--format", "jsonl")[0] == 0
    assert lines(Path("out/objects.json").read_text()) == records


def test_coco_results_are_what_the_evaluation_reads(lumi):
    save("in/000000000139.png", box=(5, 6, 20, 16))
    save("in/street.png", box=(1, 2, 30, 20), colour=(0, 204, 0))
    assert lumi("predict", "in", *CHECKPOINT, "-f", "coco.json", "--format", "coco")[0] == 0
    nothing = (np.zeros((0, 4)), np.zeros(0, np.int32), np.zeros(0, bool), (32, 48))
    truths = [GroundTruth(*nothing, image_id=name) for name in ("139", "street")]
    # Classes in another order than the detector's: names decide.
    found = read_coco_results("coco.json", truths, CLASSES[::-1])
    np.testing.assert_allclose(found[0].boxes, [[5, 6, 20, 16]])
    np.testing.assert_allclose(found[1].boxes, [[1, 2, 30, 20]])
    assert [found[0].to_dicts()[0]["label"], found[1].to_dicts()[0]["label"]] == ["red thing", "green thing"]
    assert found[1].scores.tolist() == pytest.approx([0.8])


def test_crops(lumi):
    save("in/a.png", box=(10, 8, 30, 16))
    save("in/b.png", colour=(0, 0, 90))
    status, _, err = lumi("predict", "in", *CHECKPOINT, "-f", "o.json", "--crops", "crops", "--crop-margin", "0.5")
    assert status == 0
    assert "Pictures of the objects are in crops" in err
    assert [str(path) for path in Path("crops").rglob("*.jpg")] == ["crops/red thing/a-1.jpg"]
    crop = np.asarray(Image.open("crops/red thing/a-1.jpg"))
    assert crop.shape == (16, 40, 3)
    assert crop[8, 20, 0] > 240 > 20 > crop[1, 1, 0]  # not drawn on: the object, and what is around it


def test_how_it_is_drawn(lumi):
    save("a.png", box=(40, 60, 160, 140), size=(200, 300))
    colour = class_colour("red thing")

    def drawn(*options):
        assert lumi("predict", "a.png", *CHECKPOINT, "-d", "out", *options)[0] == 0
        return np.asarray(Image.open("out/a.png"))

    def line_width(pixels):
        return int((pixels[100, 40:80] == colour).all(axis=1).argmin())

    def tag_width(pixels):
        return int((pixels[58, 40:] == colour).all(axis=1).sum())

    plain, names = drawn(), drawn("--labels-only")
    assert line_width(plain) == line_width(names) == 2
    assert tag_width(names) < tag_width(plain) < tag_width(drawn("--font-scale", "2"))
    assert line_width(drawn("--line-width", "7")) == 7


def test_a_video_keeps_its_sound(lumi):
    write_film(
        Path("v.mkv"), 30, picture=lambda i: picture(64, 96, (i, 9, i + 30, 40)), size=(64, 96), sound="pcm_s16le"
    )
    assert lumi("predict", "v.mkv", *CHECKPOINT, "-d", "out")[0] == 0
    codec, begin, seconds, pitch = tone_of(Path("out/v.mp4"))
    assert (codec, pitch) == ("aac", pytest.approx(440, abs=3))
    assert (begin, seconds) == (pytest.approx(0, abs=0.03), pytest.approx(1.2, abs=0.1))
    with av.open("out/v.mp4") as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt, container.streams.video[0].average_rate) == ("h264", "yuv420p", 25)


# --- Resuming -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_resumed_it_is_as_if_nothing_had_happened(lumi, monkeypatch, form):
    for name in ("a.png", "b.png", "c.png", "a.bmp", "c.bmp"):
        save(f"in/{name}")
    save_video("in/v.mp4", 12)
    save_video("in/w.mp4", 6)
    save("later/a.png")  # gets a name that no picture of the interrupted run has
    run = ("predict", "in", "later", *CHECKPOINT, "--batch-size", "2", "-d")
    assert lumi(*run, "whole", "-f", f"whole.{form}")[0] == 0
    with monkeypatch.context() as interrupted:
        interrupt_at(interrupted, 5)  # in the middle of v.mp4
        status, _, err = lumi(*run, "out", "-f", f"out.{form}")
        assert (status, "--resume goes on with the others" in err) == (130, True)
    before = Path(f"out.{form}").read_bytes()
    assert before.rstrip(b"]\n") in Path(f"whole.{form}").read_bytes()
    picture_before = Path("out/a.png").stat().st_mtime_ns
    status, _, err = lumi(*run, "out", "-f", f"out.{form}", "--resume")
    assert (status, "5 of them are done already, 3 are left." in err) == (0, True)
    assert Path(f"out.{form}").read_bytes() == Path(f"whole.{form}").read_bytes()
    assert sorted(os.listdir("out")) == sorted({*os.listdir("whole")} - {"objects.json"})
    assert [len(frames_of(f"out/{name}.mp4")) for name in "vw"] == [12, 6]
    assert Path("out/a.png").stat().st_mtime_ns == picture_before
    status, _, err = lumi(*run, "out", "-f", f"out.{form}", "--resume")
    left = 0 if form != "csv" else 1  # of a table the last one is done again
    assert (status, f"{8 - left} of them are done already, {left} are left." in err) == (0, True)
    assert Path(f"out.{form}").read_bytes() == Path(f"whole.{form}").read_bytes()


def test_resumed_with_bad_files_mended(lumi):
    save("a.png")
    Path("b.png").write_bytes(b"")
    save("c.png")
    run = ("predict", "a.png", "b.png", "c.png", *CHECKPOINT, "-f", "o.jsonl", "--resume")
    assert lumi(*run)[0] == 1
    save("b.png")
    status, _, err = lumi(*run)
    assert (status, "2 of them are done already, 1 are left." in err) == (0, True)
    assert [record["file"] for record in lines(Path("o.jsonl").read_text())] == ["a.png", "c.png", "b.png"]


def test_another_file_is_not_resumed(lumi):
    save("a.png")
    Path("o.json").write_text('{"mine": 1}')
    status, out, err = lumi("predict", "a.png", *CHECKPOINT, "-f", "o.json", "--resume")
    assert (status, out) == (1, "")
    assert "o.json: line 1 is not what `lumi predict` writes, so nothing can be resumed" in err
    assert Path("o.json").read_text() == '{"mine": 1}'


# --- What cannot be written -----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["-d", "--crops"])
def test_a_folder_that_cannot_be_written_to(lumi, option):
    save("a.png")
    Path("file").write_text("")
    status, _, err = lumi("predict", "a.png", *CHECKPOINT, "-f", "o.json", option, "file/out")
    assert (status, err.splitlines()[-1]) == (
        1,
        "Error: file/out: cannot be written to (Not a directory); name another folder",
    )
    assert not os.path.exists("o.json")


def test_a_full_disk(lumi):
    """Records, pictures and videos as far as they went are whole; the command says what was full and fails."""
    noise = np.random.default_rng(0)
    write_film(Path("v.mp4"), 120, picture=lambda i: noise.integers(0, 256, (64, 96, 3), dtype=np.uint8), size=(64, 96))
    save("a.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    try:
        status, _, err = lumi("predict", "a.png", "v.mp4", *CHECKPOINT, "-d", "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 1
    assert "out/v.mp4: the video cannot be" in err.splitlines()[-1]
    assert "(File too large)" in err.splitlines()[-1]
    assert sorted(os.listdir("out")) == ["a.png", "objects.json", "v.mp4.unfinished.mp4"]
    records = json.loads(Path("out/objects.json").read_text())
    assert [record["file"] for record in records[:2]] == ["a.png", "v.mp4"]
