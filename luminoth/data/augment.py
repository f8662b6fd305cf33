"""Random changes to training pictures; their boxes move along.

The configuration is a list of one-key mappings, applied in the order given, each with its own `prob`:

    data_augmentation:
      - flip: {left_right: true, up_down: false, prob: 0.5}
      - patch: {min_height: 400, min_width: 400, prob: 0.3}

Everything here happens at the picture's own size, *before* it is resized to the network's input: sizes in
`patch` and `resize` are pixels of the picture as it is stored.

All randomness is stateless: the same picture, settings and seed give the same result, whatever ran before. That
is what lets an interrupted training go on with exactly the pictures it would have seen.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from luminoth.boxes.geometry import clip_boxes
from luminoth.errors import ConfigError
from luminoth.resize import resize_bilinear, scale_boxes

DEFAULT_PROB = 0.5

# Mean of ImageNet's pictures: models subtract it, so that a margin of this colour reaches the network as zeros.
MEAN_COLOUR = (123.68, 116.78, 103.94)

# An expanded canvas of a photograph could take gigabytes (12 megapixels by 4 x 4, as floats: 2.3 GB). The picture
# is shrunk first where the canvas would be larger than this; networks see far smaller inputs than that anyway.
MAX_CANVAS_PIXELS = 4096 * 4096


class Picture(NamedTuple):
    """One decoded picture and its objects, as tensors.

    Attributes:
        image: [H, W, 3], uint8 or float32, RGB, 0 to 255.
        boxes: [N, 4] float32, pixels of `image`.
        class_ids: [N] int32.
        is_crowd: [N] bool.
    """

    image: tf.Tensor
    boxes: tf.Tensor
    class_ids: tf.Tensor
    is_crowd: tf.Tensor


def augment(picture: Picture, augmentations: Sequence[Mapping[str, Any]], seed: tf.Tensor) -> Picture:
    """Applies the augmentations in order, each with its probability.

    Args:
        picture: what to change.
        augmentations: one-key mappings from a name in `AUGMENTATIONS` to its settings; `prob` (0 to 1, default
            0.5) is how often it applies.
        seed: int32 [2]; one seed, one result.

    Returns:
        The changed picture. The image stays uint8 as long as only `flip` and `patch` are asked for; else it is
        float32. Where nothing applies, its values are those that came in.

    Raises:
        ConfigError: an augmentation or one of its settings is unknown or impossible.
    """
    for number, (name, settings, prob) in enumerate(check_augmentations(augmentations)):
        function = AUGMENTATIONS[name]
        if function in _COMPUTES_PIXELS:  # both outcomes of the draw must have one dtype
            picture = picture._replace(image=tf.cast(picture.image, tf.float32))
        picture = _apply_sometimes(function, picture, tf.random.fold_in(seed, number), settings, prob)
    return picture


def check_augmentations(augmentations: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any], float]]:
    """The augmentations as (name, settings without `prob`, prob), every one known and possible.

    Raises:
        ConfigError: names the entry (`dataset.data_augmentation.1`), what was found and what is accepted.
    """
    return [_check_entry(number, entry) for number, entry in enumerate(augmentations)]


def remove_degenerate(picture: Picture) -> Picture:
    """Clips the boxes to the picture and removes those without area there; NaN corners count as such."""
    boxes = clip_boxes(picture.boxes, tf.shape(picture.image)[:2])
    return _keep(picture._replace(boxes=boxes), (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))


def flip(picture: Picture, seed: tf.Tensor, *, left_right: bool = True, up_down: bool = False) -> Picture:
    """Mirrors the picture: left and right, up and down, or both (a half turn). Draws nothing from `seed`."""
    image, boxes = picture.image, picture.boxes
    size = tf.cast(tf.shape(image), boxes.dtype)
    x_min, y_min, x_max, y_max = tf.unstack(boxes, axis=1)
    if left_right:
        image = image[:, ::-1]
        x_min, x_max = size[1] - x_max, size[1] - x_min
    if up_down:
        image = image[::-1]
        y_min, y_max = size[0] - y_max, size[0] - y_min
    return picture._replace(image=image, boxes=tf.stack([x_min, y_min, x_max, y_max], axis=1))


def resize(picture: Picture, seed: tf.Tensor, *, min_size: int = 600, max_size: int = 980) -> Picture:
    """Stretches height and width to sizes drawn apart, both from `min_size` to `max_size` pixels."""
    size = tf.random.stateless_uniform([2], seed, min_size, max_size + 1, tf.int32)
    return _resized(picture, size[0], size[1])


def patch(picture: Picture, seed: tf.Tensor, *, min_height: int = 600, min_width: int = 600) -> Picture:
    """Cuts out a part of the picture, at least `min_height` x `min_width` (or all of a smaller picture).

    Boxes whose centre lies in the part stay, clipped to it; the others go. A picture with objects is left whole
    when none of them would stay.
    """
    shape = tf.shape(picture.image)
    seeds = tf.random.split(seed, 4)
    height = _uniform_int(seeds[0], tf.minimum(min_height, shape[0]), shape[0])
    width = _uniform_int(seeds[1], tf.minimum(min_width, shape[1]), shape[1])
    top = _uniform_int(seeds[2], 0, shape[0] - height)
    left = _uniform_int(seeds[3], 0, shape[1] - width)

    start = tf.cast(tf.stack([left, top]), tf.float32)
    end = start + tf.cast(tf.stack([width, height]), tf.float32)
    centres = (picture.boxes[:, :2] + picture.boxes[:, 2:]) / 2  # [N, 2] x, y
    stays = tf.reduce_all((centres >= start) & (centres < end), axis=1)

    def cut() -> Picture:
        image = picture.image[top : top + height, left : left + width]
        boxes = clip_boxes(picture.boxes - tf.tile(start, [2]), tf.stack([height, width]))
        return _keep(picture._replace(image=image, boxes=boxes), stays)

    return tf.cond(tf.reduce_any(stays) | tf.equal(tf.size(stays), 0), cut, lambda: picture)


def distortion(
    picture: Picture,
    seed: tf.Tensor,
    *,
    brightness: Mapping[str, float] | None = None,
    contrast: Mapping[str, float] | None = None,
    hue: Mapping[str, float] | None = None,
    saturation: Mapping[str, float] | None = None,
) -> Picture:
    """Changes the colours (Howard 2013, section 2); what is None stays.

    Args:
        picture: what to change; the boxes stay as they are.
        seed: int32 [2].
        brightness: `max_delta` (default 0.3, where 1 is from black to white): added, either way.
        contrast: `lower`, `upper` (default 0.8, 1.2): factor on the distance from the picture's mean colour.
        hue: `max_delta` (default 0.2, at most 0.5, where 1 is all around the colour circle): added, either way.
        saturation: `lower`, `upper` (default 0.8, 1.2): factor.
    """
    if brightness is None and contrast is None and hue is None and saturation is None:
        return picture
    seeds = tf.random.split(seed, 4)
    image = tf.cast(picture.image, tf.float32) / 255.0
    if brightness is not None:
        image = tf.clip_by_value(image + _draw_delta(seeds[0], "brightness", brightness), 0.0, 1.0)
    if contrast is not None:
        factor = _draw_factor(seeds[1], "contrast", contrast)
        image = tf.clip_by_value(tf.image.adjust_contrast(image, factor), 0.0, 1.0)
    if hue is not None:
        image = tf.image.adjust_hue(image, _draw_delta(seeds[2], "hue", hue))
    if saturation is not None:
        image = tf.image.adjust_saturation(image, _draw_factor(seeds[3], "saturation", saturation))
    return picture._replace(image=tf.clip_by_value(image, 0.0, 1.0) * 255.0)


def expand(
    picture: Picture,
    seed: tf.Tensor,
    *,
    fill: float | Sequence[float] = MEAN_COLOUR,
    min_ratio: float = 1.0,
    max_ratio: float = 4.0,
) -> Picture:
    """Puts the picture anywhere on a larger canvas, so that its objects become small ones (SSD, section 3.6).

    Args:
        picture: what to change.
        seed: int32 [2].
        fill: colour of the canvas, 0 to 255: one number, or three (RGB).
        min_ratio, max_ratio: the canvas's sides are a factor from this range times the picture's; at least 1.
    """
    seeds = tf.random.split(seed, 3)
    ratio = tf.random.stateless_uniform([], seeds[0], min_ratio, max_ratio)
    picture = _shrunk_for_canvas(picture, ratio)
    shape = tf.shape(picture.image)
    canvas = tf.cast(tf.round(tf.cast(shape[:2], tf.float32) * ratio), tf.int32)
    spare = tf.maximum(canvas - shape[:2], 0)
    top, left = _uniform_int(seeds[1], 0, spare[0]), _uniform_int(seeds[2], 0, spare[1])

    margins = [[top, spare[0] - top], [left, spare[1] - left]]
    colours = [fill] * 3 if isinstance(fill, (int, float)) else list(fill)
    channels = [
        tf.pad(channel, margins, constant_values=tf.cast(colour, channel.dtype))
        for channel, colour in zip(tf.unstack(picture.image, 3, axis=-1), colours, strict=True)
    ]
    shift = tf.cast(tf.stack([left, top, left, top]), tf.float32)
    return picture._replace(image=tf.stack(channels, axis=-1), boxes=picture.boxes + shift)


# The names of the configuration; the settings of each are its keyword arguments, and `prob`.
AUGMENTATIONS: dict[str, Callable[..., Picture]] = {
    "flip": flip,
    "resize": resize,
    "patch": patch,
    "distortion": distortion,
    "expand": expand,
}

_COMPUTES_PIXELS = frozenset({resize, distortion, expand})

_DISTORTION_DEFAULTS: dict[str, dict[str, float]] = {
    "brightness": {"max_delta": 0.3},
    "contrast": {"lower": 0.8, "upper": 1.2},
    "hue": {"max_delta": 0.2},
    "saturation": {"lower": 0.8, "upper": 1.2},
}


def _apply_sometimes(function, picture: Picture, seed: tf.Tensor, settings: dict, prob: float) -> Picture:
    seeds = tf.random.split(seed, 2)
    applies = tf.random.stateless_uniform([], seeds[0]) < prob
    return tf.cond(applies, lambda: function(picture, seeds[1], **settings), lambda: picture)


def _keep(picture: Picture, mask: tf.Tensor) -> Picture:
    return Picture(picture.image, *(tf.boolean_mask(values, mask) for values in picture[1:]))


def _resized(picture: Picture, height: tf.Tensor, width: tf.Tensor) -> Picture:
    shape = tf.shape(picture.image)
    boxes = scale_boxes(picture.boxes, (shape[0], shape[1]), (height, width))
    return picture._replace(image=resize_bilinear(picture.image, height, width), boxes=boxes)


def _shrunk_for_canvas(picture: Picture, ratio: tf.Tensor) -> Picture:
    """The picture, smaller where it is necessary to keep `ratio` times its sides within `MAX_CANVAS_PIXELS`."""
    size = tf.cast(tf.shape(picture.image)[:2], tf.float32)
    scale = tf.sqrt(MAX_CANVAS_PIXELS / tf.reduce_prod(size * ratio))
    smaller = tf.maximum(tf.cast(size * scale, tf.int32), 1)
    picture = picture._replace(image=tf.cast(picture.image, tf.float32))
    return tf.cond(scale < 1.0, lambda: _resized(picture, smaller[0], smaller[1]), lambda: picture)


def _uniform_int(seed: tf.Tensor, low, high) -> tf.Tensor:
    """An int32 from `low` to `high`, both included."""
    return tf.random.stateless_uniform([], seed, low, high + 1, tf.int32)


def _draw_delta(seed: tf.Tensor, name: str, settings: Mapping[str, float]) -> tf.Tensor:
    most = (_DISTORTION_DEFAULTS[name] | dict(settings))["max_delta"]
    return tf.random.stateless_uniform([], seed, -most, most)


def _draw_factor(seed: tf.Tensor, name: str, settings: Mapping[str, float]) -> tf.Tensor:
    limits = _DISTORTION_DEFAULTS[name] | dict(settings)
    return tf.random.stateless_uniform([], seed, limits["lower"], limits["upper"])


def _check_entry(number: int, entry: Mapping[str, Any]) -> tuple[str, dict[str, Any], float]:
    where = f"dataset.data_augmentation.{number}"
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise ConfigError(
            f"{where}: got {entry!r}; each entry is a mapping with one key, the augmentation's name: "
            f"{', '.join(AUGMENTATIONS)}"
        )
    name, given = next(iter(entry.items()))
    if name not in AUGMENTATIONS:
        raise ConfigError(f"{where}: unknown augmentation {name!r}; there are: {', '.join(AUGMENTATIONS)}")
    where = f"{where}.{name}"
    settings = _check_mapping(where, given, [*_settings_of(AUGMENTATIONS[name]), "prob"])
    prob = settings.pop("prob", DEFAULT_PROB)
    _require(_is_number(prob) and 0 <= prob <= 1, f"{where}.prob", prob, "a number from 0 to 1")
    settings = {key: value for key, value in settings.items() if value is not None}  # empty: the default
    if name == "distortion":
        for key, values in settings.items():
            _check_mapping(f"{where}.{key}", values, list(_DISTORTION_DEFAULTS[key]))
            _check_values(f"{where}.{key}", _DISTORTION_DEFAULTS[key] | dict(values))
    else:
        _check_values(where, _settings_of(AUGMENTATIONS[name]) | settings)
    return name, settings, float(prob)


def _settings_of(function: Callable[..., Picture]) -> dict[str, Any]:
    """The keyword-only arguments of an augmentation, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}


