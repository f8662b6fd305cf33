import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from luminoth.boxes.matching import BACKGROUND, FOREGROUND, IGNORED, gather_matched, match
from tests.boxes import numpy_boxes
from tests.boxes.strategies import box_arrays

THRESHOLDS = {"foreground_threshold": 0.7, "background_threshold_high": 0.3}


def run(candidates, gt_boxes, is_object=None, is_crowd=None, **settings):
    gt_boxes = np.asarray(gt_boxes, np.float32).reshape(1, -1, 4)
    count = gt_boxes.shape[1]
    is_object = np.ones((1, count), bool) if is_object is None else np.array([is_object])
    is_crowd = np.zeros((1, count), bool) if is_crowd is None else np.array([is_crowd])
    matches = match(
        np.asarray(candidates, np.float32).reshape(1, -1, 4),
        gt_boxes,
        is_object,
        is_crowd,
        **{**THRESHOLDS, **settings},
    )
    return matches.labels.numpy()[0].tolist(), matches.gt_indices.numpy()[0].tolist()


def test_thresholds_by_hand():
    gt = [[0, 0, 10, 10], [50, 50, 60, 60]]
    candidates = [[0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 2], [51, 50, 60, 60]]
    labels, indices = run(candidates, gt)
    assert labels == [FOREGROUND, FOREGROUND, IGNORED, BACKGROUND, FOREGROUND]
    assert indices == [0, 0, 0, 0, 1]


def test_the_best_candidate_of_an_object_is_kept():
    gt = [[0, 0, 10, 10], [50, 50, 60, 60]]
    candidates = [[0, 0, 10, 5], [0, 0, 10, 4], [55, 55, 70, 70]]  # IoU 0.5, 0.4; 25 / 300
    assert run(candidates, gt)[0] == [IGNORED, IGNORED, BACKGROUND]
    labels, indices = run(candidates, gt, keep_best_per_object=True)
    assert labels == [FOREGROUND, IGNORED, FOREGROUND]
    assert indices[0] == 0
    assert indices[2] == 1
    clobbered, _ = run(candidates, gt, keep_best_per_object=True, clobber_positives=True)
    assert clobbered == [FOREGROUND, IGNORED, BACKGROUND]


def test_the_best_candidate_of_an_object_belongs_to_the_object_that_it_overlaps_most():
    gt = [[0, 0, 10, 10], [0, 8, 10, 12]]
    candidates = [[0, 0, 10, 10], [0, 2, 10, 12]]  # the second: IoU 80 / 120 and 40 / 100; it is object 1's best
    assert run(candidates, gt)[0] == [FOREGROUND, IGNORED]
    assert run(candidates, gt, keep_best_per_object=True) == ([FOREGROUND, FOREGROUND], [0, 0])


def test_an_object_that_no_candidate_touches_makes_none_foreground():
    labels, _ = run([[0, 0, 10, 10], [20, 20, 30, 30]], [[80, 80, 90, 90]], keep_best_per_object=True)
    assert labels == [BACKGROUND, BACKGROUND]


def test_a_picture_without_objects_is_all_background():
    assert run([[0, 0, 10, 10]], np.zeros((0, 4)))[0] == [BACKGROUND]
    assert run([[0, 0, 10, 10]], np.zeros((2, 4)), is_object=[False, False])[0] == [BACKGROUND]


def test_padding_rows_are_never_matched():
    gt = [[0, 0, 10, 10], [0, 0, 10, 10]]
    labels, indices = run([[0, 0, 10, 10]], gt, is_object=[False, True])
    assert (labels, indices) == ([FOREGROUND], [1])


def test_crowd_regions_are_neither_objects_nor_background():
    gt = [[0, 0, 100, 100]]
    candidates = [[0, 0, 100, 100], [10, 10, 20, 20], [95, 95, 105, 105], [200, 200, 210, 210]]
    labels, _ = run(candidates, gt, is_crowd=[True], keep_best_per_object=True)
    assert labels == [IGNORED, IGNORED, BACKGROUND, BACKGROUND]


