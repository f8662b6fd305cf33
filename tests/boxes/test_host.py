"""Boxes in NumPy, by hand and against TensorFlow."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from luminoth.boxes.geometry import pairwise_iou
from luminoth.boxes.host import overlaps, suppress


def random_boxes(seed: int, count: int) -> np.ndarray:
    corners = np.random.default_rng(seed).uniform(0, 50, (count, 2, 2)).astype(np.float32)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


def test_overlaps_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 5, 5, 9]], float)
    others = np.array([[5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 10]], float)
    np.testing.assert_allclose(overlaps(boxes, others), [[50 / 150, 0, 1], [0, 0, 0]])
    assert overlaps(boxes, others[:0]).shape == (2, 0)


def test_overlaps_are_those_of_the_network():
    boxes, others = random_boxes(0, 12), random_boxes(1, 9)
    np.testing.assert_allclose(overlaps(boxes, others), pairwise_iou(boxes, others), atol=1e-6)


def test_suppression_is_tensorflows():
    boxes, scores = random_boxes(2, 60), np.random.default_rng(3).permutation(60).astype(np.float32)
    expected = tf.image.non_max_suppression(boxes, scores, 60, iou_threshold=0.3)
    np.testing.assert_array_equal(suppress(boxes, scores, 0.3), expected)
    assert suppress(boxes[:0], scores[:0], 0.3).tolist() == []
