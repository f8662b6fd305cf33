import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from luminoth.cli import main as cli
from luminoth.inference.draw import class_colour
from luminoth.inference.video import VideoReader
from tests.cli import predicting
from tests.cli.predicting import frames_of, interrupt_at, lines, save, save_video
from tests.inference.bright_rectangle import install
from tests.inference.films import write_film

lumi = predicting.lumi


def test_images_to_standard_output(lumi):
    save("a.png")
    save("b.png", (0, 0, 48, 32), (0, 204, 0))
    save("c.png", colour=(0, 0, 90))  # below 0.5
    status, out, err = lumi("predict", "a.png", "b.png", "c.png", "--checkpoint", "x")
    assert status == 0
    assert out.splitlines() == [
        '{"file": "a.png", "objects": [{"bbox": [5, 6, 20, 16], "label": "red thing", "prob": 1.0}]}',
        '{"file": "b.png", "objects": [{"bbox": [0, 0, 48, 32], "label": "green thing", "prob": 0.8}]}',
        '{"file": "c.png", "objects": []}',
    ]
    assert err == "Found 3 files to predict.\n"


def test_what_users_of_luminoth_read(lumi):
    save("a.png")
    assert lumi("predict", "a.png")[2].splitlines() == [
        "Found 1 files to predict.",
        "Neither checkpoint nor config specified, assuming `accurate`.",
    ]


def test_a_video_one_line_a_frame(lumi):
    save_video("v.mp4")
    status, out, err = lumi("predict", "v.mp4", "--checkpoint", "x")
    assert status == 0
    records = lines(out)
    assert [(record["file"], record["frame"]) for record in records] == [("v.mp4", index) for index in range(10)]
    assert [record["time"] for record in records] == pytest.approx([index / 20 for index in range(10)], abs=1e-4)
    boxes = np.array([record["objects"][0]["bbox"] for record in records])
    np.testing.assert_allclose(boxes, [[2 * i, 16, 2 * i + 32, 48] for i in range(10)], atol=1)
    assert err.splitlines()[0] == "Found 1 files to predict."
    assert err.splitlines()[-1].startswith("fps: ")


def test_saved_media_and_their_objects(lumi, tmp_path):
    save("in/a.png", box=(4, 4, 28, 24))
    save("in/b.bmp")
    save_video("in/v.mp4")
    status, out, err = lumi("predict", "in", "--checkpoint", "x", "-d", "out")
    assert (status, out) == (0, "")
    assert "Objects are in out/objects.json\n" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "objects.json", "v.mp4"]
    records = json.loads((tmp_path / "out/objects.json").read_text())
    assert [record["file"] for record in records] == ["in/a.png", "in/b.bmp"] + ["in/v.mp4"] * 10
    colour = class_colour("red thing")
    assert Image.open("out/a.png").getpixel((4, 20)) == colour
    with VideoReader("out/v.mp4") as reader:
        frames = list(reader)
    assert (len(frames), reader.rate) == (10, 20)
    assert frames[0].pixels.shape == (64, 96, 3)
    # The lower edge of the box, two pixels wide, is drawn in the class's colour on every frame.
    for frame in frames:
        np.testing.assert_allclose(frame.pixels[46, 2 * frame.index + 16], colour, atol=40)


def test_output_file_and_saved_media(lumi, tmp_path):
    save("a.png")
    status, out, _ = lumi("predict", "a.png", "--checkpoint", "x", "-d", "out", "-f", "results/all.json")
    assert (status, out) == (0, "")
    assert os.listdir("out") == ["a.png"]
    assert os.listdir("results") == ["all.json"]
    status, out, _ = lumi("predict", "a.png", "--checkpoint", "x", "-d", "out", "-f", "-")
    assert lines(out)[0]["file"] == "a.png"


def test_same_names_do_not_collide_and_inputs_are_kept(lumi, tmp_path):
    save("one/a.png")
    save("two/a.png", (1, 1, 9, 9))
    before = (tmp_path / "one/a.png").read_bytes()
    assert lumi("predict", "one/a.png", "two/a.png", "--checkpoint", "x", "-d", "out")[0] == 0
    assert sorted(os.listdir("out")) == ["a-2.png", "a.png", "objects.json"]
    assert lumi("predict", "one", "--checkpoint", "x", "-d", "one")[0] == 0
    assert (tmp_path / "one/a.png").read_bytes() == before


