"""Batches in which all pictures have one size, made from batches as they come.

A picture's detections must not depend on its neighbours, so nothing is padded; and batches should be full, which is
what makes a batch worth while. So pictures wait for others of their size, up to a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from luminoth.types import Batch

# How many pixels may wait, as float32 RGB: 64 million are 768 MB.
_MAX_WAITING_PIXELS = 64_000_000


def same_size_batches(batches: Iterable[Batch], batch_size: int) -> Iterator[tuple[np.ndarray, Batch]]:
    """Regroups the pictures of padded batches by their size.

    Args:
        batches: as they come; no larger than `batch_size`.
        batch_size: pictures in each batch that is given, at most.

    Yields:
        The pictures' numbers, counted from 0 in the order in which they came, [B] int64; and their batch.
    """
    waiting: dict[tuple[int, int], tuple[np.ndarray, Batch]] = {}
    first = 0
    for batch in batches:
        for size, rows in _rows_by_size(batch).items():
            numbers, group = first + rows, _select(batch, rows, size)
            if size in waiting:
                numbers, group = _join(waiting.pop(size), (numbers, group))
            if len(numbers) < batch_size:
                waiting[size] = numbers, group
                continue
            yield numbers[:batch_size], Batch(*(each[:batch_size] for each in group))
            if len(numbers) > batch_size:
                waiting[size] = numbers[batch_size:], Batch(*(each[batch_size:] for each in group))
        first += len(batch.images)
        while sum(len(numbers) * size[0] * size[1] for size, (numbers, _) in waiting.items()) > _MAX_WAITING_PIXELS:
            yield waiting.pop(max(waiting, key=lambda size: len(waiting[size][0])))
    yield from waiting.values()


def _rows_by_size(batch: Batch) -> dict[tuple[int, int], np.ndarray]:
    sizes = batch.image_sizes.numpy()
    kinds, kind_of_row = np.unique(sizes, axis=0, return_inverse=True)
    return {tuple(size): np.flatnonzero(kind_of_row == kind) for kind, size in enumerate(kinds.tolist())}


def _select(batch: Batch, rows: np.ndarray, size: tuple[int, int]) -> Batch:
    group = batch if len(rows) == len(batch.images) else Batch(*(tf.gather(each, rows) for each in batch))
    height, width = size
    if group.images.shape[1:3] == (height, width):
        return group
    return group._replace(images=group.images[:, :height, :width])


def _join(one: tuple[np.ndarray, Batch], other: tuple[np.ndarray, Batch]) -> tuple[np.ndarray, Batch]:
    """Two groups of one size, their ground truth padded to the longer of both."""
    most = max(group.gt_boxes.shape[1] for _, group in (one, other))
    padded = [_pad_objects(group, most) for _, group in (one, other)]
    return np.concatenate([one[0], other[0]]), Batch(*(tf.concat(pair, axis=0) for pair in zip(*padded, strict=True)))


def _pad_objects(batch: Batch, count: int) -> Batch:
    missing = count - batch.gt_boxes.shape[1]
    columns = ("gt_boxes", "gt_class_ids", "is_object", "is_crowd")
    return batch._replace(
        **{
            name: tf.pad(values, [[0, 0], [0, missing]] + [[0, 0]] * (len(values.shape) - 2))
            for name in columns
            for values in (getattr(batch, name),)
        }
    )
