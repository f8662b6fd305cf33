"""Types of 16 bits: gradients of all weights near those of float32, on maps large enough to show sums that overflow."""

import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.layers import Conv, Dense, mean_of_cells, scale_channels
from luminoth.errors import ConfigError
from luminoth.models import precision as precision_module
from luminoth.models.base import named_weights
from luminoth.models.build import build_model
from luminoth.models.faster_rcnn.roi_align import roi_align
from luminoth.models.precision import check_gradients, find_doubt
from luminoth.training.update.loss_scale import LossScale, all_finite
from tests.models.tiny import batch, tiny_config

HALVES = (tf.float16, tf.bfloat16)


def test_means_do_not_overflow_or_stop_growing():
    for dtype in HALVES:
        for value, size in ((3000.0, 7), (3.0, 100)):
            mean = mean_of_cells(tf.fill([1, size, size, 2], tf.cast(value, dtype)))
            assert mean.dtype == dtype
            np.testing.assert_allclose(tf.cast(mean, tf.float32), [[value, value]], rtol=0.004)


def gradients_of(function, *inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(tf.cast(function(*inputs), tf.float32))
    return [tf.cast(tf.convert_to_tensor(gradient), tf.float32).numpy() for gradient in tape.gradient(total, inputs)]


@pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: dtype.name)
def test_gradients_that_are_sums_over_cells(dtype):
    """10,000 ones each: TensorFlow's own sums end at 256 or 512 in bfloat16, at 2,048 or 8,192 in float16."""
    cells = tf.ones([1, 100, 100, 2], dtype)
    conv = Conv(2, 2, 1, name="conv")
    conv.kernel.assign(tf.zeros([1, 1, 2, 2]))
    dense = Dense(2, 2, name="dense")
    for layer in (conv, dense):
        (of_bias,) = gradients_of(lambda bias, layer=layer: layer._add_bias(cells, bias), tf.zeros([2], dtype))
        np.testing.assert_allclose(of_bias, [10_000, 10_000], rtol=0.004)
    _, of_factors = gradients_of(scale_channels, cells, tf.ones([1, 1, 1, 2], dtype))
    np.testing.assert_allclose(of_factors, [[[[10_000, 10_000]]]], rtol=0.004)


@pytest.mark.parametrize("method", ["sparse", "gather"])
@pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: dtype.name)
def test_gradients_of_cells_that_many_rois_share(method, dtype):
    rois = tf.tile(tf.constant([[[0.0, 0.0, 32.0, 32.0]]]), (1, 3000, 1))

    def pool(features):
        return roi_align([features], rois, strides=[16], output_size=(2, 2), sampling_ratio=1, method=method)

    (gradient,) = gradients_of(pool, tf.ones([1, 2, 2, 1], dtype))
    np.testing.assert_allclose(gradient.sum(), 4 * 3000, rtol=0.01)


def losses_and_gradients(precision, scale=1.0):
    samples = ("model.rcnn.target.minibatch_size=64", "model.rpn.target.minibatch_size=256")
    config = tiny_config("model.base_network.train_batch_norm=false", *samples)
    model = build_model(config, 3, precision=precision)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.name == "kernel":
            fan_in = np.prod(variable.shape[:-1])
            variable.assign(rng.normal(0, (2.0 / fan_in) ** 0.5, variable.shape).astype(np.float32))
    pictures = batch([[[5, 5, 40, 50], [50, 10, 90, 60]]], [[0, 1]])

    @tf.function(autograph=False)
    def compute():
        with tf.GradientTape() as tape:
            losses = model.compute_losses(pictures, training=True, seed=tf.constant([1, 2]))
            total = scale * tf.add_n(list(losses.values()))
        return losses, tape.gradient(total, [weight.value for weight in model.trainable_variables])

    losses, gradients = compute()
    names = {id(weight): name for name, weight in named_weights(model).items()}
    assert all(loss.dtype == tf.float32 for loss in losses.values())
    assert all(gradient.dtype == tf.float32 for gradient in gradients)
    return (
        {name: float(value) for name, value in losses.items()},
        {
            names[id(weight)]: gradient.numpy().ravel() / scale
            for weight, gradient in zip(model.trainable_variables, gradients, strict=True)
        },
    )