def test_folders_deeper(lumi):
    save("in/a.png")
    save("in/sub/b.PNG")
    save_video("in/sub/v.mp4", 2)
    assert [record["file"] for record in lines(lumi("predict", "in", "--checkpoint", "x")[1])] == ["in/a.png"]
    status, _, err = lumi("predict", "in", "-r", "--checkpoint", "x", "-d", "in/out")
    assert status == 0
    assert sorted(os.listdir("in/out/sub")) == ["b.PNG", "v.mp4"]
    assert "Found 3 files" in err
    assert "Found 3 files" in lumi("predict", "in", "-r", "--checkpoint", "x", "-d", "in/out")[2]


def test_filters(lumi):
    save("red.png")
    save("green.png", colour=(0, 204, 0))  # 0.8
    save("blue.png", colour=(0, 0, 102))  # 0.4

    def found(*options):
        status, out, _ = lumi("predict", "red.png", "green.png", "blue.png", "--checkpoint", "x", *options)
        assert status == 0
        return [record["file"].removesuffix(".png") for record in lines(out) if record["objects"]]

    assert found() == ["red", "green"]
    assert found("--min-prob", "0.3") == ["red", "green", "blue"]
    assert found("--min-prob", "0.9") == ["red"]
    assert found("--max-prob", "0.9") == ["green"]
    assert found("-k", "green thing") == ["green"]
    assert found("-k", "green thing", "-k", "red thing") == ["red", "green"]
    assert found("-K", "red thing") == ["green"]


def test_max_detections_keeps_the_surest(monkeypatch, lumi):
    import tensorflow as tf

    from luminoth.types import DetectorOutput

    def detect(images, image_sizes, *, min_score=None):
        scores = tf.constant([[0.9, 0.8, 0.7]])
        boxes = tf.constant([[[0.0, 0.0, 9.0, 9.0]] * 3])
        return DetectorOutput(boxes, scores, tf.zeros_like(scores, tf.int32), scores >= min_score)

    install(monkeypatch).detect = detect
    save("a.png")
    _, out, _ = lumi("predict", "a.png", "--checkpoint", "x", "--max-detections", "2")
    assert [found["prob"] for found in lines(out)[0]["objects"]] == [0.9, 0.8]


def test_bad_files_are_named_and_skipped(lumi):
    save("a.png")
    save("z.png")
    save_video("v.mp4", 2)
    for name, content in (
        ("text.jpg", b"hello\n"),
        ("zero.png", b""),
        ("text.mp4", b"hello\n" * 99),
        ("zero.mp4", b""),
    ):
        with open(name, "wb") as file:
            file.write(content)
    with open("a.png", "rb") as file, open("half.png", "wb") as half:
        half.write(file.read()[:80])
    status, _, err = lumi("predict", ".", "--checkpoint", "x", "-f", "out.json")
    assert status == 1
    assert err.splitlines()[0] == "Found 8 files to predict."
    for message in (
        "Error: text.jpg: not a picture that can be read",
        "Error: zero.png: the file is empty",
        "Error: half.png: the picture is damaged or cut off",
        "Error: text.mp4: not a video that can be read",
        "Error: zero.mp4: the file is empty",
    ):
        assert message in err
    assert err.splitlines()[-1] == "Error: 5 of 8 files failed, see above"
    with open("out.json") as file:
        assert [record["file"] for record in json.load(file)] == ["a.png", "v.mp4", "v.mp4", "z.png"]


