import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from luminoth.config import config_from_dict
from luminoth.models.base import named_weights
from luminoth.training.preflight import _about_weight_decay
from luminoth.training.update.optimizers import clip_gradients, make_optimizer
from tests.models.tiny import tiny_model


def optimizer_settings(**settings):
    return config_from_dict({"train": {"optimizer": settings}}).train.optimizer


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
        memory["v"] = velocity = 0.8 * memory.get("v", 0.0) + gradient
        return weights - rate * (gradient + 0.8 * velocity if nesterov else velocity)

    settings = optimizer_settings(type="momentum", momentum=0.8, nesterov=nesterov)
    np.testing.assert_allclose(updated(settings), replayed(update), rtol=1e-6)


def test_momentum_of_zero_is_gradient_descent():
    expected = replayed(lambda step, gradient, rate, weights, memory: weights - rate * gradient)
    np.testing.assert_allclose(updated(optimizer_settings(type="momentum", momentum=0.0)), expected, rtol=1e-6)


def adam(decay=0.0, epsilon=1e-8):
    def update(step, gradient, rate, weights, memory):
        weights = weights - rate * decay * weights
        memory["m"] = 0.9 * memory.get("m", 0.0) + 0.1 * gradient
        memory["v"] = 0.99 * memory.get("v", 0.0) + 0.01 * gradient**2
        # TensorFlow 1's place of epsilon: beside the root that is not corrected yet.
        rate *= np.sqrt(1 - 0.99**step) / (1 - 0.9**step)
        return weights - rate * memory["m"] / (np.sqrt(memory["v"]) + epsilon)

    return update


@pytest.mark.parametrize("epsilon", [1e-8, 0.5])
def test_adam(epsilon):
    settings = optimizer_settings(type="adam", beta1=0.9, beta2=0.99, epsilon=epsilon)
    np.testing.assert_allclose(updated(settings), replayed(adam(epsilon=epsilon)), rtol=1e-5)


def test_adamw_decays_kernels_but_not_biases():
    settings = optimizer_settings(type="adamw", beta1=0.9, beta2=0.99, weight_decay=0.3)
    np.testing.assert_allclose(updated(settings), replayed(adam(0.3)), rtol=1e-5)

    bias = keras.Variable(np.array([1.0, 2.0], np.float32))
    optimizer = make_optimizer(settings, [bias])
    optimizer.learning_rate.assign(0.1)
    optimizer.apply([tf.zeros([2])], [bias])
    np.testing.assert_array_equal(bias.numpy(), [1.0, 2.0])


@pytest.mark.parametrize("settings", [{"type": "adamw", "weight_decay": 0.5}, {"type": "momentum"}])
def test_nothing_of_a_model_decays_but_kernels(settings):
    """Of the model's own penalties and the optimizer's together, with gradients of nothing else."""
    model = tiny_model()
    before = {name: weight.numpy() for name, weight in named_weights(model).items()}
    optimizer = make_optimizer(optimizer_settings(**settings), model.trainable_variables)
    optimizer.learning_rate.assign(0.1)
    with tf.GradientTape() as tape:
        loss = model.regularization_loss()
    gradients = tape.gradient(
        loss, [weight.value for weight in model.trainable_variables], unconnected_gradients="zero"
    )
    optimizer.apply(gradients, model.trainable_variables)
    shrunk = {name for name, weight in named_weights(model).items() if (weight.numpy() != before[name]).any()}
    assert shrunk == {name for name in before if name.endswith("/kernel")}


@pytest.mark.parametrize("epsilon", [1e-10, 0.5])
@pytest.mark.parametrize("momentum", [0.0, 0.6])
@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop(epsilon, momentum, centered):
    def update(step, gradient, rate, weights, memory):
        memory["v"] = 0.7 * memory.get("v", 0.0) + 0.3 * gradient**2
        memory["g"] = 0.7 * memory.get("g", 0.0) + 0.3 * gradient
        variance = memory["v"] - (memory["g"] ** 2 if centered else 0.0)
        memory["u"] = momentum * memory.get("u", 0.0) + rate * gradient / np.sqrt(variance + epsilon)
        return weights - memory["u"]

    settings = optimizer_settings(type="rmsprop", decay=0.7, momentum=momentum, epsilon=epsilon, centered=centered)
    np.testing.assert_allclose(updated(settings), replayed(update), rtol=1e-5)


EVERY_OPTIMIZER = (
    {"type": "gradient_descent"},
    {"type": "momentum"},
    {"type": "momentum", "nesterov": True},
    {"type": "adam"},
    {"type": "adamw", "weight_decay": 0.3},
    {"type": "rmsprop", "momentum": 0.5},
)


@pytest.mark.parametrize("settings", EVERY_OPTIMIZER, ids=lambda settings: "-".join(map(str, settings.values())))
def test_a_multiplied_rate_updates_as_an_optimizer_of_that_rate_does(settings):
    """In a compiled step, one weight beside another of its own rate."""
    starts = ([[1.0, 2.0]], [[3.0, -1.0]])
    multipliers = (0.25, 1.0)
    together = [keras.Variable(np.array(start, np.float32)) for start in starts]
    optimizer = make_optimizer(optimizer_settings(**settings), together, multipliers)

    @tf.function(autograph=False)
    def step(gradient, rate):
        optimizer.learning_rate.assign(rate)
        optimizer.apply([gradient, -gradient], together)

    for gradient, rate in zip(GRADIENTS, RATES, strict=True):
        step(tf.constant([gradient]), tf.constant(rate))
    for weight, start, multiplier, sign in zip(together, starts, multipliers, (1, -1), strict=True):
        alone = keras.Variable(np.array(start, np.float32))
        reference = make_optimizer(optimizer_settings(**settings), [alone])
        for gradient, rate in zip(GRADIENTS, RATES, strict=True):
            reference.learning_rate.assign(multiplier * rate)
            reference.apply([sign * tf.constant([gradient])], [alone])
        np.testing.assert_allclose(weight.numpy(), alone.numpy(), rtol=1e-6)


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


@pytest.mark.parametrize(
    ("train", "model", "expected"),
    [
        ({"optimizer": {"type": "adamw"}}, {}, ["twice"]),
        ({"optimizer": {"type": "adamw", "weight_decay": 0.0}}, {}, []),
        ({}, {}, []),
        (
            {"optimizer": {"type": "adamw"}},
            {
                "base_network": {"arg_scope": {"weight_decay": 0.0}},
                "rpn": {"l2_regularization_scale": 0.0},
                "rcnn": {"l2_regularization_scale": 0.0},
            },
            [],
        ),
    ],
)
def test_weights_that_decay_twice_are_doubted(train, model, expected):
    doubts = list(_about_weight_decay(config_from_dict({"train": train, "model": model})))
    assert len(doubts) == len(expected)
    for doubt in doubts:
        assert "they decay twice; set model.base_network.arg_scope.weight_decay, model.rpn.l2" in doubt
