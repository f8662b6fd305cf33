"""Evaluation while it trains: what it finds, what it leaves alone, what is kept, when it stops."""

import json
import os
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from luminoth.checkpoints.folder import read_state
from luminoth.checkpoints.history import best_checkpoint, is_evaluated, judged_by
from luminoth.checkpoints.runs import list_checkpoints
from luminoth.errors import ConfigError, DataError
from luminoth.evaluation import evaluate as evaluation
from luminoth.evaluation.checkpoint import evaluate_checkpoint, open_split
from luminoth.evaluation.evaluate import evaluate_detections
from luminoth.evaluation.ground_truth import GroundTruth
from luminoth.resize import ResizeRule
from luminoth.training import assembly, validation
from luminoth.training.events import Evaluated, EvaluationStarted, Interrupted, StepDone
from luminoth.types import Detections
from tests.training.running import assert_same_tensors, losses_of, of_kind, run, stop_at
from tests.training.tiny import CLASSES, TinyDetector, tiny_config, write_tiny_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """With a split `val`."""
    folder = write_tiny_dataset(tmp_path_factory.mktemp("street"))
    shutil.copy(folder / "train.tfrecords", folder / "val.tfrecords")
    return folder


@pytest.fixture(scope="module")
def some_result():
    box = np.array([[2.0, 3.0, 12.0, 14.0]], np.float32)
    truth = GroundTruth(box, np.zeros(1, np.int32), np.zeros(1, bool), (24, 32))
    found = Detections(truth.boxes, np.ones(1, np.float32), np.zeros(1, np.int32), CLASSES, (24, 32))
    return evaluate_detections([truth], [found], CLASSES)


@pytest.fixture
def figures(monkeypatch, some_result):
    """No model is run: the evaluations find these values, one after the other."""
    values = []
    evaluator = SimpleNamespace(run=lambda on_progress: some_result)
    monkeypatch.setattr(validation, "Evaluator", lambda *args, **kwargs: evaluator)
    monkeypatch.setattr(validation, "read_figure", lambda evaluation, metric: values.pop(0))
    return values


def test_a_run_is_evaluated_as_it_goes_and_trains_as_without(dataset, tmp_path, tiny_model, monkeypatch):
    traces = []
    examine = TinyDetector.examine
    monkeypatch.setattr(TinyDetector, "examine", lambda *args, **kw: traces.append(1) or examine(*args, **kw))
    settings = {"max_steps": 5, "moving_average_decay": 0.9, "accumulate_steps": 2}
    without, expected = run(tiny_config(dataset, tmp_path / "without", **settings))
    judged = {"eval_every_steps": 2, "best_metric": "total_loss", "save_checkpoint_secs": None}
    result, events = run(tiny_config(dataset, tmp_path, **settings, **judged))

    assert losses_of(events) == losses_of(expected)
    assert_same_tensors(result.checkpoint, without.checkpoint)
    assert len(traces) == 1  # compiled once

    found = of_kind(events, Evaluated)
    assert [event.step for event in found] == [2, 4, 5]
    for event in found:
        content = json.loads((tmp_path / "run" / "eval" / f"val-{event.step}.json").read_text())
        assert (content["split"], content["step"]) == ("val", event.step)
        assert content["checkpoint"] == str(tmp_path / "run" / f"ckpt-{event.step}")
        assert event.figures == {**content["metrics"], **content["losses"]}
        assert event.value == content["losses"]["total_loss"]
        assert is_evaluated(tmp_path / "run" / f"ckpt-{event.step}", "val")
    values = [(event.step, event.value) for event in found]
    assert result.standing.values == values
    assert read_state(result.checkpoint)["validation"]["values"] == [list(pair) for pair in values]
    step, value = min(values, key=lambda pair: pair[1])
    assert result.standing.best == (step, value)
    best = best_checkpoint(tmp_path / "run", "val", "total_loss")
    assert (best.step, best.value) == (step, value)
    assert judged_by(tmp_path / "run") == ("val", "total_loss")
    curve = EventAccumulator(str(tmp_path / "run" / "eval_val")).Reload().Tensors("val_losses/total_loss")
    assert {point.step: float(tf.make_ndarray(point.tensor_proto)) for point in curve} == {
        event.step: pytest.approx(event.figures["total_loss"], rel=1e-6) for event in found
    }


def test_the_real_detector_is_evaluated_with_its_averages_and_resumes_exactly(dataset, tmp_path):
    settings = {"max_steps": 2, "save_checkpoint_steps": 1, "moving_average_decay": 0.9, "eval_every_steps": 1}
    whole, events = run(tiny_config(dataset, tmp_path / "whole", **settings))
    _, event = of_kind(events, Evaluated)
    _, expected = evaluate_checkpoint(whole.checkpoint, open_split(str(dataset), "val"), batch_size=2)
    for name, value in {**expected.metrics.figures, **expected.losses}.items():
        assert event.figures[name] == (None if value is None else pytest.approx(value, rel=1e-3, abs=1e-6)), name

    # As if the run had ended after its first step.
    shutil.copytree(whole.folder / "ckpt-1", tmp_path / "again" / "run" / "ckpt-1")
    again, resumed = run(tiny_config(dataset, tmp_path / "again", **settings))
    assert losses_of(resumed) == losses_of(events)[1:]
    assert [each.figures for each in of_kind(resumed, Evaluated)] == [event.figures]
    assert again.standing == whole.standing
    assert_same_tensors(again.checkpoint, whole.checkpoint)