def test_a_video_cut_off_keeps_its_frames(lumi):
    noise = np.random.default_rng(0)
    write_film(Path("v.mp4"), 60, picture=lambda i: noise.integers(0, 256, (32, 64, 3), dtype=np.uint8))
    with open("v.mp4", "rb") as file:
        whole = file.read()
    with open("v.mp4", "wb") as file:
        file.write(whole[: len(whole) // 2])
    status, _, err = lumi("predict", "v.mp4", "--checkpoint", "x", "-d", "out")
    assert status == 1
    with open("out/objects.json") as file:
        records = json.load(file)
    with VideoReader("out/v.mp4") as reader:
        frames = list(reader)
    assert 15 < len(records) == len(frames) < 50
    assert "Error: v.mp4: the video " in err
    assert f"; {len(frames)} frames up to " in err


def test_nothing_to_do(lumi):
    os.mkdir("empty")
    status, out, err = lumi("predict", "empty", "--checkpoint", "x")
    assert (status, out) == (1, "")
    assert err.startswith("Error: no images or videos found in empty, accepted endings: .avif .bmp .gif .heic")
    status, _, err = lumi("predict", "nowhere.jpg", "--checkpoint", "x")
    assert (status, err) == (1, "Error: nowhere.jpg: there is no such file or folder\n")


def test_unknown_class(lumi):
    save("a.png")
    status, out, err = lumi("predict", "a.png", "--checkpoint", "x", "-k", "car", "-f", "out.json")
    assert (status, out) == (1, "")
    assert err.splitlines()[-1] == (
        "Error: the checkpoint knows no class `car`; it knows: red thing, green thing, blue thing"
    )
    assert os.listdir(".") == ["a.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Missing argument"),
        (("a.png", "-k", "car", "-k", "bus", "-K", "car"), "car: given to both --only-class and --ignore-class"),
        (("a.png", "--checkpoint", "x", "-c", "y.yml"), "either --checkpoint or --config, not both"),
        (("a.png", "--min-prob", "70"), "'70' is no probability; accepted: 0 to 1"),
        (("a.png", "--min-prob", "0.7", "--max-prob", "0.6"), "nothing could be found"),
        (("a.png", "--max-detections", "0"), "0 is not in the range"),
    ],
)
def test_wrong_usage(lumi, options, message):
    save("a.png")
    status, out, err = lumi("predict", *options)
    assert (status, out) == (2, "")
    assert message in err


def test_results_do_not_replace_what_they_come_from(lumi):
    save("a.png")
    with open("a.png", "rb") as file:
        before = file.read()
    status, _, err = lumi("predict", ".", "--checkpoint", "x", "-f", "../" + os.path.basename(os.getcwd()) + "/a.png")
    assert (status, err.splitlines()[-1].endswith("which the results would replace; name another")) == (2, True)
    assert lumi("predict", "a.png", "-c", "run.yml", "-f", "run.yml")[0] == 2
    with open("a.png", "rb") as file:
        assert file.read() == before


def test_unwritable_outputs(lumi):
    save("a.png")
    os.mkdir("folder")
    status, _, err = lumi("predict", "a.png", "--checkpoint", "x", "-f", "folder")
    assert (status, err.splitlines()[-1]) == (1, "Error: folder: is a folder; name a file in it")
    status, _, err = lumi("predict", "a.png", "--checkpoint", "x", "-d", "a.png/out")
    assert status == 1
    assert "a.png/out" in err.splitlines()[-1]


def test_interrupted(lumi, monkeypatch):
    """Ctrl-C in the middle of the second video: what was done is whole and carries its name."""
    save_video("a.mp4", 8)
    save_video("b.mp4", 100)
    interrupt_at(monkeypatch, 13)
    status, _, err = lumi("predict", "a.mp4", "b.mp4", "--checkpoint", "x", "-d", "out")
    assert status == 130
    assert "Interrupted: 1 of 2 files are done; --resume goes on with the others." in err
    assert sorted(os.listdir("out")) == ["a.mp4", "b.mp4", "objects.json"]
    with open("out/objects.json") as file:
        assert len(json.load(file)) == 48
    assert len(frames_of("out/b.mp4")) == 40


def test_help_is_light():
    code = (
        "import sys; from click.testing import CliRunner; from luminoth.cli.main import lumi;"
        "result = CliRunner().invoke(lumi, ['predict', '--help']); assert result.exit_code == 0, result.output;"
        "heavy = {'tensorflow', 'keras', 'av', 'numpy', 'PIL', 'flask', 'google'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_shows_the_options():
    output = CliRunner().invoke(cli.lumi, ["predict", "--help"]).output
    for option in ("--only-class", "--ignore-class", "--save-media-to", "--min-prob", "--max-detections", "--output"):
        assert option in output
