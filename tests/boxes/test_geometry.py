import numpy as np
from hypothesis import given

from luminoth.boxes.geometry import box_areas, clip_boxes, inside_image, pairwise_iou
from tests.boxes import numpy_boxes
from tests.boxes.strategies import box_arrays


def test_areas_by_hand():
    boxes = np.array([[0, 0, 2, 3], [1, 1, 1, 5], [4, 4, 2, 2]], np.float32)
    assert box_areas(boxes).numpy().tolist() == [6.0, 0.0, 0.0]


def test_iou_by_hand():
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    others = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4], [3, 3, 3, 3]], np.float32)
    np.testing.assert_allclose(pairwise_iou(boxes, others).numpy(), [[1.0, 50 / 150, 0.0, 4 / 100, 0.0]], rtol=1e-6)


def test_iou_of_two_empty_boxes_is_zero():
    empty = np.array([[3, 3, 3, 3]], np.float32)
    assert pairwise_iou(empty, empty).numpy().tolist() == [[0.0]]


@given(box_arrays(), box_arrays())
def test_iou_equals_numpy(boxes, others):
    np.testing.assert_allclose(pairwise_iou(boxes, others).numpy(), numpy_boxes.pairwise_iou(boxes, others), atol=1e-5)


@given(box_arrays(min_count=3, max_count=3), box_arrays(min_count=4, max_count=4))
def test_iou_of_a_batch_equals_that_of_each_picture(boxes, others):
    batched = pairwise_iou(np.stack([boxes, boxes[::-1]]), np.stack([others, others])).numpy()
    np.testing.assert_array_equal(batched[0], pairwise_iou(boxes, others).numpy())
    np.testing.assert_array_equal(batched[1], batched[0][::-1])


def test_clip_uses_height_for_y_and_width_for_x():
    boxes = np.array([[[-5, -5, 300, 300], [10, 20, 30, 40]]], np.float32)
    clipped = clip_boxes(boxes, np.array([[100, 200]])).numpy()
    assert clipped.tolist() == [[[0, 0, 200, 100], [10, 20, 30, 40]]]


def test_inside_image_with_a_border():
    boxes = np.array([[0, 0, 200, 100], [-1, 0, 50, 50], [0, 0, 201, 50], [0, 0, 10, 102]], np.float32)
    assert inside_image(boxes, np.array([100, 200])).numpy().tolist() == [True, False, False, False]
    assert inside_image(boxes, np.array([100, 200]), border=1).numpy().tolist() == [True, True, True, False]