def test_the_best_is_kept_beside_the_newest(dataset, tmp_path, tiny_model, figures):
    figures += [0.1, 0.4, 0.2, 0.3, 0.2]
    config = tiny_config(dataset, tmp_path, max_steps=5, eval_every_steps=1, checkpoints_max_keep=2)
    result, events = run(config)
    assert [step for step, _ in list_checkpoints(tmp_path / "run")] == [2, 4, 5]
    assert of_kind(events, Evaluated)[-1].best == result.standing.best == (2, 0.4)
    assert of_kind(events, Evaluated)[-1].without_gain == 3

    figures += [0.5]  # prolonged: a new best lets go of the old one
    run(tiny_config(dataset, tmp_path, max_steps=6, eval_every_steps=1, checkpoints_max_keep=1))
    assert [step for step, _ in list_checkpoints(tmp_path / "run")] == [6]


def test_it_stops_when_there_is_no_gain_and_stays_stopped(dataset, tmp_path, tiny_model, figures):
    figures += [0.1, 0.3, 0.2, 0.3]
    settings = {"max_steps": 20, "eval_every_steps": 2}
    result, events = run(tiny_config(dataset, tmp_path, patience=2, **settings))
    assert (result.step, result.stopped_early, result.interrupted) == (8, True, False)
    assert result.standing.best == (8, 0.3)
    assert not of_kind(events, Interrupted)
    assert result.checkpoint.name == "ckpt-8"

    result, events = run(tiny_config(dataset, tmp_path, patience=2, **settings))
    assert (result.step, result.stopped_early) == (8, True)
    assert [event.stopped_early for event in events] == [True]  # it opened the run, and that was all

    figures += [0.2, 0.1]
    result, _ = run(tiny_config(dataset, tmp_path, patience=4, **settings))
    assert (result.step, result.stopped_early) == (12, True)


def test_an_interrupted_run_evaluates_as_one_that_was_not(dataset, tmp_path, tiny_model):
    """Interrupted right before an evaluation, and within the last one."""
    settings = {"max_steps": 5, "eval_every_steps": 2, "patience": 10, "moving_average_decay": 0.9}
    whole, events = run(tiny_config(dataset, tmp_path / "whole", **settings))

    def in_the_last_evaluation(event):
        if isinstance(event, EvaluationStarted) and event.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    found, parts = [], []
    for watch in (stop_at(4), in_the_last_evaluation, lambda event: None):
        result, events_of_part = run(tiny_config(dataset, tmp_path / "parts", **settings), watch)
        parts.append((result.step, result.interrupted))
        found += [(event.step, event.figures) for event in of_kind(events_of_part, Evaluated)]
    assert parts == [(4, True), (5, True), (5, False)]
    assert found == [(event.step, event.figures) for event in of_kind(events, Evaluated)]
    assert [step for step, _ in found] == [2, 4, 5]
    assert result.standing == whole.standing
    assert_same_tensors(result.checkpoint, whole.checkpoint)


def test_a_missing_split_is_named_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "build_model", lambda *_, **__: pytest.fail("a model was built"))
    dataset = write_tiny_dataset(tmp_path / "street")
    with pytest.raises(DataError, match=r"train.eval_every_steps: 2, but train.eval_split .*val.*there are records of"):
        run(tiny_config(dataset, tmp_path / "jobs", eval_every_steps=2))
    assert not (tmp_path / "jobs").exists()


def test_a_figure_that_is_not_measured_is_named(dataset, tmp_path, tiny_model):
    done = []
    with pytest.raises(ConfigError, match=r"best_metric: this model has no cls_loss; accepted: .*AP50.*total_loss"):
        run(tiny_config(dataset, tmp_path, eval_every_steps=5, best_metric="cls_loss"), done.append)
    assert of_kind(done, StepDone) == []  # not at the first evaluation, hours later
    assert not list_checkpoints(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"train.best_metric is mAP; accepted: AP, AP50"):
        tiny_config(dataset, tmp_path, best_metric="mAP")


def test_an_evaluator_sees_the_weights_as_they_are(dataset):
    model = TinyDetector()
    evaluator = evaluation.Evaluator(
        model, [str(dataset / "val.tfrecords")], resize=ResizeRule(24, 32), class_names=["car", "person"]
    )
    before = evaluator.run().losses
    assert evaluator.run().losses == before
    model.head.bias.assign([1.0, 1.0, 2.0, 2.0])
    assert evaluator.run().losses["rcnn_reg_loss"] != before["rcnn_reg_loss"]
