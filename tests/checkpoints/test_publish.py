import json
import re

import h5py
import numpy as np
import pytest
import tensorflow as tf

from luminoth import checkpoints
from luminoth.checkpoints.folder import hash_files, read_state
from luminoth.checkpoints.loading import load_model
from luminoth.checkpoints.publish import choose_checkpoint, create_checkpoint, publish_checkpoint, publish_model
from luminoth.checkpoints.runs import restore
from luminoth.checkpoints.store import Store
from luminoth.config import config_from_dict
from luminoth.errors import CheckpointError, OutputError
from luminoth.models.base import named_weights
from tests.checkpoints.light import TENSORS, evaluated, light_run
from tests.checkpoints.tiny_run import damage, move, optimizer_for, save
from tests.training.tiny import CLASSES, TinyDetector


@pytest.fixture
def tiny_build(monkeypatch):
    monkeypatch.setattr("luminoth.models.build.build_model", lambda config, num_classes, **_: TinyDetector(num_classes))


def test_loading_a_model(tmp_path, tiny_build):
    folder, model, _ = save(tmp_path)
    loaded = load_model(folder)
    assert (loaded.classes, loaded.step, loaded.folder) == (CLASSES, 3, folder)
    images = tf.fill([1, 20, 20, 3], 100.0)
    sizes = tf.constant([[20, 20]])
    np.testing.assert_array_equal(
        loaded.model.detect(images, sizes).boxes.numpy(), model.detect(images, sizes).boxes.numpy()
    )
    with pytest.raises(CheckpointError, match=r"config.yml: no such file"):
        load_model(tmp_path)


@pytest.mark.parametrize("half", [False, True])
def test_publishing(tmp_path, tiny_build, half):
    folder, model, _ = save(tmp_path)
    destination = tmp_path / "published"
    publish_checkpoint(folder, {"id": "abc", "alias": "tiny"}, destination, half=half)

    with h5py.File(destination / "model.weights.h5") as file:
        assert "optimizer" not in file
        assert file["weights/head/kernel"].dtype == (np.float16 if half else np.float32)
    loaded = load_model(destination)
    for name, variable in named_weights(model).items():
        value = named_weights(loaded.model)[name].numpy()
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, variable.numpy(), rtol=1e-3 if half else 0, err_msg=name)
    metadata = json.loads((destination / "metadata.json").read_text())
    assert metadata["alias"] == "tiny"
    assert metadata["created"]
    text = "".join(path.read_text() for path in destination.iterdir() if path.suffix != ".h5")
    assert "/secret" not in text
    assert str(tmp_path) not in text
    with pytest.raises(CheckpointError, match="no optimizer state"):
        restore(destination, loaded.model, optimizer_for(loaded.model))
    with pytest.raises(OutputError, match="exists already"):
        publish_checkpoint(folder, {}, destination)


def test_halves_that_would_overflow_stay_whole(tmp_path, tiny_build):
    folder, _, _ = save(tmp_path)
    damage(folder, lambda file: move(file, "head/bias", np.array([1e5, 0, 0, 0], np.float32)))
    publish_checkpoint(folder, {}, tmp_path / "published", half=True)
    assert load_model(tmp_path / "published").model.head.bias.numpy()[0] == 1e5


# --- Into the store -----------------------------------------------------------------------------------------------


