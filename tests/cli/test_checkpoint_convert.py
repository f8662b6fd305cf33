"""`lumi checkpoint convert`: with a golden to prove it, and for weights of this project."""

import json
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf

from luminoth.checkpoints.convert.golden import filled, read_golden
from luminoth.checkpoints.convert.mapping import find_sources
from luminoth.checkpoints.convert.parity import first_rois, forward_pass, sampled
from luminoth.checkpoints.convert.torchvision import TORCHVISION
from luminoth.checkpoints.loading import load_model
from luminoth.checkpoints.runs import save_checkpoint
from luminoth.checkpoints.store import EMBEDDED_FOLDER, find_checkpoint
from luminoth.errors import CheckpointError
from luminoth.models.base import named_weights
from luminoth.resize import ResizeRule
from tests.checkpoints.convert.small_model import NAME, install_small_model, small_model, small_state
from tests.checkpoints.convert.torch_writer import state_file

TOYTOWN = EMBEDDED_FOLDER / "toytown"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def stored(home):
    return sorted(path.name for path in home.glob("checkpoints/*") if path.is_dir())


# --- A golden of the small model, with its own numbers in the place of another implementation's -------------------


@pytest.fixture(scope="module")
def proof(tmp_path_factory):
    """A golden's two files, a file of its weights and one of others, in one folder."""
    folder = tmp_path_factory.mktemp("golden")
    with pytest.MonkeyPatch.context() as monkeypatch:
        install_small_model(monkeypatch, folder)
        model = small_model()
        weights = named_weights(model)
        sources = find_sources(list(weights), TORCHVISION)
        tensors = [
            {
                "name": source.name,
                "shape": list(source.layout.there(tuple(weights[path].shape))),
                "role": _role(path),
                "scale": 1.0,
            }
            for path, source in sources.items()
        ]
        (folder / "golden.json").write_text(json.dumps({"model": NAME, "torchvision": "none", "tensors": tensors}))
        np.savez(folder / "golden.npz", image0=np.zeros(1, np.uint8))
        state = read_golden(folder / "golden.json").state()
        for path, source in sources.items():
            weights[path].assign(source.layout.here(state[source.name]))
        with _eager():
            np.savez(folder / "golden.npz", **_numbers(model))
        (folder / "own.pth").write_bytes(state_file(state))
        (folder / "other.pth").write_bytes(state_file(small_state(model)))
    return folder


