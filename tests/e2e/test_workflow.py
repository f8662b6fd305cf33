"""The whole way from nothing to predictions with the installed `lumi`, as someone who follows the README goes it.

Every command is a process of its own, with TensorFlow's seconds of start-up: as few of them as will do.
"""

import json
import os
import re

import av
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from luminoth import Detector
from luminoth.checkpoints.runs import latest_checkpoint, list_checkpoints
from luminoth.data.record_files import count_records, read_classes
from tests.e2e.installed import Lumi

pytestmark = pytest.mark.slow

CLASSES = ["bicycle", "bus", "car", "person", "traffic light", "truck"]
FRAMES = 10
# Seven classes share the probability, so that a model this young is sure of nothing.
MIN_PROB = "0.12"

DATA = """
train:
  run_name: tiny
  seed: 3
  batch_size: 2
  warmup_steps: 2
  display_every_steps: 1
  save_summaries_steps: 1
dataset:
  dir: pascal-tf
  image_preprocessing: {min_size: 64, max_size: 96}
"""

MODEL = """
model:
  base_network:
    {architecture: thin_resnet, width: 4, weights: random, fine_tune_from: null, train_batch_norm: true}
  anchors: {base_size: 32, scales: [0.5, 1], ratios: [1]}
  rpn: {num_channels: 8, proposals: {pre_nms_top_n: 50, post_nms_top_n: 10}, target: {minibatch_size: 16}}
  rcnn: {target: {minibatch_size: 8}}
"""


@pytest.fixture(scope="class")
def lumi(tmp_path_factory):
    return Lumi(tmp_path_factory.mktemp("my work, née été"))


def last_step(lumi):
    return list_checkpoints(lumi.folder / "jobs" / "tiny")[-1][0]


def json_lines(text):
    return [json.loads(line) for line in text.splitlines()]


def video_sizes(path):
    """(height, width) of each frame."""
    with av.open(str(path)) as video:
        return [(frame.height, frame.width) for frame in video.decode(video=0)]


