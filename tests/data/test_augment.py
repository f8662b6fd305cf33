"""Augmentations: by hand on tiny pictures, and by a coloured rectangle that must stay under its box."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.config.schema_augmentation import Augmentation
from luminoth.data.augment import AUGMENTATIONS, Picture, augment, canvas, check_augmentations, remove_degenerate
from luminoth.errors import ConfigError
from tests.data.coloured_rectangles import GREEN, GREY, assert_same, change, make_picture, seed_of


def is_greenish(image):
    """Which pixels are nearer to the rectangle's colour than to the background; holds under mild distortion."""
    return image[..., 1] - (image[..., 0] + image[..., 2]) / 2 > 80


# --- flip ---------------------------------------------------------------------------------------------------


def test_flip_left_right_by_hand():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    picture = Picture(tf.constant(image), tf.constant([[0.0, 0.0, 1.0, 2.0]]), tf.constant([4]), tf.constant([True]))
    flipped = change("flip", picture, seed_of(0))
    assert flipped.image.dtype == tf.uint8
    np.testing.assert_array_equal(flipped.image[0], [[6, 7, 8], [3, 4, 5], [0, 1, 2]])
    np.testing.assert_array_equal(flipped.boxes, [[2, 0, 3, 2]])
    assert flipped.class_ids.numpy() == [4]
    assert flipped.is_crowd.numpy() == [True]


def test_flip_up_down_by_hand():
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    picture = Picture(tf.constant(image), tf.constant([[0.5, 0.0, 2.0, 0.75]]), tf.constant([0]), tf.constant([False]))
    flipped = change("flip", picture, seed_of(0), left_right=False, up_down=True)
    np.testing.assert_array_equal(flipped.image, image[::-1])
    np.testing.assert_array_equal(flipped.boxes, [[0.5, 1.25, 2.0, 2.0]])


def test_flipping_both_ways_is_a_half_turn_and_twice_is_nothing():
    picture = make_picture(7, 9, [(1, 2, 4, 6)], np.uint8)
    both = change("flip", picture, seed_of(0), up_down=True)
    np.testing.assert_array_equal(both.image, np.rot90(picture.image, 2))
    np.testing.assert_array_equal(both.boxes, [[5, 1, 8, 5]])
    assert_same(change("flip", both, seed_of(1), up_down=True), picture)


# --- resize, patch, expand ----------------------------------------------------------------------------------


def test_resize_draws_both_sides_within_the_limits():
    picture = make_picture(10, 20, [(5, 2, 15, 8)])
    seen = set()
    for number in range(40):
        resized = change("resize", picture, seed_of(number), min_size=8, max_size=10)
        height, width = resized.image.shape[:2]
        seen.add((height, width))
        np.testing.assert_allclose(
            resized.boxes, [[5 * width / 20, 2 * height / 10, 15 * width / 20, 8 * height / 10]], rtol=1e-6
        )
    assert {height for height, _ in seen} == {width for _, width in seen} == {8, 9, 10}


def test_patch_of_a_picture_that_is_not_larger_is_the_picture():
    picture = make_picture(10, 20, [(5, 2, 15, 8)])
    assert_same(change("patch", picture, seed_of(0), min_height=10, min_width=600), picture)


def test_patch_keeps_boxes_whose_centre_it_holds():
    # One object in every corner and a 12 x 12 patch of a 20 x 20 picture
    boxes = [(1, 1, 5, 5), (15, 1, 19, 5), (1, 15, 5, 19), (15, 15, 19, 19)]
    picture = make_picture(20, 20, boxes)
    kept_counts = set()
    for number in range(60):
        cut = change("patch", picture, seed_of(number), min_height=12, min_width=12)
        height, width = cut.image.shape[:2]
        assert 12 <= height <= 20
        assert 12 <= width <= 20
        found = cut.boxes.numpy()
        assert np.all(found >= 0)
        assert np.all(found <= [width, height, width, height])
        # a box is at least half visible when its centre is
        assert np.all(found[:, 2:] - found[:, :2] >= 2)
        assert len(found) == len(cut.class_ids) == len(cut.is_crowd)
        kept_counts.add(len(found))
    assert {1, 2}.issubset(kept_counts)
    assert 0 not in kept_counts


