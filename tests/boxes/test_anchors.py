import numpy as np

from luminoth.boxes.anchors import anchor_shapes, grid_anchors


def test_shapes_by_hand():
    # ratio 0.25: twice as wide, half as high; ratio-major order
    shapes = anchor_shapes(16, scales=[1, 2], ratios=[0.25, 1])
    np.testing.assert_allclose(shapes, [[-16, -4, 16, 4], [-32, -8, 32, 8], [-8, -8, 8, 8], [-16, -16, 16, 16]])


def test_ratios_keep_the_area():
    shapes = anchor_shapes(100, scales=[0.5], ratios=[0.2, 0.5, 1, 3])
    widths, heights = shapes[:, 2] - shapes[:, 0], shapes[:, 3] - shapes[:, 1]
    np.testing.assert_allclose(widths * heights, 2500, rtol=1e-5)
    np.testing.assert_allclose(heights / widths, [0.2, 0.5, 1, 3], rtol=1e-5)


def test_grid_by_hand():
    shapes = np.array([[-1, -2, 1, 2], [-4, -4, 4, 4]], np.float32)
    anchors = grid_anchors(shapes, (2, 3), stride=16, offset=0.5).numpy()
    assert anchors.shape == (12, 4)
    assert anchors[0].tolist() == [7, 6, 9, 10]  # row 0, column 0, first shape
    assert anchors[1].tolist() == [4, 4, 12, 12]  # the same cell, second shape
    assert anchors[2].tolist() == [23, 6, 25, 10]  # one column to the right
    assert anchors[6].tolist() == [7, 22, 9, 26]  # one row further down


def test_offset_zero_is_the_references_grid():
    anchors = grid_anchors(anchor_shapes(16, [1], [1]), (1, 2), stride=16, offset=0.0).numpy()
    np.testing.assert_allclose(anchors, [[-8, -8, 8, 8], [8, -8, 24, 8]])