def _check_mapping(where: str, given: Any, accepted: list[str]) -> dict[str, Any]:
    if given is None:  # `- flip:` in YAML
        return {}
    _require(isinstance(given, Mapping), where, given, f"a mapping with the keys {', '.join(accepted)}")
    for key in given:
        if key not in accepted:
            raise ConfigError(f"{where}: unknown key {key!r}; accepted are: {', '.join(accepted)}")
    return dict(given)


def _check_values(where: str, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        path = f"{where}.{key}"
        if key in ("left_right", "up_down"):
            _require(isinstance(value, bool), path, value, "true or false")
        elif key == "fill":
            _require(_is_colour(value), path, value, "a number from 0 to 255, or three of them")
        elif key in ("min_size", "max_size", "min_height", "min_width"):
            _require(_is_number(value) and value == int(value) > 0, path, value, "a whole number above 0")
        else:
            _require(_is_number(value) and value >= 0, path, value, "a number of 0 or more")
    for low, high in (("min_size", "max_size"), ("lower", "upper"), ("min_ratio", "max_ratio")):
        if low in values:
            _require(values[low] <= values[high], f"{where}.{low}", values[low], f"at most {high} ({values[high]})")
    if "min_ratio" in values:
        _require(values["min_ratio"] >= 1, f"{where}.min_ratio", values["min_ratio"], "at least 1")
    if where.endswith(".hue"):
        _require(values["max_delta"] <= 0.5, f"{where}.max_delta", values["max_delta"], "at most 0.5")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_colour(value: Any) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return len(value) == 3 and all(_is_number(each) and 0 <= each <= 255 for each in value)
    return _is_number(value) and 0 <= value <= 255


def _require(holds: bool, path: str, value: Any, accepted: str) -> None:
    if not holds:
        raise ConfigError(f"{path}: got {value!r}; it must be {accepted}")
