import json
import os

import numpy as np
import pytest

from luminoth.checkpoints import runs
from luminoth.checkpoints.folder import read_checkpoint_classes
from luminoth.config import config_from_dict, load_config
from luminoth.errors import CheckpointError, OutputError
from luminoth.models.base import named_weights
from tests.checkpoints.tiny_run import damage, move, optimizer_for, save
from tests.training.tiny import CLASSES, TinyDetector


def test_round_trip_of_weights_statistics_and_optimizer(tmp_path):
    folder, model, optimizer = save(tmp_path)
    other = TinyDetector()
    other_optimizer = optimizer_for(other)

    state = runs.restore(folder, other, other_optimizer)

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
    assert read_checkpoint_classes(folder) == CLASSES
    assert load_config([folder / "config.yml"]).train.seed == 9


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
        runs.restore(folder, other)
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
        runs.restore(folder, TinyDetector())


def test_a_model_of_another_width_is_refused(tmp_path):
    folder, _, _ = save(tmp_path)
    with pytest.raises(CheckpointError, match="have another shape"):
        runs.restore(folder, TinyDetector(width=6))
    other = TinyDetector(width=6)  # its optimizer does not fit either, but that is not what is wrong
    with pytest.raises(CheckpointError, match="have another shape"):
        runs.restore(folder, other, optimizer_for(other))


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_a_weights_file_cut_short_is_called_damaged(tmp_path, length):
    folder, _, _ = save(tmp_path)
    with open(folder / runs.WEIGHTS_FILE, "r+b") as file:
        file.truncate(length)
    with pytest.raises(CheckpointError, match=r"model.weights.h5: damaged"):
        runs.restore(folder, TinyDetector())


def test_optimizer_state_must_belong_to_the_optimizer(tmp_path):
    folder, _, _ = save(tmp_path)
    model = TinyDetector()
    with pytest.raises(CheckpointError, match="trained with the optimizer Momentum, now it is Adam"):
        runs.restore(folder, model, optimizer_for(model, type="adam"))
    with pytest.raises(CheckpointError, match=r"optimizer's state has \d+ tensors that do not fit"):
        runs.restore(folder, model, optimizer_for(model, type="momentum", momentum=0.0))
    model.head.trainable = False
    with pytest.raises(CheckpointError, match=r"no longer: head/kernel, head/bias; newly: none"):
        runs.restore(folder, model, optimizer_for(model))


def test_files_of_two_checkpoints_mixed_up_are_noticed(tmp_path):
    folder, _, _ = save(tmp_path)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "step": 4}))
    with pytest.raises(CheckpointError, match=r"of step 3, state.json of step 4"):
        runs.restore(folder, TinyDetector())


def test_a_checkpoint_from_the_future_is_refused(tmp_path):
    folder, _, _ = save(tmp_path)
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(CheckpointError, match="update Luminoth"):
        runs.restore(folder, TinyDetector())
    (folder / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"state.json: cannot be read"):
        runs.restore(folder, TinyDetector())


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    model = TinyDetector()
    model.head.bias.assign([1.0, np.nan, 0.0, 0.0])
    with pytest.raises(CheckpointError, match=r"not saved, NaN or infinity in head/bias"):
        runs.save_checkpoint(
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
    runs.restore(folder, other)
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

    monkeypatch.setattr(runs, "write_weights_file", full)
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
    assert [step for step, _ in runs.list_checkpoints(tmp_path)] == [9, 10, 100]
    assert runs.latest_checkpoint(tmp_path) == tmp_path / "ckpt-100"
    assert runs.list_checkpoints(tmp_path / "nowhere") == []
    assert runs.latest_checkpoint(tmp_path / "nowhere") is None


def test_pruning_keeps_the_newest_and_clears_what_was_left_unfinished(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, step=step)
    (tmp_path / ".ckpt-5.123").mkdir()
    (tmp_path / ".ckpt-5.123" / "model.weights.h5").write_bytes(b"half")
    (tmp_path / ".ckpt-1.removed").mkdir()
    (tmp_path / ".ckpt-1.removed" / "state.json").write_text("")
    removed = runs.prune_checkpoints(tmp_path, keep=2)
    assert removed == [tmp_path / "ckpt-1", tmp_path / "ckpt-2"]
    assert sorted(os.listdir(tmp_path)) == ["ckpt-3", "ckpt-4"]
    runs.prune_checkpoints(tmp_path, keep=0)
    assert os.listdir(tmp_path) == ["ckpt-4"]


def test_run_folder_names_itself_after_the_data_set():
    def folder(**dataset):
        return str(runs.run_folder(config_from_dict({"dataset": dataset})))

    assert folder(dir="datasets/voc/tf") == "jobs/voc-tf-fasterrcnn"
    assert folder(dir="/data/toytown/") == "jobs/toytown-fasterrcnn"
    named = config_from_dict({"train": {"job_dir": "x", "run_name": "y"}, "dataset": {"dir": "d"}})
    assert str(runs.run_folder(named)) == "x/y"
