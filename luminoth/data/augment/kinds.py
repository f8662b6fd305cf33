"""The kinds of augmentation by the names that the configuration has for them, and how a list of them is applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import tensorflow as tf

from luminoth.config.load import config_from_dict
from luminoth.data.augment.canvas import expand, large_scale_jitter
from luminoth.data.augment.colours import distortion, grey, photometric
from luminoth.data.augment.copy_paste import copy_paste
from luminoth.data.augment.crops import patch, random_crop, ssd_crop
from luminoth.data.augment.geometry import flip, resize
from luminoth.data.augment.mixing import mixup, mosaic
from luminoth.data.augment.picture import Picture

# The settings of each are its keyword arguments, `partners` apart; bounds and defaults are in the schema.
AUGMENTATIONS: dict[str, Callable[..., Picture]] = {
    "flip": flip,
    "resize": resize,
    "patch": patch,
    "distortion": distortion,
    "expand": expand,
    "large_scale_jitter": large_scale_jitter,
    "ssd_crop": ssd_crop,
    "random_crop": random_crop,
    "photometric": photometric,
    "grey": grey,
    "mosaic": mosaic,
    "mixup": mixup,
    "copy_paste": copy_paste,
}

_PARTNERS = {"mosaic": 3, "mixup": 1, "copy_paste": 1}

# These give float32; the others give the type that they get.
_COMPUTES_PIXELS = frozenset({"resize", "distortion", "expand"})


def augment(
    picture: Picture,
    augmentations: Sequence[Mapping[str, Any]],
    seed: tf.Tensor,
    partners: Callable[[int], Picture] | None = None,
) -> Picture:
    """Applies the augmentations in order, each with its probability.

    Args:
        picture: what to change.
        augmentations: one-key mappings from a name in `AUGMENTATIONS` to its settings; `prob` (0 to 1) is how often
            it applies. What is left out has the default of the configuration.
        seed: int32 [2]; one seed, one result.
        partners: gives other pictures of the data set, numbers 0 to `partners_needed(augmentations)` - 1, with boxes
            that lie within them. It is called where the draw says so and may be costly. None: nothing needs any.

    Returns:
        The changed picture. The image stays uint8 unless `resize`, `distortion` or `expand` are asked for; then it is
        float32. Where nothing applies, its values are those that came in.

    Raises:
        ConfigError: an augmentation or one of its settings is unknown or impossible.
    """
    first_partner = 0
    for number, (name, settings, prob) in enumerate(check_augmentations(augmentations)):
        change = partial(AUGMENTATIONS[name], **settings)
        if name in _PARTNERS:
            if partners is None:
                raise ValueError(f"{name} needs other pictures: give `partners`")
            after_last = first_partner + _PARTNERS[name]
            change = partial(change, partners=[partial(partners, i) for i in range(first_partner, after_last)])
            first_partner = after_last
        if name in _COMPUTES_PIXELS:  # both outcomes of the draw must have one dtype
            picture = picture._replace(image=tf.cast(picture.image, tf.float32))
        picture = _apply_sometimes(change, picture, tf.random.fold_in(seed, number), prob)
    return picture


def partners_needed(augmentations: Sequence[Mapping[str, Any]]) -> int:
    """How many other pictures the augmentations of one picture may take: each entry has partners of its own.

    Raises:
        ConfigError: as `check_augmentations`.
    """
    return sum(_PARTNERS.get(name, 0) for name, _, _ in check_augmentations(augmentations))


@tf.autograph.experimental.do_not_convert  # plain Python, called while a graph is made
def check_augmentations(augmentations: Sequence[Mapping[str, Any]]) -> list[tuple[str, dict[str, Any], float]]:
    """The augmentations as (name, settings without `prob`, prob), every one known, possible and with its defaults.

    Raises:
        ConfigError: names the key (`dataset.data_augmentation[1].flip`), what was found and what is accepted.
    """
    config = config_from_dict({"dataset": {"data_augmentation": list(augmentations)}}, source="augmentations")
    checked = []
    for entry in config.dataset.data_augmentation:
        settings = entry.settings.model_dump()
        prob = settings.pop("prob")
        checked.append((entry.kind, settings, prob))
    return checked


def _apply_sometimes(
    change: Callable[[Picture, tf.Tensor], Picture], picture: Picture, seed: tf.Tensor, prob: float
) -> Picture:
    seeds = tf.random.split(seed, 2)
    applies = tf.random.stateless_uniform([], seeds[0]) < prob
    return tf.cond(applies, lambda: change(picture, seeds[1]), lambda: picture)
