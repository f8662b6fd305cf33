"""The checkpoint `toytown` that comes with the package finds things in scenes and films it has never seen."""

import json
import re
import shlex
from pathlib import Path

import av
import numpy as np
import pytest

from luminoth import Detector
from luminoth.checkpoints.store import EMBEDDED_FOLDER
from luminoth.data.toytown import CLASSES, draw_scene
from luminoth.evaluation.evaluate import MIN_SCORE
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.metrics import coco_metrics
from tests.e2e.installed import Lumi

FOLDER = EMBEDDED_FOLDER / "toytown"
ROOT = Path(__file__).parents[2]
UNSEEN_SEED = 987654
LARGEST = 8 * 2**20  # bytes: it is in every wheel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.exists(), reason=f"there is no embedded checkpoint yet: {FOLDER}"),
]


def test_it_is_small():
    sizes = {path.name: path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= LARGEST, sizes


def test_it_finds_what_is_in_unseen_scenes():
    detector = Detector(checkpoint="toytown", prob=MIN_SCORE)
    assert set(detector.class_names) == set(CLASSES)
    scenes = [draw_scene(UNSEEN_SEED, index) for index in range(40)]
    truths = [
        GroundTruth(
            np.array([item.box for item in objects], np.float32).reshape(-1, 4),
            np.array([detector.class_names.index(item.label) for item in objects], np.int32),
            np.zeros(len(objects), bool),
            pixels.shape[:2],
            str(index),
        )
        for index, (pixels, objects) in enumerate(scenes)
    ]
    metrics = coco_metrics(truths, detector.detect([pixels for pixels, _ in scenes]), detector.class_names)
    assert metrics.objects > 100
    assert metrics.figures["AP50"] >= 0.9, metrics


def test_the_first_command_of_the_readme(tmp_path):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    command = re.search(r"&& (lumi predict .* -d )predictions/$", readme, re.MULTILINE)[1]
    _, *arguments = shlex.split(command)
    assert arguments[:5] == ["predict", "docs/media/toytown.mp4", "-k", "car", "--checkpoint"]
    done = Lumi(ROOT, home=tmp_path)(*arguments, tmp_path / "predictions")
    assert done.out == ""

    records = json.loads((tmp_path / "predictions" / "objects.json").read_text())
    frames, drawn = (frames_of(folder / "toytown.mp4") for folder in (ROOT / "docs/media", tmp_path / "predictions"))
    assert [(record["file"], record["frame"]) for record in records] == [
        ("docs/media/toytown.mp4", index) for index in range(len(frames))
    ]
    found = [item for record in records for item in record["objects"]]
    assert {item["label"] for item in found} == {"car"}
    assert len(drawn) == len(frames)
    assert drawn[0].shape == frames[0].shape
    # Where there are cars, a frame of the drawn film differs by more than what coding it anew changes.
    change = [np.abs(now.astype(int) - was).max() for now, was in zip(drawn, frames, strict=True)]
    with_cars = [bool(record["objects"]) for record in records]
    assert min(value for value, is_drawn in zip(change, with_cars, strict=True) if is_drawn) > 100


def frames_of(path):
    """Each frame as uint8 RGB [H, W, 3]."""
    with av.open(str(path)) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
