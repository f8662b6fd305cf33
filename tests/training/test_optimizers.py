import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from luminoth.config import config_from_dict
from luminoth.training.optimizers import clip_gradients, make_learning_rate, make_optimizer


def learning_rate(settings, total_steps=100, **warmup):
    config = config_from_dict({"train": {"learning_rate": settings}})
    return make_learning_rate(config.train.learning_rate, total_steps=total_steps, **warmup)


def optimizer_settings(**settings):
    return config_from_dict({"train": {"optimizer": settings}}).train.optimizer


def test_constant_rate():
    rate = learning_rate({"learning_rate": 0.3})
    assert [rate(0), rate(99), rate(10_000)] == [0.3, 0.3, 0.3]


def test_piecewise_rate_changes_after_its_boundaries():
    rate = learning_rate({"decay_method": "piecewise_constant", "boundaries": [10, 20], "values": [1.0, 0.1, 0.01]})
    assert [rate(step) for step in (0, 10, 11, 20, 21, 500)] == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_exponential_rate_halves_every_ten_steps():
    settings = {"decay_method": "exponential_decay", "learning_rate": 0.8, "decay_steps": 10, "decay_rate": 0.5}
    rate = learning_rate(settings)
    assert [rate(0), rate(10), rate(30)] == pytest.approx([0.8, 0.4, 0.1])
    assert rate(5) == pytest.approx(0.8 * math.sqrt(0.5))
    stairs = learning_rate({**settings, "staircase": True})
    assert [stairs(0), stairs(9), stairs(10), stairs(19)] == pytest.approx([0.8, 0.8, 0.4, 0.4])


def test_polynomial_rate_ends_and_stays():
    rate = learning_rate(
        {
            "decay_method": "polynomial_decay",
            "learning_rate": 1.0,
            "decay_steps": 10,
            "end_learning_rate": 0.2,
            "power": 2.0,
        }
    )
    assert [rate(0), rate(5), rate(10), rate(11)] == pytest.approx([1.0, 0.8 * 0.25 + 0.2, 0.2, 0.2])


def test_cosine_rate_spans_the_run_unless_it_says_how_long():
    settings = {"decay_method": "cosine_decay", "learning_rate": 1.0, "end_learning_rate": 0.5}
    whole = learning_rate(settings, total_steps=100)
    assert [whole(0), whole(50), whole(100)] == pytest.approx([1.0, 0.75, 0.5])
    assert whole(25) == pytest.approx(0.75 + 0.25 * math.sqrt(0.5))
    short = learning_rate({**settings, "decay_steps": 10}, total_steps=100)
    assert [short(5), short(10), short(90)] == pytest.approx([0.75, 0.5, 0.5])


def test_warmup_rises_linearly_to_the_schedule():
    rate = learning_rate({"learning_rate": 0.4}, warmup_steps=4, warmup_factor=0.1)
    assert [rate(step) for step in range(5)] == pytest.approx([0.04, 0.13, 0.22, 0.31, 0.4])
    decayed = learning_rate(
        {"decay_method": "exponential_decay", "learning_rate": 1.0, "decay_steps": 1, "decay_rate": 0.5},
        warmup_steps=2,
        warmup_factor=0.5,
    )
    assert [decayed(0), decayed(1), decayed(2)] == pytest.approx([0.5, 0.75 * 0.5, 0.25])


GRADIENTS = ([1.0, -2.0], [0.5, 4.0], [-1.0, 0.25])
RATES = (0.1, 0.2, 0.05)


def updated(settings, start=(1.0, 2.0)):
    """What three updates with the gradients and rates above make of a vector."""
    variable = keras.Variable(np.array([start], np.float32))
    optimizer = make_optimizer(settings, [variable])
    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        optimizer.learning_rate.assign(rate)
        optimizer.apply([tf.constant([gradient])], [variable])
    return variable.numpy()[0]


