"""`photometric` and `grey`; the older `distortion` is in test_augment.py."""

import numpy as np
import tensorflow as tf
from PIL import Image

from tests.data.coloured_rectangles import compiled, make_picture, seed_of

NOTHING = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "swap_channels": False}


def random_picture(dtype=np.float32):
    image = np.random.default_rng(1).integers(0, 256, (9, 11, 3)).astype(dtype)
    return make_picture(9, 11, [(1, 2, 5, 6)])._replace(image=tf.constant(image))


def variants(count=40, dtype=np.float32, **settings):
    """The picture and what so many seeds make of its pixels; the boxes stay."""
    picture = random_picture(dtype)
    change = compiled("photometric", dtype=tf.as_dtype(dtype), **{**NOTHING, **settings})
    changed = [change(picture, seed_of(number)) for number in range(count)]
    for each in changed:
        assert each.image.dtype == picture.image.dtype
        np.testing.assert_array_equal(each.boxes, picture.boxes)
    return picture.image.numpy(), [each.image.numpy() for each in changed]


def test_photometric_without_any_strength_changes_nothing():
    image, changed = variants(4, np.uint8)
    for each in changed:
        np.testing.assert_array_equal(each, image)


def test_brightness_adds_one_number_every_other_time():
    image, changed = variants(brightness=0.1)
    is_free = (image > 26) & (image < 229)  # nothing is cut off there
    shifts = []
    for each in changed:
        difference = (each - image)[is_free]
        np.testing.assert_allclose(difference, difference[0], atol=1e-3)
        shifts.append(difference[0])
    assert max(np.abs(shifts)) <= 25.5
    assert min(shifts) < -5
    assert max(shifts) > 5
    assert 12 <= np.sum(np.abs(shifts) > 1e-3) <= 28


def test_contrast_is_a_factor_on_the_distance_from_the_mean():
    image, changed = variants(contrast=0.3)
    factors = []
    for each in changed:
        is_free = (each > 0) & (each < 255)
        distances, new_distances = ((values - image.mean((0, 1)))[is_free] for values in (image, each))
        is_far = np.abs(distances) > 5
        factor = new_distances[is_far] / distances[is_far]
        np.testing.assert_allclose(factor, factor[0], atol=1e-3)
        factors.append(factor[0])
    assert 0.7 <= min(factors) < 0.9
    assert 1.1 < max(factors) <= 1.3
    assert 12 <= np.sum(np.abs(np.subtract(factors, 1)) > 1e-3) <= 28


def test_contrast_comes_first_or_last():
    """Where it comes last, it changes what the saturation has made: then the two do not commute."""
    _, both = variants(60, contrast=0.5, saturation=0.5)
    _, contrast = variants(60, contrast=0.5)
    _, saturation = variants(60, saturation=0.5)
    seen = set()
    for combined, alone, vivid in zip(both, contrast, saturation, strict=True):
        has_contrast, has_saturation = (np.ptp(each - random_picture().image) > 1 for each in (alone, vivid))
        if has_contrast and has_saturation:
            first = tf.image.adjust_saturation(alone / 255.0, 1.0)  # as it was when contrast came first
            grey_before = np.asarray(first).max(-1)
            grey_after = (combined / 255.0).max(-1)
            seen.add(bool(np.allclose(grey_before, grey_after, atol=2e-3)))  # saturation leaves HSV's value
    assert seen == {True, False}


def test_channels_change_places():
    image, changed = variants(60, np.uint8, swap_channels=True)
    orders = set()
    for each in changed:
        matches = [[np.array_equal(each[..., i], image[..., j]) for j in range(3)] for i in range(3)]
        assert np.sum(matches) == 3
        orders.add(tuple(np.argmax(matches, axis=1)))
    assert len(orders) == 6


def test_photometric_stays_within_0_to_255():
    _, changed = variants(30, brightness=0.9, contrast=1, saturation=1, hue=0.5, swap_channels=True)
    assert min(each.min() for each in changed) >= 0
    assert max(each.max() for each in changed) <= 255
    assert len({each.tobytes() for each in changed}) > 20


def test_grey_is_that_of_pillow():
    picture = random_picture(np.uint8)
    grey = compiled("grey", dtype=tf.uint8)(picture, seed_of(0))
    expected = np.asarray(Image.fromarray(picture.image.numpy()).convert("L"), np.int32)
    for channel in range(3):
        assert np.abs(grey.image.numpy()[..., channel].astype(np.int32) - expected).max() <= 1
    np.testing.assert_array_equal(grey.image[..., 0], grey.image[..., 2])
    np.testing.assert_array_equal(grey.boxes, picture.boxes)
    assert compiled("grey")(random_picture(), seed_of(0)).image.dtype == tf.float32
