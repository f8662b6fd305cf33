"""What is kept of an evaluation: the JSON file, and TensorBoard's curves read back by TensorBoard."""

import io
import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from luminoth.errors import OutputError
from luminoth.evaluation.analysis import analyse
from luminoth.evaluation.evaluate import EvaluationResult
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.evaluation.proposals import ProposalRecall
from luminoth.evaluation.results import write_result, write_tensorboard
from luminoth.image import read_image
from luminoth.types import Detections

LOSSES = {"rpn_cls_loss": 0.25, "regularization_loss": 0.5, "no_reg_loss": 0.25, "total_loss": 0.75}


def make_result(losses=LOSSES):
    box = np.array([[0, 0, 40, 40]], np.float32)
    truth = GroundTruth(box, np.zeros(1, np.int32), np.zeros(1, bool), (50, 50))
    found = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int32), ["car"], (50, 50))
    analysis = analyse([truth], [found], ["car"], resamples=10)
    recall = ProposalRecall({100: 0.5, 300: 0.75, 1000: 1.0}, {100: 0.75, 300: 1.0, 1000: 1.0})
    return EvaluationResult(analysis, [truth], [found], 2.0, losses, recall, 4.0)


def test_json_file(tmp_path):
    checkpoint = tmp_path / "run" / "ckpt-300"
    path = write_result(tmp_path / "run", make_result(), split="val", checkpoint=checkpoint, step=300)
    assert path == tmp_path / "run" / "eval" / "val-300.json"
    content = json.loads(path.read_text())
    assert content["metrics"]["AP"] == pytest.approx(1.0)
    assert content["metrics"]["AP_small"] is None
    assert content["losses"] == LOSSES
    (car,) = content["by_class"]
    assert (car["name"], car["objects"], car["AP"]) == ("car", 1, pytest.approx(1.0))
    assert (content["split"], content["step"], content["checkpoint"]) == ("val", 300, str(checkpoint))
    assert sorted(each.name for each in path.parent.iterdir()) == ["val-300.detections.npz", "val-300.json"]


def test_json_file_of_published_checkpoint(tmp_path):
    path = write_result(tmp_path, make_result(), split="val", checkpoint=tmp_path / "home" / "toytown", step=300)
    assert path == tmp_path / "eval" / "val-toytown.json"


def test_losses_that_are_not_finite_are_null(tmp_path):
    result = make_result({"total_loss": float("nan")})
    path = write_result(tmp_path, result, split="val", checkpoint=tmp_path / "ckpt-1", step=1)
    assert json.loads(path.read_text())["losses"] == {"total_loss": None}


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "eval").write_text("a file in the way")
    (tmp_path / "eval_val").write_text("a file in the way")
    with pytest.raises(OutputError, match=r"eval/val-1.* cannot be written"):
        write_result(tmp_path, make_result(), split="val", checkpoint=tmp_path / "ckpt-1", step=1)
    with pytest.raises(OutputError, match="eval_val: cannot be written"):
        write_tensorboard(tmp_path, make_result(), split="val", step=1)


def test_tensorboard_curves(tmp_path):
    write_tensorboard(tmp_path, make_result(), split="val", step=300)
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    folder = write_tensorboard(
        tmp_path, make_result(LOSSES | {"total_loss": 0.5}), split="val", step=600, pictures={"worst_01": picture}
    )
    assert folder == tmp_path / "eval_val"
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"val_metrics/AP", "val_metrics/AP50", "val_metrics/AR_100", "val_losses/no_reg_loss"} < tags
    assert "val_metrics/AP_small" not in tags  # it could not be measured
    points = {
        tag: [(event.step, float(tensor_util.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
        for tag in tags
        if not tag.startswith("val_images/")
    }
    (shown,) = events.Tensors("val_images/worst_01")
    width, height, encoded = shown.tensor_proto.string_val[:3]
    assert (shown.step, width, height) == (600, b"3", b"2")
    np.testing.assert_array_equal(read_image(io.BytesIO(encoded)), picture)
    assert points["val_metrics/proposals_AR_300"] == [(300, 0.75), (600, 0.75)]
    assert points["val_metrics/AP"] == [(300, pytest.approx(1.0)), (600, pytest.approx(1.0))]
    assert points["val_losses/total_loss"] == [(300, 0.75), (600, 0.5)]
    assert points["val_losses/rpn_cls_loss"] == [(300, 0.25), (600, 0.25)]