def test_patch_without_any_centre_leaves_the_picture_whole():
    picture = make_picture(20, 20, [(0, 0, 1, 1)])
    sizes = set()
    for number in range(40):
        cut = change("patch", picture, seed_of(number), min_height=4, min_width=4)
        sizes.add(tuple(cut.image.shape[:2]))
        assert len(cut.boxes) == 1
        assert cut.image.numpy()[0, 0].tolist() == list(GREEN)
    assert (20, 20) in sizes


def test_patch_of_a_picture_without_objects_is_cut_all_the_same():
    sizes = {
        tuple(change("patch", make_picture(20, 20, []), seed_of(n), min_height=4, min_width=4).image.shape)
        for n in range(10)
    }
    assert len(sizes) > 3


def test_expand_surrounds_the_unchanged_picture_with_the_fill():
    image = np.random.default_rng(0).uniform(0, 255, (6, 8, 3)).astype(np.float32)
    picture = make_picture(6, 8, [(2, 1, 5, 4)])._replace(image=tf.constant(image))
    expanded = change("expand", picture, seed_of(3), fill=[1, 2, 3], min_ratio=2, max_ratio=2)
    assert expanded.image.shape == (12, 16, 3)
    left, top = (int(value) for value in expanded.boxes[0, :2] - [2, 1])
    np.testing.assert_array_equal(expanded.boxes, [[2 + left, 1 + top, 5 + left, 4 + top]])
    np.testing.assert_array_equal(expanded.image[top : top + 6, left : left + 8], image)
    outside = np.ones((12, 16), bool)
    outside[top : top + 6, left : left + 8] = False
    assert np.all(expanded.image.numpy()[outside] == [1, 2, 3])


@pytest.mark.parametrize("fill", [0, 17.5, (124, 117, 104)])
def test_expand_fills_with_one_number_or_a_colour(fill):
    expanded = change("expand", make_picture(4, 4, []), seed_of(0), fill=fill, min_ratio=3, max_ratio=3)
    assert np.count_nonzero(np.all(expanded.image.numpy() == fill, axis=-1)) == 12 * 12 - 4 * 4


def test_expand_by_one_is_the_same_picture():
    picture = make_picture(5, 6, [(1, 1, 3, 3)])
    assert_same(change("expand", picture, seed_of(0), min_ratio=1, max_ratio=1), picture)


def test_expand_never_makes_a_canvas_beyond_the_limit(monkeypatch):
    monkeypatch.setattr(canvas, "MAX_CANVAS_PIXELS", 40 * 40)
    picture = make_picture(20, 20, [(4, 4, 16, 16)])
    expanded = change("expand", picture, seed_of(0), min_ratio=4, max_ratio=4)
    assert expanded.image.shape == (40, 40, 3)  # picture shrunk to 10 x 10 first
    width, height = np.diff(expanded.boxes.numpy().reshape(2, 2), axis=0)[0]
    assert (width, height) == (6, 6)


# --- distortion ---------------------------------------------------------------------------------------------


def test_brightness_adds_one_number_everywhere():
    picture = make_picture(4, 4, [(1, 1, 3, 3)])
    shifts = []
    for number in range(20):
        changed = change("distortion", picture, seed_of(number), brightness={"max_delta": 0.05})
        difference = (changed.image - picture.image).numpy()
        np.testing.assert_allclose(difference, difference[0, 0, 0], atol=1e-3)
        shifts.append(difference[0, 0, 0])
    assert max(np.abs(shifts)) <= 0.05 * 255
    assert min(shifts) < -2
    assert max(shifts) > 2


def test_contrast_moves_values_away_from_the_mean():
    image = np.zeros((1, 2, 3), np.float32)
    image[0, 1] = 100
    picture = make_picture(1, 2, [])._replace(image=tf.constant(image + 50))
    changed = change("distortion", picture, seed_of(0), contrast={"lower": 0.5, "upper": 0.5})
    np.testing.assert_allclose(changed.image[0, :, 0], [75, 125], rtol=1e-5)


