import numpy as np

from luminoth.data.show.as_trained import augmented_pictures, resized_pictures
from luminoth.image import encode_png
from luminoth.resize import ResizeRule
from tests.data.record_sets import example

CLASSES = ["car", "bus"]
DOUBLE = ResizeRule(fixed_height=60, fixed_width=80)
FLIP = [{"flip": {"left_right": True, "prob": 0.5}}]

# Left half black, right half white.
PIXELS = np.zeros((30, 40, 3), np.uint8)
PIXELS[:, 20:] = 255
PICTURES = [
    example("a", [(4, 5, 20, 25), (0, 0, 8, 6)], [0, 1], crowd=[1], encoded=encode_png(PIXELS)),
    example("empty", encoded=encode_png(PIXELS)),
]


def test_resized_as_the_network_sees_them():
    first, empty = resized_pictures(PICTURES, CLASSES, DOUBLE)
    assert first.pixels.shape == empty.pixels.shape == (60, 80, 3)
    np.testing.assert_allclose(first.boxes, [(8, 10, 40, 50), (0, 0, 16, 12)], atol=1e-4)
    assert (first.class_ids.tolist(), first.is_crowd.tolist()) == ([0, 1], [False, True])
    assert (first.pixels[:, :39] == 0).all()
    assert (first.pixels[:, 41:] == 255).all()
    assert empty.boxes.shape == (0, 4)


def test_variants_are_what_training_makes_of_a_picture():
    rows = augmented_pictures(PICTURES, CLASSES, DOUBLE, FLIP, variants=12, seed=3)
    assert [len(row) for row in rows] == [12, 12]
    flipped = 0
    for variant in rows[0]:
        is_flipped = variant.pixels[0, 0, 0] == 255
        flipped += is_flipped
        expected = (40, 10, 72, 50) if is_flipped else (8, 10, 40, 50)
        np.testing.assert_allclose(variant.boxes[0], expected, atol=1e-4)
        assert variant.is_crowd.tolist() == [False, True]
    assert 0 < flipped < 12
    assert all(variant.boxes.shape == (0, 4) for variant in rows[1])
    again = augmented_pictures(PICTURES, CLASSES, DOUBLE, FLIP, variants=12, seed=3)
    assert [each.boxes.tolist() for each in again[0]] == [each.boxes.tolist() for each in rows[0]]
