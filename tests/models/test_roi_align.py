"""RoIAlign by both methods against sample-by-sample NumPy."""

import math

import numpy as np
import pytest
import tensorflow as tf

from luminoth.errors import ModelError
from luminoth.models.faster_rcnn.roi_align import roi_align, roi_levels
from tests.boxes import numpy_boxes

METHODS = ("sparse", "gather")
ROIS = np.array(
    [[0, 0, 64, 48], [10.3, 5.5, 40.1, 37.7], [-20, -15, 30, 20], [50, 30, 90, 70], [3, 3, 5, 4], [100, 100, 120, 110]],
    np.float32,
)


def random_features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_one_map_equals_numpy(method, aligned, ratio):
    features = random_features(2, 6, 8, 5)
    rois = np.stack([ROIS, ROIS[::-1]])
    settings = {"strides": [8], "output_size": (2, 3), "sampling_ratio": ratio, "aligned": aligned}
    pooled = roi_align([tf.constant(features)], tf.constant(rois), method=method, **settings).numpy()
    assert pooled.shape == (2, 6, 2, 3, 5)
    for picture in range(2):
        for index, roi in enumerate(rois[picture]):
            expected = numpy_boxes.roi_align(features[picture], roi, 8, 2, 3, ratio, aligned)
            np.testing.assert_allclose(pooled[picture, index], expected, atol=1e-4)


