from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.mobilenet import MobileNetV3
from luminoth.checkpoints.convert.golden import uniform
from luminoth.errors import ModelError
from luminoth.models.base import named_weights
from tests.goldens.golden import rebuilt_state

GOLDENS = Path(__file__).parents[1] / "goldens" / "torchvision"
PARTS = ("expand", "depthwise", "squeeze", "excite", "project")

# torchvision 0.28 (torch 2.13, float64), body of fasterrcnn_mobilenet_v3_large_fpn with the goldens' weights: L2 norms
# of features.0 ... features.16 for uniform("pixels", (1, 37, 50, 3)), and samples of the two maps its pyramid takes.
# fmt: off
TORCHVISION_NORMS = (
    38.249, 71.8454, 57.0928, 104.6928, 59.8335, 73.9464, 88.8408, 91.1057, 127.4428, 215.3932, 389.7999, 459.1408,
    622.5943, 271.7539, 310.175, 327.9169, 812.1134,
)
# fmt: on
TORCHVISION_BLOCK13 = [  # [::60] of the channels
    [[13.787598, -2.684997, -9.022384], [5.617254, 6.671153, -21.481869]],
    [[14.112687, 3.776558, -10.997172], [14.189889, -4.173346, -11.952407]],
]
TORCHVISION_LAST = [  # [::300] of the channels
    [[2.131919, 16.372282, 34.466729, 8.449969], [0.0, -0.374282, 34.390721, -0.366172]],
    [[4.166242, 0.0, 34.37587, 0.0], [0.0, 0.0, 26.054819, 0.0]],
]


def convolutions(model):
    """All convolutions in torchvision's order."""
    inside = [getattr(block, part) for block in model.blocks for part in PARTS]
    return [conv for conv in (model.stem, *inside, model.last) if conv is not None]


def variables_of(conv):
    if hasattr(conv, "bias"):
        return [conv.kernel, conv.bias]
    return [conv.kernel, conv.gamma, conv.beta, conv.moving_mean, conv.moving_variance]


def randomise(model, seed=0):
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        if variable.name == "kernel":
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(0, (2 / fan_in) ** 0.5, variable.shape))
        else:
            low, high = (0.6, 1.2) if variable.name in ("gamma", "moving_variance") else (-0.3, 0.3)
            variable.assign(rng.uniform(low, high, variable.shape))


def test_every_map_equals_torchvision():
    everything = ("stem", *(f"block{number}" for number in range(1, 16)), "last")
    model = MobileNetV3(outputs=everything)
    state = rebuilt_state(GOLDENS / "fasterrcnn_mobilenet_v3_large_fpn.json")
    names = [name for name in state if name.startswith("backbone.body.") and not name.endswith("num_batches_tracked")]
    ours = [variable for conv in convolutions(model) for variable in variables_of(conv)]
    for variable, name in zip(ours, names, strict=True):
        variable.assign(state[name].transpose(2, 3, 1, 0) if state[name].ndim == 4 else state[name])

    maps = tf.function(model, autograph=False)(uniform("pixels", (1, 37, 50, 3)))
    np.testing.assert_allclose([np.linalg.norm(features) for features in maps], TORCHVISION_NORMS, rtol=1e-4)
    np.testing.assert_allclose(maps[13][0, :, :, ::60], TORCHVISION_BLOCK13, atol=1e-3)
    np.testing.assert_allclose(maps[16][0, :, :, ::300], TORCHVISION_LAST, atol=1e-3)