def test_a_detector_in_float16_has_the_losses_and_gradients_of_float32():
    losses, gradients = losses_and_gradients("float32")
    half_losses, half_gradients = losses_and_gradients("float16", scale=1024.0)
    assert half_losses == pytest.approx(losses, rel=0.02)
    for name, expected in gradients.items():
        found = half_gradients[name]
        similarity = expected @ found / (np.linalg.norm(expected) * np.linalg.norm(found))
        assert similarity > 0.97, name
        assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(expected), rel=0.15), name


def test_what_a_processor_does_not_know_is_said(monkeypatch):
    def knows(*flags):
        monkeypatch.setattr(precision_module, "processor_flags", lambda: frozenset(flags))

    knows()  # which is to say: nothing is known of it
    assert find_doubt("bfloat16") is None
    knows("fpu", "avx2", "avx512f")
    assert find_doubt("float32") is None
    assert "bfloat16 on a processor that does not know it (avx512_bf16, amx_bf16" in find_doubt("bfloat16")
    assert "use float32, or a GPU" in find_doubt("float16")
    knows("fpu", "avx512f", "avx512_bf16")
    assert find_doubt("bfloat16") is None
    assert find_doubt("float16") is not None


def test_gradients_that_are_missing_are_named_before_training(monkeypatch):
    dilated = build_model(tiny_config("model.base_network.output_stride=8"), 2, initialise=False)
    plain = build_model(tiny_config(), 2, initialise=False)
    monkeypatch.setattr(precision_module, "_has_gradient", lambda precision, **kind: False)
    check_gradients(dilated, "float32")
    check_gradients(plain, "float16")
    with pytest.raises(ConfigError, match=r"train.precision is float16, but TensorFlow has no gradient of dilated"):
        check_gradients(dilated, "float16")
    monkeypatch.setattr(precision_module, "_has_gradient", lambda precision, **kind: True)
    check_gradients(dilated, "bfloat16")


def test_whether_a_gradient_is_there_is_found_by_computing_one():
    assert precision_module._has_gradient("float32", dilation=2)
    assert precision_module._has_gradient("float32", groups=2)
    # An answer, whichever it is on this processor; and what it answers holds for a layer.
    for kind in ({"dilation": 2}, {"groups": 2}):
        conv = Conv(4, 4, 3, name="conv", **kind)
        try:
            gradients_of(conv, tf.ones([1, 8, 8, 4], tf.float16))
        except tf.errors.OpError:
            assert not precision_module._has_gradient("float16", **kind)


def test_float16_trains_the_tiny_detector_with_a_scale_that_finds_its_size():
    """Gradients overflow at first, those steps leave the weights alone, then the loss falls as in float32."""
    losses = {precision: _train(precision) for precision in ("float32", "float16")}
    assert losses["float16"][-1] < 0.6 * losses["float16"][0]
    np.testing.assert_allclose(losses["float16"], losses["float32"], rtol=0.05)


def _train(precision, steps=6):
    dtype = tf.as_dtype(precision)
    conv = Conv(3, 4, 3, activation="relu", name="conv")
    rng = np.random.default_rng(0)
    conv.kernel.assign(rng.normal(0, 0.3, conv.kernel.shape))
    pixels = tf.cast(rng.uniform(-1, 1, (1, 16, 16, 3)), dtype)
    scale = LossScale(initial=2.0**24 if precision == "float16" else 1.0)

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            features = mean_of_cells(conv(pixels))
            loss = tf.reduce_mean(tf.square(tf.cast(features, tf.float32) - 1.0))
            scaled = scale.scale(loss)
        gradients = scale.unscale(tape.gradient(scaled, [conv.kernel.value, conv.bias.value]))
        is_finite = all_finite(gradients)
        for weight, gradient in zip((conv.kernel, conv.bias), gradients, strict=True):
            weight.assign_sub(tf.where(is_finite, 0.5 * gradient, 0.0))
        scale.update(is_finite)
        return loss, is_finite

    losses = []
    for _ in range(40):
        loss, is_finite = step()
        losses += [float(loss)] * bool(is_finite)
        if len(losses) == steps:
            break
    if precision == "float16":
        assert int(scale.skipped) > 0
        assert float(scale.scale_value) < 2.0**24
    return losses