def test_no_saturation_is_grey():
    picture = make_picture(2, 2, [(0, 0, 1, 1)])
    changed = change("distortion", picture, seed_of(0), saturation={"lower": 0, "upper": 0}).image.numpy()
    np.testing.assert_allclose(changed, changed[..., :1].repeat(3, axis=-1), atol=1e-3)


def test_hue_leaves_grey_and_lightness():
    picture = make_picture(4, 4, [(1, 1, 3, 3)])
    changed = change("distortion", picture, seed_of(5), hue={"max_delta": 0.5}).image.numpy()
    np.testing.assert_allclose(changed[0, 0], GREY, atol=1e-3)
    np.testing.assert_allclose(changed.max(-1), picture.image.numpy().max(-1), atol=1e-3)  # HSV's value stays
    assert np.abs(changed[1, 1] - GREEN).max() > 5


def test_distortion_without_settings_changes_nothing():
    picture = make_picture(4, 4, [(1, 1, 3, 3)])
    assert_same(augment(picture, [{"distortion": {"prob": 1}}], seed_of(0)), picture)


def test_distortion_stays_within_0_to_255():
    picture = make_picture(6, 6, [(0, 0, 3, 3)])
    strong = {
        "brightness": {"max_delta": 0.9},
        "contrast": {"lower": 0.1, "upper": 4},
        "hue": {"max_delta": 0.5},
        "saturation": {"lower": 0, "upper": 4},
        "prob": 1,
    }
    extremes = []
    for number in range(30):
        image = augment(picture, [{"distortion": strong}], seed_of(number)).image.numpy()
        assert np.all(np.isfinite(image))
        extremes += [image.min(), image.max()]
    assert min(extremes) >= 0
    assert max(extremes) <= 255
    assert max(extremes) > 250


# --- the list -----------------------------------------------------------------------------------------------

MILD = {"brightness": {"max_delta": 0.05}, "contrast": {"lower": 0.9, "upper": 1.1}, "hue": {"max_delta": 0.02}}
EVERY_ONE = [
    {"flip": {"left_right": True, "up_down": True, "prob": 0.5}},
    {"resize": {"min_size": 30, "max_size": 60, "prob": 0.5}},
    {"patch": {"min_height": 20, "min_width": 20, "prob": 0.5}},
    {"distortion": {**MILD, "prob": 0.5}},
    {"expand": {"max_ratio": 2, "prob": 0.5}},
]

# One graph for all drawn examples, as in the pipeline
_compiled = tf.function(
    lambda image, boxes, class_ids, is_crowd, seed: augment(
        Picture(image, boxes, class_ids, is_crowd), EVERY_ONE, seed
    ),
    input_signature=[
        tf.TensorSpec([None, None, 3], tf.float32),
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.bool),
        tf.TensorSpec([2], tf.int32),
    ],
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**31 - 1),
    st.integers(24, 48),
    st.integers(24, 48),
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(8, 12), st.integers(8, 12)),
)
def test_the_object_stays_under_its_box(seed, height, width, corner_and_size):
    x, y, box_width, box_height = corner_and_size
    picture = make_picture(height, width, [(x, y, x + box_width, y + box_height)])
    changed = _compiled(*picture, seed_of(seed))
    image, boxes = changed.image.numpy(), changed.boxes.numpy()
    assert len(boxes) == 1
    x_min, y_min, x_max, y_max = boxes[0]
    assert x_min >= 0
    assert y_min >= 0
    assert x_max <= image.shape[1] + 1e-4
    assert y_max <= image.shape[0] + 1e-4

    green = is_greenish(image)
    # a resized edge is blurred over less than two pixels, and the shape may be half a pixel off
    inner = green[int(np.ceil(y_min + 1.5)) : int(y_max - 1.5), int(np.ceil(x_min + 1.5)) : int(x_max - 1.5)]
    assert inner.all()
    rows, columns = np.nonzero(green)
    assert columns.min() >= x_min - 1.5
    assert rows.min() >= y_min - 1.5
    assert columns.max() + 1 <= x_max + 1.5
    assert rows.max() + 1 <= y_max + 1.5


