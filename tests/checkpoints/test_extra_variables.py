"""Moving averages and other variables beside the weights, in a file and on the way to whoever reads it."""

import h5py
import numpy as np
import pytest
import tensorflow as tf

from luminoth.checkpoints import runs
from luminoth.checkpoints.compare import compare_checkpoints
from luminoth.checkpoints.folder import WEIGHTS_FILE
from luminoth.checkpoints.publish import publish_checkpoint
from luminoth.checkpoints.transfer import transfer_weights
from luminoth.checkpoints.weights_file import read_averaged_weights, stored_groups
from luminoth.config import config_from_dict
from luminoth.errors import CheckpointError
from luminoth.models.base import named_weights
from luminoth.training.update.loss_scale import LossScale
from luminoth.training.update.moving_average import MovingAverage
from tests.checkpoints.tiny_run import damage, optimizer_for, randomise, save
from tests.training.tiny import CLASSES, TinyDetector


def make_state(seed):
    """Model, optimizer and further variables, all random."""
    model = TinyDetector()
    optimizer = optimizer_for(model)
    extra = {**MovingAverage(model, 0.9).variables, **LossScale().variables}
    randomise(model.variables, seed)
    randomise(optimizer.variables, seed + 1)
    random = np.random.default_rng(seed + 2)
    for variable in extra.values():
        variable.assign(tf.cast(random.uniform(1, 9, variable.shape), variable.dtype))
    return model, optimizer, extra


def save_state(run_dir, seed=1):
    model, optimizer, extra = make_state(seed)
    folder = runs.save_checkpoint(
        run_dir, 3, model=model, optimizer=optimizer, config=config_from_dict({}), classes=CLASSES, state={},
        extra=extra,
    )  # fmt: skip
    return folder, model, extra


def assert_equal(found, expected):
    for name, variable in expected.items():
        np.testing.assert_array_equal(found[name].numpy(), variable.numpy(), err_msg=name)


def test_training_goes_on_from_the_weights_and_their_averages(tmp_path):
    folder, model, extra = save_state(tmp_path)
    other, optimizer, other_extra = make_state(seed=7)
    assert runs.restore(folder, other, optimizer, extra=other_extra)["step"] == 3
    assert_equal(named_weights(other), named_weights(model))
    assert_equal(other_extra, extra)


def test_everyone_else_gets_the_averages(tmp_path):
    folder, model, extra = save_state(tmp_path)
    averages = {name: extra[f"averages/{name}"] for name in named_weights(model)}

    used = TinyDetector()
    assert runs.load_weights(folder, used)["step"] == 3
    assert_equal(named_weights(used), averages)

    finetuned = TinyDetector()
    assert set(transfer_weights(folder, finetuned, CLASSES).taken) == set(averages)
    assert_equal(named_weights(finetuned), averages)


def test_published_checkpoints_hold_the_averages_as_their_weights_and_nothing_else(tmp_path):
    folder, model, extra = save_state(tmp_path)
    published = publish_checkpoint(folder, {"id": "abc"}, tmp_path / "published")
    with h5py.File(published / WEIGHTS_FILE) as file:
        assert list(file) == ["weights"]
    used = TinyDetector()
    read_averaged_weights(published / WEIGHTS_FILE, named_weights(used))
    assert_equal(named_weights(used), {name: extra[f"averages/{name}"] for name in named_weights(model)})
    comparison = compare_checkpoints(folder, published)
    assert comparison.share_equal == 1.0


def test_weights_that_have_no_average_are_taken_as_they_are(tmp_path):
    folder, model, extra = save_state(tmp_path)
    damage(folder, lambda file: file.__delitem__("averages/head/bias"))
    used = TinyDetector()
    runs.load_weights(folder, used)
    np.testing.assert_array_equal(used.head.bias.numpy(), model.head.bias.numpy())
    np.testing.assert_array_equal(used.head.kernel.numpy(), extra["averages/head/kernel"].numpy())


def test_averages_that_were_never_made_are_no_averages(tmp_path):
    folder, model, _ = save_state(tmp_path)
    damage(folder, lambda file: file["moving_average/updates"].write_direct(np.zeros((), np.int64)))
    used = TinyDetector()
    runs.load_weights(folder, used)
    assert_equal(named_weights(used), named_weights(model))


def test_a_checkpoint_without_them_loads_as_before_and_leaves_them_alone(tmp_path):
    folder, model, _ = save(tmp_path)
    other, optimizer, extra = make_state(seed=7)
    before = {name: variable.numpy() for name, variable in extra.items()}
    runs.restore(folder, other, optimizer, extra=extra)
    assert_equal(named_weights(other), named_weights(model))
    for name, variable in extra.items():
        np.testing.assert_array_equal(variable.numpy(), before[name], err_msg=name)
    assert stored_groups(folder / WEIGHTS_FILE) == set()


def test_what_is_not_asked_for_is_left_unread(tmp_path):
    folder, model, extra = save_state(tmp_path)
    assert stored_groups(folder / WEIGHTS_FILE) == {"averages", "moving_average", "loss_scale"}
    other, optimizer, other_extra = make_state(seed=7)
    scale = {name: value for name, value in other_extra.items() if name.startswith("loss_scale/")}
    runs.restore(folder, other, optimizer, extra=scale)
    assert_equal(named_weights(other), named_weights(model))
    assert_equal(scale, {name: extra[name] for name in scale})


def test_a_group_that_does_not_fit_is_named_and_nothing_is_loaded(tmp_path):
    folder, _, _ = save_state(tmp_path)

    def change(file):
        del file["averages/head/bias"]
        file["averages/stranger"] = np.zeros(2, np.float32)

    damage(folder, change)
    other, optimizer, extra = make_state(seed=7)
    before = other.head.kernel.numpy()
    with pytest.raises(CheckpointError, match=r"missing: averages/head/bias; 1 are left over: averages/stranger"):
        runs.restore(folder, other, optimizer, extra=extra)
    with pytest.raises(CheckpointError, match=r"damaged; has averages of what are not its weights: stranger"):
        runs.load_weights(folder, other)
    np.testing.assert_array_equal(other.head.kernel.numpy(), before)


def test_averages_that_are_not_finite_are_never_saved(tmp_path):
    model, optimizer, extra = make_state(1)
    extra["averages/head/bias"].assign([1.0, np.nan, 0.0, 0.0])
    with pytest.raises(CheckpointError, match=r"NaN or infinity in averages/head/bias"):
        runs.save_checkpoint(
            tmp_path, 3, model=model, optimizer=optimizer, config=config_from_dict({}), classes=CLASSES, state={},
            extra=extra,
        )  # fmt: skip
