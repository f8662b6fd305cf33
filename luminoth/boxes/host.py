"""Boxes in NumPy, for what is done with a few of them on the host: tracking, tiles, comparisons. No TensorFlow."""

from __future__ import annotations

import numpy as np


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The IoU of each pair, [N, M], of boxes [N, 4] and [M, 4]; 0 where nothing is shared, also without area."""
    low, high = np.maximum(boxes[:, None, :2], others[None, :, :2]), np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas, other_areas = (np.clip(each[:, 2:] - each[:, :2], 0, None).prod(axis=1) for each in (boxes, others))
    union = areas[:, None] + other_areas[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def suppress(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Greedy non-maximum suppression: the indices that stay, by descending score.

    Args:
        boxes: [N, 4].
        scores: [N].
        iou_threshold: a box goes that overlaps one that stays by more.
    """
    order = np.argsort(-scores, kind="stable")
    iou = overlaps(boxes, boxes)
    stays: list[int] = []
    for index in order:
        if not stays or iou[index, stays].max() <= iou_threshold:
            stays.append(int(index))
    return np.array(stays, int)
