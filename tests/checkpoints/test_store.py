import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
import tensorflow as tf

from luminoth.checkpoints import store
from luminoth.config import config_from_dict, load_config
from luminoth.errors import CheckpointError, OutputError
from luminoth.models.base import named_weights
from luminoth.training.optimizers import make_optimizer
from tests.training.tiny import CLASSES, TinyDetector


def optimizer_for(model, **settings):
    config = config_from_dict({"train": {"optimizer": settings or {"type": "momentum"}}})
    return make_optimizer(config.train.optimizer, model.trainable_variables)


def randomise(variables, seed):
    random = np.random.default_rng(seed)
    for variable in variables:
        value = random.uniform(0.1, 2.0, variable.shape)
        variable.assign(value.astype(variable.dtype) if variable.dtype != "int64" else int(value * 100))


def save(run_dir, step=3, seed=1, model=None, **settings):
    """A checkpoint of random weights; returns folder, model and optimizer."""
    model = model or TinyDetector()
    optimizer = optimizer_for(model, **settings)
    randomise(model.variables, seed)
    randomise(optimizer.variables, seed + 1)
    config = config_from_dict({"train": {"job_dir": str(run_dir), "seed": 9}, "dataset": {"dir": "/secret/voc"}})
    folder = store.save_checkpoint(
        run_dir, step, model=model, optimizer=optimizer, config=config, classes=CLASSES, state={"seed": 9}
    )
    return folder, model, optimizer


def test_round_trip_of_weights_statistics_and_optimizer(tmp_path):
    folder, model, optimizer = save(tmp_path)
    other = TinyDetector()
    other_optimizer = optimizer_for(other)

    state = store.restore(folder, other, other_optimizer)

    assert folder == tmp_path / "ckpt-3"
    assert (state["step"], state["seed"]) == (3, 9)
    assert set(state["versions"]) == {"luminoth", "tensorflow", "keras"}
    names = named_weights(other)
    assert "norm2/moving_variance" in "\n".join(names)  # a layer inside a tuple inside a list
    for name, variable in named_weights(model).items():
        np.testing.assert_array_equal(names[name].numpy(), variable.numpy(), err_msg=name)
    for ours, theirs in zip(other_optimizer.variables, optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    assert sorted(path.name for path in folder.iterdir()) == [
        "classes.json",
        "config.yml",
        "model.weights.h5",
        "state.json",
    ]
    assert store.read_checkpoint_classes(folder) == CLASSES
    assert load_config([folder / "config.yml"]).train.seed == 9


def damage(folder, change):
    with h5py.File(folder / store.WEIGHTS_FILE, "r+") as file:
        change(file)


def move(file, name, value=None):
    del file["weights"][name]
    if value is not None:
        file["weights"][name] = value


def test_missing_left_over_and_misshapen_tensors_are_named_and_nothing_is_loaded(tmp_path):
    folder, model, _ = save(tmp_path)
    names = list(named_weights(model))
    kernel = next(name for name in names if name.endswith("conv1/kernel"))

    def change(file):
        move(file, "head/bias")
        move(file, kernel, np.zeros((3, 3, 3, 5), np.float32))
        file["weights"]["stranger/kernel"] = np.zeros(2, np.float32)

    damage(folder, change)
    other = TinyDetector()
    before = [variable.numpy() for variable in other.variables]
    with pytest.raises(CheckpointError) as caught:
        store.restore(folder, other)
    message = str(caught.value)
    assert "1 of the model's tensors are missing: head/bias" in message
    assert "1 are left over: stranger/kernel" in message
    assert f"1 have another shape: {kernel} ([3, 3, 3, 5] in the file, [3, 3, 3, 4] in the model)" in message
    for value, variable in zip(before, other.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_many_names_are_cut_short(tmp_path):
    folder, model, _ = save(tmp_path)
    damage(folder, lambda file: file["weights"].clear())
    with pytest.raises(CheckpointError, match=rf"{len(named_weights(model))} of .* and \d+ more"):
        store.restore(folder, TinyDetector())


def test_a_model_of_another_width_is_refused(tmp_path):
    folder, _, _ = save(tmp_path)
    with pytest.raises(CheckpointError, match="have another shape"):
        store.restore(folder, TinyDetector(width=6))
    other = TinyDetector(width=6)  # its optimizer does not fit either, but that is not what is wrong
    with pytest.raises(CheckpointError, match="have another shape"):
        store.restore(folder, other, optimizer_for(other))


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_a_weights_file_cut_short_is_called_damaged(tmp_path, length):
    folder, _, _ = save(tmp_path)
    with open(folder / store.WEIGHTS_FILE, "r+b") as file:
        file.truncate(length)
    with pytest.raises(CheckpointError, match=r"model.weights.h5: damaged"):
        store.restore(folder, TinyDetector())


def test_optimizer_state_must_belong_to_the_optimizer(tmp_path):
    folder, _, _ = save(tmp_path)
    model = TinyDetector()
    with pytest.raises(CheckpointError, match="trained with the optimizer SGD, now it is Adam"):
        store.restore(folder, model, optimizer_for(model, type="adam"))
    with pytest.raises(CheckpointError, match=r"optimizer's state has \d+ tensors that do not fit"):
        store.restore(folder, model, optimizer_for(model, type="gradient_descent"))
    model.head.trainable = False
    with pytest.raises(CheckpointError, match=r"no longer: head/kernel, head/bias; newly: none"):
        store.restore(folder, model, optimizer_for(model))


def test_files_of_two_checkpoints_mixed_up_are_noticed(tmp_path):
    folder, _, _ = save(tmp_path)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "step": 4}))
    with pytest.raises(CheckpointError, match=r"of step 3, state.json of step 4"):
        store.restore(folder, TinyDetector())


