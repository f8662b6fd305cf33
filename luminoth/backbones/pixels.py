"""How a network wants its pixels: order of the channels, what is subtracted, what they are divided by.

The rule belongs to the weights: pictures reach every model as RGB, 0 to 255, and it normalises them by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class PixelRule:
    """Pixels become `(pixels - means) / stds`, in the channels' new order.

    Attributes:
        order: "rgb" or "bgr".
        means, stds: of the three channels in that order, 0 to 255.
    """

    order: str
    means: tuple[float, float, float]
    stds: tuple[float, float, float]

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        """RGB pixels [B, H, W, 3] float32, 0 to 255, to what the network expects."""
        ordered = tf.reverse(images, [-1]) if self.order == "bgr" else images
        return (ordered - tf.constant(self.means)) / tf.constant(self.stds)

    def __str__(self) -> str:
        """As in `(rgb - (123.7, 116.3, 103.5)) / (58.4, 57.1, 57.4)`."""
        means, stds = (", ".join(f"{value:.4g}" for value in values) for values in (self.means, self.stds))
        return f"({self.order} - ({means})) / ({stds})"


# Keras Applications' ResNet v1 and VGG, as in Caffe.
CAFFE_PIXELS = PixelRule("bgr", (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
# torchvision, all models but the SSDs: mean and standard deviation of ImageNet's pixels, there as shares of 255.
IMAGENET_PIXELS = PixelRule("rgb", (0.485 * 255, 0.456 * 255, 0.406 * 255), (0.229 * 255, 0.224 * 255, 0.225 * 255))
# Networks without published weights: -1 to 1.
PLAIN_PIXELS = PixelRule("rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
