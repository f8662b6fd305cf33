import errno
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from luminoth.errors import ConfigError, DataError
from luminoth.training import assembly
from luminoth.training.events import Doubted, ProfileWritten, StepDone
from luminoth.training.loop import train
from luminoth.training.watching import metrics_log
from luminoth.training.watching.whole_appends import WholeAppends
from tests.training.test_loop import stop_at
from tests.training.tiny import TinyDetector, tiny_config, write_tiny_dataset

LOSSES = ["rpn_reg_loss", "rcnn_reg_loss", "regularization_loss", "total_loss", "no_reg_loss"]


class Gauged(TinyDetector):
    """Tells how bright its pictures are."""

    def observe(self, batch, *, training, seed):
        observed = super().observe(batch, training=training, seed=seed)
        return observed._replace(gauges={"brightness": tf.reduce_mean(batch.images)})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_tiny_dataset(tmp_path_factory.mktemp("street"))


@pytest.fixture(autouse=True)
def tiny_model(monkeypatch):
    monkeypatch.setattr(assembly, "build_model", lambda config, num_classes, **_: Gauged(num_classes))
    monkeypatch.setattr(assembly, "load_pretrained_backbone", lambda model, config: "none")


def run(config, *watchers):
    events = []
    result = train(config, on_event=lambda event: (events.append(event), [watch(event) for watch in watchers]))
    return result, events


def steps_of(events):
    return {event.step: event for event in events if isinstance(event, StepDone)}


def read(folder):
    return EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0, "images": 0}).Reload()


def curve(accumulator, name):
    return {event.step: event.value for event in accumulator.Scalars(name)}


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_tensorboard_and_the_log_say_what_the_events_say(dataset, tmp_path):
    shown = {"image_vis": "train", "var_vis": "reduced", "save_checkpoint_steps": 2}
    config = tiny_config(dataset, tmp_path, max_steps=4, save_summaries_steps=2, **shown)
    result, events = run(config)
    steps, found = steps_of(events), read(tmp_path / "run")
    for name in LOSSES:
        assert curve(found, f"losses/{name}") == {
            step: pytest.approx(steps[step].losses[name], rel=1e-6) for step in (2, 4)
        }
    assert curve(found, "train/learning_rate") == {
        2: pytest.approx(0.02 * (0.001 + 0.999 / 2)),  # half-way through the warm-up
        4: pytest.approx(0.02),
    }
    assert curve(found, "train/gradient_norm")[4] == pytest.approx(steps[4].gradient_norm, rel=1e-6)
    assert curve(found, "train/epoch") == {2: pytest.approx(4 / 6), 4: pytest.approx(8 / 6)}
    assert 50 < curve(found, "gauges/brightness")[2] < 150
    assert 0 < curve(found, "time/outside_model")[4] < 1
    assert curve(found, "time/input_wait_ms")[4] > 0
    assert 0.1 < curve(found, "memory/host_gb")[4] < 16
    assert set(steps[4].losses) == set(LOSSES)

    (text,) = found.Tensors("config")
    assert "max_steps: 4" in str(tf.make_ndarray(text.tensor_proto))
    assert found.Tags()["images"] == [f"pictures/{number}_picture-{number}" for number in range(4)]
    for name in found.Tags()["images"]:
        before, after = found.Images(name)
        assert (before.step, after.step) == (2, 4)
        assert before.encoded_image_string != after.encoded_image_string
    assert found.Tags()["graph"]
    assert "weights/head/kernel" in found.Tags()["tensors"]

    first, second = lines_of(tmp_path / "run")
    assert (first["kind"], first["step"], second["step"]) == ("train", 2, 4)
    assert second["total_loss"] == pytest.approx(steps[4].losses["total_loss"], rel=1e-6)
    assert second["brightness"] == pytest.approx(curve(found, "gauges/brightness")[4], rel=1e-6)
    assert second["epoch"] == pytest.approx(8 / 6, abs=1e-4)

    figures = result.figures
    assert figures.steps == 4
    assert figures.epochs == pytest.approx(8 / 6)
    assert figures.spent.steps == 3
    assert figures.loss == pytest.approx(np.mean([event.losses["total_loss"] for event in steps.values()]))


def test_a_resumed_run_has_each_step_once(dataset, tmp_path):
    config = tiny_config(dataset, tmp_path, max_steps=8, save_summaries_steps=1, save_checkpoint_steps=3)
    _, whole = run(config)
    for later in ("ckpt-6", "ckpt-8"):  # as if the process had been killed before they were saved
        (tmp_path / "run" / later).rename(tmp_path / later)
    _, resumed = run(config)
    assert [line["step"] for line in lines_of(tmp_path / "run")] == list(range(1, 9))
    found = curve(read(tmp_path / "run"), "losses/total_loss")
    assert list(found) == list(range(1, 9))
    assert found == {
        step: pytest.approx(event.losses["total_loss"], rel=1e-6) for step, event in steps_of(whole).items()
    }
    assert sorted(steps_of(resumed)) == [4, 5, 6, 7, 8]


def test_an_interrupted_run_goes_on_in_its_files(dataset, tmp_path):
    config = tiny_config(dataset, tmp_path, max_steps=6, save_summaries_steps=2)
    run(config, stop_at(3))
    result, _ = run(config)
    assert [line["step"] for line in lines_of(tmp_path / "run")] == [2, 4, 6]
    assert (result.figures.steps, result.figures.epochs) == (3, 2.0)


def test_pictures_of_a_split_that_is_not_there(dataset, tmp_path):
    with pytest.raises(DataError, match="val"):
        train(tiny_config(dataset, tmp_path, image_vis="eval"))


def test_a_profile_of_some_steps(dataset, tmp_path):
    _, events = run(tiny_config(dataset, tmp_path, max_steps=4, profile_steps=[2, 3]))
    assert [event for event in events if isinstance(event, ProfileWritten)] == [ProfileWritten(3, tmp_path / "run")]
    (profile,) = (tmp_path / "run" / "plugins" / "profile").glob("*/*.xplane.pb")
    content = profile.read_bytes()
    assert b"train" in content
    assert len(content) > 1000


def test_a_file_that_cannot_be_written_does_not_stop_the_training(dataset, tmp_path, monkeypatch):
    class Full(WholeAppends):
        def append(self, piece):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(metrics_log, "WholeAppends", Full)
    result, events = run(tiny_config(dataset, tmp_path, max_steps=3, save_summaries_steps=1))
    assert result.step == 3
    (doubt,) = [event.message for event in events if isinstance(event, Doubted) and "metrics.jsonl" in event.message]
    assert doubt.endswith("cannot be written (No space left on device). Training goes on without")
    assert list(curve(read(tmp_path / "run"), "losses/total_loss")) == [1, 2, 3]


def test_a_run_that_saves_nothing_writes_nothing(dataset, tmp_path):
    result, _ = run(tiny_config(dataset, tmp_path, no_log=True, image_vis="train", profile_steps=[1, 2]))
    assert list(tmp_path.iterdir()) == []
    assert result.figures.steps == 6


@pytest.mark.parametrize("steps", [[5, 2], [0, 3], [5]])
def test_profiled_steps_are_a_first_and_a_last_one(dataset, tmp_path, steps):
    with pytest.raises(ConfigError, match=r"train\.profile_steps"):
        tiny_config(dataset, tmp_path, profile_steps=steps)
