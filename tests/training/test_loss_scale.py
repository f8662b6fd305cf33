import numpy as np
import pytest
import tensorflow as tf

from luminoth.training.update.loss_scale import LossScale, all_finite


def values_of(scale):
    return {name.removeprefix("loss_scale/"): variable.numpy() for name, variable in scale.variables.items()}


@pytest.mark.parametrize("compiled", [False, True])
def test_it_doubles_after_good_steps_and_halves_at_an_overflow(compiled):
    scale = LossScale(initial=8.0, growth_steps=3)
    update = tf.function(scale.update, autograph=False) if compiled else scale.update
    found = []
    for is_finite in (True, True, True, True, False, True, True, False, True, True, True):
        update(tf.constant(is_finite))
        found.append(float(scale.scale_value))
    assert found == [8, 8, 16, 16, 8, 8, 8, 4, 4, 4, 8]
    assert values_of(scale) == {"scale": 8.0, "good_steps": 0, "skipped": 2}


def test_at_the_least_scale_gradients_that_are_not_finite_are_an_error_and_not_an_overflow():
    scale, broken = LossScale(initial=2.0), tf.constant(False)
    assert bool(scale.is_overflow(broken))
    assert not bool(scale.is_overflow(tf.constant(True)))
    scale.update(broken)
    assert values_of(scale) == {"scale": 1.0, "good_steps": 0, "skipped": 1}
    assert not bool(scale.is_overflow(broken))
    scale.update(broken)
    assert values_of(scale) == {"scale": 1.0, "good_steps": 0, "skipped": 1}


def test_gradients_of_the_scaled_loss_come_back_exactly():
    scale = LossScale(initial=2.0**12)
    weights = tf.Variable([0.3, -1.7])
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum(weights**3)
        scaled = scale.scale(loss)
    plain, large = tape.gradient(loss, weights), tape.gradient(scaled, weights)
    np.testing.assert_array_equal(large.numpy(), 4096 * plain.numpy())
    np.testing.assert_array_equal(scale.unscale([large])[0].numpy(), plain.numpy())


def test_scaling_saves_gradients_that_float16_does_not_know():
    def gradient(scale):
        weight = tf.Variable(3.0)
        with tf.GradientTape() as tape:
            halved = tf.cast(weight, tf.float16)  # its gradient is a float16
            loss = scale.scale(1e-8 * tf.cast(halved, tf.float32))
        return float(scale.unscale([tape.gradient(loss, weight)])[0])

    assert gradient(LossScale(initial=1.0)) == 0.0
    assert gradient(LossScale()) == pytest.approx(1e-8, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_all_finite(bad):
    assert bool(all_finite([tf.ones([2, 2]), tf.zeros([0])]))
    assert not bool(all_finite([tf.ones([2, 2]), tf.constant([1.0, bad])]))
