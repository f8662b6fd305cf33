"""Light and colours; the boxes stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

from luminoth.data.augment.picture import Picture, as_type

_GREY_WEIGHTS = (0.299, 0.587, 0.114)  # of ITU-R BT.601, as in JPEG, Pillow and torchvision


def distortion(
    picture: Picture,
    seed: tf.Tensor,
    *,
    brightness: Mapping[str, float] | None,
    contrast: Mapping[str, float] | None,
    hue: Mapping[str, float] | None,
    saturation: Mapping[str, float] | None,
) -> Picture:
    """Changes the colours (Howard 2013, section 2); what is None stays.

    Args:
        picture: what to change.
        seed: int32 [2].
        brightness: `max_delta` (where 1 is from black to white): added, either way.
        contrast: `lower`, `upper`: factor on the distance from the picture's mean colour.
        hue: `max_delta` (at most 0.5, where 1 is all around the colour circle): added, either way.
        saturation: `lower`, `upper`: factor.
    """
    if brightness is None and contrast is None and hue is None and saturation is None:
        return picture
    seeds = tf.random.split(seed, 4)
    image = tf.cast(picture.image, tf.float32) / 255.0
    if brightness is not None:
        image = tf.clip_by_value(image + _draw_delta(seeds[0], brightness["max_delta"]), 0.0, 1.0)
    if contrast is not None:
        image = tf.clip_by_value(tf.image.adjust_contrast(image, _draw_factor(seeds[1], contrast)), 0.0, 1.0)
    if hue is not None:
        image = tf.image.adjust_hue(image, _draw_delta(seeds[2], hue["max_delta"]))
    if saturation is not None:
        image = tf.image.adjust_saturation(image, _draw_factor(seeds[3], saturation))
    return picture._replace(image=tf.clip_by_value(image, 0.0, 1.0) * 255.0)


def photometric(
    picture: Picture,
    seed: tf.Tensor,
    *,
    brightness: float,
    contrast: float,
    saturation: float,
    hue: float,
    swap_channels: bool,
) -> Picture:
    """Changes the colours as SSD's own code and torchvision's `RandomPhotometricDistort` do.

    In this order, each with a probability of a half: brightness; contrast, or else after the next two, as a coin
    decides; saturation; hue; the channels in another order.

    Args:
        picture: what to change.
        seed: int32 [2].
        brightness: the most that is added, either way, where 1 is from black to white.
        contrast, saturation: factors go from 1 minus this to 1 plus this.
        hue: the most that it turns, either way, at most 0.5, where 1 is all around the colour circle.
        swap_channels: whether red, green and blue may change places.
    """
    steps = tf.random.split(seed, 7)
    has_contrast, contrast_is_first = _coin(steps[4]), _coin(steps[5])

    def change_contrast(image: tf.Tensor) -> tf.Tensor:
        changed = tf.image.adjust_contrast(image, _draw_around_one(steps[3], contrast))
        return tf.clip_by_value(changed, 0.0, 1.0)

    def change_light(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.clip_by_value(image + _draw_delta(seed, brightness), 0.0, 1.0)

    def change_saturation(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.image.adjust_saturation(image, _draw_around_one(seed, saturation))

    def change_hue(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        return tf.image.adjust_hue(image, _draw_delta(seed, hue))

    image = tf.cast(picture.image, tf.float32) / 255.0
    image = _every_other_time(change_light, image, steps[0])
    image = tf.cond(has_contrast & contrast_is_first, lambda: change_contrast(image), lambda: image)
    image = _every_other_time(change_saturation, image, steps[1])
    image = _every_other_time(change_hue, image, steps[2])
    image = tf.cond(has_contrast & ~contrast_is_first, lambda: change_contrast(image), lambda: image)
    if swap_channels:
        image = _every_other_time(_shuffle_channels, image, steps[6])
    return picture._replace(image=as_type(tf.clip_by_value(image, 0.0, 1.0) * 255.0, picture.image.dtype))


def grey(picture: Picture, seed: tf.Tensor) -> Picture:
    """Takes the colours away: three equal channels. Draws nothing from `seed`."""
    levels = tf.tensordot(tf.cast(picture.image, tf.float32), tf.constant(_GREY_WEIGHTS), 1)  # [H, W]
    image = tf.repeat(as_type(levels, picture.image.dtype)[..., None], 3, axis=-1)
    return picture._replace(image=image)


def _coin(seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed) < 0.5


def _every_other_time(
    change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor], image: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    seeds = tf.random.split(seed, 2)
    return tf.cond(_coin(seeds[0]), lambda: change(image, seeds[1]), lambda: image)


def _shuffle_channels(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.gather(image, tf.random.experimental.stateless_shuffle(tf.range(3), seed), axis=-1)


def _draw_delta(seed: tf.Tensor, most: float) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed, -most, most)


def _draw_factor(seed: tf.Tensor, limits: Mapping[str, float]) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed, limits["lower"], limits["upper"])


def _draw_around_one(seed: tf.Tensor, most: float) -> tf.Tensor:
    return tf.random.stateless_uniform([], seed, 1.0 - most, 1.0 + most)