def replayed(update, start=(1.0, 2.0)):
    """The same by a formula: `update(step from 1, gradient, rate, weights, memory) -> weights`."""
    weights, memory = np.array(start), {}
    for step, (gradient, rate) in enumerate(zip(GRADIENTS, RATES, strict=True), start=1):
        weights = update(step, np.array(gradient), rate, weights, memory)
    return weights


def test_gradient_descent():
    expected = replayed(lambda step, gradient, rate, weights, memory: weights - rate * gradient)
    np.testing.assert_allclose(updated(optimizer_settings(type="gradient_descent")), expected, rtol=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum(nesterov):
    def update(step, gradient, rate, weights, memory):
        memory["v"] = velocity = 0.8 * memory.get("v", 0.0) - rate * gradient
        return weights + (0.8 * velocity - rate * gradient if nesterov else velocity)

    settings = optimizer_settings(type="momentum", momentum=0.8, nesterov=nesterov)
    np.testing.assert_allclose(updated(settings), replayed(update), rtol=1e-6)


def adam(decay):
    def update(step, gradient, rate, weights, memory):
        weights = weights - rate * decay * weights
        memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * gradient
        memory["v"] = 0.99 * memory.get("v", 0.0) + 0.01 * gradient**2
        mean, square = memory["m"] / (1 - 0.9**step), memory["v"] / (1 - 0.99**step)
        return weights - rate * mean / (np.sqrt(square) + 1e-8)

    return update


def test_adam():
    settings = optimizer_settings(type="adam", beta1=0.9, beta2=0.99)
    np.testing.assert_allclose(updated(settings), replayed(adam(0.0)), rtol=1e-5)


def test_adamw_decays_kernels_but_not_biases():
    settings = optimizer_settings(type="adamw", beta1=0.9, beta2=0.99, weight_decay=0.3)
    np.testing.assert_allclose(updated(settings), replayed(adam(0.3)), rtol=1e-5)

    bias = keras.Variable(np.array([1.0, 2.0], np.float32))
    optimizer = make_optimizer(settings, [bias])
    optimizer.learning_rate.assign(0.1)
    optimizer.apply([tf.zeros([2])], [bias])
    np.testing.assert_array_equal(bias.numpy(), [1.0, 2.0])


def test_rmsprop():
    def update(step, gradient, rate, weights, memory):
        memory["v"] = 0.7 * memory.get("v", 0.0) + 0.3 * gradient**2
        return weights - rate * gradient / np.sqrt(memory["v"] + 1e-10)

    settings = optimizer_settings(type="rmsprop", decay=0.7)
    np.testing.assert_allclose(updated(settings), replayed(update), rtol=1e-5)


def test_an_unknown_optimizer_names_the_known_ones():
    with pytest.raises(Exception, match=r"train.optimizer.type: 'lion' is not one of momentum, adam"):
        make_optimizer(SimpleNamespace(type="lion"), [])


# Norms 5 and 12, together 13.
LONG = [tf.constant([3.0, 4.0]), tf.constant([12.0])]


def clipped(**limits):
    gradients, norm = clip_gradients(LONG, **{"by_norm": None, "by_global_norm": None, **limits})
    assert float(norm) == pytest.approx(13.0)
    return [gradient.numpy().tolist() for gradient in gradients]


def test_clipping_each_gradient():
    assert clipped(by_norm=6.0) == [[3.0, 4.0], [6.0]]


def test_clipping_all_together():
    assert clipped(by_global_norm=6.5) == [pytest.approx([1.5, 2.0]), pytest.approx([6.0])]
    assert clipped(by_global_norm=20.0) == [[3.0, 4.0], [12.0]]


def test_clipping_first_each_then_all():
    # 5 -> 5, 12 -> 5: together 5 * sqrt(2), halved to 5 / sqrt(2)
    shorter = 1 / math.sqrt(2)
    expected = [pytest.approx([3 * shorter, 4 * shorter]), pytest.approx([5 * shorter])]
    assert clipped(by_norm=5.0, by_global_norm=5.0) == expected


def test_no_clipping():
    assert clipped() == [[3.0, 4.0], [12.0]]
