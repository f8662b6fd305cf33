"""Pooling of features under each RoI to a grid of fixed size.

RoIAlign is a matrix: each bin is a weighted sum of a few cells of the maps, `2 * ratio` a side ("taps"). All maps of a
batch are laid out as one list of cells [N, C]; a RoI knows where its map and its picture begin in that list. So no RoI
changes its place and no sample is stored, on one map or on a pyramid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from luminoth.errors import ModelError


def roi_align(
    features: Sequence[tf.Tensor],
    rois: tf.Tensor,
    *,
    strides: Sequence[float],
    output_size: tuple[int, int],
    sampling_ratio: int = 2,
    aligned: bool = True,
    method: str = "sparse",
) -> tf.Tensor:
    """RoIAlign (Mask R-CNN, He et al. 2017, section 3), each RoI from the map that `roi_levels` gives it.

    A bin is the mean of bilinear samples at the middles of a regular grid in it. Samples up to one cell outside the
    map take its border's value, those further out are zero, as in torchvision and Detectron2.

    Args:
        features: [B, h, w, C] each, finest first; the strides double from one to the next.
        rois: [B, R, 4] float32, pixels of the network's input.
        strides: pixels a cell of each map.
        output_size: (rows, columns) of bins.
        sampling_ratio: samples along each side of a bin. 0: as many as the bin is cells long, rounded up.
        aligned: pixel i of the map lies at i + 0.5 (Detectron2), not at i (torchvision's default).
        method: "sparse", a product with a sparse matrix, fastest on the CPU; or "gather", which XLA compiles, for one
            ratio for all RoIs. Both sum up in float32 and give the same numbers.

    Returns:
        [B, R, rows, columns, C], of the features' type.

    Raises:
        ModelError: sampling_ratio 0 with "gather".
    """
    if method == "gather" and sampling_ratio == 0:
        raise ModelError(
            "RoIAlign's sampling_ratio 0 has no fixed shapes, which XLA needs; set it to 1 or more, e.g. 2"
        )
    boxes = _place(features, rois, strides, aligned)
    if method == "gather":
        pooled = _pool_by_gather(features, _fixed_taps(boxes, output_size, sampling_ratio))
    else:
        taps = _fixed_taps(boxes, output_size, sampling_ratio) if sampling_ratio else _adaptive_taps(boxes, output_size)
        pooled = _pool_by_matrix(features, taps, tf.size(boxes.first_cell) * math.prod(output_size))
    shape = (tf.shape(rois)[0], rois.shape[1] or -1, *output_size, features[0].shape[-1])
    return tf.reshape(tf.cast(pooled, features[0].dtype), shape)  # [B * R * rows * columns, C] -> [B, R, ...]


def roi_levels(
    rois: tf.Tensor,
    num_levels: int,
    *,
    finest_level: int = 2,
    canonical_size: float = 224.0,
    canonical_level: int = 4,
) -> tf.Tensor:
    """The map that suits each RoI's size (Feature Pyramid Networks, Lin et al. 2017, equation 1).

    Args:
        rois: [..., 4] float32 pixels.
        num_levels: how many maps there are.
        finest_level: level of the first one; its stride is `2 ** finest_level`.
        canonical_size: side in pixels of a square RoI of level canonical_level; half the side is one level less.

    Returns:
        [...] int32, indices of the maps, 0 the finest.
    """
    sizes = tf.maximum(rois[..., 2:] - rois[..., :2], 0.0)
    sides = tf.sqrt(tf.maximum(sizes[..., 0] * sizes[..., 1], 1e-6))  # no logarithm of zero
    # A side of just 224 must not fall a level by rounding; torchvision's margin, far below a pixel.
    levels = tf.floor(canonical_level + tf.math.log(sides / canonical_size) / math.log(2.0) + 1e-6)
    return tf.clip_by_value(tf.cast(levels, tf.int32) - finest_level, 0, num_levels - 1)


def roi_crop(
    features: Sequence[tf.Tensor],
    rois: tf.Tensor,
    *,
    strides: Sequence[float],
    output_size: tuple[int, int],
    padding: str = "VALID",
) -> tf.Tensor:
    """Luminoth's pooling: a bilinear crop of twice the size, then a 2 x 2 max-pool; on one map only.

    Args and result as for `roi_align`; padding is the max-pool's.

    Raises:
        ModelError: there are several maps.
    """
    if len(features) > 1:
        raise ModelError("Luminoth's crop and max-pool works on one map; use roi_align on a pyramid")
    (of_map,), (stride,) = features, strides
    rows, columns = output_size
    height, width = tf.shape(of_map)[1], tf.shape(of_map)[2]
    corners = rois / (stride * tf.cast(tf.stack([width, height, width, height]), tf.float32))
    crops = tf.image.crop_and_resize(
        tf.cast(of_map, tf.float32),  # it takes no bfloat16
        tf.reshape(tf.gather(corners, [1, 0, 3, 2], axis=-1), (-1, 4)),
        _picture_of_roi(rois),
        (2 * rows, 2 * columns),
    )
    pooled = tf.nn.max_pool2d(tf.cast(crops, of_map.dtype), 2, 2, padding)
    return tf.reshape(pooled, (tf.shape(rois)[0], -1, rows, columns, of_map.shape[-1]))  # [B * R, ...] -> [B, R, ...]


class _Boxes(NamedTuple):
    """RoIs in cells of their maps; n = B * R of them.

    Attributes:
        y, x: (low, high) of each axis, [n] float32 each.
        height, width: of the RoI's map, [n] int32.
        first_cell: where its map of its picture begins in the list of all cells, [n] int32.
    """

    y: tuple[tf.Tensor, tf.Tensor]
    x: tuple[tf.Tensor, tf.Tensor]
    height: tf.Tensor
    width: tf.Tensor
    first_cell: tf.Tensor


class _Taps(NamedTuple):
    """Which cells make up the bins: [taps] each, or [bins, taps of a bin] where all bins have equally many.

    Attributes:
        bins: int64 row of the result.
        cells: int32 row of the list of cells.
        weights: float32.
    """

    bins: tf.Tensor
    cells: tf.Tensor
    weights: tf.Tensor


def _place(features: Sequence[tf.Tensor], rois: tf.Tensor, strides: Sequence[float], aligned: bool) -> _Boxes:
    boxes = tf.reshape(rois, (-1, 4))  # [B, R, 4] -> [B * R, 4]
    levels = roi_levels(boxes, len(features), finest_level=round(math.log2(strides[0])))
    shapes = tf.stack([tf.shape(of_map)[:3] for of_map in features])  # [levels, 3]: B, h, w
    first_cells = tf.cumsum(tf.reduce_prod(shapes, axis=1), exclusive=True)
    height, width = tf.gather(shapes[:, 1], levels), tf.gather(shapes[:, 2], levels)
    stride = tf.gather(tf.constant(strides, tf.float32), levels)[:, None]
    cells = boxes / stride - (0.5 if aligned else 0.0)
    low, high = cells[:, :2], cells[:, 2:]
    if not aligned:  # RoIs thinner than a cell are widened to one
        high = tf.maximum(high, low + 1.0)
    first_cell = tf.gather(first_cells, levels) + _picture_of_roi(rois) * height * width
    return _Boxes((low[:, 1], high[:, 1]), (low[:, 0], high[:, 0]), height, width, first_cell)


def _axis_taps(positions: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The two cells beside each position on an axis of `length` cells, and their weights: [..., 2] each."""
    length = tf.cast(length, tf.float32)
    is_near = (positions >= -1.0) & (positions <= length)  # false for NaN, which must not become an index
    positions = tf.where(is_near, tf.clip_by_value(positions, 0.0, length - 1.0), 0.0)
    counts = tf.cast(is_near, tf.float32)
    lower = tf.floor(positions)
    upper = tf.minimum(lower + 1.0, length - 1.0)
    weights = tf.stack([(1.0 - positions + lower) * counts, (positions - lower) * counts], axis=-1)
    return tf.cast(tf.stack([lower, upper], axis=-1), tf.int32), weights


def _fixed_taps(boxes: _Boxes, output_size: tuple[int, int], ratio: int) -> _Taps:
    """[n * rows * columns, 4 * ratio ** 2]: ratio x ratio samples of four cells a bin."""
    rows, columns = output_size

    def axis(low: tf.Tensor, high: tf.Tensor, bins: int, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        steps = (tf.range(bins * ratio, dtype=tf.float32) + 0.5) / (bins * ratio)
        cells, weights = _axis_taps(low[:, None] + (high - low)[:, None] * steps, length[:, None])
        shape = (-1, bins, 2 * ratio)  # [n, bins * ratio, 2] -> [n, bins, 2 * ratio]
        return tf.reshape(cells, shape), tf.reshape(weights / ratio, shape)

    y_cells, y_weights = axis(*boxes.y, rows, boxes.height)
    x_cells, x_weights = axis(*boxes.x, columns, boxes.width)
    y_cells = boxes.first_cell[:, None, None] + y_cells * boxes.width[:, None, None]
    shape = (-1, 4 * ratio**2)  # [n, rows, columns, 2 * ratio, 2 * ratio] -> [n * rows * columns, 4 * ratio ** 2]
    cells = tf.reshape(y_cells[:, :, None, :, None] + x_cells[:, None, :, None, :], shape)
    weights = tf.reshape(y_weights[:, :, None, :, None] * x_weights[:, None, :, None, :], shape)
    bins = tf.broadcast_to(tf.range(tf.shape(cells)[0])[:, None], tf.shape(cells))
    return _Taps(tf.cast(bins, tf.int64), cells, weights)


def _adaptive_taps(boxes: _Boxes, output_size: tuple[int, int]) -> _Taps:
    """[taps]: each RoI has as many samples along a bin's side as the side is cells long, rounded up."""
    rows, columns = output_size
    y_begins, y_counts, y_cells, y_weights = _adaptive_axis(*boxes.y, rows, boxes.height, boxes.width, boxes.first_cell)
    x_begins, x_counts, x_cells, x_weights = _adaptive_axis(*boxes.x, columns, boxes.width, 1, 0)
    shape = tf.stack([tf.size(boxes.first_cell), rows, columns])

    def of_bins(values: tf.Tensor) -> tf.Tensor:  # broadcast to [n, rows, columns] -> [n * rows * columns]
        return tf.reshape(tf.broadcast_to(values, shape), (-1,))

    counts = of_bins((y_counts * x_counts)[:, None, None])
    bins = _repeated_indices(counts)
    of_bin = tf.stack(
        [
            tf.cumsum(counts, exclusive=True),
            of_bins((y_begins[:, None] + y_counts[:, None] * tf.range(rows))[:, :, None]),
            of_bins((x_begins[:, None] + x_counts[:, None] * tf.range(columns))[:, None, :]),
            of_bins(x_counts[:, None, None]),
        ],
        axis=-1,
    )
    begin, y_tap, x_tap, x_count = tf.unstack(tf.gather(of_bin, bins), axis=-1)
    number = tf.range(tf.size(bins)) - begin  # of the tap within its bin, row by row
    y_tap, x_tap = y_tap + number // x_count, x_tap + number % x_count
    cells = tf.gather(y_cells, y_tap) + tf.gather(x_cells, x_tap)
    return _Taps(tf.cast(bins, tf.int64), cells, tf.gather(y_weights, y_tap) * tf.gather(x_weights, x_tap))


def _adaptive_axis(
    low: tf.Tensor, high: tf.Tensor, bins: int, length: tf.Tensor, step: tf.Tensor | int, first: tf.Tensor | int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """The taps of all RoIs on one axis, one RoI after the other.

    Returns where each RoI's taps begin and how many each of its bins has, [n] int32 each; and the taps' cells
    (`first + step *` the place on the axis) and weights, [taps on the axis] each.
    """
    samples = tf.maximum(tf.cast(tf.math.ceil((high - low) / bins), tf.int32), 0)
    begins = tf.cumsum(bins * samples, exclusive=True)
    roi = _repeated_indices(bins * samples)
    steps = (tf.cast(tf.range(tf.size(roi)) - tf.gather(begins, roi), tf.float32) + 0.5) / bins
    of_bin = tf.cast(tf.gather(samples, roi), tf.float32)
    positions = tf.gather(low, roi) + tf.gather(high - low, roi) * steps / of_bin
    cells, weights = _axis_taps(positions, tf.gather(length, roi))
    ones = tf.ones_like(samples)
    cells = tf.gather(first * ones, roi)[:, None] + tf.gather(step * ones, roi)[:, None] * cells
    return 2 * begins, 2 * samples, tf.reshape(cells, (-1,)), tf.reshape(weights / of_bin[:, None], (-1,))


def _repeated_indices(counts: tf.Tensor) -> tf.Tensor:
    """[2, 0, 3] to [0, 0, 2, 2, 2], as `tf.repeat` does, which takes memory for the largest count everywhere."""
    begins = tf.cumsum(counts)[:-1]
    steps = tf.math.bincount(begins, minlength=tf.reduce_sum(counts) + 1, dtype=tf.int32)
    return tf.cumsum(steps)[: tf.reduce_sum(counts)]


def _pool_by_matrix(features: Sequence[tf.Tensor], taps: _Taps, num_bins: tf.Tensor) -> tf.Tensor:
    """Weighted sums of cells, [bins, C] float32, as the product of a sparse matrix [bins, N] and the cells [N, C]."""
    all_cells = _all_cells(features)
    indices = tf.stack([tf.reshape(taps.bins, (-1,)), tf.cast(tf.reshape(taps.cells, (-1,)), tf.int64)], axis=-1)
    # At least one row: TensorFlow 2.21 divides by their number, which ends the process on some machines.
    shape = tf.cast(tf.stack([tf.maximum(num_bins, 1), tf.shape(all_cells)[0]]), tf.int64)

    @tf.custom_gradient
    def product(all_cells: tf.Tensor):
        matrix = tf.raw_ops.SparseTensorToCSRSparseMatrix(
            indices=indices, values=tf.reshape(taps.weights, (-1,)), dense_shape=shape
        )

        def gradient(of_bins: tf.Tensor) -> tf.Tensor:
            # Transposing first is three times as fast as the product's own `transpose_a`.
            transposed = tf.raw_ops.SparseMatrixTranspose(input=matrix, type=tf.float32)
            return tf.raw_ops.SparseMatrixMatMul(a=transposed, b=of_bins)

        return tf.raw_ops.SparseMatrixMatMul(a=matrix, b=all_cells), gradient

    return product(all_cells)[:num_bins]


def _pool_by_gather(features: Sequence[tf.Tensor], taps: _Taps) -> tf.Tensor:
    """The same sums from one gather for each tap of a bin; XLA makes one loop of them."""
    all_cells = _all_cells(features)
    total = tf.zeros((), tf.float32)
    for tap in range(taps.cells.shape[1]):
        total += tf.gather(all_cells, taps.cells[:, tap]) * taps.weights[:, tap, None]
    return total


def _all_cells(features: Sequence[tf.Tensor]) -> tf.Tensor:
    """[B, h, w, C] each -> [N, C] float32, map by map.

    Cast before they are laid out, so that the gradients of a cell that many RoIs share add up in float32.
    """
    flat = [tf.reshape(tf.cast(of_map, tf.float32), (-1, of_map.shape[-1])) for of_map in features]
    return flat[0] if len(flat) == 1 else tf.concat(flat, axis=0)


def _picture_of_roi(rois: tf.Tensor) -> tf.Tensor:
    """[B, R, 4] -> [B * R] int32: 0, ..., 0, 1, ..., 1, ..."""
    return tf.repeat(tf.range(tf.shape(rois)[0]), tf.shape(rois)[1])