def test_a_checkpoint_from_the_future_is_refused(tmp_path):
    folder, _, _ = save(tmp_path)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(CheckpointError, match="update Luminoth"):
        store.restore(folder, TinyDetector())
    (folder / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"state.json: cannot be read"):
        store.restore(folder, TinyDetector())


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    model = TinyDetector()
    model.head.bias.assign([1.0, np.nan, 0.0, 0.0])
    with pytest.raises(CheckpointError, match=r"not saved, NaN or infinity in head/bias"):
        store.save_checkpoint(
            tmp_path,
            1,
            model=model,
            optimizer=optimizer_for(model),
            config=config_from_dict({}),
            classes=CLASSES,
            state={},
        )
    assert os.listdir(tmp_path) == []


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, seed=1)
    folder, model, _ = save(tmp_path, seed=5)
    other = TinyDetector()
    store.restore(folder, other)
    np.testing.assert_array_equal(other.head.kernel.numpy(), model.head.kernel.numpy())
    assert os.listdir(tmp_path) == ["ckpt-3"]


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"ckpt-3: cannot write the checkpoint"):
        save(tmp_path / "file")


def test_a_disk_that_fills_up_leaves_earlier_checkpoints_alone(tmp_path, monkeypatch):
    save(tmp_path, step=1)

    def full(path, *args, **kwargs):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_weights_file", full)
    with pytest.raises(OutputError, match="No space left on device"):
        save(tmp_path, step=2)
    assert os.listdir(tmp_path) == ["ckpt-1"]


def test_listing_is_by_step_and_ignores_what_is_not_whole(tmp_path):
    for step in (10, 9, 100):
        save(tmp_path, step=step)
    (tmp_path / "ckpt-200").mkdir()
    (tmp_path / "ckpt-200" / "model.weights.h5").write_bytes(b"")
    (tmp_path / ".ckpt-300.77").mkdir()
    (tmp_path / "ckpt-old").mkdir()
    assert [step for step, _ in store.list_checkpoints(tmp_path)] == [9, 10, 100]
    assert store.latest_checkpoint(tmp_path) == tmp_path / "ckpt-100"
    assert store.list_checkpoints(tmp_path / "nowhere") == []
    assert store.latest_checkpoint(tmp_path / "nowhere") is None


def test_pruning_keeps_the_newest_and_clears_what_was_left_unfinished(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step=step)
    (tmp_path / ".ckpt-5.123").mkdir()
    (tmp_path / ".ckpt-5.123" / "model.weights.h5").write_bytes(b"half")
    (tmp_path / ".ckpt-1.removed").mkdir()
    (tmp_path / ".ckpt-1.removed" / "state.json").write_text("")
    removed = store.prune_checkpoints(tmp_path, keep=2)
    assert removed == [tmp_path / "ckpt-1", tmp_path / "ckpt-2"]
    assert sorted(os.listdir(tmp_path)) == ["ckpt-3", "ckpt-4"]
    store.prune_checkpoints(tmp_path, keep=0)
    assert os.listdir(tmp_path) == ["ckpt-4"]


def publish(monkeypatch, home, **folders):
    """Copies of one checkpoint in LUMI_HOME: folder name -> metadata."""
    monkeypatch.setenv("LUMI_HOME", str(home))
    for name, metadata in folders.items():
        folder, _, _ = save(home / "checkpoints", step=1)
        (folder / "metadata.json").write_text(json.dumps(metadata))
        folder.rename(folder.with_name(name))


