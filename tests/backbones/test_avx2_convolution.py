"""They must be the same convolutions as TensorFlow's own, on whatever machine the tests run."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.backbones import avx2_convolution
from luminoth.backbones.layers import Conv


def draw(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape), tf.float32)


def outputs_and_gradients(convolve, inputs, kernel, upstream):
    with tf.GradientTape() as tape:
        tape.watch([inputs, kernel])
        outputs = convolve(inputs, kernel)
    return [outputs, *tape.gradient(outputs, [inputs, kernel], upstream)]


@settings(max_examples=40)
@given(
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    channels=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel_size=st.sampled_from([(1, 1), (3, 3), (1, 3), (3, 1), (5, 3)]),
    dilation=st.integers(1, 2),
)
def test_outputs_and_gradients_are_tensorflows(batch, size, channels, kernel_size, dilation):
    inputs = draw(batch, *size, channels[0])
    kernel = draw(*kernel_size, *channels, seed=1)
    upstream = draw(batch, *size, channels[1], seed=2)
    expected = outputs_and_gradients(
        lambda inputs, kernel: tf.nn.conv2d(inputs, kernel, 1, "SAME", dilations=dilation), inputs, kernel, upstream
    )
    found = outputs_and_gradients(
        lambda inputs, kernel: avx2_convolution.convolve(inputs, kernel, dilation), inputs, kernel, upstream
    )
    for each, its_expected in zip(found, expected, strict=True):
        np.testing.assert_allclose(each, its_expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [1, None])
def test_in_a_graph_for_maps_of_any_size(batch):
    kernel = draw(3, 3, 2, 4)

    @tf.function(input_signature=[tf.TensorSpec([batch, None, None, 2])])
    def differentiate(inputs):
        upstream = tf.ones(tf.concat([tf.shape(inputs)[:3], [4]], 0))
        return outputs_and_gradients(avx2_convolution.convolve, inputs, kernel, upstream)

    for height, width in [(5, 6), (2, 9)]:
        inputs = draw(1, height, width, 2, seed=3)
        expected = outputs_and_gradients(
            lambda inputs, kernel: tf.nn.conv2d(inputs, kernel, 1, "SAME"),
            inputs,
            kernel,
            tf.ones([1, height, width, 4]),
        )
        for each, its_expected in zip(differentiate(inputs), expected, strict=True):
            np.testing.assert_allclose(each, its_expected, rtol=1e-4, atol=1e-4)
    names = {operation.type for operation in differentiate.get_concrete_function().graph.get_operations()}
    assert ("Conv2D" in names) == (batch is None)  # of a single picture it is a transposed one
    assert "Conv2DBackpropFilter" not in names


def test_a_transposed_convolution_by_hand():
    # A single one in the middle adds the kernel around itself.
    inputs = np.zeros((1, 3, 3, 1), np.float32)
    inputs[0, 1, 1] = 2
    kernel = tf.reshape(tf.range(9.0), [3, 3, 1, 1])
    found = avx2_convolution.convolve_transposed(tf.constant(inputs), kernel)
    np.testing.assert_array_equal(found[0, :, :, 0], 2 * np.arange(9.0).reshape(3, 3))


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (3, 1, 2), (1, 1, 1), (1, 2, 1), (3, 2, 1)])
def test_a_layer_computes_the_same_with_and_without(kernel_size, stride, dilation, monkeypatch):
    inputs = draw(2, 6, 7, 3)
    layers = []
    for suits in (True, False):
        monkeypatch.setattr(avx2_convolution, "suits_this_machine", lambda suits=suits: suits)
        layers.append(Conv(3, 4, kernel_size, stride=stride, dilation=dilation, activation="relu", name="c"))
    one, other = layers

    def set_and_compare(seed):
        for layer in layers:
            layer.kernel.assign(draw(*layer.kernel.shape, seed=seed))
            layer.bias.assign(draw(4, seed=seed + 1))
        for layer in layers:
            layer.freeze(tf.float32)
        for pictures in (inputs, inputs[:1]):
            np.testing.assert_allclose(one(pictures), other(pictures), rtol=1e-4, atol=1e-4)

    np.testing.assert_allclose(one(inputs[:1]), tf.nn.relu(one(inputs)[:1]), rtol=1e-4, atol=1e-4)
    set_and_compare(seed=5)
    set_and_compare(seed=7)  # frozen anew: nothing of the old kernel is left


def test_where_they_are_used(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])

    def suits(*flags):
        monkeypatch.setattr(avx2_convolution, "processor_flags", lambda: frozenset(flags))
        return avx2_convolution.suits_this_machine()

    assert not suits()
    assert not suits("avx")
    assert not suits("avx2", "avx512f")
    assert suits("avx2")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert not suits("avx2")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    assert not suits("avx2")
