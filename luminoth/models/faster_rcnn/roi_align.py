"""Pooling of features under each RoI to a grid of fixed size.

Shape letters: B pictures, R RoIs of each, N = B * R of all, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from luminoth.errors import ModelError

# A RoI of this side, in pixels, is pooled from the map of stride 2 ** 4; half the side, from the next finer map.
_CANONICAL_SIDE, _CANONICAL_LEVEL = 224.0, 4


def roi_align(
    features: Sequence[tf.Tensor],
    rois: tf.Tensor,
    *,
    strides: Sequence[int],
    output_size: tuple[int, int],
    sampling_ratio: int = 2,
    aligned: bool = True,
    method: str = "crop_and_resize",
) -> tf.Tensor:
    """RoIAlign (Mask R-CNN, He et al. 2017, section 3), from the map that suits each RoI's size.

    Each bin is the mean of `sampling_ratio` x `sampling_ratio` bilinear samples. Samples up to one cell outside
    a map take its border's value, those further out are zero, as in torchvision and Detectron2.

    Args:
        features: one map [B, h, w, C] for each of `strides`, finest first.
        rois: [B, R, 4] float32, pixels of the network's input.
        strides: pixels a cell of each map, doubling from map to map.
        output_size: (rows, columns) of bins.
        sampling_ratio: samples along each side of a bin; 0: as many as the bin covers cells, rounded up
            (Detectron2).
        aligned: pixel i of the map lies at i + 0.5 (Detectron2), not at i (torchvision's default).
        method: "crop_and_resize", TensorFlow's operator, fastest on the CPU; or "gather", plain gathers with fixed
            shapes, which XLA compiles. Both give the same numbers.

    Returns:
        [B, R, rows, columns, C], of the features' type.

    Raises:
        ModelError: an adaptive sampling ratio is asked of "gather".
    """
    boxes, pictures = tf.reshape(rois, (-1, 4)), _picture_of_roi(rois)  # [B, R, 4] -> [N, 4]
    levels = roi_levels(boxes, strides)
    if method == "gather":
        if sampling_ratio == 0:
            raise ModelError("XLA needs a fixed number of samples: set model.rcnn.roi.sampling_ratio above 0")
        pooled = _pool_by_gather(features, boxes, pictures, levels, strides, output_size, sampling_ratio, aligned)
    else:
        places, of_levels = [], []
        for level, (of_level, stride) in enumerate(zip(features, strides, strict=True)):
            chosen = tf.cast(tf.where(levels == level)[:, 0], tf.int32)
            cells = _in_cells(tf.gather(boxes, chosen), stride, aligned)
            places.append(chosen)
            of_levels.append(_pool_by_crop(of_level, cells, tf.gather(pictures, chosen), output_size, sampling_ratio))
        pooled = tf.dynamic_stitch(places, of_levels)
    shape = tf.shape(rois)
    return tf.reshape(pooled, (shape[0], shape[1], *output_size, features[0].shape[-1]))  # [N, ...] -> [B, R, ...]


def roi_levels(boxes: tf.Tensor, strides: Sequence[int]) -> tf.Tensor:
    """Which map each RoI is pooled from (Feature Pyramid Networks, Lin et al. 2017, equation 1).

    Args:
        boxes: [N, 4] float32, pixels.
        strides: of the maps, powers of two, finest first.

    Returns:
        [N] int32, indices into `strides`; RoIs too small or too large for the maps there are get the nearest.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    octaves = tf.math.log(tf.sqrt(tf.maximum(areas, 1e-12)) / _CANONICAL_SIDE) / math.log(2.0)
    # The little more decides for RoIs of exactly the canonical side, as in torchvision.
    levels = tf.floor(_CANONICAL_LEVEL + octaves + 1e-6)
    finest = round(math.log2(strides[0]))
    return tf.cast(tf.clip_by_value(levels - finest, 0.0, len(strides) - 1.0), tf.int32)


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
        of_map,
        tf.reshape(tf.gather(corners, [1, 0, 3, 2], axis=-1), (-1, 4)),
        _picture_of_roi(rois),
        (2 * rows, 2 * columns),
    )
    pooled = tf.nn.max_pool2d(tf.cast(crops, of_map.dtype), 2, 2, padding)
    return tf.reshape(pooled, (tf.shape(rois)[0], -1, rows, columns, of_map.shape[-1]))  # [B * R, ...] -> [B, R, ...]


