import numpy as np
import pytest
import tensorflow as tf

from luminoth.backbones.fpn import FeaturePyramid
from tests.backbones.test_layers import numpy_conv, randomise


def maps_of(*shapes, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def applied(conv, features):
    """A `Conv` outside training on [B, H, W, C], in NumPy."""
    bare = np.stack([numpy_conv(picture, conv.kernel.numpy(), 1, 1) for picture in features])
    if hasattr(conv, "bias"):
        return bare + conv.bias.numpy()
    normalised = (bare - conv.moving_mean.numpy()) / np.sqrt(conv.moving_variance.numpy() + 1e-5)
    return normalised * conv.gamma.numpy() + conv.beta.numpy()


@pytest.mark.parametrize("norm", [False, True])
def test_pyramid_equals_numpy(norm):
    pyramid = FeaturePyramid((2, 3, 5), (4, 8, 16), channels=4, norm=norm)
    randomise(pyramid)
    maps = maps_of((2, 8, 12, 2), (2, 4, 6, 3), (2, 2, 3, 5))

    merged = [applied(lateral, features) for lateral, features in zip(pyramid.laterals, maps, strict=True)]
    merged[1] += merged[2].repeat(2, axis=1).repeat(2, axis=2)
    merged[0] += merged[1].repeat(2, axis=1).repeat(2, axis=2)
    expected = [applied(output, features) for output, features in zip(pyramid.outputs, merged, strict=True)]
    expected.append(expected[2][:, ::2, ::2])

    found = pyramid(maps)
    assert [features.shape for features in found] == [(2, 8, 12, 4), (2, 4, 6, 4), (2, 2, 3, 4), (2, 1, 2, 4)]
    for features, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(features, value, rtol=1e-4, atol=1e-3)
    assert (pyramid.strides, pyramid.out_channels) == ((4, 8, 16, 32), (4, 4, 4, 4))


def test_two_maps_of_one_size_and_no_extra_level():
    """MobileNet's: the last two of its maps have one stride."""
    pyramid = FeaturePyramid((2, 3), (32, 32), channels=4, extra_level="none")
    randomise(pyramid)
    fine, coarse = maps_of((1, 3, 5, 2), (1, 3, 5, 3))
    top = applied(pyramid.laterals[1], coarse)
    expected = applied(pyramid.outputs[0], applied(pyramid.laterals[0], fine) + top), applied(pyramid.outputs[1], top)
    found = pyramid([fine, coarse])
    assert len(found) == 2
    for features, value in zip(found, expected, strict=True):
        np.testing.assert_allclose(features, value, rtol=1e-4, atol=1e-3)
    assert pyramid.strides == (32, 32)


def test_only_trained_batch_norm_follows_the_batch():
    maps = maps_of((2, 4, 6, 2), (2, 2, 3, 3))
    frozen, trained = (
        FeaturePyramid((2, 3), (4, 8), channels=4, norm=True, train_norm=train) for train in (False, True)
    )
    for pyramid in (frozen, trained):
        pyramid(maps, training=True)
    assert not any(conv.moving_mean.numpy().any() for conv in (*frozen.laterals, *frozen.outputs))
    assert all(conv.moving_mean.numpy().any() for conv in (*trained.laterals, *trained.outputs))


def test_it_computes_in_the_type_of_the_maps():
    pyramid = FeaturePyramid((2, 3), (4, 8), channels=4)
    randomise(pyramid)
    maps = maps_of((1, 4, 6, 2), (1, 2, 3, 3))
    halved = pyramid([tf.cast(features, tf.bfloat16) for features in maps])
    for features, value in zip(halved, pyramid(maps), strict=True):
        assert features.dtype == tf.bfloat16
        np.testing.assert_allclose(tf.cast(features, tf.float32), value, atol=0.03 * np.abs(value).max())
    assert all(variable.dtype == "float32" for variable in pyramid.variables)