@contextmanager
def _eager():
    """Making a graph of all stages takes ten times as long as running them once."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def _role(path):
    roles = {"kernel": "conv", "gamma": "gain", "moving_variance": "variance"}
    return roles.get(path.rpartition("/")[2], "bias")


def _numbers(model):
    """What the goldens keep, of one picture."""
    values = {"image0": np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)}
    compute = forward_pass(model, ResizeRule(min_size=64, max_size=128))
    found = compute(values["image0"], np.array([[0, 0, 30, 30]], np.float32))
    values["image0/proposals"] = found["proposals"].boxes[0].numpy()[found["proposals"].is_valid[0].numpy()]
    found = compute(values["image0"], first_rois(values, "image0"))
    height, width = found["size"][0].numpy()
    count = len(found["head"].class_logits[0])
    deltas = found["head"].deltas[0].numpy().reshape(count, -1)[:, :20]
    detections = found["detections"]
    valid = detections.is_valid[0].numpy()
    further = {
        "network_input": found["network_input"][0, ::16, ::16],
        "roi_features": found["pooled"][0].numpy().transpose(0, 3, 1, 2),
        "class_logits": np.roll(found["head"].class_logits[0], 1, axis=1),
        "box_deltas": np.concatenate([np.zeros((count, 4)), deltas], axis=1),
        "detections/boxes": detections.boxes[0].numpy()[valid] * np.array([64 / width, 48 / height] * 2),
        "detections/scores": detections.scores[0].numpy()[valid],
        "detections/labels": detections.class_ids[0].numpy()[valid] + 1,
    }
    for index, (features, output) in enumerate(zip(found["maps"], found["rpn"], strict=True)):
        further[f"features/{index}"] = sampled(features)
        further[f"features/{index}/shape"] = features.shape[1:]
        for name, ours in (("logits", output.objectness_logits), ("deltas", output.deltas)):
            further[f"rpn/{name}/{index}"] = ours.numpy().reshape(*features.shape[1:3], -1)[::7, ::7]
    return values | {f"image0/{key}": np.asarray(value) for key, value in further.items()}


@pytest.fixture
def small(tmp_path, monkeypatch):
    install_small_model(monkeypatch, tmp_path)
    with _eager():
        yield


def verify(lumi, proof, file, *more):
    return lumi("checkpoint", "convert", proof / file, "--as", NAME, "--verify", proof / "golden.json", *more)


def test_weights_are_proved_by_the_command(lumi, proof, small, home):
    status, out, err = verify(lumi, proof, "own.pth")
    assert status == 0
    table, folder = out.rstrip().rsplit("\n", 1)
    assert folder == str(find_checkpoint(NAME))
    rows = [line.split() for line in table.splitlines() if line]
    assert rows[0] == ["stage", "largest", "difference", "allowed", "verdict"]
    stages = {line.partition("  ")[0] for line in table.splitlines()[2:]}
    assert {"network input", "features 4", "RPN logits 0", "proposals", "class logits", "detections"} <= stages
    assert all(row[-1] == "ok" for row in rows[2:])
    assert err.startswith(f"Compared with {proof / 'golden.json'}: the numbers of {proof / 'own.pth'} itself\n")


def test_other_weights_are_proved_by_those_of_the_golden(lumi, proof, small, home):
    status, out, err = verify(lumi, proof, "other.pth", "--json")
    assert status == 0
    result = json.loads(out)
    assert result["folder"] == str(find_checkpoint(NAME))
    assert all(row["ok"] and row["difference"] <= row["allowed"] for row in result["parity"])
    assert "it belongs to weights of its own" in err


def test_numbers_that_differ_are_shown_and_nothing_is_stored(lumi, proof, small, home, tmp_path):
    values = dict(np.load(proof / "golden.npz"))
    values["image0/class_logits"] = values["image0/class_logits"] + 0.01 * values["image0/class_logits"].std()
    shutil.copy(proof / "golden.json", tmp_path / "golden.json")
    np.savez(tmp_path / "golden.npz", **values)
    status, out, err = lumi(
        "checkpoint", "convert", proof / "own.pth", "--as", NAME, "--verify", tmp_path / "golden.json"
    )
    assert status == 1
    wrong = [line.split() for line in out.splitlines() if line.endswith("DIFFERS")]
    assert [row[:3] for row in wrong] == [["class", "logits", "1.0e-02"]]
    assert err.splitlines()[-1] == (
        f"Error: {proof / 'own.pth'}: the converted model's numbers are not those of {tmp_path / 'golden.json'}; "
        "nothing was stored"
    )
    assert stored(home) == []


def test_files_that_are_no_goldens(lumi, proof, small, home, tmp_path):
    bad = {
        "absent": None,
        "text": "hello",
        "list": "[]",
        "other": json.dumps({"model": "fasterrcnn_resnet50_fpn_v2", "torchvision": "1", "tensors": []}),
        "unknown": json.dumps({"model": "ssd300_vgg16", "torchvision": "1", "tensors": []}),
    }
    for name, content in bad.items():
        path = tmp_path / f"{name}.json"
        if content is not None:
            path.write_text(content)
            shutil.copy(proof / "golden.npz", path.with_suffix(".npz"))
        status, out, err = lumi("checkpoint", "convert", proof / "own.pth", "--as", NAME, "--verify", path)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert str(path) in err or "ssd300_vgg16" in err
    assert stored(home) == []


def test_the_rule_of_the_weights():
    """By hand: gains lie around 1, variances too, counters are 0, the rest depends on how many inputs there are."""
    assert filled("a", (), "counter", 1.0) == 0
    gain, conv = filled("a", (1000,), "gain", 1.0), filled("a", (10, 6, 1, 1), "conv", 0.5)
    assert (gain >= 0.8).all()
    assert (gain < 1.2).all()
    assert gain.mean() == pytest.approx(1, abs=0.02)
    assert 0.4 < np.abs(conv).max() <= 0.5  # sqrt(6 / 6) * 0.5
    np.testing.assert_array_equal(gain, filled("a", (1000,), "gain", 1.0))
    assert not np.array_equal(gain, filled("b", (1000,), "gain", 1.0))


# --- Weights of this project --------------------------------------------------------------------------------------


def weights_of(folder):
    return {path: variable.numpy() for path, variable in named_weights(load_model(folder).model).items()}


def assert_same_weights(folder, other):
    ours, theirs = weights_of(folder), weights_of(other)
    assert ours.keys() == theirs.keys()
    for path, array in ours.items():
        np.testing.assert_array_equal(array, theirs[path])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder with two checkpoints of toytown's model."""
    folder = tmp_path_factory.mktemp("run")
    loaded = load_model(TOYTOWN)
    for step in (3, 12):
        save_checkpoint(
            folder, step, model=loaded.model, optimizer=None, config=loaded.config, classes=loaded.classes, state={}
        )
    return folder


