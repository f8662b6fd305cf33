"""Which checkpoint of a run did best."""

import json
import os

import pytest

from luminoth.checkpoints.history import best_checkpoint, is_evaluated
from luminoth.errors import CheckpointError


def add(run, step, value=None, *, split="val", kept=True):
    if kept:
        folder = run / f"ckpt-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("state.json", "model.weights.h5"):
            (folder / name).write_text("{}")
    if value is not None:
        (run / "eval").mkdir(parents=True, exist_ok=True)
        (run / "eval" / f"{split}-{step}.json").write_text(json.dumps({"metrics": {"AP": value, "AP50": 1 - value}}))


def test_the_highest_wins_and_of_equals_the_newest(tmp_path):
    for step, value in ((10, 0.2), (20, 0.5), (30, 0.5), (40, 0.1), (50, None)):
        add(tmp_path, step, value)
    add(tmp_path, 10, 0.9, split="test")
    (tmp_path / "eval" / "val-toytown.json").write_text("{}")
    (tmp_path / "eval" / "val-60.json").write_text("{ cut")
    best = best_checkpoint(tmp_path, "val")
    assert (best.folder, best.step, best.value, best.evaluated) == (tmp_path / "ckpt-30", 30, 0.5, 4)
    assert best.better_but_gone == []
    assert best_checkpoint(tmp_path, "val", "AP50").step == 40
    assert best_checkpoint(tmp_path, "test").step == 10


def test_what_is_gone_is_named(tmp_path):
    for step, value in ((10, 0.7), (20, 0.5), (30, 0.6)):
        add(tmp_path, step, value, kept=step == 20)
    best = best_checkpoint(tmp_path, "val")
    assert (best.step, best.better_but_gone) == (20, [10, 30])


def test_none(tmp_path):
    add(tmp_path, 10)
    with pytest.raises(CheckpointError, match="no checkpoint was evaluated on 'val' yet"):
        best_checkpoint(tmp_path, "val")
    add(tmp_path, 5, 0.5, kept=False)
    with pytest.raises(CheckpointError, match=r"\(steps 5\) none is left"):
        best_checkpoint(tmp_path, "val")


def test_evaluated_before(tmp_path):
    add(tmp_path, 10)
    assert not is_evaluated(tmp_path / "ckpt-10", "val")
    add(tmp_path, 10, 0.5)
    os.utime(tmp_path / "eval" / "val-10.json", (2e9, 2e9))
    assert is_evaluated(tmp_path / "ckpt-10", "val")
    assert not is_evaluated(tmp_path / "ckpt-10", "test")
    os.utime(tmp_path / "ckpt-10" / "model.weights.h5", (2.1e9, 2.1e9))  # trained anew since
    assert not is_evaluated(tmp_path / "ckpt-10", "val")