@pytest.mark.parametrize("aligned", [True, False])
def test_adaptive_sampling_equals_numpy(aligned):
    """Wide, tall, small and large RoIs: each with its own number of samples down and across."""
    features = random_features(1, 24, 32, 3)
    rois = np.array([[0, 0, 250, 20], [4, 6, 20, 180], [30, 40, 33, 41], [9, 9, 200, 170], [0, 0, 16, 16]], np.float32)
    settings = {"strides": [8], "output_size": (2, 3), "sampling_ratio": 0, "aligned": aligned}
    pooled = roi_align([tf.constant(features)], tf.constant(rois[None]), **settings)[0].numpy()
    for roi, found in zip(rois, pooled, strict=True):
        width, height = (max(side, 0 if aligned else 1) for side in (roi[2:] - roi[:2]) / 8)
        down, across = max(math.ceil(height / 2), 1), max(math.ceil(width / 3), 1)
        expected = numpy_boxes.roi_align(features[0], roi, 8, 2, 3, (down, across), aligned)
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_a_pyramid_is_pooled_map_by_map(method):
    """Each RoI gets what pooling from its own map alone gives, in its own place; two pictures."""
    strides, rng = [4, 8, 16, 32], np.random.default_rng(3)
    features = [random_features(2, 512 // s, 512 // s, 3, seed=s) for s in strides]
    corners, sides = rng.uniform(0, 60, (2, 40, 2)), np.exp(rng.uniform(1, 6.2, (2, 40, 2)))
    rois = np.concatenate([corners, np.minimum(corners + sides, 512)], axis=2).astype(np.float32)
    rois[:, 0] = [0, 0, 512, 500]
    levels = roi_levels(tf.constant(rois), 4).numpy()
    assert set(levels.ravel()) == {0, 1, 2, 3}
    maps = [tf.constant(of_level) for of_level in features]
    settings = {"output_size": (2, 2), "aligned": False}
    pooled = roi_align(maps, tf.constant(rois), strides=strides, method=method, **settings).numpy()
    for picture in range(2):
        for roi, level, found in zip(rois[picture], levels[picture], pooled[picture], strict=True):
            expected = numpy_boxes.roi_align(features[level][picture], roi, strides[level], 2, 2, 2, False)
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_levels_by_hand():
    """224 x 224 belongs to the map of stride 16; half the side to the next finer one; by area, not by shape."""
    sides = [(224, 224), (223, 223), (112, 112), (448, 112), (1000, 1000), (10, 10), (0, 0), (447, 447), (448, 448)]
    boxes = tf.constant([[5.0, 6.0, 5.0 + w, 6.0 + h] for w, h in sides])
    assert roi_levels(boxes, 4).numpy().tolist() == [2, 1, 1, 2, 3, 0, 0, 2, 3]
    assert roi_levels(boxes, 2, finest_level=4).numpy().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert not roi_levels(boxes, 1, finest_level=5).numpy().any()


def gradients(maps, strides, rois, ratio, method):
    with tf.GradientTape() as tape:
        tape.watch(maps)
        pooled = roi_align(maps, rois, strides=strides, output_size=(2, 2), sampling_ratio=ratio, method=method)
        total = tf.reduce_sum(pooled * tf.random.stateless_normal(pooled.shape, (4, 2)))
    return [gradient.numpy() for gradient in tape.gradient(total, maps)]


def test_both_methods_have_the_same_gradient():
    maps = [tf.constant(random_features(1, 24, 32, 3)), tf.constant(random_features(1, 12, 16, 3, seed=1))]
    rois = tf.constant([[*map(list, ROIS), [0, 0, 250, 190]]], tf.float32)
    for ours, theirs in zip(*(gradients(maps, [8, 16], rois, 2, method) for method in METHODS), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_gradient_of_adaptive_sampling_by_differences():
    features, rois = random_features(1, 8, 9, 2), tf.constant([[[0, 0, 70, 20], [8, 9, 30, 60]]], tf.float32)
    (gradient,) = gradients([tf.constant(features)], [8], rois, 0, METHODS[0])
    weights = tf.random.stateless_normal((1, 2, 2, 2, 2), (4, 2)).numpy()
    rng = np.random.default_rng(0)
    for _ in range(5):
        step = rng.normal(size=features.shape).astype(np.float32)
        low, high = (
            roi_align(
                [tf.constant(features + sign * 0.5 * step)], rois, strides=[8], output_size=(2, 2), sampling_ratio=0
            ).numpy()
            for sign in (-1, 1)
        )
        assert ((high - low) * weights).sum() == pytest.approx((gradient * step).sum(), rel=1e-3, abs=1e-3)


def test_bfloat16_features_stay_bfloat16():
    features = tf.constant(random_features(1, 6, 8, 3))
    settings = {"strides": [8], "output_size": (2, 2)}
    exact = roi_align([features], tf.constant(ROIS[None]), **settings).numpy()
    for method in METHODS:
        rough = roi_align([tf.cast(features, tf.bfloat16)], tf.constant(ROIS[None]), method=method, **settings)
        assert rough.dtype == tf.bfloat16
        np.testing.assert_allclose(tf.cast(rough, tf.float32).numpy(), exact, atol=0.05)


def test_no_rois_and_maps_without_any():
    maps = [tf.constant(random_features(1, 12, 16, 3)), tf.constant(random_features(1, 6, 8, 3))]
    for method in METHODS:
        for rois in (tf.zeros((1, 0, 4)), tf.constant([[[0.0, 0, 20, 20]]])):
            pooled = roi_align(maps, rois, strides=[4, 8], output_size=(2, 2), method=method)
            assert pooled.shape == (1, rois.shape[1], 2, 2, 3)


def test_a_ramp_is_the_ramp():
    """On a map that rises linearly, the mean of a bin is the value at its middle."""
    ramp = np.tile(np.arange(8, dtype=np.float32)[None, None, :, None], (1, 6, 1, 1))
    rois = tf.constant([[[16.0, 8, 48, 40]]])
    pooled = roi_align([tf.constant(ramp)], rois, strides=[8], output_size=(1, 4)).numpy()
    # Middles at 2.5 ... 5.5, less half a cell.
    np.testing.assert_allclose(pooled[0, 0, 0, :, 0], [2, 3, 4, 5], atol=1e-5)


def test_xla_compiles_the_gather():
    maps = [tf.constant(random_features(2, 24, 32, 3)), tf.constant(random_features(2, 12, 16, 3, seed=1))]
    rois = tf.constant(np.stack([ROIS, ROIS[::-1]]))

    def pool():
        return roi_align(maps, rois, strides=[4, 8], output_size=(2, 3), method="gather")

    np.testing.assert_allclose(tf.function(pool, jit_compile=True)().numpy(), pool().numpy(), atol=1e-5)


def test_adaptive_sampling_has_no_fixed_shapes():
    with pytest.raises(ModelError, match="sampling_ratio"):
        roi_align(
            [tf.zeros((1, 4, 4, 1))],
            tf.zeros((1, 1, 4)),
            strides=[4],
            output_size=(1, 1),
            sampling_ratio=0,
            method="gather",
        )
