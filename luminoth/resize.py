"""How pictures are brought to the network's size: one rule, used alike in training, evaluation and prediction, but for
`min_size_train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tensorflow as tf

from luminoth.errors import ConfigError

_CHOICES = {"rounding": ("nearest", "down"), "method": ("antialias", "bilinear", "pil")}


@dataclass(frozen=True)
class ResizeRule:
    """Either keeps the aspect ratio (`min_size`, `max_size`) or stretches to a fixed size.

    With `min_size` and `max_size` the shorter side becomes `min_size`, unless the longer side would then
    exceed `max_size`: then that one becomes `max_size` (Faster R-CNN, section 3.3). Either may be None.

    Weights trained elsewhere expect the pictures that they were trained on: torchvision's are "down" and
    "bilinear", Detectron2's "nearest" and "pil". Both then have exactly the sizes that those libraries compute.

    Attributes:
        min_size: pixels of the shorter side.
        max_size: most pixels of the longer side.
        fixed_height, fixed_width: stretch to exactly this size; both or neither. They win over the other two.
        rounding: how a length becomes whole pixels: "nearest" (halves up) or "down".
        method: how pixels are made, see `resize`.
        min_size_train: what training draws `min_size` from, picture by picture (see `draw_min_size`), as Detectron2 and
            torchvision train; evaluation and prediction use `min_size`. Empty: training does so too.

    Raises:
        ConfigError: only one of the fixed sides is given, a size is not above 0, or a choice is unknown.
    """

    min_size: int | None = None
    max_size: int | None = None
    fixed_height: int | None = None
    fixed_width: int | None = None
    rounding: Literal["nearest", "down"] = "nearest"
    method: Literal["antialias", "bilinear", "pil"] = "antialias"
    min_size_train: Sequence[int] = ()

    def __post_init__(self) -> None:
        if (self.fixed_height is None) != (self.fixed_width is None):
            missing = "fixed_height" if self.fixed_height is None else "fixed_width"
            raise ConfigError(f"image_preprocessing: {missing} is missing; a fixed size needs both sides")
        for name, value in vars(self).items():
            if name == "min_size_train":
                if any(size < 1 for size in value):
                    raise ConfigError(f"image_preprocessing.{name}: got {value}; each must be at least 1 pixel")
            elif name in _CHOICES:
                if value not in _CHOICES[name]:
                    accepted = ", ".join(_CHOICES[name])
                    raise ConfigError(f"image_preprocessing.{name}: got {value!r}; it must be one of {accepted}")
            elif value is not None and value < 1:
                raise ConfigError(f"image_preprocessing.{name}: got {value}; it must be at least 1 pixel")

    def draw_min_size(self, seed: tf.Tensor) -> tf.Tensor | int | None:
        """The `min_size` for one picture of a training: one of `min_size_train`, if there are any.

        Args:
            seed: int32 [2]; one seed, one result.
        """
        if not self.min_size_train:
            return self.min_size
        number = tf.random.stateless_uniform([], seed, 0, len(self.min_size_train), tf.int32)
        return tf.constant(self.min_size_train)[number]

    def target_size(self, height, width, min_size: tf.Tensor | int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """The (height, width) a picture of that size is resized to; numbers or int32 scalar tensors in, int32 out.

        With `min_size`, as from `draw_min_size`, this goes before the rule's own.
        """
        if self.fixed_height is not None:
            return tf.constant(self.fixed_height), tf.constant(self.fixed_width)
        # Float64 and this order of operations, in both ways: a length that falls on a half pixel, or on a whole one,
        # is rounded as Detectron2's `ResizeShortestEdge.get_output_shape` and torchvision's
        # `GeneralizedRCNNTransform` (by way of `interpolate(scale_factor=...)`) round it.
        min_size = self.min_size if min_size is None else min_size
        min_size = None if min_size is None else tf.cast(min_size, tf.float64)
        height, width = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
        shorter, longer = tf.minimum(height, width), tf.maximum(height, width)
        if self.rounding == "nearest":
            new_shorter, new_longer = (side + 0.5 for side in self._scaled_in_turn(shorter, longer, min_size))
        else:
            new_shorter, new_longer = self._scaled_at_once(shorter, longer, min_size)
        new_shorter, new_longer = (
            tf.maximum(tf.cast(tf.floor(side), tf.int32), 1) for side in (new_shorter, new_longer)
        )
        is_wide = height < width
        return tf.where(is_wide, new_shorter, new_longer), tf.where(is_wide, new_longer, new_shorter)

    def _scaled_in_turn(
        self, shorter: tf.Tensor, longer: tf.Tensor, min_size: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Lengths before rounding: to `min_size` first, and from there to `max_size` (Detectron2)."""
        if min_size is not None:
            longer = min_size / shorter * longer
            shorter = tf.fill(tf.shape(shorter), min_size)
        if self.max_size is not None:
            factor = tf.minimum(self.max_size / tf.maximum(shorter, longer), 1.0)
            shorter, longer = shorter * factor, longer * factor
        return shorter, longer

    def _scaled_at_once(
        self, shorter: tf.Tensor, longer: tf.Tensor, min_size: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Lengths before rounding: by the smaller of two factors (torchvision)."""
        factor = tf.ones_like(shorter) if min_size is None else min_size / shorter
        if self.max_size is not None:
            factor = tf.minimum(factor, self.max_size / longer)
        return shorter * factor, longer * factor

    def __call__(self, image: tf.Tensor, min_size: tf.Tensor | int | None = None) -> tf.Tensor:
        """Resizes one picture.

        Args:
            image: [H, W, 3], uint8 or float32, 0 to 255.
            min_size: see `target_size`.

        Returns:
            [h, w, 3] float32, 0 to 255.
        """
        shape = tf.shape(image)
        height, width = self.target_size(shape[0], shape[1], min_size)
        resized = resize(image, height, width, self.method)
        return tf.ensure_shape(resized, (self.fixed_height, self.fixed_width, 3))


def resize(image: tf.Tensor, height, width, method: Literal["antialias", "bilinear", "pil"]) -> tf.Tensor:
    """Stretches one picture, bilinear, with pixel centres at halves.

    Args:
        image: [H, W, 3], uint8 or float32, 0 to 255.
        height, width: the new size, numbers or int32 scalar tensors.
        method: "antialias": each new pixel averages what it covers when a side shrinks; "bilinear": four pixels
            make a new one also then (torchvision's detection models); "pil": antialiased, and rounded to whole
            grey levels after each direction (Pillow, thus Detectron2). The first two agree when nothing shrinks.

    Returns:
        [height, width, 3] float32, 0 to 255.
    """
    if method == "pil":
        return resize_as_pillow(image, height, width)
    if method == "antialias":
        return resize_bilinear(image, height, width)
    return tf.image.resize(tf.cast(image, tf.float32), (height, width), method="bilinear")


def resize_bilinear(image: tf.Tensor, height, width) -> tf.Tensor:
    """Stretches one picture, bilinear, antialiased when a side shrinks.

    Args:
        image: [H, W, 3], uint8 or float32, 0 to 255.
        height, width: the new size, numbers or int32 scalar tensors.

    Returns:
        [height, width, 3] float32, 0 to 255.
    """
    image = tf.cast(image, tf.float32)
    shape = tf.shape(image)
    # The two kernels agree when nothing shrinks, and the one without antialiasing takes a third of the time.
    return tf.cond(
        tf.logical_or(height < shape[0], width < shape[1]),
        lambda: tf.image.resize(image, (height, width), method="bilinear", antialias=True),
        lambda: tf.image.resize(image, (height, width), method="bilinear"),
    )


def resize_as_pillow(image: tf.Tensor, height, width) -> tf.Tensor:
    """Stretches one picture as Pillow's `Image.resize(..., BILINEAR)` does, to the last bit.

    Pillow works in whole numbers: columns first, then rows, with weights in units of 2 ** -22, each result rounded
    to a grey level. Floats would not do: at simple factors, such as 5 / 3, every tenth value lies half-way between
    two grey levels. (From Pillow 13 on, pictures whose height shrinks much more than their width are stretched
    rows first, which changes some values by one grey level; this function has the older order always. Where the
    aspect ratio is kept they agree.)

    Args:
        image: [H, W, 3], uint8 or float32, 0 to 255; floats are rounded to whole grey levels first.
        height, width: the new size, numbers or int32 scalar tensors.

    Returns:
        [height, width, 3] float32, whole numbers, 0 to 255.
    """
    if image.dtype != tf.uint8:
        image = tf.saturate_cast(tf.round(image), tf.uint8)
    columns_done = _stretch_rows(tf.transpose(image, (1, 0, 2)), width)  # [width, H, 3]
    return tf.cast(_stretch_rows(tf.transpose(columns_done, (1, 0, 2)), height), tf.float32)


_WEIGHT_BITS = 22  # Pillow's PRECISION_BITS: with 8 bits of grey level the sums stay within 31 bits


def _stretch_rows(levels: tf.Tensor, new_length) -> tf.Tensor:
    """Grey levels [n, m, 3] uint8 to [new_length, m, 3], as Pillow's `ImagingResampleVertical_8bpc`."""
    shape = tf.shape(levels)
    rows = tf.cast(tf.reshape(levels, (shape[0], -1)), tf.int32)
    places, weights = _pillow_taps(shape[0], new_length)  # [new_length, taps] each
    entries = tf.stack([tf.repeat(tf.range(new_length), tf.shape(places)[1]), tf.reshape(places, [-1])], axis=1)
    mixing = tf.SparseTensor(
        tf.cast(entries, tf.int64), tf.reshape(weights, [-1]), tf.cast(tf.stack([new_length, shape[0]]), tf.int64)
    )
    sums = tf.sparse.sparse_dense_matmul(mixing, rows) + (1 << (_WEIGHT_BITS - 1))  # one half: to the nearest
    new_levels = tf.cast(tf.bitwise.right_shift(sums, _WEIGHT_BITS), tf.uint8)
    return tf.reshape(new_levels, (new_length, shape[1], shape[2]))


def _pillow_taps(length: tf.Tensor, new_length) -> tuple[tf.Tensor, tf.Tensor]:
    """Which old pixels make each new one, and their whole-number weights: [new_length, taps] int32.

    The arithmetic, order of operations included, is that of Pillow's `precompute_coeffs`.
    """
    scale = tf.cast(length, tf.float64) / tf.cast(new_length, tf.float64)
    support = tf.maximum(scale, 1.0)  # the triangle's half width, in old pixels
    centers = (tf.cast(tf.range(new_length), tf.float64) + 0.5) * scale
    first = tf.maximum(tf.cast(centers - support + 0.5, tf.int32), 0)[:, None]  # [new_length, 1]
    places = first + tf.range(tf.cast(tf.math.ceil(2.0 * support), tf.int32))  # [new_length, taps]
    distances = (tf.cast(places, tf.float64) - centers[:, None] + 0.5) * (1.0 / support)
    weights = tf.where(places < length, tf.maximum(1.0 - tf.abs(distances), 0.0), 0.0)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    return tf.minimum(places, length - 1), tf.cast(weights * (1 << _WEIGHT_BITS) + 0.5, tf.int32)


def scale_boxes(boxes, from_size, to_size):
    """Moves boxes from a picture of one size onto the same picture of another size.

    Args:
        boxes: [..., 4], pixels of the picture of `from_size`; a tensor.
        from_size, to_size: (height, width), numbers or tensors: scalars, or of a shape that broadcasts against
            the leading dimensions of `boxes` ([B, 1] for one size per picture).
    """
    y_scale = tf.cast(to_size[0], tf.float32) / tf.cast(from_size[0], tf.float32)
    x_scale = tf.cast(to_size[1], tf.float32) / tf.cast(from_size[1], tf.float32)
    return boxes * tf.stack([x_scale, y_scale, x_scale, y_scale], axis=-1)