def by_hand(block, features, stride, activation, residual):
    """A block on one map [H, W, C], in NumPy, written from the paper's figures 3 and 4."""

    def norm(conv, values):
        scale = conv.gamma.numpy() / np.sqrt(conv.moving_variance.numpy() + 1e-5)
        return (values - conv.moving_mean.numpy()) * scale + conv.beta.numpy()

    expanded = activation(norm(block.expand, features @ block.expand.kernel.numpy()[0, 0]))
    kernel = block.depthwise.kernel.numpy()[:, :, 0]
    size = len(kernel)
    padded = np.pad(expanded, [(size // 2, size // 2)] * 2 + [(0, 0)])
    rows, columns = range(0, features.shape[0], stride), range(0, features.shape[1], stride)
    looked = [[(padded[y : y + size, x : x + size] * kernel).sum((0, 1)) for x in columns] for y in rows]
    hidden = activation(norm(block.depthwise, np.array(looked)))
    if block.squeeze is not None:
        squeezed = hidden.mean((0, 1)) @ block.squeeze.kernel.numpy()[0, 0] + block.squeeze.bias.numpy()
        excited = np.maximum(squeezed, 0) @ block.excite.kernel.numpy()[0, 0] + block.excite.bias.numpy()
        hidden = hidden * np.clip(excited / 6 + 0.5, 0, 1)
    projected = norm(block.project, hidden @ block.project.kernel.numpy()[0, 0])
    return expanded, projected + features if residual else projected


def hard_swish(values):
    return values * np.clip(values + 3, 0, 6) / 6


def relu(values):
    return np.maximum(values, 0)


@pytest.mark.parametrize(
    ("number", "stride", "activation", "residual"),
    [
        (2, 2, relu, False),
        (3, 1, relu, True),
        (5, 1, relu, True),
        (10, 1, hard_swish, True),
        (11, 1, hard_swish, False),
        (13, 2, hard_swish, False),
    ],
)
@pytest.mark.parametrize("size", [(71, 100), (64, 90)])
def test_block_by_hand(number, stride, activation, residual, size):
    model = MobileNetV3(outputs=(f"block{number - 1}", f"block{number}/expand", f"block{number}"))
    randomise(model)
    before, expanded, after = model(np.random.default_rng(1).normal(size=(1, *size, 3)).astype(np.float32))
    hand = by_hand(model.group(f"block{number}"), before.numpy()[0], stride, activation, residual)
    np.testing.assert_allclose(expanded[0], hand[0], atol=1e-4 * hand[0].std())
    np.testing.assert_allclose(after[0], hand[1], atol=1e-4 * hand[1].std())


def test_maps_strides_and_channels_at_odd_sizes():
    outputs = ("block3", "block6", "block12", "block13/expand", "block13", "last")
    model = MobileNetV3(outputs=outputs)
    assert model.strides == (4, 8, 16, 16, 32, 32)
    assert model.out_channels == (24, 40, 112, 672, 160, 960)
    for height, width in ((97, 131), (64, 65), (33, 1)):
        maps = model(tf.zeros((2, height, width, 3)))
        for features, stride, channels in zip(maps, model.strides, model.out_channels, strict=True):
            assert features.shape == (2, -(-height // stride), -(-width // stride), channels)


def count(variables):
    return sum(int(np.prod(variable.shape)) for variable in variables)


def test_parameters_and_names_are_torchvisions():
    model = MobileNetV3(train_norm=True, weight_decay=0.1)
    assert count(model.trainable_variables) == 2_971_952
    assert count(model.non_trainable_variables) == 24_400  # moving statistics
    assert model.strides == (32, 32)
    assert model.out_channels == (160, 960)
    assert model.groups == ("stem", *(f"block{number}" for number in range(1, 16)), "last")
    names = named_weights(model).keys()
    assert {"stem/kernel", "block1/depthwise/kernel", "last/moving_mean"} <= names
    assert {f"block4/{part}/kernel" for part in PARTS} <= names
    assert {"block4/squeeze/bias", "block4/excite/bias"} <= names
    assert not any(name.startswith(("block1/expand", "block7/squeeze")) for name in names)
    assert model.group("block4").depthwise.kernel.shape == (5, 5, 1, 72)
    assert len(model.losses) == len(convolutions(model))  # each kernel decays


def test_reduced_tail_is_ssdlites():
    model = MobileNetV3(outputs=("block13/expand", "last"), reduced_tail=True, train_norm=True, norm_epsilon=1e-3)
    assert model.strides == (16, 32)
    assert model.out_channels == (672, 480)
    assert count(model.trainable_variables) == 1_620_512
    fine, coarse = model(tf.zeros((1, 320, 320, 3)))
    assert fine.shape == (1, 20, 20, 672)
    assert coarse.shape == (1, 10, 10, 480)


def test_what_no_map_needs_is_not_made():
    model = MobileNetV3(outputs=("block12",))
    assert model.group("block12") is not None
    assert model.group("block13") is None
    assert model.group("last") is None


def test_gradients_reach_every_weight_in_a_graph():
    model = MobileNetV3(train_norm=True)
    pixels = np.random.default_rng(1).normal(size=(2, 70, 97, 3)).astype(np.float32)

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean(features**2) for features in model(pixels, training=True)])
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    largest = [float(tf.reduce_max(tf.abs(gradient))) for gradient in gradients()]
    assert np.isfinite(largest).all()
    assert min(largest) > 0


def test_pixels_are_imagenets():
    mean_pixel = np.array([[[[0.485, 0.456, 0.406]]]], np.float32) * 255
    one_std_more = mean_pixel + np.array([0.229, 0.224, 0.225], np.float32) * 255
    pixels = MobileNetV3(outputs=("stem",)).pixels
    np.testing.assert_allclose(pixels(mean_pixel), np.zeros((1, 1, 1, 3)), atol=1e-5)
    np.testing.assert_allclose(pixels(one_std_more), np.ones((1, 1, 1, 3)), atol=1e-5)


@pytest.mark.parametrize("outputs", [("block16",), ("block13", "C5"), ("block1/expand",), ()])
def test_unknown_outputs_are_refused(outputs):
    with pytest.raises(ModelError, match=r"MobileNetV3 has no output .*choose from stem, block1 \.\.\. block15"):
        MobileNetV3(outputs=outputs)
