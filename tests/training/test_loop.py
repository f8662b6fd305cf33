import math
import os
import re
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

from luminoth.checkpoints.folder import read_state
from luminoth.checkpoints.loading import load_model
from luminoth.checkpoints.runs import list_checkpoints
from luminoth.checkpoints.store import find_checkpoint
from luminoth.data.record_files import write_classes
from luminoth.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    NonFiniteLossError,
    OutputError,
)
from luminoth.training import assembly
from luminoth.training.events import CheckpointSaved, Interrupted, RunOpened, StepDone
from luminoth.training.loop import train
from tests.training.running import assert_same_tensors, losses_of, of_kind, run, stop_at
from tests.training.tiny import CLASSES, TinyDetector, tiny_config, write_tiny_dataset


def test_a_run_from_start_to_end(dataset, tmp_path, tiny_model):
    result, events = run(tiny_config(dataset, tmp_path, max_steps=40, warmup_steps=0))
    steps = [event for event in events if isinstance(event, StepDone)]
    opened = events[0]
    assert (opened.folder, opened.images, opened.classes) == (tmp_path / "run", 6, CLASSES)
    assert (opened.start_step, opened.total_steps, opened.seed, opened.checkpoint) == (0, 40, 5, None)
    assert [event.step for event in steps] == list(range(1, 41))
    assert steps[-1].images_per_second > 0
    assert steps[-1].seconds_left == 0
    assert np.mean(losses_of(events)[-5:]) < 0.5 * np.mean(losses_of(events)[:5])
    assert events[-1] == CheckpointSaved(40, tmp_path / "run" / "ckpt-40")
    assert (result.step, result.checkpoint, result.interrupted) == (40, events[-1].folder, False)
    assert {"config.yml", "classes.json", "ckpt-40"} <= set(os.listdir(tmp_path / "run"))


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(dataset, tmp_path, tiny_model):
    settings = {"max_steps": 9, "moving_average_decay": 0.9}
    whole, events = run(tiny_config(dataset, tmp_path / "whole", **settings))
    expected = losses_of(events)

    parts = []
    for last in (2, 7, 9):  # within the first epoch, which has 3 batches; within the third; the end
        part, events = run(tiny_config(dataset, tmp_path / "parts", **settings), stop_at(last))
        parts += losses_of(events)

    assert parts == expected
    assert len(set(expected)) == 9
    assert_same_tensors(part.checkpoint, whole.checkpoint)


def test_a_drawn_seed_is_kept_by_the_run(dataset, tmp_path, tiny_model):
    _, first = run(tiny_config(dataset, tmp_path, seed=None, max_steps=1))
    _, second = run(tiny_config(dataset, tmp_path, seed=None, max_steps=2))
    assert first[0].seed == second[0].seed != 5
    assert (second[0].start_step, second[0].checkpoint) == (1, tmp_path / "run" / "ckpt-1")


def test_another_batch_size_goes_on_in_the_data_where_it_stopped(dataset, tmp_path, tiny_model, monkeypatch):
    starts = []
    batches = assembly.training_batches
    monkeypatch.setattr(
        assembly, "training_batches", lambda *args, **kw: starts.append(kw["start_step"]) or batches(*args, **kw)
    )
    run(tiny_config(dataset, tmp_path, max_steps=4))
    result, _ = run(tiny_config(dataset, tmp_path, max_steps=6, batch_size=1))
    assert starts == [0, 8]
    data = read_state(result.checkpoint)["data"]
    assert data["images_seen"] == 8 + 2
    assert re.fullmatch("[0-9a-f]{64}", data["hash"])


def test_a_finished_run_is_left_alone(dataset, tmp_path, tiny_model):
    first, _ = run(tiny_config(dataset, tmp_path))
    before = first.checkpoint.stat().st_mtime_ns
    second, events = run(tiny_config(dataset, tmp_path))
    assert [type(event) for event in events] == [RunOpened]
    assert second == first
    assert first.checkpoint.stat().st_mtime_ns == before


def test_epochs_bound_the_run_too(dataset, tmp_path, tiny_model):
    _, events = run(tiny_config(dataset, tmp_path, max_steps=None, num_epochs=2, batch_size=4, no_log=True))
    assert len(losses_of(events)) == 3  # 12 pictures in batches of 4
    assert not (tmp_path / "run").exists()


def test_checkpoints_come_every_n_steps_and_the_newest_are_kept(dataset, tmp_path, tiny_model):
    config = tiny_config(dataset, tmp_path, max_steps=7, save_checkpoint_steps=2, checkpoints_max_keep=2)
    _, events = run(config)
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [2, 4, 6, 7]
    assert [step for step, _ in list_checkpoints(tmp_path / "run")] == [6, 7]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_finishes_the_step_saves_and_stops(dataset, tmp_path, tiny_model, number):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    result, events = run(tiny_config(dataset, tmp_path), stop_at(3, number))
    assert events[-2:] == [Interrupted(3), CheckpointSaved(3, tmp_path / "run" / "ckpt-3")]
    assert (result.step, result.total_steps, result.interrupted) == (3, 6, True)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_interrupt_aborts_at_once(dataset, tmp_path, tiny_model):
    def twice(event):
        if isinstance(event, StepDone):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_config(dataset, tmp_path), twice)
    assert list_checkpoints(tmp_path / "run") == []
    assert signal.getsignal(signal.SIGINT) == before