def _in_cells(boxes: tf.Tensor, stride, aligned: bool) -> tf.Tensor:
    """Boxes [N, 4] from pixels to cells of a map, whose first cell has its centre at 0."""
    if aligned:
        return boxes / stride - 0.5
    cells = boxes / stride
    # Not aligned: RoIs thinner than a cell are widened to one.
    return tf.concat([cells[:, :2], tf.maximum(cells[:, 2:], cells[:, :2] + 1.0)], axis=-1)


def _pool_by_crop(
    features: tf.Tensor, cells: tf.Tensor, pictures: tf.Tensor, output_size: tuple[int, int], ratio: int
) -> tf.Tensor:
    """Pools boxes [N_l, 4], in cells, of the pictures [N_l] from one map: [N_l, rows, columns, C]."""
    rows, columns = output_size
    # The operator knows no bfloat16, and gives float32 whatever it gets.
    bordered = _with_border(tf.cast(features, tf.float32))
    if ratio:
        samples = _samples_by_crop(bordered, cells, pictures, rows * ratio, columns * ratio)
        return tf.cast(tf.nn.avg_pool2d(samples, ratio, ratio, "VALID"), features.dtype)
    return tf.cast(_pool_adaptively(bordered, cells, pictures, rows, columns), features.dtype)


def _with_border(features: tf.Tensor) -> tf.Tensor:
    """A map [B, h, w, C] with its border repeated once around it, [B, h + 2, w + 2, C].

    `tf.pad(..., "SYMMETRIC")` gives the same in three times the time, which is as long as the pooling itself.
    """
    shape = tf.shape(features)
    height, width = shape[1] + 2, shape[2] + 2
    across, down = tf.range(width), tf.range(1, height - 1)
    ys = tf.concat([tf.zeros_like(across), tf.fill([width], height - 1), down, down], axis=0)
    xs = tf.concat([across, across, tf.zeros_like(down), tf.fill([height - 2], width - 1)], axis=0)
    frame = tf.stack([ys, xs], axis=-1)  # [F, 2], the F cells of the border
    inside = tf.clip_by_value(frame - 1, 0, shape[1:3] - 1)

    def in_every_picture(cells: tf.Tensor) -> tf.Tensor:  # [F, 2] -> [B, F, 3]
        pictures = tf.broadcast_to(tf.range(shape[0])[:, None, None], (shape[0], tf.shape(cells)[0], 1))
        return tf.concat([pictures, tf.broadcast_to(cells, (shape[0], tf.shape(cells)[0], 2))], axis=-1)

    padded = tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]])
    border = tf.gather_nd(features, in_every_picture(inside))  # [B, F, C]
    return tf.tensor_scatter_nd_update(padded, in_every_picture(frame), border)


def _samples_by_crop(bordered: tf.Tensor, cells: tf.Tensor, pictures: tf.Tensor, rows, columns) -> tf.Tensor:
    """Bilinear samples at the middles of a rows x columns grid over each box [N_l, 4]: [N_l, rows, columns, C].

    `crop_and_resize` puts its first and last samples on the box's edges, so the box is shrunk by half a step; it
    gives zero outside the map, here the map with its border.
    """
    limits = tf.cast(tf.shape(bordered)[1:3] - 1, tf.float32)
    x_min, y_min, x_max, y_max = tf.unstack(cells, axis=-1)
    y_half = (y_max - y_min) / tf.cast(2 * rows, tf.float32)
    x_half = (x_max - x_min) / tf.cast(2 * columns, tf.float32)
    edges = tf.stack(
        [
            (y_min + y_half + 1.0) / limits[0],
            (x_min + x_half + 1.0) / limits[1],
            (y_max - y_half + 1.0) / limits[0],
            (x_max - x_half + 1.0) / limits[1],
        ],
        axis=-1,
    )
    return tf.image.crop_and_resize(bordered, edges, pictures, (rows, columns))