def test_finding_checkpoints_by_folder(tmp_path):
    save(tmp_path / "run", step=1)
    newest, _, _ = save(tmp_path / "run", step=2)
    assert store.find_checkpoint(tmp_path / "run") == newest
    assert store.find_checkpoint(str(tmp_path / "run" / "ckpt-1")) == tmp_path / "run" / "ckpt-1"


def test_finding_published_checkpoints_by_id_and_alias(tmp_path, monkeypatch):
    publish(
        monkeypatch,
        tmp_path,
        aaa111={"alias": "street", "created": "2024-01-01T00:00:00+00:00"},
        bbb222={"alias": "street", "created": "2025-01-01T00:00:00+00:00"},
    )
    assert store.find_checkpoint("aaa111") == tmp_path / "checkpoints" / "aaa111"
    assert store.find_checkpoint("street") == tmp_path / "checkpoints" / "bbb222"  # the newer of two


def test_a_name_comes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path, aaa111={"alias": "street"})
    save(tmp_path / "street", step=4)
    monkeypatch.chdir(tmp_path)
    assert store.find_checkpoint("street").name == "aaa111"
    assert store.find_checkpoint("./street").name == "ckpt-4"


def test_what_cannot_be_found_lists_what_there_is(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path, aaa111={"alias": "street"})
    with pytest.raises(CheckpointError, match=r"no checkpoint `nope`: .* available: .*street"):
        store.find_checkpoint("nope")
    with pytest.raises(
        CheckpointError,
        match=r"`accurate` has to be converted .*fpn_v2_coco-dd69338a.pth`; available: .*street",
    ):
        store.find_checkpoint("accurate")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty holds no checkpoint: looked for model.weights.h5"):
        store.find_checkpoint(tmp_path / "empty")


def test_run_folder_names_itself_after_the_data_set():
    def folder(**dataset):
        return str(store.run_folder(config_from_dict({"dataset": dataset})))

    assert folder(dir="datasets/voc/tf") == "jobs/voc-tf-fasterrcnn"
    assert folder(dir="/data/toytown/") == "jobs/toytown-fasterrcnn"
    named = config_from_dict({"train": {"job_dir": "x", "run_name": "y"}, "dataset": {"dir": "d"}})
    assert str(store.run_folder(named)) == "x/y"


@pytest.fixture
def tiny_build(monkeypatch):
    monkeypatch.setattr("luminoth.models.build.build_model", lambda config, num_classes, **_: TinyDetector(num_classes))


def test_loading_a_model(tmp_path, tiny_build):
    folder, model, _ = save(tmp_path)
    loaded = store.load_model(folder)
    assert (loaded.classes, loaded.step, loaded.folder) == (CLASSES, 3, folder)
    images = tf.fill([1, 20, 20, 3], 100.0)
    sizes = tf.constant([[20, 20]])
    np.testing.assert_array_equal(
        loaded.model.detect(images, sizes).boxes.numpy(), model.detect(images, sizes).boxes.numpy()
    )
    with pytest.raises(CheckpointError, match=r"config.yml: no such file"):
        store.load_model(tmp_path)


@pytest.mark.parametrize("half", [False, True])
def test_publishing(tmp_path, tiny_build, half):
    folder, model, _ = save(tmp_path)
    destination = tmp_path / "published"
    store.export_embedded(folder, destination, {"id": "abc", "alias": "tiny"}, half=half)

    with h5py.File(destination / "model.weights.h5") as file:
        assert "optimizer" not in file
        assert file["weights/head/kernel"].dtype == (np.float16 if half else np.float32)
    loaded = store.load_model(destination)
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
        store.restore(destination, loaded.model, optimizer_for(loaded.model))
    with pytest.raises(OutputError, match="exists already"):
        store.export_embedded(folder, destination, {})


def test_halves_that_would_overflow_stay_whole(tmp_path, tiny_build):
    folder, _, _ = save(tmp_path)
    damage(folder, lambda file: move(file, "head/bias", np.array([1e5, 0, 0, 0], np.float32)))
    store.export_embedded(folder, tmp_path / "published", {}, half=True)
    assert store.load_model(tmp_path / "published").model.head.bias.numpy()[0] == 1e5


def test_listing_and_finding_import_no_tensorflow(tmp_path):
    save(tmp_path)
    code = (
        "import sys; from luminoth.checkpoints import store;"
        "store.find_checkpoint(sys.argv[1]); store.list_checkpoints(sys.argv[1]);"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'h5py')))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 0