def test_one_seed_one_result_and_the_global_seed_does_not_matter():
    picture = make_picture(40, 50, [(5, 5, 30, 30)])
    tf.random.set_seed(1)
    first = [augment(picture, EVERY_ONE, seed_of(number)) for number in range(6)]
    tf.random.set_seed(2)
    second = [augment(picture, EVERY_ONE, seed_of(number)) for number in range(6)]
    for one, other in zip(first, second, strict=True):
        assert_same(one, other)
    assert len({one.image.shape for one in first}) > 1


def test_compiled_equals_eager():
    picture = make_picture(40, 50, [(5, 5, 30, 30)])
    for number in range(8):
        eager = augment(picture, EVERY_ONE, seed_of(number))
        compiled = _compiled(*picture, seed_of(number))
        np.testing.assert_allclose(compiled.image, eager.image, atol=1e-2)
        np.testing.assert_allclose(compiled.boxes, eager.boxes, rtol=1e-5)


def test_prob_0_is_the_identity_and_prob_1_always_applies():
    picture = make_picture(40, 50, [(5, 5, 30, 30)])
    never = [{name: {**values, "prob": 0}} for entry in EVERY_ONE for name, values in entry.items()]
    for number in range(5):
        assert_same(augment(picture, never, seed_of(number)), picture)
        flipped = augment(picture, [{"flip": {"prob": 1}}], seed_of(number))
        np.testing.assert_array_equal(flipped.boxes, [[20, 5, 45, 30]])


def test_prob_is_a_frequency():
    picture = make_picture(2, 3, [(0, 0, 1, 1)])
    flip = tf.function(lambda seed: augment(picture, [{"flip": {"prob": 0.3}}], seed).boxes[0, 0])
    flips = sum(float(flip(seed_of(number))) == 2 for number in range(400))
    assert 90 <= flips <= 150  # 120 +- 3.3 standard deviations


def test_two_equal_entries_draw_apart():
    picture = make_picture(2, 3, [(0, 0, 1, 1)])
    left = {"flip": {"prob": 0.5}}
    outcomes = {float(augment(picture, [left, left], seed_of(number)).boxes[0, 0]) for number in range(20)}
    assert outcomes == {0.0, 2.0}  # were the draws the same, every pair would cancel out


def test_uint8_stays_for_moves_and_becomes_float_for_computed_pixels():
    picture = make_picture(8, 8, [(1, 1, 7, 7)], np.uint8)
    moved = augment(picture, [{"flip": {}}, {"patch": {"min_height": 4, "min_width": 4}}], seed_of(0))
    assert moved.image.dtype == tf.uint8
    same = augment(picture, [{"expand": {"prob": 0}}], seed_of(0))
    assert same.image.dtype == tf.float32
    np.testing.assert_array_equal(same.image, picture.image)


def test_every_augmentation_takes_a_picture_without_objects():
    always = [{name: {**values, "prob": 1}} for entry in EVERY_ONE for name, values in entry.items()]
    changed = augment(make_picture(40, 50, []), always, seed_of(0))
    assert changed.boxes.shape == (0, 4)
    assert changed.class_ids.shape == changed.is_crowd.shape == (0,)


def test_remove_degenerate():
    nan = float("nan")
    picture = Picture(
        tf.zeros([10, 20, 3]),
        tf.constant(
            [[-5.0, -5, 5, 5], [20, 0, 25, 5], [3, 3, 3, 8], [8, 8, 4, 9], [nan, 0, 5, 5], [15, 5, 40, 50]], tf.float32
        ),
        tf.range(6),
        tf.constant([True, False, False, False, False, False]),
    )
    cleaned = remove_degenerate(picture)
    np.testing.assert_array_equal(cleaned.boxes, [[0, 0, 5, 5], [15, 5, 20, 10]])
    np.testing.assert_array_equal(cleaned.class_ids, [0, 5])
    np.testing.assert_array_equal(cleaned.is_crowd, [True, False])


