"""What `lumi predict` reports: thresholds of classes, tiles, objects followed and counted."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from luminoth.inference.video_writer import VideoWriter
from tests.cli.predicting import frames_of, lines, lumi, save  # noqa: F401
from tests.inference.bright_rectangle import picture


def save_film(path, boxes):
    with VideoWriter(path, 10) as video:
        for box in boxes:
            video.write(picture(64, 96, box, (250, 0, 0)) if box else np.zeros((64, 96, 3), np.uint8))


def objects_of(text):
    return [record["objects"] for record in lines(text)]


def test_classes_have_probabilities_of_their_own(lumi):  # noqa: F811
    for name, colour in (("a", (204, 0, 0)), ("b", (0, 204, 0)), ("c", (0, 0, 153))):
        save(f"{name}.png", colour=colour)
    pictures = ["a.png", "b.png", "c.png", "--checkpoint", "any"]

    def found(*options):
        return [len(objects) for objects in objects_of(lumi("predict", *pictures, *options)[1])]

    assert found() == [1, 1, 1]
    assert found("--min-prob", 0.7) == [1, 1, 0]
    assert found("--min-prob", "red thing=0.9", "--min-prob", 0.7) == [0, 1, 0]
    thresholds = {
        "green thing": {"threshold": 0.85},
        "red thing": {"threshold": 0.85},
        "blue thing": {"threshold": None},
    }
    with open("val-9.json", "w") as file:
        json.dump({"thresholds": thresholds}, file)
    assert found("--thresholds", "val-9.json") == [0, 0, 1]
    assert found("--thresholds", "val-9.json", "--min-prob", "red thing=0.5") == [1, 0, 1]
    status, _, err = lumi("predict", *pictures, "--thresholds", "val-9.json")
    assert status == 0
    assert "Lowest probabilities of val-9.json: green thing 0.85, red thing 0.85; of other classes 0.5" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-prob", "car=2"], "accepted: 0 to 1, or of one class as in car=0.6"),
        (["--min-prob", "cat=0.3"], "the checkpoint knows no class `cat`"),
        (["--count-line", "1,2,3"], "accepted: its two ends in pixels"),
        (["--count-line", "1,2,1,2"], "accepted: its two ends in pixels"),
        (["--overlap", "0.3"], "--overlap is about --tile"),
    ],
)
def test_wrong_options_are_explained(lumi, options, message):  # noqa: F811
    save("a.png")
    status, out, err = lumi("predict", "a.png", "--checkpoint", "any", *options)
    assert (status in (1, 2), out) == (True, "")
    assert message in err


def test_tiles_find_what_is_small(lumi):  # noqa: F811
    # The model takes all that is bright in a picture for one object. Tiles show it each of them.
    pixels = picture(200, 300, (10, 20, 40, 50), (250, 0, 0))
    pixels[150:180, 240:280] = (0, 200, 0)
    Image.fromarray(pixels).save("large.png")
    command = ["predict", "large.png", "--checkpoint", "any"]
    ((one,),) = objects_of(lumi(*command)[1])
    assert one["bbox"] == [10, 20, 280, 180]
    (found,) = objects_of(lumi(*command, "--tile", 100, "--overlap", 0.25)[1])
    assert [(each["label"], each["bbox"]) for each in found] == [
        ("red thing", [10, 20, 280, 180]),  # of the look at the whole
        ("red thing", [10, 20, 40, 50]),
        ("green thing", [240, 150, 280, 180]),
    ]


def test_a_followed_object_keeps_its_number_and_crosses_the_line(lumi):  # noqa: F811
    boxes = [(5 * index, 20, 5 * index + 24, 44) for index in range(12)]
    save_film("film.mp4", boxes)
    command = ["predict", "film.mp4", "--checkpoint", "any", "--count-line", "48,64,48,0"]
    status, out, err = lumi(*command)
    assert status == 0
    found = [objects[0] for objects in objects_of(out)]
    assert [each["track"] for each in found] == [1] * 12
    crossing = [(index, each["crossed"]) for index, each in enumerate(found) if "crossed" in each]
    # The centre, 5 * index + 12, is clear of 48 by a twentieth of the height first at 52.
    assert crossing == [(8, "line 1 to_right")]
    assert "film.mp4: 1 red thing" in err
    assert "film.mp4: line 1: to the right 1 red thing; to the left none" in err

    assert lumi(*command, "-d", "drawn", "-f", "found.csv")[0] == 0
    with open("found.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["track"] for row in rows] == ["1"] * 12
    assert [row["crossed"] for row in rows] == [""] * 8 + ["line 1 to_right"] + [""] * 3
    frame = frames_of("drawn/film.mp4")[0].pixels
    assert frame[40:, 47:49].min() > 180  # the line, white


def test_without_track_nothing_is_numbered(lumi):  # noqa: F811
    save_film("film.mp4", [(0, 10, 20, 40)] * 3)
    out = lumi("predict", "film.mp4", "--checkpoint", "any")[1]
    assert [sorted(objects[0]) for objects in objects_of(out)] == [["bbox", "label", "prob"]] * 3
    out = lumi("predict", "film.mp4", "--checkpoint", "any", "--track", "--stride", 2)[1]
    assert [objects[0]["track"] for objects in objects_of(out)] == [1, 1]
