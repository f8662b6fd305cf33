import math

import numpy as np
import pytest
import tensorflow as tf

from luminoth.boxes.anchors import anchor_shapes, grid_anchors

# What torchvision 0.28's AnchorGenerator.generate_anchors gives.
TORCHVISION = [
    ((32, 64), (0.5, 1.0, 2.0), [(23, 11), (45, 23), (16, 16), (32, 32), (11, 23), (23, 45)]),
    # Exact arithmetic would give 2.5 and 1.5, 3.5 and so on: float32 decides which way a half goes.
    (
        (3, 5, 7),
        (0.36, 0.64, 1.0),
        [(2, 1), (4, 2), (6, 2), (2, 1), (3, 2), (4, 3), (2, 2), (2, 2), (4, 4)],
    ),
]


def test_shapes_by_hand():
    # ratio 0.25: twice as wide, half as high
    wide, square = [[-16, -4, 16, 4], [-32, -8, 32, 8]], [[-8, -8, 8, 8], [-16, -16, 16, 16]]
    np.testing.assert_allclose(anchor_shapes([16, 32], ratios=[0.25, 1]), wide + square)
    size_major = anchor_shapes([16, 32], ratios=[0.25, 1], order="size_major")
    np.testing.assert_allclose(size_major, [wide[0], square[0], wide[1], square[1]])


def test_ratios_keep_the_area():
    shapes = anchor_shapes([50], ratios=[0.2, 0.5, 1, 3])
    widths, heights = shapes[:, 2] - shapes[:, 0], shapes[:, 3] - shapes[:, 1]
    np.testing.assert_allclose(widths * heights, 2500, rtol=1e-5)
    np.testing.assert_allclose(heights / widths, [0.2, 0.5, 1, 3], rtol=1e-5)


@pytest.mark.parametrize(("sides", "ratios", "half_sizes"), TORCHVISION)
def test_rounded_shapes_are_torchvisions(sides, ratios, half_sizes):
    shapes = anchor_shapes(sides, ratios, rounded=True)
    np.testing.assert_array_equal(shapes, [[-x, -y, x, y] for x, y in half_sizes])


def test_size_major_shapes_are_detectron2s():
    expected = []
    for side in (32, 64, 128, 256, 512):  # Detectron2's generate_cell_anchors
        for ratio in (0.5, 1.0, 2.0):
            width = math.sqrt(side**2 / ratio)
            height = ratio * width
            expected.append([-width / 2, -height / 2, width / 2, height / 2])
    shapes = anchor_shapes((32, 64, 128, 256, 512), (0.5, 1.0, 2.0), order="size_major")
    np.testing.assert_array_equal(shapes, np.array(expected, np.float32))


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match="ratio_minor"):
        anchor_shapes([16], [1], order="ratio_minor")


def test_grid_by_hand():
    shapes = np.array([[-1, -2, 1, 2], [-4, -4, 4, 4]], np.float32)
    anchors = grid_anchors(shapes, (2, 3), strides=16, offset=0.5).numpy()
    assert anchors.shape == (12, 4)
    assert anchors[0].tolist() == [7, 6, 9, 10]  # row 0, column 0, first shape
    assert anchors[1].tolist() == [4, 4, 12, 12]  # the same cell, second shape
    assert anchors[2].tolist() == [23, 6, 25, 10]  # one column to the right
    assert anchors[6].tolist() == [7, 22, 9, 26]  # one row further down


def test_offset_zero_is_the_references_grid():
    anchors = grid_anchors(anchor_shapes([16], [1]), (1, 2), strides=16, offset=0.0).numpy()
    np.testing.assert_allclose(anchors, [[-8, -8, 8, 8], [8, -8, 24, 8]])


@pytest.mark.parametrize("strides", [(8, 16), (tf.constant(8), tf.constant(16))])
def test_strides_down_and_across_may_differ(strides):
    anchors = grid_anchors(anchor_shapes([4], [1]), (2, 2), strides, offset=0.0).numpy()
    np.testing.assert_array_equal(anchors, [[-2, -2, 2, 2], [14, -2, 18, 2], [-2, 6, 2, 10], [14, 6, 18, 10]])
