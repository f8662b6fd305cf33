import numpy as np
import pytest
import tensorflow as tf

from luminoth.models.losses import masked_mean, smooth_l1


@pytest.mark.parametrize(
    ("beta", "difference", "expected"),
    [
        (1.0, 0.5, 0.125),
        (1.0, -2.0, 1.5),
        (1 / 9, 0.1, 0.5 * 9 * 0.01),
        (1 / 9, 1.0, 1 - 0.5 / 9),
        (1 / 9, 1 / 9, 0.5 / 9),
        (0.0, 0.25, 0.25),
        (0.0, -3.0, 3.0),
    ],
)
def test_smooth_l1_by_hand(beta, difference, expected):
    loss = smooth_l1(tf.constant([[difference, 0.0]]), tf.zeros((1, 2)), beta)
    np.testing.assert_allclose(loss.numpy(), [expected], rtol=1e-5)


def test_smooth_l1_sums_over_the_last_axis():
    assert smooth_l1(tf.constant([[2.0, 2.0, 0.0, 0.0]]), tf.zeros((1, 4)), 1.0).numpy().tolist() == [3.0]


@pytest.mark.parametrize("beta", [1.0, 1 / 9, 1e-30, 0.0])
def test_smooth_l1_has_a_finite_gradient_everywhere(beta):
    differences = tf.constant([[-1e30, -2.0, -1e-20, 0.0, 1e-20, 2.0, 1e30]])
    with tf.GradientTape() as tape:
        tape.watch(differences)
        loss = tf.reduce_sum(smooth_l1(differences, tf.zeros((1, 7)), beta))
    gradient = tape.gradient(loss, differences).numpy()[0]
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient[[0, 1, 3, 5, 6]], [-1, -1, 0, 1, 1])


def test_masked_mean():
    losses, mask = tf.constant([[1.0, 2.0, np.inf]]), tf.constant([[True, True, False]])
    assert masked_mean(losses, mask) == 1.5
    assert masked_mean(losses, mask, tf.constant(6.0)) == 0.5
    assert masked_mean(losses, tf.constant([[False] * 3])) == 0.0


def test_masked_mean_of_a_batch_is_that_of_its_pictures():
    losses = tf.constant([[1.0, 2.0, 6.0], [8.0, 5.0, 5.0]])
    mask = tf.constant([[True, True, True], [True, False, False]])
    assert masked_mean(losses, mask) == (3.0 + 8.0) / 2
    assert masked_mean(losses, mask, tf.constant([1.0, 2.0])) == (9.0 + 4.0) / 2
