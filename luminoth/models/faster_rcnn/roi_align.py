"""Pooling of features under each RoI to a grid of fixed size."""

from __future__ import annotations

import tensorflow as tf


def roi_align(
    features: tf.Tensor,
    rois: tf.Tensor,
    *,
    stride: float,
    output_size: tuple[int, int],
    sampling_ratio: int = 2,
    aligned: bool = True,
    method: str = "crop_and_resize",
) -> tf.Tensor:
    """RoIAlign (Mask R-CNN, He et al. 2017, section 3).

    Each bin is the mean of `sampling_ratio` x `sampling_ratio` bilinear samples. Samples up to one cell outside
    the map take its border's value, those further out are zero, as in torchvision and Detectron2.

    Args:
        features: [B, h, w, C].
        rois: [B, R, 4] float32, pixels of the network's input.
        stride: pixels a cell of the feature map.
        output_size: (rows, columns) of bins.
        sampling_ratio: samples along each side of a bin.
        aligned: pixel i of the map lies at i + 0.5 (Detectron2), not at i (torchvision's default).
        method: "crop_and_resize", TensorFlow's operator, fastest on the CPU; or "gather", plain gathers, which
            XLA compiles. Both give the same numbers.

    Returns:
        [B, R, rows, columns, C], of the features' type.
    """
    rows, columns = output_size
    sample = {"crop_and_resize": _sample_by_crop, "gather": _sample_by_gather}[method]
    cells = rois / stride - (0.5 if aligned else 0.0)
    if not aligned:  # RoIs thinner than a cell are widened to one
        cells = tf.concat([cells[..., :2], tf.maximum(cells[..., 2:], cells[..., :2] + 1.0)], axis=-1)
    samples = sample(features, cells, rows * sampling_ratio, columns * sampling_ratio)
    pooled = tf.nn.avg_pool2d(samples, sampling_ratio, sampling_ratio, "VALID")
    channels = features.shape[-1]
    return tf.reshape(pooled, (tf.shape(rois)[0], -1, rows, columns, channels))  # [B * R, ...] -> [B, R, ...]


def roi_crop(
    features: tf.Tensor,
    rois: tf.Tensor,
    *,
    stride: float,
    output_size: tuple[int, int],
    padding: str = "VALID",
) -> tf.Tensor:
    """Luminoth's pooling: a bilinear crop of twice the size, then a 2 x 2 max-pool.

    Args and result as for `roi_align`; padding is the max-pool's.
    """
    rows, columns = output_size
    height, width = tf.shape(features)[1], tf.shape(features)[2]
    corners = rois / (stride * tf.cast(tf.stack([width, height, width, height]), tf.float32))
    crops = tf.image.crop_and_resize(
        features,
        tf.reshape(tf.gather(corners, [1, 0, 3, 2], axis=-1), (-1, 4)),
        _picture_of_roi(rois),
        (2 * rows, 2 * columns),
    )
    pooled = tf.nn.max_pool2d(tf.cast(crops, features.dtype), 2, 2, padding)
    return tf.reshape(pooled, (tf.shape(rois)[0], -1, rows, columns, features.shape[-1]))  # [B * R, ...] -> [B, R, ...]


def _sample_by_crop(features: tf.Tensor, cells: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """Bilinear samples at the middles of a rows x columns grid over each box, [B * R, rows, columns, C].

    `crop_and_resize` puts its first and last samples on the box's edges, so the box is shrunk by half a step; it
    gives zero outside the map, so the map's border is repeated once around it.
    """
    padded = tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    limits = tf.cast(tf.shape(padded)[1:3] - 1, tf.float32)
    x_min, y_min, x_max, y_max = tf.unstack(tf.reshape(cells, (-1, 4)), axis=-1)  # [B, R, 4] -> four of [B * R]
    y_half, x_half = (y_max - y_min) / (2 * rows), (x_max - x_min) / (2 * columns)
    edges = tf.stack(
        [
            (y_min + y_half + 1.0) / limits[0],
            (x_min + x_half + 1.0) / limits[1],
            (y_max - y_half + 1.0) / limits[0],
            (x_max - x_half + 1.0) / limits[1],
        ],
        axis=-1,
    )
    samples = tf.image.crop_and_resize(padded, edges, _picture_of_roi(cells), (rows, columns))
    return tf.cast(samples, features.dtype)


def _sample_by_gather(features: tf.Tensor, cells: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """The same samples from four gathers and a weighted sum."""
    shape = tf.shape(features)
    height, width, channels = shape[1], shape[2], features.shape[-1]
    boxes = tf.reshape(cells, (-1, 4))  # [B, R, 4] -> [B * R, 4]

    def axis_samples(low, high, count, length):
        """Lower cell, upper cell, weight of the upper one, and whether the sample counts: [B * R, count] each."""
        steps = (tf.range(count, dtype=tf.float32) + 0.5) / count
        positions = low[:, None] + (high - low)[:, None] * steps
        length = tf.cast(length, tf.float32)
        counts = (positions >= -1.0) & (positions <= length)
        positions = tf.clip_by_value(positions, 0.0, length - 1.0)
        lower = tf.floor(positions)
        upper = tf.minimum(lower + 1.0, length - 1.0)
        return tf.cast(lower, tf.int32), tf.cast(upper, tf.int32), positions - lower, counts

    top, bottom, y_weight, y_counts = axis_samples(boxes[:, 1], boxes[:, 3], rows, height)
    left, right, x_weight, x_counts = axis_samples(boxes[:, 0], boxes[:, 2], columns, width)
    flat = tf.reshape(features, (-1, channels))  # [B, h, w, C] -> [B * h * w, C]
    first = _picture_of_roi(cells)[:, None, None] * height * width

    def at(ys, xs):
        return tf.gather(flat, first + ys[:, :, None] * width + xs[:, None, :])  # [B * R, rows, columns, C]

    y_weight = tf.cast(y_weight, features.dtype)[:, :, None, None]
    x_weight = tf.cast(x_weight, features.dtype)[:, None, :, None]
    upper_row = at(top, left) * (1 - x_weight) + at(top, right) * x_weight
    lower_row = at(bottom, left) * (1 - x_weight) + at(bottom, right) * x_weight
    samples = upper_row * (1 - y_weight) + lower_row * y_weight
    counts = (y_counts[:, :, None] & x_counts[:, None, :])[..., None]
    return tf.where(counts, samples, tf.zeros((), features.dtype))


def _picture_of_roi(rois: tf.Tensor) -> tf.Tensor:
    """[B, R, 4] -> [B * R] int32: 0, ..., 0, 1, ..., 1, ..."""
    return tf.repeat(tf.range(tf.shape(rois)[0]), tf.shape(rois)[1])
