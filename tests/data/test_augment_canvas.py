"""`large_scale_jitter`, and what it and the mixing of pictures are made of: pictures laid on a canvas."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.data.augment.canvas import Placement, fit, lay
from luminoth.resize import resize_bilinear
from tests.data.coloured_rectangles import (
    GREEN,
    assert_same,
    change,
    compiled,
    extent,
    is_colour,
    make_picture,
    seed_of,
)

FILL = (250.0, 0.0, 250.0)


@pytest.mark.parametrize("new_size", [(11, 30), (60, 45), (12, 20)])
def test_what_is_laid_are_the_pixels_of_a_resized_picture(new_size):
    """Also where parts of it lie outside: they are cut off and change nothing within."""
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(np.float32)
    picture = make_picture(12, 20, [(2, 3, 10, 9)])._replace(image=tf.constant(image))
    whole = resize_bilinear(picture.image, *new_size).numpy()
    for down, right in ((0, 0), (3, 5), (-4, -7), (-2, 6)):
        laid = lay(picture, Placement(tf.constant(new_size), tf.constant([down, right])), tf.constant([32, 36]), FILL)
        expected = np.empty((32, 36, 3))
        expected[:] = FILL
        top, left = max(down, 0), max(right, 0)
        part = whole[max(-down, 0) :, max(-right, 0) :][: 32 - top, : 36 - left]
        expected[top : top + len(part), left : left + part.shape[1]] = part
        np.testing.assert_allclose(laid.image, expected, atol=1e-2)
        y_factor, x_factor = new_size[0] / 12, new_size[1] / 20
        corners = [2 * x_factor + right, 3 * y_factor + down, 10 * x_factor + right, 9 * y_factor + down]
        np.testing.assert_allclose(laid.boxes, [corners], rtol=1e-5)


def test_uint8_stays_uint8_rounded():
    picture = make_picture(3, 5, [], np.uint8)
    placement = Placement(tf.constant([7, 9]), tf.constant([0, 0]))
    laid = lay(picture, placement, tf.constant([7, 9]))
    assert laid.image.dtype == tf.uint8
    np.testing.assert_array_equal(laid.image, np.full((7, 9, 3), 90))


@pytest.mark.parametrize(
    ("size", "canvas", "scale", "expected"),
    [((10, 20), (40, 40), 1.0, (20, 40)), ((10, 20), (30, 90), 0.5, (15, 30)), ((1, 900), (10, 10), 0.1, (1, 1))],
)
def test_fit_by_hand(size, canvas, scale, expected):
    assert tuple(fit(tf.constant(size), tf.constant(canvas), scale).numpy()) == expected


def test_jitter_of_one_fits_the_square():
    picture = make_picture(20, 40, [(4, 4, 20, 16)], np.uint8)
    for number in range(4):
        jittered = change("large_scale_jitter", picture, seed_of(number), size=40, min_scale=1, max_scale=1, fill=FILL)
        image = jittered.image.numpy()
        assert image.dtype == np.uint8
        x_min, y_min, x_max, y_max = jittered.boxes.numpy()[0]
        assert (x_min, x_max, y_max - y_min) == (4, 20, 12)
        top = int(y_min) - 4
        np.testing.assert_array_equal(image[top : top + 20], picture.image)
        np.testing.assert_array_equal(np.delete(image, np.s_[top : top + 20], axis=0), np.full((20, 40, 3), FILL))


_jitter = compiled("large_scale_jitter", size=50, min_scale=0.3, max_scale=2.5, fill=FILL, min_visible=0.25)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**31 - 1),
    st.tuples(st.integers(24, 60), st.integers(24, 60)),
    st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(8, 14), st.integers(8, 14)),
)
def test_jitter_keeps_the_object_under_its_box(seed, size, corner_and_sides):
    x, y, width, height = corner_and_sides
    picture = make_picture(*size, [(x, y, x + width, y + height)])
    jittered = _jitter(picture, seed_of(seed))
    assert jittered.image.shape == (50, 50, 3)
    green = is_colour(jittered.image, GREEN, 100)
    for box in jittered.boxes.numpy():
        assert np.all(box >= 0)
        assert np.all(box <= 50)
        np.testing.assert_allclose(extent(green), box, atol=1.5)
    if len(jittered.boxes) == 0:  # a quarter of the largest object that a factor of 2.5 makes, edges blurred
        assert green.sum() <= 0.25 * (14 * 2.5 * 50 / 24) ** 2 + 40
    again = _jitter(picture, seed_of(seed))
    assert_same(jittered, again)


def test_jitter_drops_what_is_hardly_seen_but_no_crowd():
    picture = make_picture(40, 40, [(0, 0, 8, 40), (32, 0, 40, 40)], crowd=[1])
    jitter = compiled("large_scale_jitter", size=40, min_scale=2, max_scale=2, min_visible=1.0)
    counts, crowds = set(), set()
    for number in range(40):
        jittered = jitter(picture, seed_of(number))
        counts.add(int(np.sum(~jittered.is_crowd.numpy())))
        crowds.add(int(np.sum(jittered.is_crowd.numpy())))
    assert counts == {0}  # twice as high as the square, so never seen in full
    assert crowds == {0, 1}
