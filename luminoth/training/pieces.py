"""The pieces that an update is made from: the micro-batches of this worker, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from luminoth.types import Batch, BatchInfo

# What the data pipeline gives for one micro-batch.
Piece = tuple[Batch, BatchInfo]


def draw(batches: Iterator[Piece], count: int) -> list[Piece]:
    """The next `count` micro-batches."""
    return [next(batches) for _ in range(count)]


def describe_pieces(pieces: Sequence[Piece]) -> str:
    """The largest of them, as in `4 images of 800 x 1088`."""
    shapes = [batch.images.shape for batch, _ in pieces]
    count, height, width, _ = max(shapes, key=lambda shape: shape[0] * shape[1] * shape[2])
    return f"{count} images of {height} x {width}"


def join(pieces: Sequence[Piece]) -> Piece:
    """All of them as one batch, padded with zeros to the largest."""
    if len(pieces) == 1:
        return pieces[0]
    batches, infos = zip(*pieces, strict=True)
    return Batch(*map(_stack, zip(*batches, strict=True))), BatchInfo(*map(_stack, zip(*infos, strict=True)))


def _stack(parts: Sequence[tf.Tensor]) -> tf.Tensor:
    """Along the first axis; the others are padded."""
    arrays = [part.numpy() for part in parts]
    sizes = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    padded = []
    for array in arrays:
        missing = [(0, most - size) for most, size in zip(sizes, array.shape[1:], strict=True)]
        padded.append(np.pad(array, [(0, 0), *missing]) if np.any(missing) else array)
    return tf.constant(np.concatenate(padded))
