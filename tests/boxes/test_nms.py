import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from luminoth.boxes.nms import class_nms, gather_kept, nms
from tests.boxes import numpy_boxes
from tests.boxes.strategies import box_arrays


def kept_list(kept, picture=0):
    return [int(i) for i, ok in zip(kept.indices[picture], kept.is_valid[picture], strict=True) if ok]


def test_by_hand():
    boxes = np.array([[[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 4]]], np.float32)
    scores = np.array([[0.5, 0.9, 0.1, 0.3]], np.float32)
    everything = np.ones((1, 4), bool)
    kept = nms(boxes, scores, everything, max_outputs=5, iou_threshold=0.5)
    assert kept_list(kept) == [1, 3, 2]  # 0 overlaps 1 by 0.9; 3 overlaps 1 by 0.44
    assert kept.is_valid.numpy().tolist() == [[True, True, True, False, False]]
    assert kept_list(nms(boxes, scores, everything, max_outputs=2, iou_threshold=0.5)) == [1, 3]


def test_invalid_boxes_neither_stay_nor_suppress():
    boxes = np.array([[[0, 0, 10, 10], [0, 0, 10, 10]]], np.float32)
    kept = nms(boxes, np.array([[0.9, 0.1]], np.float32), np.array([[False, True]]), max_outputs=2, iou_threshold=0.5)
    assert kept_list(kept) == [1]


def test_logits_may_be_negative():
    boxes = np.array([[[0, 0, 10, 10], [20, 0, 30, 10]]], np.float32)
    kept = nms(boxes, np.array([[-80.0, -90.0]], np.float32), np.ones((1, 2), bool), max_outputs=2, iou_threshold=0.5)
    assert kept_list(kept) == [0, 1]


@given(box_arrays(min_count=1, max_count=15), st.integers(0, 99), st.sampled_from([0.3, 0.5, 0.7]))
def test_equals_numpy(boxes, seed, threshold):
    scores = np.random.default_rng(seed).permutation(len(boxes)).astype(np.float32)
    kept = nms(boxes[None], scores[None], np.ones((1, len(boxes)), bool), max_outputs=8, iou_threshold=threshold)
    assert kept_list(kept) == numpy_boxes.nms(boxes, scores, threshold, 8)


@given(box_arrays(min_count=4, max_count=4), box_arrays(min_count=4, max_count=4))
def test_a_batch_equals_its_pictures(first, second):
    scores = np.array([[4, 3, 2, 1], [1, 2, 3, 4]], np.float32)
    valid = np.ones((2, 4), bool)
    both = nms(np.stack([first, second]), scores, valid, max_outputs=4, iou_threshold=0.4)
    for picture, boxes in enumerate((first, second)):
        single = nms(boxes[None], scores[picture][None], valid[:1], max_outputs=4, iou_threshold=0.4)
        assert kept_list(both, picture) == kept_list(single)


@given(box_arrays(min_count=1, max_count=15), st.integers(0, 99))
def test_classes_do_not_suppress_each_other(boxes, seed):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(len(boxes)).astype(np.float32)
    class_ids = rng.integers(0, 3, len(boxes)).astype(np.int32)
    valid = np.ones((1, len(boxes)), bool)
    kept = class_nms(boxes[None], scores[None], class_ids[None], valid, max_outputs=15, iou_threshold=0.5)
    expected = []
    for class_id in range(3):
        members = np.flatnonzero(class_ids == class_id)
        expected += [int(members[i]) for i in numpy_boxes.nms(boxes[members], scores[members], 0.5, 15)]
    assert kept_list(kept) == sorted(expected, key=lambda i: -scores[i])


def test_an_iou_equal_to_the_threshold_does_not_suppress():
    boxes = np.array([[[0, 0, 10, 10], [0, 0, 10, 5]]], np.float32)  # IoU 0.5
    scores, everything = np.array([[0.9, 0.8]], np.float32), np.ones((1, 2), bool)
    assert kept_list(nms(boxes, scores, everything, max_outputs=2, iou_threshold=0.5)) == [0, 1]
    assert kept_list(nms(boxes, scores, everything, max_outputs=2, iou_threshold=0.499)) == [0]