def _pool_adaptively(bordered: tf.Tensor, cells: tf.Tensor, pictures: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """As many samples in each bin as it covers cells: RoIs with equally many are pooled together."""
    sizes = cells[:, 2:] - cells[:, :2]
    counts = tf.cast(tf.math.ceil(sizes / tf.constant([columns, rows], tf.float32)), tf.int32)
    x_counts, y_counts = tf.unstack(tf.maximum(counts, 1), axis=-1)
    most = tf.reduce_max(tf.pad(x_counts, [[0, 1]])) + 1
    keys, _ = tf.unique(y_counts * most + x_counts)
    channels = bordered.shape[-1]

    def pool_group(index: tf.Tensor, pooled: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        y_count, x_count = keys[index] // most, keys[index] % most
        chosen = tf.where((y_counts == y_count) & (x_counts == x_count))  # [n, 1]
        boxes, of_pictures = tf.gather(cells, chosen[:, 0]), tf.gather(pictures, chosen[:, 0])
        samples = _samples_by_crop(bordered, boxes, of_pictures, rows * y_count, columns * x_count)
        # [n, rows * y, columns * x, C] -> [n, rows, y, columns, x, C]
        bins = tf.reshape(samples, (-1, rows, y_count, columns, x_count, channels))
        return index + 1, tf.tensor_scatter_nd_update(pooled, chosen, tf.reduce_mean(bins, axis=(2, 4)))

    nothing = tf.zeros((tf.shape(cells)[0], rows, columns, channels), bordered.dtype)
    return tf.while_loop(lambda index, _: index < tf.size(keys), pool_group, (0, nothing), parallel_iterations=1)[1]


def _pool_by_gather(
    features: Sequence[tf.Tensor],
    boxes: tf.Tensor,
    pictures: tf.Tensor,
    levels: tf.Tensor,
    strides: Sequence[int],
    output_size: tuple[int, int],
    ratio: int,
    aligned: bool,
) -> tf.Tensor:
    """The same from four gathers and a weighted sum, all maps laid behind one another: [N, rows, columns, C]."""
    rows, columns = output_size
    channels = features[0].shape[-1]
    sizes = tf.stack([tf.shape(of_level)[1:3] for of_level in features])  # [L, 2]
    flat = tf.concat([tf.reshape(of_level, (-1, channels)) for of_level in features], axis=0)  # [all cells, C]
    cells_of_maps = tf.stack([tf.reduce_prod(tf.shape(of_level)[:3]) for of_level in features])
    heights, widths = tf.unstack(tf.gather(sizes, levels), axis=-1)  # [N] each
    first = tf.gather(tf.cumsum(cells_of_maps, exclusive=True), levels) + pictures * heights * widths
    cells = _in_cells(boxes, tf.gather(tf.constant(strides, tf.float32), levels)[:, None], aligned)

    def axis_samples(low, high, count, lengths):
        """Lower cell, upper cell, weight of the upper one, and whether the sample counts: [N, count] each."""
        steps = (tf.range(count, dtype=tf.float32) + 0.5) / count
        positions = low[:, None] + (high - low)[:, None] * steps
        lengths = tf.cast(lengths, tf.float32)[:, None]
        counts = (positions >= -1.0) & (positions <= lengths)
        positions = tf.clip_by_value(positions, 0.0, lengths - 1.0)
        lower = tf.floor(positions)
        upper = tf.minimum(lower + 1.0, lengths - 1.0)
        return tf.cast(lower, tf.int32), tf.cast(upper, tf.int32), positions - lower, counts

    top, bottom, y_weight, y_counts = axis_samples(cells[:, 1], cells[:, 3], rows * ratio, heights)
    left, right, x_weight, x_counts = axis_samples(cells[:, 0], cells[:, 2], columns * ratio, widths)

    def at(ys, xs):
        return tf.gather(flat, first[:, None, None] + ys[:, :, None] * widths[:, None, None] + xs[:, None, :])

    y_weight = tf.cast(y_weight, flat.dtype)[:, :, None, None]
    x_weight = tf.cast(x_weight, flat.dtype)[:, None, :, None]
    upper_row = at(top, left) * (1 - x_weight) + at(top, right) * x_weight
    lower_row = at(bottom, left) * (1 - x_weight) + at(bottom, right) * x_weight
    samples = upper_row * (1 - y_weight) + lower_row * y_weight  # [N, rows * ratio, columns * ratio, C]
    counts = (y_counts[:, :, None] & x_counts[:, None, :])[..., None]
    return tf.nn.avg_pool2d(tf.where(counts, samples, tf.zeros((), flat.dtype)), ratio, ratio, "VALID")


def _picture_of_roi(rois: tf.Tensor) -> tf.Tensor:
    """[B, R, 4] -> [N] int32: 0, ..., 0, 1, ..., 1, ..."""
    return tf.repeat(tf.range(tf.shape(rois)[0]), tf.shape(rois)[1])
