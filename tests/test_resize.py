"""The resize rule, by values worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from luminoth.errors import ConfigError
from luminoth.resize import ResizeRule, resize, resize_as_pillow, resize_bilinear, scale_boxes


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
        ({"min_size_train": (600, 0)}, r"min_size_train: got \(600, 0\); each must be at least 1 pixel"),
        ({"rounding": "up"}, "rounding: got 'up'; it must be one of nearest, down"),
        ({"method": "cubic"}, "method: got 'cubic'"),
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


@pytest.mark.parametrize("rounding", ["nearest", "down"])
def test_a_drawn_size_stands_for_the_rules_own(rounding):
    rule = ResizeRule(min_size=600, max_size=1024, min_size_train=(480, 700), rounding=rounding)
    assert sizes(rule, 333, 500) == sizes(ResizeRule(min_size=600, max_size=1024, rounding=rounding), 333, 500)
    drawn = {int(rule.draw_min_size(tf.constant([0, number]))) for number in range(20)}
    assert drawn == {480, 700}
    for size in drawn:
        fixed = ResizeRule(min_size=size, max_size=1024, rounding=rounding)
        assert tuple(int(side) for side in rule.target_size(333, 500, tf.constant(size))) == sizes(fixed, 333, 500)
    assert ResizeRule(min_size=600).draw_min_size(tf.constant([0, 0])) == 600
    assert ResizeRule().draw_min_size(tf.constant([0, 0])) is None


# (height, width), (min_size, max_size): the size that torchvision 0.28's GeneralizedRCNNTransform makes of it.
# The second half are those where a side misses the limit itself, because a float64 product falls short of it.
TORCHVISION_SIZES = [
    ((240, 320), (800, 1333), (800, 1066)),
    ((320, 240), (800, 1333), (1066, 800)),
    ((427, 640), (800, 1333), (800, 1199)),
    ((1080, 1920), (800, 1333), (749, 1333)),
    ((333, 500), (800, 1333), (800, 1201)),
    ((240, 320), (320, 640), (320, 426)),
    ((670, 915), (800, 1333), (799, 1092)),
    ((581, 386), (800, 1333), (1204, 799)),
    ((368, 1255), (800, 1333), (390, 1332)),
    ((1283, 696), (800, 1333), (1332, 723)),
    ((284, 281), (600, 1024), (606, 599)),
    ((709, 1341), (600, 1024), (541, 1023)),
    ((581, 642), (320, 640), (319, 353)),
]


@pytest.mark.parametrize(("size", "limits", "expected"), TORCHVISION_SIZES)
def test_rounding_down_gives_torchvisions_sizes(size, limits, expected):
    rule = ResizeRule(min_size=limits[0], max_size=limits[1], rounding="down")
    assert sizes(rule, *size) == expected
    compiled = tf.function(rule.target_size, autograph=False)
    assert tuple(int(side) for side in compiled(tf.constant(size[0]), tf.constant(size[1]))) == expected


def detectron2_size(height, width, min_size, max_size):
    """Detectron2's ResizeShortestEdge.get_output_shape, in Python floats."""
    scale = min_size / min(height, width)
    new_height, new_width = (min_size, scale * width) if height < width else (scale * height, min_size)
    if max(new_height, new_width) > max_size:
        scale = max_size / max(new_height, new_width)
        new_height, new_width = new_height * scale, new_width * scale
    return int(new_height + 0.5), int(new_width + 0.5)


@pytest.mark.parametrize("limits", [(800, 1333), (600, 1024), (75, 200)])
def test_rounding_to_nearest_gives_detectron2s_sizes(limits):
    heights, widths = np.random.default_rng(0).integers(40, 1500, (2, 5000))
    got = np.stack(ResizeRule(min_size=limits[0], max_size=limits[1]).target_size(heights, widths), axis=1)
    expected = [detectron2_size(int(h), int(w), *limits) for h, w in zip(heights, widths, strict=True)]
    np.testing.assert_array_equal(got, expected)


