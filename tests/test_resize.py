"""The resize rule, by values worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from luminoth.errors import ConfigError
from luminoth.resize import ResizeRule, resize_bilinear, scale_boxes


def sizes(rule, height, width):
    return tuple(int(side) for side in rule.target_size(height, width))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 640), (600, 800)),  # shorter side to 600: x 1.25
        ((640, 480), (800, 600)),
        ((600, 1024), (600, 1024)),  # at both limits already
        ((300, 600), (512, 1024)),  # x 2 would make 1200: the longer side decides
        ((1200, 1600), (600, 800)),  # shrinks as well as it grows
        ((375, 500), (600, 800)),
        ((427, 640), (600, 899)),  # 640 * 600 / 427 = 899.3
        ((1080, 1920), (576, 1024)),
        ((1, 5000), (1, 1024)),  # never less than one pixel: 0.2 is not 0
    ],
)
def test_min_and_max_size(size, expected):
    assert sizes(ResizeRule(min_size=600, max_size=1024), *size) == expected


def test_min_size_alone_knows_no_upper_limit():
    assert sizes(ResizeRule(min_size=600), 300, 900) == (600, 1800)


def test_max_size_alone_only_shrinks():
    rule = ResizeRule(max_size=1000)
    assert sizes(rule, 2000, 500) == (1000, 250)
    assert sizes(rule, 300, 400) == (300, 400)


def test_no_sizes_leave_the_picture_as_it_is():
    assert sizes(ResizeRule(), 37, 53) == (37, 53)


def test_fixed_size_wins_over_min_and_max():
    rule = ResizeRule(min_size=600, max_size=1024, fixed_height=300, fixed_width=400)
    assert sizes(rule, 480, 640) == (300, 400)
    assert rule(tf.zeros([48, 64, 3])).shape == (300, 400, 3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fixed_height": 300}, "fixed_width"),
        ({"fixed_width": 300}, "fixed_height"),
        ({"min_size": 0}, "min_size"),
        ({"max_size": -1}, "max_size"),
    ],
)
def test_impossible_rules_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        ResizeRule(**wrong)


def test_the_longer_side_is_exactly_max_size_for_every_shape():
    rule = ResizeRule(min_size=600, max_size=1024)
    rng = np.random.default_rng(0)
    heights, widths = rng.integers(20, 4000, 300), rng.integers(20, 4000, 300)
    new_heights, new_widths = (side.numpy() for side in rule.target_size(heights, widths))
    shorter, longer = np.minimum(new_heights, new_widths), np.maximum(new_heights, new_widths)
    assert np.all(((shorter == 600) & (longer <= 1024)) | ((longer == 1024) & (shorter <= 600)))
    np.testing.assert_allclose(new_heights / new_widths, heights / widths, rtol=0.51 / shorter.min())


def test_doubling_by_hand():
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1] = 100
    resized = ResizeRule(fixed_height=1, fixed_width=4)(tf.constant(image))
    # pixel centres of the result lie at -0.25, 0.25, 0.75, 1.25 of the source's; beyond the edge it is constant
    np.testing.assert_allclose(resized[0, :, 0], [0, 25, 75, 100])
    assert resized.dtype == tf.float32


def test_shrinking_is_antialiased():
    stripes = np.zeros((8, 64, 3), np.uint8)
    stripes[:, ::2] = 200  # every second column: any sampling without a filter gives 0, 200 or waves of both
    resized = ResizeRule(fixed_height=8, fixed_width=16)(tf.constant(stripes)).numpy()
    assert np.abs(resized[:, 2:-2] - 100).max() < 10


def test_the_quick_way_for_growing_gives_what_the_antialiased_kernel_gives():
    image = np.random.default_rng(0).integers(0, 256, (13, 17, 3)).astype(np.float32)
    for size in ((13, 17), (20, 17), (31, 40)):
        expected = tf.image.resize(image, size, antialias=True)
        np.testing.assert_allclose(resize_bilinear(image, *size), expected, atol=1e-3)


def test_one_shrinking_side_is_enough_for_antialiasing():
    image = np.random.default_rng(0).integers(0, 256, (40, 10, 3)).astype(np.float32)
    expected = tf.image.resize(image, (10, 20), antialias=True)
    np.testing.assert_allclose(resize_bilinear(image, 10, 20), expected, atol=1e-3)


def test_equal_size_keeps_every_value():
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(ResizeRule()(tf.constant(image)), image)


def test_one_compiled_function_serves_all_sizes():
    rule = ResizeRule(min_size=10, max_size=15)
    resize = tf.function(rule, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    assert resize(tf.zeros([20, 20, 3], tf.uint8)).shape == (10, 10, 3)
    assert resize(tf.zeros([20, 40, 3], tf.uint8)).shape == (8, 15, 3)  # 7.5 rounds to 8


def test_scale_boxes():
    boxes = tf.constant([[10.0, 20.0, 30.0, 40.0]])
    np.testing.assert_allclose(scale_boxes(boxes, (100, 200), (50, 400)), [[20, 10, 60, 20]])


def test_scale_boxes_of_no_boxes():
    assert scale_boxes(tf.zeros([0, 4]), (100, 200), (50, 400)).shape == (0, 4)
