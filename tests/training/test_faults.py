"""What happens when the disk is full, the process is killed, a file is damaged, a weight is no number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from luminoth.checkpoints import runs
from luminoth.checkpoints.folder import read_state
from luminoth.checkpoints.runs import list_checkpoints
from luminoth.errors import NonFiniteLossError, OutputError
from luminoth.training import assembly, saving
from luminoth.training.events import CheckpointSaved, Doubted, RunOpened, StepDone
from tests.training.running import losses_of, of_kind, run
from tests.training.tiny import TinyDetector, tiny_config


def run_killed_saver(what, folder):
    command = [sys.executable, "-m", "tests.training.killed_saver", what, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_a_hundred_kills_at_random_leave_whole_checkpoints(tmp_path):
    found = run_killed_saver("killed", tmp_path)
    assert found["kills"] == 100
    assert found["steps"] > 20


def test_a_kill_at_every_call_of_the_file_system_leaves_whole_checkpoints(tmp_path):
    found = run_killed_saver("killed_at_every_call", tmp_path)
    assert found["calls"] > 30
    assert found["steps"] == [1, 9]


def test_a_disk_that_fills_up_at_any_byte_leaves_whole_checkpoints(tmp_path):
    found = run_killed_saver("full", tmp_path)
    assert found == {"failures": 13, "steps": 2}


def test_what_cannot_be_saved_is_told_and_tried_again(dataset, tmp_path, tiny_model, monkeypatch):
    write, full_at = runs.write_weights_file, {2, 3}

    def sometimes_full(path, *args, step, **settings):
        if step in full_at:
            raise OSError(28, "No space left on device")
        write(path, *args, step=step, **settings)

    monkeypatch.setattr(runs, "write_weights_file", sometimes_full)
    monkeypatch.setattr(saving, "_SECONDS_TO_RETRY", 1e-9)  # at each step
    config = tiny_config(dataset, tmp_path, max_steps=6, save_checkpoint_steps=2)
    _, events = run(config)
    assert [event.step for event in of_kind(events, CheckpointSaved)] == [4, 6]
    first, second = (event.message for event in of_kind(events, Doubted) if "is not saved" in event.message)
    assert first.startswith("step 2 is not saved: ")
    assert "No space left on device" in first
    assert "The newest checkpoint is none. Training goes on" in first
    assert second.startswith("step 3")
    assert len(losses_of(events)) == 6

    full_at.add(8)  # at the end there is nothing to wait for
    with pytest.raises(OutputError, match=r"ckpt-8: cannot write the checkpoint \(No space left"):
        run(tiny_config(dataset, tmp_path, max_steps=8))
    assert [step for step, _ in list_checkpoints(tmp_path / "run")] == [4, 6]


def test_training_goes_on_from_the_newest_whole_checkpoint(dataset, tmp_path, tiny_model):
    run(tiny_config(dataset, tmp_path, max_steps=3, save_checkpoint_steps=1))
    with open(tmp_path / "run" / "ckpt-3" / "model.weights.h5", "r+b") as file:
        file.truncate(5000)
    _, events = run(tiny_config(dataset, tmp_path, max_steps=4))
    [opened] = of_kind(events, RunOpened)
    assert (opened.checkpoint.name, opened.start_step) == ("ckpt-2", 2)
    assert "now called ckpt-3.damaged; going on from step 2" in of_kind(events, Doubted)[0].message
    assert [step for step, _ in list_checkpoints(tmp_path / "run")] == [1, 2, 4]


class Spoilt(TinyDetector):
    """The third update makes a statistic NaN that no loss of training depends on."""

    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.calls = tf.Variable(0)

    def compute_losses(self, batch, *, training, seed):
        self.calls.assign_add(1)
        mean = self.blocks[1][1].moving_mean
        mean.assign(tf.where(self.calls >= 3, np.nan, mean))
        return super().compute_losses(batch, training=training, seed=seed)


def test_weights_that_are_no_numbers_are_never_saved(dataset, tmp_path, tiny_model, monkeypatch):
    monkeypatch.setattr(assembly, "build_model", lambda config, num_classes, **_: Spoilt(num_classes))
    with pytest.raises(NonFiniteLossError) as caught:
        run(tiny_config(dataset, tmp_path, save_checkpoint_steps=1, random_shuffle=False))
    assert str(caught.value).startswith(
        "norm2/moving_mean became NaN or infinite at step 3 (learning rate 0.02; images "
    )
    assert [step for step, _ in list_checkpoints(tmp_path / "run")] == [1, 2]

    with np.load(tmp_path / "run" / "non-finite-3.npz") as batch:
        assert batch["image_ids"].tolist() == ["picture-4", "picture-5"]
        assert batch["images"].shape == (2, 24, 32, 3)
        box = batch["gt_boxes"][0, 0]
        inside = batch["images"][0, int(box[1]) : int(box[3]), int(box[0]) : int(box[2])]
        assert inside.mean() > 100 > batch["images"][0, :, : int(box[0])].mean()  # the bright box, as the model saw it
        assert (int(batch["step"]), float(batch["learning_rate"])) == (3, 0.02)
        values = dict(zip(batch["value_names"].tolist(), batch["values"].tolist(), strict=True))
        assert np.isfinite(values["total_loss"])
        assert batch["classes"].tolist() == ["car", "person"]


def test_memory_stays_flat(dataset, tmp_path, tiny_model):
    """Over 2,000 steps, with curves and checkpoints among them."""
    resident = {}

    def watch(event):
        if isinstance(event, StepDone) and event.step % 500 == 0:
            with open("/proc/self/statm") as file:
                resident[event.step] = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20

    run(tiny_config(dataset, tmp_path, max_steps=2000, save_summaries_steps=20, save_checkpoint_steps=100), watch)
    assert resident[2000] - resident[500] < 15, resident
    assert read_state(tmp_path / "run" / "ckpt-2000")["data"]["images_seen"] == 4000
