import keras
import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.layers import Conv
from luminoth.models.base import named_weights
from luminoth.training.update.moving_average import MovingAverage
from tests.training.tiny import TinyDetector


class OneWeight(keras.Model):
    """A weight that a test sets."""

    def __init__(self):
        super().__init__()
        self.conv = Conv(1, 2, norm=True, train_norm=True, name="conv")
        self.frozen = Conv(1, 2, name="frozen")
        self.frozen.trainable = False
        self.built = True


def averages_of(values, decay, update=None):
    """What the averages of a weight are after each of the values it takes."""
    model = OneWeight()
    average = MovingAverage(model, decay)
    found = []
    for value in values:
        model.conv.gamma.assign([value, -value])
        average.update() if update is None else update(average)
        found.append(average.variables["averages/conv/gamma"].numpy().tolist())
    return np.array(found)


def expected_averages(values, decay):
    average, found = 123.0, []
    for n, value in enumerate(values):
        d = min(decay, n / (n + 9))
        average = d * average + (1 - d) * value
        found.append([average, -average])
    return np.array(found)


VALUES = [3.0, 1.0, 5.0, -2.0, 0.5, 4.0]


@pytest.mark.parametrize("decay", [0.9998, 0.2, 0.0])
def test_averages_follow_the_formula(decay):
    np.testing.assert_allclose(averages_of(VALUES, decay), expected_averages(VALUES, decay), rtol=1e-5)


def test_they_follow_it_inside_a_compiled_step():
    def update(average):
        tf.function(average.update, autograph=False)()

    np.testing.assert_allclose(averages_of(VALUES, 0.3, update), expected_averages(VALUES, 0.3), rtol=1e-5)


def test_a_long_run_forgets_as_the_decay_says():
    values = np.random.default_rng(1).normal(size=60)
    np.testing.assert_allclose(averages_of(values, 0.8), expected_averages(values, 0.8), rtol=1e-4, atol=1e-6)


def test_what_training_changes_is_averaged_and_nothing_else():
    names = MovingAverage(OneWeight(), 0.9).variables
    assert set(names) == {
        "averages/conv/kernel",
        "averages/conv/gamma",
        "averages/conv/beta",
        "averages/conv/moving_mean",
        "averages/conv/moving_variance",
        "moving_average/updates",
    }


def test_a_weight_that_does_not_change_equals_its_average_to_the_last_bit():
    model = OneWeight()
    model.conv.gamma.assign([1 / 3, 0.1])
    average = MovingAverage(model, 0.9998)
    for _ in range(5):
        average.update()
    np.testing.assert_array_equal(average.variables["averages/conv/gamma"].numpy(), model.conv.gamma.numpy())


def test_swapped_weights_come_back_to_the_last_bit_also_after_an_error():
    model = TinyDetector()
    average = MovingAverage(model, 0.9)
    random = np.random.default_rng(0)
    for _ in range(3):
        for weight in model.variables:
            weight.assign(random.normal(size=weight.shape))
        average.update()
    before = {name: weight.numpy() for name, weight in named_weights(model).items()}
    averaged = {name: variable.numpy() for name, variable in average.variables.items()}

    def evaluate():
        with average.swapped():
            for name, weight in named_weights(model).items():
                np.testing.assert_array_equal(weight.numpy(), averaged[f"averages/{name}"], err_msg=name)
            raise KeyError

    with pytest.raises(KeyError):
        evaluate()
    for name, weight in named_weights(model).items():
        np.testing.assert_array_equal(weight.numpy(), before[name], err_msg=name)
    for name, variable in average.variables.items():
        np.testing.assert_array_equal(variable.numpy(), averaged[name], err_msg=name)


def test_there_is_nothing_to_swap_before_the_first_update():
    model = OneWeight()
    average = MovingAverage(model, 0.9)
    model.conv.gamma.assign([7.0, 8.0])  # as loading a checkpoint does
    with average.swapped():
        assert model.conv.gamma.numpy().tolist() == [7.0, 8.0]


def test_every_device_of_a_strategy_has_the_averages():
    """Updated outside of the replicas, in a branch as well, and inside of them."""
    devices = [device.name for device in tf.config.list_logical_devices("CPU")][:2]
    strategy = tf.distribute.MirroredStrategy(devices)
    with strategy.scope():
        model = OneWeight()
        average = MovingAverage(model, 0.3)

    def assign(value):
        model.conv.gamma.assign(tf.stack([value, -value]))

    @tf.function(autograph=False)
    def outside(value):
        assign(value)
        average.update()

    @tf.function(autograph=False)
    def in_a_branch(value):
        assign(value)
        tf.cond(value < 100.0, lambda: (average.update(), value)[1], lambda: value)

    @tf.function(autograph=False)
    def inside(value):
        assign(value)
        strategy.run(average.update)

    found = []
    for value, update in zip(VALUES, 2 * (outside, in_a_branch, inside), strict=True):
        update(tf.constant(value))
        copies = strategy.experimental_local_results(average.variables["averages/conv/gamma"])
        assert len(copies) == len(devices)
        for copy in copies[1:]:
            np.testing.assert_array_equal(copy.numpy(), copies[0].numpy())
        found.append(copies[-1].numpy())
    np.testing.assert_allclose(found, expected_averages(VALUES, 0.3), rtol=1e-5)
    with average.swapped():
        for copy in strategy.experimental_local_results(model.conv.gamma.value):
            np.testing.assert_array_equal(copy.numpy(), found[-1])
    assert model.conv.gamma.numpy().tolist() == [VALUES[-1], -VALUES[-1]]
