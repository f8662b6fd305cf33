"""Batches of pictures of one size: which pictures, whose ground truth, and in which numbers."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.evaluation import same_size
from luminoth.evaluation.same_size import same_size_batches
from luminoth.types import Batch

SIZES = [(4, 6), (6, 4), (5, 5)]


def make_batches(kinds, batch_size):
    """Picture k is filled with k, has k % 3 boxes of class k, and the size of its kind."""
    for first in range(0, len(kinds), batch_size):
        numbers = range(first, min(first + batch_size, len(kinds)))
        sizes = np.array([SIZES[kinds[k]] for k in numbers], np.int32)
        images = np.zeros((len(numbers), *sizes.max(axis=0), 3), np.float32)
        objects = max(1, *(k % 3 for k in numbers))
        boxes, class_ids = np.zeros((len(numbers), objects, 4), np.float32), np.zeros((len(numbers), objects), np.int32)
        is_object = np.zeros((len(numbers), objects), bool)
        for row, k in enumerate(numbers):
            images[row, : sizes[row][0], : sizes[row][1]] = k
            boxes[row, : k % 3], class_ids[row, : k % 3], is_object[row, : k % 3] = k, k, True
        yield Batch(*map(tf.constant, (images, sizes, boxes, class_ids, is_object, np.zeros_like(is_object))))


def check(kinds, batch_size):
    seen = []
    for numbers, batch in same_size_batches(make_batches(kinds, batch_size), batch_size):
        assert 0 < len(numbers) <= batch_size
        (kind,) = {kinds[number] for number in numbers}
        assert tuple(batch.images.shape) == (len(numbers), *SIZES[kind], 3)
        for row, number in enumerate(numbers):
            assert (batch.images[row].numpy() == number).all()
            assert tuple(batch.image_sizes[row].numpy()) == SIZES[kind]
            is_object = batch.is_object[row].numpy()
            assert is_object.sum() == number % 3
            assert (batch.gt_class_ids[row].numpy()[is_object] == number).all()
            assert (batch.gt_boxes[row].numpy()[is_object] == number).all()
            assert not batch.gt_boxes[row].numpy()[~is_object].any()
        seen.append([int(number) for number in numbers])
    return seen


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 4))
def test_every_picture_once_in_batches_of_one_size(kinds, batch_size):
    seen = check(kinds, batch_size)
    assert sorted(number for numbers in seen for number in numbers) == list(range(len(kinds)))
    # At most one batch of each size is not full.
    assert sum(len(numbers) < batch_size for numbers in seen) <= len(set(kinds))


def test_pictures_wait_for_others_of_their_size():
    assert check([0, 1, 0, 0, 1], 2) == [[0, 2], [1, 4], [3]]


def test_not_too_many_wait(monkeypatch):
    monkeypatch.setattr(same_size, "_MAX_WAITING_PIXELS", 50)  # two pictures
    assert check([0, 1, 2, 0], 4) == [[0, 3], [2], [1]]