def test_a_run_becomes_its_newest_checkpoint(lumi, run, home):
    status, out, _ = lumi("checkpoint", "convert", run)
    folder = home / "checkpoints" / stored(home)[0]
    assert (status, out) == (0, f"{folder}\n")
    assert json.loads((folder / "state.json").read_text())["step"] == 12
    status, out, _ = lumi("checkpoint", "convert", run / "ckpt-3", "--output", home / "there")
    assert (status, out) == (0, f"{home / 'there'}\n")
    assert json.loads((home / "there" / "state.json").read_text())["step"] == 3


@pytest.mark.parametrize("form", ["ours", "keras"])
def test_a_weights_file_with_its_configuration(lumi, run, home, tmp_path, form):
    for name in ("config.yml", "classes.json"):
        shutil.copy(run / "ckpt-12" / name, tmp_path)
    path = tmp_path / "mine.weights.h5"
    if form == "ours":
        shutil.copy(run / "ckpt-12" / "model.weights.h5", path)
    else:
        load_model(run / "ckpt-12").model.save_weights(path)
    status, _, err = lumi("checkpoint", "convert", path)
    assert status == 0, err
    assert_same_weights(home / "checkpoints" / stored(home)[0], run / "ckpt-12")


def test_weights_files_that_do_not_fit(lumi, run, home, tmp_path):
    path = tmp_path / "mine.weights.h5"
    load_model(run / "ckpt-12").model.save_weights(path)
    status, _, err = lumi("checkpoint", "convert", path)
    assert (status, err.count("\n")) == (1, 1)
    assert "weights alone do not say what model they are of" in err
    (tmp_path / "classes.json").write_text('["car"]')
    shutil.copy(run / "ckpt-12" / "config.yml", tmp_path)
    for form in ("keras", "ours"):
        if form == "ours":
            shutil.copy(run / "ckpt-12" / "model.weights.h5", path)
        status, _, err = lumi("checkpoint", "convert", path)
        assert (status, err.count("\n")) == (1, 1)
        assert f"{path} does not fit the model: " in err
    assert stored(home) == []


def test_a_run_of_tensorflow_1_is_told(lumi, tmp_path):
    (tmp_path / "model.ckpt-1000.index").write_bytes(b"")
    status, _, err = lumi("checkpoint", "convert", tmp_path)
    assert status == 1
    assert "holds checkpoints of TensorFlow 1, as Luminoth 0.2 wrote them" in err
    (tmp_path / "model.ckpt-1000.index").unlink()
    assert "no checkpoint in there" in lumi("checkpoint", "convert", tmp_path)[2]


def test_wrong_usage(lumi, run, tmp_path):
    assert lumi("checkpoint", "convert", run, "--as", NAME)[0] == 2
    assert lumi("checkpoint", "convert", run, "--verify", tmp_path / "g.json")[0] == 2
    with pytest.raises(CheckpointError):
        read_golden(tmp_path / "g.json")