def test_nearest_rounds_halves_up():
    assert sizes(ResizeRule(min_size=10), 20, 41) == (10, 21)  # 20.5


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


# torch.nn.functional.interpolate(picture, size, mode="bilinear", align_corners=False) of row * 7 + column, squared,
# modulo 251, 5 rows of 7 columns.
TORCH_SHRUNK = [  # to 3 x 4: nothing is averaged beyond four pixels
    [18.458332, 30.874998, 49.541664, 74.458328],
    [206.87500, 9.1250000, 68.625000, 134.37500],
    [103.62502, 114.04165, 67.958344, 153.62502],
]
TORCH_GROWN_ROW = [36.75, 39.625, 45.375, 51.625, 58.375, 65.625, 73.375, 81.625, 90.375, 99.625, 109.375, 119.625]


def torch_picture():
    levels = (np.arange(35.0) ** 2 % 251).reshape(5, 7, 1)
    return tf.constant(np.repeat(levels, 3, axis=2), tf.float32)


def test_bilinear_is_torchs_interpolate():
    shrunk = resize(torch_picture(), 3, 4, "bilinear")[..., 1]
    np.testing.assert_allclose(shrunk, TORCH_SHRUNK, atol=1e-4)
    grown = resize(torch_picture(), 10, 14, "bilinear")[2, :12, 0]
    np.testing.assert_allclose(grown, TORCH_GROWN_ROW, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "new_size"),
    [
        ((48, 64), (80, 107)),
        ((60, 100), (100, 167)),  # 5 / 3: many values lie half-way between two grey levels
        ((43, 64), (80, 120)),
        ((50, 38), (107, 80)),
        ((240, 320), (80, 107)),
        ((108, 192), (75, 133)),
        ((97, 131), (9, 12)),
        ((30, 40), (30, 77)),
        ((40, 50), (1, 1)),
        ((1, 1), (3, 4)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_pil_is_pillows_resize(size, new_size, dtype):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    expected = np.asarray(Image.fromarray(image).resize(new_size[::-1], Image.Resampling.BILINEAR)).astype(np.float32)
    got = resize_as_pillow(tf.constant(image.astype(dtype)), *new_size)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == tf.float32


def test_a_rule_uses_its_method():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    results = {}
    for method in ("antialias", "bilinear", "pil"):
        results[method] = ResizeRule(min_size=20, method=method)(tf.constant(image)).numpy()
        np.testing.assert_array_equal(results[method], resize(image, 20, 30, method))
    assert np.abs(results["pil"] - results["antialias"]).max() <= 1.01  # the same filter, rounded twice
    assert np.abs(results["bilinear"] - results["antialias"]).max() > 20


def test_equal_size_keeps_every_value():
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    for method in ("antialias", "bilinear", "pil"):
        np.testing.assert_array_equal(ResizeRule(method=method)(tf.constant(image)), image)


@pytest.mark.parametrize("method", ["antialias", "bilinear", "pil"])
def test_one_compiled_function_serves_all_sizes(method):
    rule = ResizeRule(min_size=10, max_size=15, method=method)
    resize = tf.function(rule, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    assert resize(tf.zeros([20, 20, 3], tf.uint8)).shape == (10, 10, 3)
    assert resize(tf.zeros([20, 40, 3], tf.uint8)).shape == (8, 15, 3)  # 7.5 rounds to 8


def test_scale_boxes():
    boxes = tf.constant([[10.0, 20.0, 30.0, 40.0]])
    np.testing.assert_allclose(scale_boxes(boxes, (100, 200), (50, 400)), [[20, 10, 60, 20]])


def test_scale_boxes_of_no_boxes():
    assert scale_boxes(tf.zeros([0, 4]), (100, 200), (50, 400)).shape == (0, 4)