class Exploding(TinyDetector):
    """Its loss becomes NaN with the third batch."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.calls = tf.Variable(0)

    def compute_losses(self, batch, *, training, seed):
        losses = super().compute_losses(batch, training=training, seed=seed)
        self.calls.assign_add(1)
        return {**losses, "rpn_reg_loss": tf.where(self.calls >= 3, math.nan, losses["rpn_reg_loss"])}


def test_a_loss_that_is_not_finite_stops_and_says_where(dataset, tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(assembly, "build_model", lambda config, num_classes, **_: Exploding(num_classes))
    config = tiny_config(dataset, tmp_path, save_checkpoint_steps=1, random_shuffle=False)
    with pytest.raises(NonFiniteLossError) as caught:
        train(config)
    message = str(caught.value)
    assert message.startswith("rpn_reg_loss, total_loss, no_reg_loss became NaN or infinite at step 3")
    assert "learning rate 0.02; images picture-4, picture-5;" in message
    assert "picture-4: car [" in message
    assert "picture-5: person [" in message
    assert f"the batch is in {tmp_path / 'run' / 'non-finite-3.npz'}" in message
    assert "\n" not in message
    assert [step for step, _ in list_checkpoints(tmp_path / "run")] == [1, 2]


def test_warmup_reaches_the_optimizer(dataset, tmp_path, tiny_model):
    _, events = run(tiny_config(dataset, tmp_path, warmup_steps=4, warmup_factor=0.2, no_log=True))
    rates = [event.learning_rate for event in events if isinstance(event, StepDone)]
    assert rates == pytest.approx([0.004, 0.008, 0.012, 0.016, 0.02, 0.02])


def with_model(config, **base_network):
    base = config.model.base_network.model_copy(update=base_network)
    return config.model_copy(update={"model": config.model.model_copy(update={"base_network": base})})


def test_a_run_of_another_model_or_other_classes_is_not_resumed(dataset, tmp_path, tiny_model):
    config = tiny_config(dataset, tmp_path)
    run(config)
    with pytest.raises(
        CheckpointError,
        match=r"run: holds another training \(ckpt-6\): .*architecture was thin_resnet, now it is vgg_16",
    ):
        train(with_model(config, architecture="vgg_16"))

    others = write_tiny_dataset(tmp_path / "others")
    write_classes(others, ["bus", "person"])
    with pytest.raises(CheckpointError, match="classes were car, person, now they are bus, person"):
        train(tiny_config(others, tmp_path))
    with pytest.raises(CheckpointError, match=r"cannot go on from .*ckpt-6: .*optimizer \w+, now it is Adam"):
        train(tiny_config(dataset, tmp_path, optimizer={"type": "adam"}, max_steps=8))


def test_mistakes_are_named_before_anything_is_built(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(assembly, "build_model", lambda *_, **__: pytest.fail("a model was built"))
    config = tiny_config(dataset, tmp_path)

    def with_dataset(**keys):
        return config.model_copy(update={"dataset": config.dataset.model_copy(update=keys)})

    with pytest.raises(ConfigError, match=r"dataset.dir: empty"):
        train(with_dataset(dir=None))
    with pytest.raises(DataError, match="nowhere"):
        train(with_dataset(dir=str(tmp_path / "nowhere")))
    with pytest.raises(DataError, match="valid"):
        train(with_dataset(split="valid"))
    network = config.model.network.model_copy(update={"num_classes": 20})
    wrong = config.model_copy(update={"model": config.model.model_copy(update={"network": network})})
    with pytest.raises(ConfigError, match=r"model.network.num_classes: 20, but .*classes.json names 2 classes"):
        train(wrong)
    assert os.listdir(tmp_path) == []

    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file/run: the run's folder cannot be written .*train.job_dir"):
        train(tiny_config(dataset, tmp_path / "file"))


def test_a_damaged_record_is_named(tmp_path, tiny_model):
    folder = write_tiny_dataset(tmp_path / "data")
    records = folder / "train.tfrecords"
    content = bytearray(records.read_bytes())
    content[-100] ^= 255
    records.write_bytes(content)
    with pytest.raises(DataError, match=r"train.tfrecords: damaged"):
        train(tiny_config(folder, tmp_path, random_shuffle=False))


def test_the_real_detector_trains_and_resumes_exactly(dataset, tmp_path):
    """Sampling of anchors and RoIs, proposals and augmentation included."""
    whole, events = run(tiny_config(dataset, tmp_path / "whole", max_steps=3, save_checkpoint_steps=1))
    # As if the run had ended after its first step.
    shutil.copytree(whole.folder / "ckpt-1", tmp_path / "again" / "run" / "ckpt-1")
    _, resumed = run(tiny_config(dataset, tmp_path / "again", max_steps=3, image_vis="train"))

    assert losses_of(resumed) == losses_of(events)[1:]
    assert set(of_kind(resumed, StepDone)[0].losses) == {
        "rpn_cls_loss",
        "rpn_reg_loss",
        "rcnn_cls_loss",
        "rcnn_reg_loss",
        "regularization_loss",
        "total_loss",
        "no_reg_loss",
    }
    loaded = load_model(find_checkpoint(tmp_path / "again" / "run"))
    assert (loaded.step, loaded.classes) == (3, CLASSES)