def test_creating_from_a_run(tmp_path):
    run = tmp_path / "jobs" / "street-run"
    light_run(run, 5, 6, config="train: {job_dir: /secret/jobs}\ndataset: {dir: /secret/data}\n")
    evaluated(run, 6, 0.25)
    store = Store(tmp_path / "store")
    made = create_checkpoint(
        run / "ckpt-6", {"alias": "street", "dataset.name": "Streets", "licence": "CC0"}, store=store
    )
    assert re.fullmatch("[0-9a-f]{12}", made.id)
    assert (made.alias, made.name, made.licence, made.status) == ("street", "street-run", "CC0", "LOCAL")
    assert made.source == "trained as street-run, step 6"
    assert made.scores == {"data_set": "val", "AP": 0.25, "AP50": 0.5}
    assert made.data == {"name": "Streets", "classes": 2, "images": 30}
    assert made.environment == {"luminoth": "1.0", "tensorflow": "2.21.0"}
    assert store.resolve("street") == (made, [])
    metadata = json.loads((made.folder / "metadata.json").read_text())
    assert metadata["format"] == 1
    assert metadata["files"] == hash_files(made.folder)
    assert sorted(metadata["files"]) == ["classes.json", "config.yml", "model.weights.h5", "state.json"]
    text = "".join(path.read_text() for path in made.folder.iterdir() if path.suffix != ".h5")
    assert "/secret" not in text
    assert str(tmp_path) not in text
    assert "seed" not in read_state(made.folder)
    with h5py.File(made.folder / "model.weights.h5") as file:
        assert list(file) == ["weights"]
        assert file.attrs["step"] == 6
        for name, value in TENSORS.items():
            np.testing.assert_array_equal(file[f"weights/{name}"][()], value)


def test_halves_in_the_store(tmp_path):
    tensors = {"a": np.array([1.0, 1 / 3], np.float32), "b": np.array([1e6], np.float32), "count": np.array([70000])}
    run = light_run(tmp_path / "run", 1, tensors=tensors)
    made = create_checkpoint(run, half=True, store=Store(tmp_path / "store"))
    with h5py.File(made.folder / "model.weights.h5") as file:
        types = {name: str(file[f"weights/{name}"].dtype) for name in tensors}
        assert types == {"a": "float16", "b": "float32", "count": "int64"}
        assert file["weights/a"][1] == np.float16(1 / 3)


def test_which_checkpoint_of_a_run(tmp_path):
    run = light_run(tmp_path / "run", 10, 20, 30).parent
    assert choose_checkpoint(run).name == "ckpt-30"
    assert choose_checkpoint(run, "20").name == "ckpt-20"
    with pytest.raises(CheckpointError, match=r"no checkpoint was evaluated on 'val' yet"):
        choose_checkpoint(run, "best")
    for step, ap in ((10, 0.3), (20, 0.5), (30, 0.4), (40, 0.9)):
        evaluated(run, step, ap)
    evaluated(run, 10, 1.0, split="train")
    assert choose_checkpoint(run, "best").name == "ckpt-20"
    with pytest.raises(CheckpointError, match=r"no checkpoint `25`; there are: best, last, and the steps 10, 20, 30"):
        choose_checkpoint(run, "25")
    with pytest.raises(CheckpointError, match=r"no checkpoint in there \(looked for ckpt-<step>\)"):
        choose_checkpoint(tmp_path)


def test_weights_that_are_not_finite_are_not_published(tmp_path):
    run = light_run(tmp_path / "run", 1, tensors={"a": np.array([np.nan], np.float32)})
    store = Store(tmp_path / "store")
    with pytest.raises(CheckpointError, match="NaN or infinity in a"):
        create_checkpoint(run, store=store)
    (run / "model.weights.h5").write_bytes(b"junk")
    with pytest.raises(CheckpointError, match="damaged"):
        create_checkpoint(run, store=store)
    assert [entry.alias for entry in store.entries()] == ["toytown"]


def test_a_model_goes_into_the_store_under_its_id(tmp_path, monkeypatch, tiny_build):
    monkeypatch.setenv("LUMI_HOME", str(tmp_path))
    model = TinyDetector()
    folder = publish_model(model, config_from_dict({}), CLASSES, {"id": "0123456789ab", "alias": "tiny"}, step=4)
    assert folder == tmp_path / "checkpoints" / "0123456789ab"
    loaded = checkpoints.load("tiny")
    assert (loaded.folder, loaded.step, loaded.classes) == (folder, 4, CLASSES)
    with pytest.raises(OutputError, match="exists already"):
        publish_model(model, config_from_dict({}), CLASSES, {"id": "0123456789ab"})
