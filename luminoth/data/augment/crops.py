"""Parts of a picture: `patch` (Luminoth), `ssd_crop` (Liu et al. 2016) and `random_crop`.

The latter two draw many windows at once, as rows of one tensor, and take one that will do: no loop in the graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from luminoth.boxes.geometry import pairwise_iou
from luminoth.data.augment.picture import Picture, cut_window, size_of, uniform_int, visible_objects

TRIES = 50  # windows drawn before the picture is left whole, as in SSD's own code


def patch(picture: Picture, seed: tf.Tensor, *, min_height: int, min_width: int) -> Picture:
    """Cuts out a part of the picture, at least `min_height` x `min_width` (or all of a smaller picture).

    Boxes whose centre lies in the part stay, clipped to it; the others go. A picture with objects is left whole
    when none of them would stay.
    """
    shape = tf.shape(picture.image)
    seeds = tf.random.split(seed, 4)
    height = uniform_int(seeds[0], tf.minimum(min_height, shape[0]), shape[0])
    width = uniform_int(seeds[1], tf.minimum(min_width, shape[1]), shape[1])
    top = uniform_int(seeds[2], 0, shape[0] - height)
    left = uniform_int(seeds[3], 0, shape[1] - width)

    window = tf.stack([left, top, left + width, top + height])
    stays = _centre_inside(picture.boxes, tf.cast(window, tf.float32))
    has_some = tf.reduce_any(stays) | tf.equal(tf.size(stays), 0)
    return tf.cond(has_some, lambda: cut_window(picture, window, stays), lambda: picture)


def ssd_crop(
    picture: Picture,
    seed: tf.Tensor,
    *,
    min_ious: Sequence[float],
    min_scale: float,
    max_scale: float,
    max_aspect: float,
) -> Picture:
    """Cuts out a part as SSD does (section 2.2, "Data augmentation").

    There are several ways to choose: the whole picture, any part, and for each of `min_ious` a part that overlaps
    some object at least so much. Each but the first has 50 tries, and one of those that found something is drawn.
    Boxes whose centre lies in the part stay, clipped to it; there is at least one, unless the picture has none.

    Args:
        picture: what to cut from.
        seed: int32 [2].
        min_ious: IoU of the part and an object.
        min_scale, max_scale: the part's sides are shares from this range of the picture's.
        max_aspect: how many times longer one of its sides may be than the other.
    """
    seeds = tf.random.split(seed, 2)
    least = tf.constant([0.0, *min_ious], tf.float32)  # 0: any part
    ways = len(min_ious) + 1
    windows = _draw_windows(seeds[0], ways * TRIES, size_of(picture), min_scale, max_scale)  # [ways * TRIES, 4]
    boxes = tf.cast(windows, tf.float32)
    seen = _centre_inside(picture.boxes, boxes[:, None]) & ~picture.is_crowd  # [ways * TRIES, N]
    overlaps = pairwise_iou(boxes, picture.boxes) >= tf.repeat(least, TRIES)[:, None]
    holds_one = tf.reduce_any(seen & overlaps, axis=1) | tf.reduce_all(picture.is_crowd)
    will_do = holds_one & _has_aspect(windows, max_aspect)

    will_do = tf.reshape(will_do, [ways, TRIES])
    found = tf.concat([tf.reduce_any(will_do, axis=1), [True]], axis=0)  # [ways + 1], the whole picture last
    draws = tf.random.stateless_uniform([ways + 1], seeds[1])
    way = tf.argmax(tf.where(found, draws, -1.0), output_type=tf.int32)

    def cut() -> Picture:
        window = windows[way * TRIES + tf.argmax(will_do[way], output_type=tf.int32)]  # the first that will do
        return cut_window(picture, window, _centre_inside(picture.boxes, tf.cast(window, tf.float32)))

    return tf.cond(way < ways, cut, lambda: picture)


def random_crop(
    picture: Picture, seed: tf.Tensor, *, min_scale: float, max_scale: float, min_kept: float, min_visible: float
) -> Picture:
    """Cuts out a part that shows all or most of one object at least.

    The picture is left whole when in 50 tries no part shows enough of any object.

    Args:
        picture: what to cut from.
        seed: int32 [2].
        min_scale, max_scale: the part's sides are shares from this range of the picture's, drawn apart.
        min_kept: share of one object's area, 0 to 1, that is seen; with 1 all of it.
        min_visible: an object of which less than this share of its area is seen goes.
    """
    windows = _draw_windows(seed, TRIES, size_of(picture), min_scale, max_scale)  # [TRIES, 4]
    boxes = tf.cast(windows, tf.float32)
    kept = visible_objects(picture.boxes, picture.is_crowd, boxes[:, None], min_kept) & ~picture.is_crowd  # [TRIES, N]
    will_do = tf.reduce_any(kept, axis=1) | tf.reduce_all(picture.is_crowd)
    first = tf.argmax(will_do, output_type=tf.int32)

    def cut() -> Picture:
        stays = visible_objects(picture.boxes, picture.is_crowd, boxes[first], min(min_visible, min_kept))
        return cut_window(picture, windows[first], stays)

    return tf.cond(tf.reduce_any(will_do), cut, lambda: picture)


def _draw_windows(seed: tf.Tensor, count: int, size: tf.Tensor, min_scale: float, max_scale: float) -> tf.Tensor:
    """[count, 4] int32: boxes within a picture of `size`, sides and places drawn evenly; none is empty."""
    seeds = tf.random.split(seed, 2)
    shares = tf.random.stateless_uniform([count, 2], seeds[0], min_scale, max_scale)
    sides = tf.maximum(tf.cast(tf.round(shares * tf.cast(size, tf.float32)), tf.int32), 1)  # height, width
    places = tf.random.stateless_uniform([count, 2], seeds[1])
    starts = tf.cast(tf.floor(places * tf.cast(size - sides + 1, tf.float32)), tf.int32)
    starts = tf.minimum(starts, size - sides)  # the product may round up
    return tf.concat([starts[:, ::-1], (starts + sides)[:, ::-1]], axis=1)


def _has_aspect(windows: tf.Tensor, max_aspect: float) -> tf.Tensor:
    sides = tf.cast(windows[:, 2:] - windows[:, :2], tf.float32)
    return tf.reduce_max(sides, axis=1) <= max_aspect * tf.reduce_min(sides, axis=1)


def _centre_inside(boxes: tf.Tensor, windows: tf.Tensor) -> tf.Tensor:
    """Which boxes [N, 4] have their centre in a window [4], or in each of [M, 1, 4]: [N] or [M, N] bool."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2  # [N, 2] x, y
    return tf.reduce_all((centres >= windows[..., :2]) & (centres < windows[..., 2:]), axis=-1)
