"""Weights of another detector: what fits is taken, outputs of classes go by their names."""

import json
import shutil

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.layers import Dense
from luminoth.checkpoints.folder import CLASSES_FILE, WEIGHTS_FILE
from luminoth.checkpoints.runs import save_checkpoint
from luminoth.checkpoints.transfer import find_start, transfer_weights
from luminoth.config import config_from_dict
from luminoth.errors import CheckpointError
from luminoth.models.faster_rcnn.box_head import BoxHead

OLD = ["car", "N/A", "bus", "person"]
NEW = ["person", "dog", "car"]
CONFIG = config_from_dict({"model": {"base_network": {"architecture": "resnet_v1_50"}}})


class Head(keras.Model):
    """As much of a detector as has names: something before, and a real box head."""

    def __init__(self, num_classes, width=3, hidden=5):
        super().__init__(name="head_only")
        self.backbone = Dense(width, width, name="backbone")
        self.box_head = BoxHead((1, 1, width), num_classes, layer_sizes=[hidden])


def save(folder, model, classes):
    optimizer = keras.optimizers.SGD()
    optimizer.build(model.trainable_variables)
    return save_checkpoint(folder, 1, model=model, optimizer=optimizer, config=CONFIG, classes=classes, state={})


@pytest.fixture
def checkpoint(tmp_path):
    keras.utils.set_random_seed(1)
    return save(tmp_path / "run", Head(len(OLD)), OLD)


def outputs(model, seed=0):
    """Class logits [R, C + 1] and deltas [R, C, 4] of a few made-up RoIs."""
    grids = tf.random.stateless_normal([1, 6, 1, 1, 3], [seed, 0])
    output = model.box_head(grids)
    return output.class_logits.numpy()[0], output.deltas.numpy()[0]


def test_outputs_of_equal_names_are_those_of_the_checkpoint(checkpoint):
    keras.utils.set_random_seed(1)
    old_logits, old_deltas = outputs(Head(len(OLD)))  # the same seed gives the weights that were saved
    keras.utils.set_random_seed(2)
    model = Head(len(NEW))
    own = model.box_head.classes.kernel.numpy()[:, 1]
    transfer = transfer_weights(checkpoint, model, NEW)

    logits, deltas = outputs(model)
    np.testing.assert_allclose(logits[:, [0, 2, 3]], old_logits[:, [3, 0, 4]], rtol=1e-6)  # person, car, background
    np.testing.assert_allclose(deltas[:, [0, 2]], old_deltas[:, [3, 0]], rtol=1e-6)
    np.testing.assert_array_equal(model.box_head.classes.kernel.numpy()[:, 1], own)  # dog starts anew
    assert (transfer.classes, transfer.new_classes) == (("person", "car"), ("dog",))
    assert transfer.describe() == [
        f"Weights of {checkpoint}: backbone 2 of 2 tensors, box head 2 of 2 tensors",
        "  outputs of the classes: person, car carried over by name; dog start anew",
    ]


def test_the_same_classes_in_another_order_are_all_carried_over(checkpoint):
    model = Head(3)
    transfer = transfer_weights(checkpoint, model, ["bus", "person", "car"])
    assert transfer.new_classes == ()
    assert transfer.describe()[1] == "  outputs of the classes: all 3 carried over by name"


def test_without_an_equal_name_the_outputs_stay_as_they_were(checkpoint):
    model = Head(2)
    before = [variable.numpy() for variable in (*model.box_head.classes.weights, *model.box_head.deltas.weights)]
    transfer = transfer_weights(checkpoint, model, ["dog", "N/A"])  # an unused class is no class
    after = [variable.numpy() for variable in (*model.box_head.classes.weights, *model.box_head.deltas.weights)]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert transfer.classes == ()
    assert transfer.describe()[1] == "  outputs of the classes: all 2 start anew, it knows none of them"
    np.testing.assert_array_equal(model.box_head.hidden[0].kernel.numpy().shape, (3, 5))


def test_what_has_another_shape_starts_anew_and_is_named(checkpoint):
    model = Head(len(OLD), hidden=6)
    before = model.box_head.classes.kernel.numpy()
    transfer = transfer_weights(checkpoint, model, OLD)
    np.testing.assert_array_equal(model.box_head.classes.kernel.numpy(), before)  # of other features
    lines = transfer.describe()
    assert lines[0].endswith("backbone 2 of 2 tensors, box head 0 of 2 tensors")
    assert lines[1] == "  start anew: box_head/fc1/kernel, box_head/fc1/bias"
    assert "box_head/fc1/kernel ([3, 5] there, [3, 6] here)" in lines[2]
    assert transfer.classes == ()


def test_another_architecture_is_an_error_and_changes_nothing(checkpoint):
    model = Head(len(OLD), width=4)
    before = [variable.numpy() for variable in model.variables]
    with pytest.raises(CheckpointError, match=r"nothing of its backbone fits .* \(resnet_v1_50\)\. Leave"):
        transfer_weights(checkpoint, model, OLD)
    for one, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(one, variable.numpy())


def test_halves_and_averages_are_taken(checkpoint):
    with h5py.File(checkpoint / WEIGHTS_FILE, "r+") as file:
        kernel = file["weights/backbone/kernel"][()]
        del file["weights/backbone/kernel"]
        file["weights/backbone/kernel"] = kernel.astype(np.float16)
        file["averages/backbone/bias"] = np.full(3, 7, np.float32)
    model = Head(len(OLD))
    transfer_weights(checkpoint, model, OLD)
    np.testing.assert_array_equal(model.backbone.kernel.numpy(), kernel.astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(model.backbone.bias.numpy(), [7, 7, 7])


def test_classes_that_do_not_belong_to_the_weights_carry_nothing_over(checkpoint):
    (checkpoint / CLASSES_FILE).write_text(json.dumps(["car", "person"]))
    assert transfer_weights(checkpoint, Head(1), ["car"]).classes == ()


def test_a_start_is_a_name_a_folder_or_a_weights_file_in_one(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("LUMI_HOME", str(tmp_path / "home"))
    assert find_start("toytown").name == "toytown"
    assert find_start(str(checkpoint)) == find_start(str(checkpoint.parent)) == checkpoint
    assert find_start(str(checkpoint / WEIGHTS_FILE)) == checkpoint
    alone = shutil.copy(checkpoint / WEIGHTS_FILE, tmp_path / "alone.h5")
    with pytest.raises(CheckpointError, match=r"lumi checkpoint convert .*alone\.h5"):
        find_start(str(alone))
    (tmp_path / "notes.pth").write_text("no weights")
    with pytest.raises(CheckpointError, match=r"notes\.pth"):
        find_start(str(tmp_path / "notes.pth"))
    with pytest.raises(CheckpointError, match="nowhere"):
        find_start("nowhere")