# --- wrong settings -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"rotate": {}}, "dataset.data_augmentation[0] is of the kind rotate; accepted: one of flip, resize, patch,"),
        ({"flip": {}, "patch": {}}, "dataset.data_augmentation[0] has the keys flip, patch; accepted: a mapping"),
        ("flip", "dataset.data_augmentation[0] is flip; accepted: a mapping"),
        ({"flip": {"leftright": True}}, "dataset.data_augmentation[0].flip.leftright is not a known key; did you mean"),
        ({"flip": {"left_right": 1}}, "flip.left_right is 1; accepted: true or false"),
        ({"flip": {"prob": 1.5}}, "flip.prob is 1.5; accepted: a number from 0 to 1"),
        ({"resize": {"min_size": 700, "max_size": 600}}, "resize has min_size 700 above max_size 600"),
        ({"expand": {"max_ratio": float("inf")}}, "expand.max_ratio is .inf"),
        ({"patch": {"min_height": 1.5}}, "patch.min_height is 1.5; accepted: a whole number of at least 1"),
        ({"expand": {"fill": [0, 0]}}, "expand.fill is [0, 0]; accepted: a number from 0 to 255 or a list of three"),
        ({"distortion": {"hue": {"max_delta": 0.7}}}, "hue.max_delta is 0.7; accepted: a number from 0 to 0.5"),
        ({"distortion": {"contrast": {"lower": 2}}}, "contrast has lower 2.0 above upper 1.2"),
        ({"ssd_crop": {"min_ious": [0.5, 2]}}, "ssd_crop.min_ious[1] is 2; accepted: a number from 0 to 1"),
        ({"ssd_crop": {"max_aspect": 0.5}}, "ssd_crop.max_aspect is 0.5; accepted: a number of at least 1"),
        ({"random_crop": {"min_scale": 0}}, "random_crop.min_scale is 0; accepted: a number above 0, at most 1"),
        ({"random_crop": {"min_scale": 0.9, "max_scale": 0.5}}, "min_scale 0.9 above max_scale 0.5"),
        ({"large_scale_jitter": {"size": 0}}, "large_scale_jitter.size is 0; accepted: a whole number of at least 1"),
        ({"mosaic": {"min_scale": 2}}, "mosaic has min_scale 2.0 above max_scale 1.0"),
        ({"mixup": {"alpha": 0}}, "mixup.alpha is 0; accepted: a number above 0"),
        ({"copy_paste": {"max_hidden": 1.5}}, "copy_paste.max_hidden is 1.5; accepted: a number from 0 to 1"),
        ({"photometric": {"hue": 0.6}}, "photometric.hue is 0.6; accepted: a number from 0 to 0.5"),
        ({"grey": {"amount": 1}}, "grey.amount is not a known key"),
    ],
)
def test_wrong_settings_name_the_key_and_what_is_accepted(entry, message):
    with pytest.raises(ConfigError) as error:
        check_augmentations([entry])
    assert message in str(error.value)


def test_settings_that_are_left_out_have_their_defaults():
    assert check_augmentations([{"flip": None}]) == [("flip", {"left_right": True, "up_down": False}, 0.5)]
    assert check_augmentations([{"resize": {"prob": 1}}]) == [("resize", {"min_size": 600, "max_size": 980}, 1.0)]
    ((_, settings, _),) = check_augmentations([{"distortion": {"hue": {}, "brightness": None}}])
    assert settings == {"brightness": None, "contrast": None, "hue": {"max_delta": 0.2}, "saturation": None}


def test_every_kind_of_the_configuration_is_there_with_its_settings():
    assert list(AUGMENTATIONS) == list(Augmentation.model_fields)
    for name, function in AUGMENTATIONS.items():
        ((_, settings, _),) = check_augmentations([{name: None}])
        parameters = inspect.signature(function).parameters.values()
        assert set(settings) == {each.name for each in parameters if each.kind is each.KEYWORD_ONLY} - {"partners"}