class TestWorkflow:
    """In the order of the definitions; each stage needs those before it."""

    def test_toytown_draws_a_data_set_and_a_film(self, lumi):
        drawn = lumi(
            "dataset", "toytown", "--output-dir", "pascal", "--images", 12, "--seed", 1, "--width", 96, "--height", 64,
            "--video", "street.mp4", "--seconds", 0.4, "--fps", 25,
        )  # fmt: skip
        assert drawn.out.startswith("pascal: 12 pictures (train 10, val 2)\n")
        assert "--type pascal --data-dir pascal --output-dir pascal-tf" in drawn.out
        assert len(list((lumi.folder / "pascal" / "JPEGImages").iterdir())) == 12
        assert video_sizes(lumi.folder / "street.mp4") == [(64, 96)] * FRAMES
        assert sorted(os.listdir(lumi.folder)) == ["pascal", "street.mp4"]

    def test_transform_pascal(self, lumi):
        written = lumi("dataset", "transform", "--type", "pascal", "--data-dir", "pascal", "--output", "pascal-tf")
        assert written.out.startswith("train: 10 of 10 pictures")
        assert re.fullmatch(r"Read 12 pictures in \S+ s, \d+ images/s", written.err[0])
        assert written.err[1:] == ["Next, train on them:"]
        self._check_records(lumi.folder / "pascal-tf")

    @pytest.mark.parametrize("format", ["coco", "csv"])
    def test_other_formats_hold_the_same(self, lumi, format):
        source, output = f"{format} set", f"{format}-tf"
        lumi(
            "dataset", "toytown", "--output-dir", source, "--format", format,
            "--images", 12, "--seed", 1, "--width", 96, "--height", 64,
        )  # fmt: skip
        # Pictures without objects have no line in a CSV file; they are kept all the same.
        lumi("dataset", "transform", "--type", format, "--data-dir", source, "--output", output)
        self._check_records(lumi.folder / output)
        for split in ("train", "val"):
            assert self._boxes(lumi.folder / output, split) == self._boxes(lumi.folder / "pascal-tf", split)

    @staticmethod
    def _boxes(folder, split):
        return json.loads((folder / f"{split}.report.json").read_text())["boxes"]

    def _check_records(self, folder):
        assert count_records([str(folder / "train.tfrecords")]) == 10
        assert count_records([str(folder / "val.tfrecords")]) == 2
        assert sorted(read_classes(folder)) == CLASSES

    def test_train_is_interrupted_and_goes_on(self, lumi):
        (lumi.folder / "data.yml").write_text(DATA)
        (lumi.folder / "model.yml").write_text(MODEL)
        command = ("train", "--config", "data.yml", "--config", "model.yml", "-o")
        ended = lumi.interrupt(*command, "train.max_steps=5000", at="Step 2/")
        assert ended.out == ""
        last = re.fullmatch(
            r"Interrupted: saved checkpoint at step (\d+); the same command resumes \(jobs/tiny/ckpt-\1\)",
            ended.err[-1],
        )
        step = int(last[1])
        assert 2 <= step < 5000

        done = lumi(*command, f"train.max_steps={step + 3}")
        assert done.out == ""
        assert f"Resuming at step {step} (jobs/tiny/ckpt-{step})" in done.err
        steps = [line.split(":")[0] for line in done.err if line.startswith("Step ")]
        assert steps == [f"Step {number}/{step + 3}" for number in (step + 1, step + 2, step + 3)]
        assert f"Done: {step + 3} steps" in done.err
        run = lumi.folder / "jobs" / "tiny"
        assert {path.name for path in run.glob("ckpt-*")} == {f"ckpt-{step}", f"ckpt-{step + 3}"}
        assert sorted(os.listdir(latest_checkpoint(run))) == [
            "classes.json", "config.yml", "model.weights.h5", "state.json",
        ]  # fmt: skip
        assert [path.name for path in run.glob(".*")] == [".lock"]  # which nobody holds any more

    def test_tensorboard_reads_the_curves_and_pictures(self, lumi):
        events = EventAccumulator(str(lumi.folder / "jobs" / "tiny"), size_guidance={"scalars": 0, "images": 0})
        events.Reload()
        losses = {f"losses/{name}_loss" for name in ("rpn_cls", "rpn_reg", "rcnn_cls", "rcnn_reg", "total")}
        assert losses | {"train/learning_rate", "train/gradient_norm"} <= set(events.Tags()["scalars"])
        assert events.Tags()["images"]
        points = events.Scalars("losses/total_loss")
        assert [point.step for point in points] == list(range(1, last_step(lumi) + 1))
        assert all(np.isfinite(point.value) for point in points)

    def test_eval(self, lumi):
        done, step = lumi("eval", "--config", "data.yml", "--config", "model.yml"), last_step(lumi)
        assert done.out.splitlines()[0].startswith(f"ckpt-{step} (step {step}) on val: 2 images, ")
        kept = json.loads((lumi.folder / "jobs" / "tiny" / "eval" / f"val-{step}.json").read_text())
        assert (kept["split"], kept["step"], kept["images"]) == ("val", step, 2)
        printed = dict(re.findall(r"^(\w+) +([\d.]+|-)(?: +[\d.]+ to [\d.]+| +-)? *$", done.out, re.MULTILINE))
        for name, value in {**kept["metrics"], **kept["losses"]}.items():
            assert printed[name] == ("-" if value is None else f"{value:.4f}"), name
        assert [each["name"] for each in kept["by_class"]] == CLASSES
        assert sum(each["objects"] for each in kept["by_class"]) == kept["objects"]
        events = EventAccumulator(str(lumi.folder / "jobs" / "tiny" / "eval_val"), size_guidance={"tensors": 0})
        events.Reload()
        assert {"val_metrics/AP50", "val_losses/total_loss"} <= set(events.Tags()["tensors"])

    def test_predict_pictures_and_film(self, lumi):
        done = lumi(
            "predict", "pascal/JPEGImages", "street.mp4", "--config", "data.yml", "--config", "model.yml",
            "-k", "car", "-k", "bus", "--min-prob", MIN_PROB, "-d", "drawn",
        )  # fmt: skip
        assert done.out == ""
        assert done.err[0] == "Found 13 files to predict."
        pictures = sorted((lumi.folder / "pascal" / "JPEGImages").iterdir())
        names = [path.name for path in pictures]
        assert sorted(os.listdir(lumi.folder / "drawn")) == ["objects.json", "street.mp4", *names]
        assert video_sizes(lumi.folder / "drawn" / "street.mp4") == [(64, 96)] * FRAMES
        records = json.loads((lumi.folder / "drawn" / "objects.json").read_text())
        assert [(each["file"], each.get("frame")) for each in records] == [
            *((f"pascal/JPEGImages/{name}", None) for name in names),
            *(("street.mp4", index) for index in range(FRAMES)),
        ]
        labels = [found["label"] for record in records for found in record["objects"]]
        assert set(labels) <= {"car", "bus"}
        assert labels, "a threshold this low is passed by something"
        for path, record in zip(pictures, records, strict=False):
            was, is_now = (np.asarray(Image.open(file)) for file in (path, lumi.folder / "drawn" / path.name))
            assert was.shape == is_now.shape
            assert bool(record["objects"]) == bool(np.abs(was.astype(int) - is_now).max() > 100), path.name

    def test_predict_a_picture_as_python_does(self, lumi):
        picture = next((lumi.folder / "pascal" / "JPEGImages").iterdir())
        done = lumi("predict", picture, "--checkpoint", f"jobs/tiny/ckpt-{last_step(lumi)}", "--min-prob", MIN_PROB)
        assert done.err == ["Found 1 files to predict."]
        (record,) = json_lines(done.out)
        assert record["file"] == str(picture)
        assert record["objects"]

        detector = Detector(checkpoint=lumi.folder / "jobs" / "tiny", prob=float(MIN_PROB))
        assert detector.classes == CLASSES
        assert detector.predict(picture) == record["objects"]
        assert detector.predict([picture, str(picture)]) == [record["objects"]] * 2
        # The drawn pictures' objects were found in batches with others, and by two classes only.
        of_two = [each for each in record["objects"] if each["label"] in ("car", "bus")]
        records = json.loads((lumi.folder / "drawn" / "objects.json").read_text())
        assert next(each for each in records if each["file"].endswith(picture.name))["objects"] == of_two

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("train", "-c", "data.yaml"), "data.yaml: there is no such configuration file"),
            (("train", "-c", "data.yml", "-o", "train.batch_sise=4"), "did you mean train.batch_size?"),
            (("config", "check", "street.mp4"), "street.mp4: is not text in UTF-8"),
            (("eval", "-c", "data.yml", "--checkpoint", "tiny"), "no checkpoint `tiny`"),
            (("predict", "street.jpg", "--checkpoint", "jobs/tiny"), "street.jpg: there is no such file or folder"),
            (("predict", "pascal", "--checkpoint", "jobs/tiny"), "add -r to search them"),
            (("predict", "street.mp4", "--checkpoint", "pascal-tf"), "pascal-tf holds no checkpoint"),
            (("dataset", "toytown", "--output-dir", "pascal"), "pascal: the folder is not empty"),
            (("dataset", "toytown", "--output-dir", "data.yml/set"), "data.yml/set: cannot be written"),
            (("dataset", "transform", "--type", "coco", "--data-dir", "pascal", "--output", "x"), "the layout must be"),
        ],
        ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
    )
    def test_mistakes_are_told_in_one_line(self, lumi, arguments, message):
        before = self._tree(lumi.folder)
        failed = lumi(*arguments, status=1)
        assert failed.out == ""
        (line,) = [line for line in failed.err if line.startswith("Error: ")]
        assert line == failed.err[-1]
        assert message in line
        assert self._tree(lumi.folder) == before

    @staticmethod
    def _tree(folder):
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
