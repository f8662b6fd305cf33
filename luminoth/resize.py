"""How pictures are brought to the network's size: one rule, used alike in training, evaluation and prediction."""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from luminoth.errors import ConfigError


@dataclass(frozen=True)
class ResizeRule:
    """Either keeps the aspect ratio (`min_size`, `max_size`) or stretches to a fixed size.

    With `min_size` and `max_size` the shorter side becomes `min_size`, unless the longer side would then
    exceed `max_size`: then that one becomes `max_size` (Faster R-CNN, section 3.3). Either may be None.

    Attributes:
        min_size: pixels of the shorter side.
        max_size: most pixels of the longer side.
        fixed_height, fixed_width: stretch to exactly this size; both or neither. They win over the other two.

    Raises:
        ConfigError: only one of the fixed sides is given, or a size is not above 0.
    """

    min_size: int | None = None
    max_size: int | None = None
    fixed_height: int | None = None
    fixed_width: int | None = None

    def __post_init__(self) -> None:
        if (self.fixed_height is None) != (self.fixed_width is None):
            missing = "fixed_height" if self.fixed_height is None else "fixed_width"
            raise ConfigError(f"image_preprocessing: {missing} is missing; a fixed size needs both sides")
        for name, size in vars(self).items():
            if size is not None and size < 1:
                raise ConfigError(f"image_preprocessing.{name}: got {size}; it must be at least 1 pixel")

    def target_size(self, height, width) -> tuple[tf.Tensor, tf.Tensor]:
        """The (height, width) a picture of that size is resized to; numbers or int32 scalar tensors in, int32 out."""
        if self.fixed_height is not None:
            return tf.constant(self.fixed_height), tf.constant(self.fixed_width)
        height, width = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
        scale = tf.constant(1.0)
        if self.min_size is not None:
            scale = self.min_size / tf.minimum(height, width)
        if self.max_size is not None:
            scale = tf.minimum(scale, self.max_size / tf.maximum(height, width))

        def scaled(length):
            return tf.maximum(tf.cast(tf.round(length * scale), tf.int32), 1)

        return scaled(height), scaled(width)

    def __call__(self, image: tf.Tensor) -> tf.Tensor:
        """Resizes one picture, bilinear, antialiased when it shrinks.

        Args:
            image: [H, W, 3], uint8 or float32, 0 to 255.

        Returns:
            [h, w, 3] float32, 0 to 255.
        """
        shape = tf.shape(image)
        height, width = self.target_size(shape[0], shape[1])
        resized = resize_bilinear(image, height, width)
        return tf.ensure_shape(resized, (self.fixed_height, self.fixed_width, 3))


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
