import json

import numpy as np
import pytest

from luminoth import checkpoints
from luminoth.checkpoints.compare import Difference, LayerDifference, compare_checkpoints
from luminoth.checkpoints.publish import create_checkpoint
from luminoth.checkpoints.store import Store
from luminoth.errors import CheckpointError
from tests.checkpoints.light import TENSORS, light_run


def test_the_same(tmp_path):
    run = light_run(tmp_path / "run", 7)
    found = compare_checkpoints(run, run)
    assert found.configuration == found.metadata == found.shapes == found.tensors_only_a == found.tensors_only_b == []
    assert (found.share_equal, found.numbers, found.is_reordered) == (1.0, 24 + 2 + 6, False)
    assert {each.largest for each in found.layers} == {0.0}


def test_all_kinds_of_differences(tmp_path):
    a = light_run(tmp_path / "a", 7, config="train: {seed: 1, num_epochs: 3}\n")
    tensors = {
        "backbone/conv1/kernel": TENSORS["backbone/conv1/kernel"].copy(),
        "backbone/conv1/bias": TENSORS["backbone/conv1/bias"].astype(np.float16),
        "head/kernel": np.ones((3, 4), np.float32),
        "neck/kernel": np.ones(1, np.float32),
    }
    tensors["backbone/conv1/kernel"][1, 2, 3] += 0.5
    b = light_run(tmp_path / "b", 7, tensors=tensors, config="train: {seed: 2, num_epochs: 3}\n")
    (b / "classes.json").write_text(json.dumps(["bus", "car", "tram"]))
    (b / "metadata.json").write_text(json.dumps({"name": "B", "scores": {"AP": 0.5}}))

    found = compare_checkpoints(a, b)
    assert found.configuration == [Difference("train.seed", 1, 2)]
    assert (found.classes_only_a, found.classes_only_b, found.is_reordered) == ([], ["tram"], True)
    assert (found.tensors_only_a, found.tensors_only_b) == ([], ["neck/kernel"])
    assert found.shapes == [Difference("head/kernel", [3, 2], [3, 4])]
    [layer] = found.layers
    assert layer == LayerDifference("backbone/conv1", pytest.approx(0.5, rel=1e-6), pytest.approx(23 / 7), 25, 26)
    assert found.share_equal == 25 / 26
    assert found.types == (["float32"], ["float16", "float32"])
    assert found.metadata == [Difference("name", "", "B"), Difference("scores.AP", None, 0.5)]
    assert json.loads(json.dumps(found.to_dict()))["share_equal"] == 25 / 26
    swapped = compare_checkpoints(b, a)
    assert swapped.tensors_only_a == ["neck/kernel"]
    assert swapped.configuration == [Difference("train.seed", 2, 1)]


def test_halves_are_near_what_they_were_made_of(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "home"))
    run = light_run(tmp_path / "run", 7)
    create_checkpoint(run, {"alias": "half"}, half=True, store=Store())
    found = checkpoints.diff(run, "half")
    assert 0 < found.share_equal < 1
    assert max(each.largest / each.scale for each in found.layers) < 2**-11
    assert {each.key for each in found.configuration} == set()


def test_damaged_ones_are_named(tmp_path):
    run, other = light_run(tmp_path / "run", 7), light_run(tmp_path / "other", 7)
    (other / "model.weights.h5").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match=r"other/ckpt-7/model.weights.h5: damaged"):
        compare_checkpoints(run, other)
