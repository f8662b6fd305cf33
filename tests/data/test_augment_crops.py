"""`ssd_crop` and `random_crop`: pixels that say where they come from show which part was cut out."""

import numpy as np
import pytest
import tensorflow as tf

from luminoth.data.augment import Picture
from tests.data.coloured_rectangles import assert_same, change, compiled, make_picture, seed_of

HEIGHT, WIDTH = 40, 60
BOXES = [(4, 4, 16, 16), (30, 10, 58, 38), (0, 30, 12, 40), (20, 0, 26, 6)]
CROWD = 2


def numbered_picture(boxes=BOXES, crowd=(CROWD,)):
    """Red is a pixel's column, green its row."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([columns, rows, np.zeros_like(rows)], axis=-1).astype(np.uint8)
    return make_picture(HEIGHT, WIDTH, boxes, np.uint8, crowd=crowd)._replace(image=tf.constant(image))


def window_of(cut):
    """[x_min, y_min, x_max, y_max] of a part of `numbered_picture`; its pixels are those of a part at all."""
    image = cut.image.numpy()
    (left, top, _), (right, bottom, _) = image[0, 0], image[-1, -1]
    np.testing.assert_array_equal(image[..., 0], np.tile(np.arange(left, right + 1), (len(image), 1)))
    np.testing.assert_array_equal(image[..., 1], np.tile(np.arange(top, bottom + 1), (image.shape[1], 1)).T)
    return np.array([left, top, int(right) + 1, int(bottom) + 1], np.float32)


def clipped(boxes, window):
    """Boxes [N, 4] where they lie in the part, clipped to it, and the shares of their areas that are seen."""
    boxes = np.asarray(boxes, np.float32)
    corners = np.concatenate([np.maximum(boxes, window)[:, :2], np.minimum(boxes, window)[:, 2:]], axis=1)
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
    return corners - np.tile(window[:2], 2), sides.prod(1) / (boxes[:, 2:] - boxes[:, :2]).prod(1)


def iou(box, window):
    shared = np.maximum(np.minimum(box[2:], window[2:]) - np.maximum(box[:2], window[:2]), 0).prod()
    return shared / ((box[2:] - box[:2]).prod() + (window[2:] - window[:2]).prod() - shared)


def centres_inside(boxes, window):
    centres = (np.asarray(boxes, np.float32)[:, :2] + np.asarray(boxes, np.float32)[:, 2:]) / 2
    return np.all((centres >= window[:2]) & (centres < window[2:]), axis=1)


def test_ssd_crop_keeps_the_objects_whose_centres_it_shows():
    crop = compiled("ssd_crop", dtype=tf.uint8)
    windows = []
    for number in range(120):
        cut = crop(numbered_picture(), seed_of(number))
        assert cut.image.dtype == tf.uint8
        window = window_of(cut)
        windows.append(tuple(window))
        width, height = window[2:] - window[:2]
        stays = centres_inside(BOXES, window)
        np.testing.assert_array_equal(cut.boxes, clipped(BOXES, window)[0][stays])
        np.testing.assert_array_equal(cut.class_ids, np.flatnonzero(stays))
        np.testing.assert_array_equal(cut.is_crowd, np.flatnonzero(stays) == CROWD)
        assert not all(cut.is_crowd)
        assert 0.3 * HEIGHT - 0.5 <= height <= HEIGHT
        assert 0.3 * WIDTH - 0.5 <= width <= WIDTH
        assert max(width / height, height / width) <= 2
    assert len(set(windows)) > 60
    assert 6 <= windows.count((0, 0, WIDTH, HEIGHT)) <= 40  # one way of up to seven leaves the picture whole


def test_ssd_crop_overlaps_an_object_enough():
    """Parts as large as the object rarely overlap it by chance as much as was asked for."""
    boxes = [(15, 10, 45, 30)]
    crop = compiled("ssd_crop", dtype=tf.uint8, min_ious=[0.6], min_scale=0.4, max_scale=0.6)
    overlaps = [iou(np.float32(boxes[0]), window_of(crop(numbered_picture(boxes, ()), seed_of(n)))) for n in range(90)]
    # a third each: the whole picture (IoU 0.25), any part with the object's centre, one with an IoU of 0.6 at least
    assert 24 <= sum(value >= 0.6 for value in overlaps) <= 54
    assert sum(abs(value - 0.25) > 0.01 and value < 0.6 for value in overlaps) >= 10


@pytest.mark.parametrize("name", ["ssd_crop", "random_crop"])
def test_pictures_with_nothing_or_only_crowds_are_cut_all_the_same(name):
    crop = compiled(name, dtype=tf.uint8)
    for picture in (numbered_picture([], ()), numbered_picture([BOXES[0]], [0])):
        cuts = [crop(picture, seed_of(number)) for number in range(12)]
        assert len({tuple(window_of(cut)) for cut in cuts}) > 5
        assert all(cut.boxes.shape[0] == len(cut.is_crowd) <= len(picture.boxes) for cut in cuts)


@pytest.mark.parametrize(("min_kept", "min_visible"), [(0.5, 0.2), (1.0, 1.0)])
def test_random_crop_shows_enough_of_one_object_and_of_each_that_stays(min_kept, min_visible):
    limits = {"min_scale": 0.5, "max_scale": 0.7, "min_kept": min_kept, "min_visible": min_visible}
    crop = compiled("random_crop", dtype=tf.uint8, **limits)
    of_cut_objects = 0
    for number in range(60):
        cut = crop(numbered_picture(), seed_of(number))
        window = window_of(cut)
        width, height = window[2:] - window[:2]
        boxes, seen = clipped(BOXES, window)
        stays = seen >= min_visible
        of_cut_objects += np.sum(seen[stays] < min_kept)
        assert max(seen[[0, 1, 3]]) >= min_kept
        stays[CROWD] = seen[CROWD] > 0  # any part of a crowd is one
        np.testing.assert_allclose(cut.boxes, boxes[stays], atol=1e-4)
        np.testing.assert_array_equal(cut.class_ids, np.flatnonzero(stays))
        np.testing.assert_array_equal(cut.is_crowd, np.flatnonzero(stays) == CROWD)
        assert 0.5 * WIDTH - 0.5 <= width <= 0.7 * WIDTH + 0.5
        assert 0.5 * HEIGHT - 0.5 <= height <= 0.7 * HEIGHT + 0.5
    assert (of_cut_objects > 0) == (min_visible < min_kept)


def test_random_crop_leaves_a_picture_whole_where_no_part_will_do():
    picture = numbered_picture([(0, 0, WIDTH, HEIGHT)], ())
    for number in range(3):
        assert_same(change("random_crop", picture, seed_of(number), max_scale=0.9, min_kept=1), picture)
        assert_same(change("ssd_crop", picture, seed_of(number), max_scale=0.5, max_aspect=1, min_scale=0.5), picture)


def test_boxes_without_area_do_not_count():
    picture = Picture(numbered_picture().image, tf.constant([[5.0, 5, 5, 9]]), tf.constant([1]), tf.constant([False]))
    assert_same(change("random_crop", picture, seed_of(0)), picture)
