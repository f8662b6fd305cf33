import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.layers import Conv, Dense, weights_follow


def randomise(layer, seed=0):
    rng = np.random.default_rng(seed)
    for variable in layer.variables:
        low = 0.5 if "variance" in variable.name or "gamma" in variable.name else -1.0
        variable.assign(rng.uniform(low, 1.5, variable.shape).astype(np.float32))


def numpy_conv(pixels, kernel, stride, dilation):
    """Direct convolution of [H, W, C] with symmetric zero padding."""
    height, width = kernel.shape[:2]
    rows, columns = dilation * (height - 1) // 2, dilation * (width - 1) // 2
    padded = np.pad(pixels, [(rows, rows), (columns, columns), (0, 0)])
    reach_y, reach_x = dilation * (height - 1) + 1, dilation * (width - 1) + 1
    return np.array(
        [
            [
                np.tensordot(padded[y : y + reach_y : dilation, x : x + reach_x : dilation], kernel, 3)
                for x in range(0, padded.shape[1] - reach_x + 1, stride)
            ]
            for y in range(0, padded.shape[0] - reach_y + 1, stride)
        ]
    )


@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation"),
    [(1, 1, 1), (3, 1, 1), (3, 2, 1), (7, 2, 1), (3, 1, 2), (1, 2, 1), ((1, 3), 2, 1)],
)
def test_convolution_equals_numpy(kernel_size, stride, dilation):
    conv = Conv(3, 4, kernel_size, stride=stride, dilation=dilation, name="c")
    randomise(conv)
    pixels = np.random.default_rng(1).normal(size=(1, 9, 12, 3)).astype(np.float32)
    expected = numpy_conv(pixels[0], conv.kernel.numpy(), stride, dilation) + conv.bias.numpy()
    np.testing.assert_allclose(conv(pixels).numpy()[0], expected, rtol=1e-4, atol=1e-4)


def test_folded_batch_norm_equals_the_formula():
    conv = Conv(3, 5, 3, norm=True, norm_epsilon=1e-3, name="c")
    randomise(conv)
    pixels = np.random.default_rng(1).normal(size=(2, 6, 6, 3)).astype(np.float32)
    bare = tf.nn.conv2d(pixels, conv.kernel.numpy(), 1, "SAME").numpy()
    expected = (bare - conv.moving_mean.numpy()) / np.sqrt(conv.moving_variance.numpy() + 1e-3)
    expected = expected * conv.gamma.numpy() + conv.beta.numpy()
    np.testing.assert_allclose(conv(pixels, training=False).numpy(), expected, rtol=1e-4, atol=1e-4)
    # Frozen batch norm does the same in training, and keeps its statistics.
    np.testing.assert_allclose(conv(pixels, training=True).numpy(), expected, rtol=1e-4, atol=1e-4)
    assert conv.trainable_variables == [conv.kernel]


def test_trained_batch_norm_normalises_by_the_batch_and_remembers():
    conv = Conv(2, 3, 1, norm=True, train_norm=True, name="c")
    pixels = np.random.default_rng(1).normal(3, 2, size=(4, 5, 5, 2)).astype(np.float32)
    bare = tf.nn.conv2d(pixels, conv.kernel.numpy(), 1, "SAME").numpy()
    output = conv(pixels, training=True).numpy()
    np.testing.assert_allclose(output.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(output.std((0, 1, 2)), 1, atol=1e-3)
    np.testing.assert_allclose(conv.moving_mean.numpy(), 0.03 * bare.mean((0, 1, 2)), rtol=1e-3, atol=1e-5)
    assert len(conv.trainable_variables) == 3


def test_weight_decay_is_half_the_squared_sum():
    conv = Conv(1, 1, 1, weight_decay=0.1, name="c")
    conv.kernel.assign(np.full((1, 1, 1, 1), 3.0))
    assert [float(loss) for loss in conv.losses] == [pytest.approx(0.1 * 9 / 2)]


def test_dense_by_hand():
    dense = Dense(2, 1, activation="relu", name="d")
    dense.kernel.assign([[2.0], [-1.0]])
    dense.bias.assign([0.5])
    assert dense(np.array([[[1.0, 1.0], [0.0, 3.0]]], np.float32)).numpy().tolist() == [[[1.5], [0.0]]]


def test_weights_that_follow_are_not_drawn():
    with weights_follow():
        waiting = Conv(3, 4, 3, name="conv")
    assert not waiting.kernel.numpy().any()
    assert Conv(3, 4, 3, name="conv").kernel.numpy().all()
