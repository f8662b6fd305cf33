"""`mosaic`, `mixup`, `copy_paste`: each class has a colour of its own, so that pixels show which object is where."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.data.augment import augment, partners_needed
from tests.data.coloured_rectangles import assert_same, change, compiled, extent, is_colour, make_picture, seed_of

# Class i has colour i; backgrounds are dark.
COLOURS = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20), (20, 250, 250), (250, 20, 250)]
DARK = [(10, 10, 60), (60, 10, 10), (10, 60, 10), (60, 60, 10)]


def scene(number, height, width, boxes, first_class, dtype=np.float32, crowd=()):
    ids = list(range(first_class, first_class + len(boxes)))
    colours = [COLOURS[each] for each in ids]
    return make_picture(
        height, width, boxes, dtype, colours=colours, class_ids=ids, background=DARK[number], crowd=crowd
    )


FOUR = [
    scene(0, 40, 60, [(5, 5, 25, 20), (35, 10, 55, 30)], 0),
    scene(1, 30, 30, [(8, 8, 22, 24)], 2),
    scene(2, 60, 36, [(6, 30, 30, 54)], 3),
    scene(3, 44, 44, [(4, 4, 20, 40)], 4),
]


def areas_of(picture):
    boxes = picture.boxes.numpy()
    return np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)


# --- mosaic ---------------------------------------------------------------------------------------------------

_mosaic = compiled("mosaic", partners=3, min_visible=0.3, fill=(128, 128, 128))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 2**31 - 1))
def test_mosaic_has_four_pictures_and_each_object_under_its_box(seed):
    joined = _mosaic(FOUR[0], seed_of(seed), *FOUR[1:])
    image, boxes = joined.image.numpy(), joined.boxes.numpy()
    assert image.shape == (40, 60, 3)
    for background in DARK:
        assert is_colour(image, background, 4).any()
    ids = joined.class_ids.numpy().tolist()
    assert ids == sorted(set(ids))
    assert np.all(boxes >= 0)
    assert np.all(boxes <= [60, 40, 60, 40])
    for class_id, box in zip(ids, boxes, strict=True):
        np.testing.assert_allclose(extent(is_colour(image, COLOURS[class_id], 95)), box, atol=1.6)
    for class_id in set(range(5)) - set(ids):  # of what has gone less than 0.3 is seen, edges blurred
        largest = {
            0: 300,
            1: 400,
            2: 14 * 16 * (40 / 30) ** 2,
            3: 24 * 24 * (40 / 60) ** 2,
            4: 16 * 36 * (40 / 44) ** 2,
        }
        assert is_colour(image, COLOURS[class_id], 95).sum() <= 0.3 * largest[class_id] + 40
    assert_same(joined, _mosaic(FOUR[0], seed_of(seed), *FOUR[1:]))


def test_mosaic_of_halves_shows_all_of_each_picture():
    """At a factor of 0.5, with the pictures as large as the canvas, a quarter holds one where the centre allows."""
    pictures = [scene(number, 40, 40, [(4, 8, 36, 32)], number) for number in range(4)]
    mosaic = compiled("mosaic", partners=3, min_scale=0.5, max_scale=0.5)
    complete = 0
    for number in range(20):
        joined = mosaic(pictures[0], seed_of(number), *pictures[1:])
        np.testing.assert_array_equal(joined.class_ids, range(4))
        complete += sum(np.isclose(areas_of(joined), 16 * 12))
    assert 20 <= complete < 80  # one quarter at least holds all of its picture


def test_a_crowd_stays_one_and_drops_out_only_when_unseen():
    pictures = [scene(number, 40, 40, [(0, 0, 40, 40)], number, crowd=[0]) for number in range(4)]
    joined = change("mosaic", pictures[0], seed_of(1), pictures[1:], min_visible=1.0, min_scale=1.0)
    np.testing.assert_array_equal(joined.class_ids, range(4))
    assert all(joined.is_crowd)


def test_mosaic_of_pictures_of_one_pixel():
    dot = make_picture(1, 1, [(0, 0, 1, 1)], np.uint8)
    joined = change("mosaic", dot, seed_of(0), [dot] * 3)
    assert joined.image.shape == (2, 2, 3)


# --- mixup ----------------------------------------------------------------------------------------------------


def test_mixup_blends_the_pixels_and_has_the_objects_of_both():
    first = scene(0, 40, 60, [(5, 5, 25, 20)], 0, crowd=[0])
    second = scene(1, 40, 60, [(30, 10, 50, 38)], 1)
    shares = []
    for number in range(20):
        mixed = change("mixup", first, seed_of(number), [second])
        share = float(mixed.image[0, 0, 0] - 10) / 50  # red goes from 10 to 60
        expected = (1 - share) * first.image.numpy() + share * second.image.numpy()
        np.testing.assert_allclose(mixed.image, expected, atol=0.1)
        np.testing.assert_array_equal(mixed.boxes, [[5, 5, 25, 20], [30, 10, 50, 38]])
        np.testing.assert_array_equal(mixed.class_ids, [0, 1])
        np.testing.assert_array_equal(mixed.is_crowd, [True, False])
        shares.append(share)
    assert 0.25 < min(shares) < 0.49
    assert 0.51 < max(shares) < 0.75
    assert 0.45 < np.mean(shares) < 0.55


def test_mixup_resizes_the_other_picture_to_fit():
    first = scene(0, 40, 60, [], 0, np.uint8)
    second = scene(1, 20, 20, [(2, 4, 18, 16)], 1, np.uint8)
    lefts = set()
    for number in range(6):
        mixed = change("mixup", first, seed_of(number), [second], alpha=1000)
        assert mixed.image.dtype == tf.uint8
        image, (x_min, y_min, x_max, y_max) = mixed.image.numpy(), mixed.boxes.numpy()[0]
        assert (x_max - x_min, y_min, y_max) == (32, 8, 32)
        left = int(x_min) - 4
        lefts.add(left)
        untouched = np.delete(image, np.s_[left : left + 40], axis=1)
        np.testing.assert_array_equal(untouched, np.full((40, 20, 3), DARK[0]))
        assert is_colour(image[:, left : left + 40], np.mean([DARK[0], DARK[1]], axis=0), 4).any()
    assert len(lefts) > 2


# --- copy_paste -----------------------------------------------------------------------------------------------

_paste_all = compiled("copy_paste", partners=1, share=1.0, min_scale=0.5, max_scale=1.0, max_hidden=0.5)
OWN = scene(0, 40, 60, [(2, 2, 30, 22), (32, 6, 40, 16), (20, 24, 58, 38)], 0)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**31 - 1),
    st.lists(st.tuples(st.integers(0, 35), st.integers(0, 20), st.integers(6, 25), st.integers(6, 20)), max_size=3),
)
def test_pasted_objects_hide_what_lies_below(seed, corners_and_sides):
    """Against counting pixels: every pasted rectangle has a colour of its own, as do those below."""
    boxes = [(x, y, x + width, y + height) for x, y, width, height in corners_and_sides]
    partner = scene(1, 40, 60, boxes, 3)
    pasted = _paste_all(OWN, seed_of(seed), partner)
    image = pasted.image.numpy()
    found = dict(zip(pasted.class_ids.numpy().tolist(), pasted.boxes.numpy(), strict=True))
    assert list(found) == sorted(found)
    changed = np.abs(image - OWN.image.numpy()).max(-1) > 1
    for class_id, area in enumerate(areas_of(OWN)):
        kept_pixels = is_colour(OWN.image, COLOURS[class_id], 1) & ~changed
        hidden = 1 - kept_pixels.sum() / area
        assert (class_id in found) == (hidden <= 0.5)
        if class_id in found:
            np.testing.assert_array_equal(found[class_id], extent(kept_pixels))
    for class_id in set(found) - {0, 1, 2}:
        box = found[class_id]
        assert np.all(box >= 0)
        assert np.all(box <= [60, 40, 60, 40])
        inner = [int(np.ceil(box[0])), int(np.ceil(box[1])), int(box[2]), int(box[3])]
        assert changed[inner[1] : inner[3], inner[0] : inner[2]].all()
        # others of the partner's may lie over it: where its colour is seen, it is within the box
        own_colour = is_colour(image, COLOURS[class_id], 60)
        if own_colour.any():
            seen = extent(own_colour)
            assert np.all(seen[:2] >= box[:2] - 1.5)
            assert np.all(seen[2:] <= box[2:] + 1.5)
    assert len(set(found) - {0, 1, 2}) == len(boxes)  # the partner fits, so all of its objects are seen
    assert_same(pasted, _paste_all(OWN, seed_of(seed), partner))


def test_copy_paste_by_hand():
    """A partner of the same size at a factor of 1 lies exactly over the picture."""
    partner = scene(1, 40, 60, [(16, 2, 30, 30), (30, 2, 42, 20)], 3)
    pasted = change("copy_paste", OWN, seed_of(0), [partner], share=1, min_scale=1, max_scale=1, max_hidden=0.6)
    # half of object 0 is hidden, all of object 1, of object 2 a corner: its box does not change
    np.testing.assert_array_equal(pasted.class_ids, [0, 2, 3, 4])
    expected = [(2, 2, 16, 22), (20, 24, 58, 38), (16, 2, 30, 30), (30, 2, 42, 20)]
    np.testing.assert_array_equal(pasted.boxes, expected)
    both = np.maximum(is_colour(partner.image, COLOURS[3], 1), is_colour(partner.image, COLOURS[4], 1))
    np.testing.assert_array_equal(pasted.image, np.where(both[..., None], partner.image, OWN.image))
    stricter = change("copy_paste", OWN, seed_of(0), [partner], share=1, min_scale=1, max_scale=1, max_hidden=0.4)
    np.testing.assert_array_equal(stricter.class_ids, [2, 3, 4])


def test_objects_that_were_not_chosen_come_along_within_those_that_were():
    partner = scene(1, 40, 60, [(10, 10, 40, 30), (36, 12, 44, 20), (50, 30, 56, 36)], 3)
    empty = scene(0, 40, 60, [], 0)
    paste = compiled("copy_paste", partners=1, share=0, min_scale=1, max_scale=1)
    seen = set()
    for number in range(30):
        pasted = paste(empty, seed_of(number), partner)
        seen.add((tuple(pasted.class_ids.numpy()), tuple(map(tuple, pasted.boxes.numpy()))))
    large, small, apart = (10, 10, 40, 30), (36, 12, 44, 20), (50, 30, 56, 36)
    assert seen == {
        ((3, 4), (large, (36, 12, 40, 20))),  # half of the small one is seen, its box is cut
        ((4,), (small,)),  # of the large one too little is
        ((5,), (apart,)),
    }


def test_crowds_of_the_partner_are_never_pasted_and_own_ones_stay_crowds():
    partner = scene(1, 40, 60, [(0, 0, 60, 40), (45, 25, 55, 35)], 3, crowd=[0])
    own = scene(0, 40, 60, [(0, 0, 30, 30)], 0, crowd=[0])
    pasted = change("copy_paste", own, seed_of(0), [partner], share=1, min_scale=1, max_scale=1)
    np.testing.assert_array_equal(pasted.class_ids, [0, 4])
    np.testing.assert_array_equal(pasted.is_crowd, [True, False])
    only_a_crowd = scene(1, 40, 60, [(0, 0, 60, 40)], 3, np.uint8, crowd=[0])
    own = scene(0, 40, 60, [(0, 0, 30, 30)], 0, np.uint8)
    assert_same(change("copy_paste", own, seed_of(0), [only_a_crowd]), own)


# --- in the list ------------------------------------------------------------------------------------------------


def test_each_entry_has_partners_of_its_own_and_asks_for_them_only_when_it_applies():
    entries = [{"mosaic": {"prob": 0}}, {"mixup": {"prob": 1}}, {"copy_paste": {"prob": 0.5}}]
    assert partners_needed(entries) == 5
    assert partners_needed([{"flip": {}}]) == 0
    asked = []

    def partners(number):
        asked.append(number)
        return FOUR[number % 4]

    results = [augment(FOUR[0], entries, seed_of(number), partners) for number in range(12)]
    assert asked.count(3) == 12  # after the mosaic's three
    assert 1 <= asked.count(4) <= 11
    assert set(asked) == {3, 4}
    assert all(len(result.boxes) > 2 for result in results)


def test_without_partners_what_needs_them_is_refused():
    with pytest.raises(ValueError, match="mixup needs other pictures"):
        augment(FOUR[0], [{"mixup": {}}], seed_of(0))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_prob_0_is_the_identity_and_types_stay(dtype):
    kinds = ["large_scale_jitter", "ssd_crop", "random_crop", "photometric", "grey", "mosaic", "mixup", "copy_paste"]
    picture = scene(0, 24, 30, [(4, 4, 20, 16)], 0, dtype)
    never = [{name: {"prob": 0}} for name in kinds]
    assert_same(augment(picture, never, seed_of(0), lambda number: picture), picture)
    for name in kinds:
        changed = augment(picture, [{name: {"prob": 1}}], seed_of(3), lambda number: picture)
        assert changed.image.dtype == dtype, name
        empty = augment(
            scene(0, 24, 30, [], 0, dtype), [{name: {"prob": 1}}], seed_of(3), lambda n: scene(1, 9, 9, [], 0, dtype)
        )
        assert empty.boxes.shape == (0, 4)