def pairs_near_the_threshold(rng, count, classes, extent):
    """Pairs of overlapping boxes of one class, whose IoU is 0.0004 to 0.001 off one half; [2 * count, 4], ids."""
    corners, sizes = rng.uniform(0, extent - 40, (count, 2)), rng.uniform(20, 40, (count, 2))
    boxes = np.concatenate([corners, corners + sizes], axis=1)
    others = boxes.copy()
    shares = 0.5 + rng.choice([-1, 1], count) * rng.uniform(0.0004, 0.001, count)
    others[:, 3] = boxes[:, 1] + shares * sizes[:, 1]
    class_ids = rng.integers(0, classes, count)
    return np.concatenate([boxes, others]).astype(np.float32), np.tile(class_ids, 2).astype(np.int32)


def test_many_classes_do_not_cost_the_digits_that_decide():
    rng = np.random.default_rng(0)
    boxes, class_ids = pairs_near_the_threshold(rng, 150, classes=90, extent=1333.0)
    scores, everything = rng.permutation(300).astype(np.float32), np.ones((1, 300), bool)
    expected = []
    for class_id in range(90):
        members = np.flatnonzero(class_ids == class_id)
        expected += [int(members[i]) for i in numpy_boxes.nms(boxes[members], scores[members], 0.5, 300)]
    settings = {"max_outputs": 300, "iou_threshold": 0.5}
    kept = class_nms(boxes[None], scores[None], class_ids[None], everything, **settings)
    assert sorted(kept_list(kept)) == sorted(expected)
    on_a_line = boxes + class_ids[:, None].astype(np.float32) * np.float32(2 * 1334)
    assert sorted(kept_list(nms(on_a_line[None], scores[None], everything, **settings))) != sorted(expected)


def test_boxes_left_of_the_picture_stay_in_their_class():
    boxes = np.array([[[-500, -90, -480, -70], [-500, -90, -480, -70], [10, 10, 30, 30], [11, 10, 31, 30]]], np.float32)
    scores, class_ids = np.array([[4, 3, 2, 1]], np.float32), np.array([[0, 1, 7, 7]], np.int32)
    kept = class_nms(boxes, scores, class_ids, np.ones((1, 4), bool), max_outputs=4, iou_threshold=0.5)
    assert kept_list(kept) == [0, 1, 2]


def test_class_nms_without_a_valid_box_keeps_none():
    boxes, scores, class_ids = np.zeros((1, 3, 4), np.float32), np.zeros((1, 3), np.float32), np.zeros((1, 3), np.int32)
    kept = class_nms(boxes, scores, class_ids, scores > 0, max_outputs=2, iou_threshold=0.5)
    assert kept_list(kept) == []


def test_compiled_equals_eager():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 200, (2, 80, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.uniform(20, 90, (2, 80, 2)).astype(np.float32)], axis=2)
    scores, class_ids = rng.random((2, 80)).astype(np.float32), rng.integers(0, 4, (2, 80)).astype(np.int32)
    arguments = [tf.constant(x) for x in (boxes, scores, class_ids, rng.random((2, 80)) < 0.9)]
    settings = {"max_outputs": 70, "iou_threshold": 0.1}
    compiled = tf.function(lambda *inputs: class_nms(*inputs, **settings), autograph=False, jit_compile=True)
    expected = class_nms(*arguments, **settings)
    for got, wanted in zip(compiled(*arguments), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert 0 < np.sum(expected.is_valid[0]) < 70


def test_compiled_may_keep_more_than_there_are():
    boxes = np.array([[[0, 0, 10, 10], [20, 0, 30, 10], [1, 0, 11, 10]]], np.float32)
    scores, is_valid = np.array([[-1.0, 2.0, 1.0]], np.float32), np.ones((1, 3), bool)
    settings = {"max_outputs": 5, "iou_threshold": 0.5}
    compiled = tf.function(lambda *inputs: nms(*inputs, **settings), autograph=False, jit_compile=True)
    for kept in (compiled(boxes, scores, is_valid), nms(boxes, scores, is_valid, **settings)):
        assert kept.indices.numpy().tolist() == [[1, 2, 0, 0, 0]]
        assert kept.is_valid.numpy().tolist() == [[True, True, False, False, False]]


def test_gather_kept_zeroes_the_padding():
    boxes = np.array([[[5, 5, 10, 10]]], np.float32)
    kept = nms(boxes, np.array([[0.9]], np.float32), np.ones((1, 1), bool), max_outputs=3, iou_threshold=0.5)
    assert gather_kept(boxes, kept).numpy().tolist() == [[[5, 5, 10, 10], [0] * 4, [0] * 4]]