def test_candidates_left_out_are_ignored_and_do_not_win():
    gt = np.array([[[0, 0, 10, 10]]], np.float32)
    candidates = np.array([[[0, 0, 10, 10], [0, 0, 10, 4]]], np.float32)
    matches = match(
        candidates,
        gt,
        np.array([[True]]),
        np.array([[False]]),
        is_candidate=np.array([[False, True]]),
        keep_best_per_object=True,
        **THRESHOLDS,
    )
    assert matches.labels.numpy().tolist() == [[IGNORED, FOREGROUND]]


def test_a_threshold_of_zero_makes_nothing_foreground_that_touches_no_object():
    candidates = [[0, 0, 10, 10], [50, 50, 60, 60]]
    assert run(candidates, [[9, 9, 20, 20]], foreground_threshold=0.0)[0] == [FOREGROUND, BACKGROUND]
    assert run(candidates, np.zeros((0, 4)), foreground_threshold=0.0)[0] == [BACKGROUND, BACKGROUND]


def test_candidates_without_area_match_nothing():
    assert run([[5, 5, 5, 5]], [[0, 0, 10, 10], [5, 5, 5, 5]], keep_best_per_object=True)[0] == [BACKGROUND]


def test_background_threshold_low_mines_harder_negatives():
    labels, _ = run([[0, 0, 10, 2], [50, 50, 60, 60]], [[0, 0, 10, 10]], background_threshold_low=0.1)
    assert labels == [BACKGROUND, IGNORED]


@given(box_arrays(min_count=1, max_count=10), box_arrays(max_count=4), st.booleans())
def test_equals_numpy(candidates, gt_boxes, keep_best):
    labels, indices = run(candidates, gt_boxes, keep_best_per_object=keep_best)
    expected_labels, expected_indices = numpy_boxes.match(candidates, gt_boxes, 0.7, 0.3, keep_best)
    assert labels == expected_labels
    assert [i for i, label in zip(indices, labels, strict=True) if label == 1] == [
        i for i, label in zip(expected_indices, labels, strict=True) if label == 1
    ]


@given(box_arrays(min_count=5, max_count=5), box_arrays(min_count=2, max_count=2))
def test_padded_ground_truth_equals_unpadded(candidates, gt_boxes):
    padded = np.concatenate([gt_boxes, np.zeros((3, 4), np.float32)])
    with_padding = run(candidates, padded, is_object=[True] * 2 + [False] * 3, keep_best_per_object=True)
    assert with_padding == run(candidates, gt_boxes, keep_best_per_object=True)


def test_compiled_equals_eager():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 80, (2, 60, 2)).astype(np.float32)
    candidates = np.concatenate([corners, corners + rng.uniform(5, 30, (2, 60, 2)).astype(np.float32)], axis=2)
    is_object, is_crowd = rng.random((2, 9)) < 0.8, rng.random((2, 9)) < 0.2
    arguments = [tf.constant(x) for x in (candidates, candidates[:, :9] + 2, is_object, is_crowd)]
    compiled = tf.function(
        lambda *inputs: match(*inputs, keep_best_per_object=True, **THRESHOLDS), autograph=False, jit_compile=True
    )
    expected = match(*arguments, keep_best_per_object=True, **THRESHOLDS)
    for got, wanted in zip(compiled(*arguments), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert set(np.unique(expected.labels)) == {FOREGROUND, BACKGROUND, IGNORED}


def test_gather_matched_takes_rows_of_the_own_picture():
    values = np.array([[1, 2], [3, 4]], np.int32)
    assert gather_matched(values, np.array([[1, 0, 0], [1, 1, 0]])).numpy().tolist() == [[2, 1, 1], [4, 4, 3]]
    assert gather_matched(np.zeros((1, 0, 4), np.float32), np.array([[0, 0]])).numpy().tolist() == [[[0] * 4] * 2]
