import math

import numpy as np
import pytest
from hypothesis import given

from luminoth.boxes.deltas import MAX_LOG_SCALE, decode, encode
from tests.boxes import numpy_boxes
from tests.boxes.strategies import box_arrays


def test_encode_by_hand():
    reference, box = np.array([[0, 0, 10, 20]], np.float32), np.array([[5, 10, 25, 20]], np.float32)
    # centres (5, 10) and (15, 15); widths 10 and 20; heights 20 and 10
    expected = [[1.0, 0.25, math.log(2), math.log(0.5)]]
    np.testing.assert_allclose(encode(reference, box).numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(
        encode(reference, box, (0.1, 0.2)).numpy(), np.array(expected) / [0.1, 0.1, 0.2, 0.2], rtol=1e-6
    )


@pytest.mark.parametrize("variances", [(1.0, 1.0), (0.1, 0.2)])
@given(references=box_arrays(min_count=6, max_count=6), boxes=box_arrays(min_count=6, max_count=6))
def test_decode_inverts_encode(references, boxes, variances):
    # A box more than MAX_LOG_SCALE larger than its reference cannot come back; none is at these sizes (62.5 x).
    boxes[:, 2:] = np.minimum(boxes[:, 2:], boxes[:, :2] + 60 * (references[:, 2:] - references[:, :2]))
    deltas = encode(references, boxes, variances)
    np.testing.assert_allclose(decode(references, deltas, variances).numpy(), boxes, atol=2e-3)


@given(references=box_arrays(min_count=4, max_count=4), boxes=box_arrays(min_count=4, max_count=4))
def test_encode_equals_numpy(references, boxes):
    expected = [numpy_boxes.encode(r, b, (0.1, 0.2)) for r, b in zip(references, boxes, strict=True)]
    np.testing.assert_allclose(encode(references, boxes, (0.1, 0.2)).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_zero_deltas_leave_the_reference():
    reference = np.array([[3, 4, 50, 60]], np.float32)
    np.testing.assert_allclose(decode(reference, np.zeros((1, 4), np.float32)).numpy(), reference)


def test_huge_size_deltas_are_cut():
    decoded = decode(np.array([[0, 0, 16, 16]], np.float32), np.array([[0, 0, 100, MAX_LOG_SCALE]], np.float32)).numpy()
    np.testing.assert_allclose(decoded[0], [8 - 500, 8 - 500, 8 + 500, 8 + 500], rtol=1e-5)
