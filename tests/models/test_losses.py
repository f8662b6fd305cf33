import numpy as np
import pytest
import tensorflow as tf

from luminoth.models.losses import masked_mean, smooth_l1


@pytest.mark.parametrize(
    ("sigma", "difference", "expected"),
    [(1.0, 0.5, 0.125), (1.0, -2.0, 1.5), (3.0, 0.1, 0.5 * 9 * 0.01), (3.0, 1.0, 1 - 0.5 / 9), (3.0, 1 / 9, 0.5 / 9)],
)
def test_smooth_l1_by_hand(sigma, difference, expected):
    loss = smooth_l1(tf.constant([[difference, 0.0]]), tf.zeros((1, 2)), sigma)
    np.testing.assert_allclose(loss.numpy(), [expected], rtol=1e-5)


def test_smooth_l1_sums_over_the_last_axis():
    assert smooth_l1(tf.constant([[2.0, 2.0, 0.0, 0.0]]), tf.zeros((1, 4)), 1.0).numpy().tolist() == [3.0]


def test_masked_mean():
    losses, mask = tf.constant([1.0, 2.0, np.inf]), tf.constant([True, True, False])
    assert masked_mean(losses, mask) == 1.5
    assert masked_mean(losses, mask, tf.constant(6.0)) == 0.5
    assert masked_mean(losses, tf.constant([False] * 3)) == 0.0
