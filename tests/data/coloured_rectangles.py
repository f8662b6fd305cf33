"""Pictures for augmentations: a rectangle of one colour at each box, so that pixels tell where an object has gone."""

import numpy as np
import tensorflow as tf

from luminoth.data.augment import AUGMENTATIONS, Picture, check_augmentations

GREEN, GREY = (20.0, 230.0, 40.0), (90.0, 90.0, 90.0)


def seed_of(number):
    return tf.constant([number, 7], tf.int32)


def make_picture(height, width, boxes, dtype=np.float32, *, colours=None, class_ids=None, crowd=(), background=GREY):
    """A picture with a rectangle at each box (whole numbers): green, unless `colours` has one for each.

    Class ids are 0, 1, ... unless given; `crowd` holds the numbers of the boxes that are crowds.
    """
    image = np.full((height, width, 3), background, dtype)
    for (x_min, y_min, x_max, y_max), colour in zip(boxes, colours or [GREEN] * len(boxes), strict=True):
        image[y_min:y_max, x_min:x_max] = colour
    boxes = np.reshape(np.asarray(boxes, np.float32), (-1, 4))
    return Picture(
        tf.constant(image),
        tf.constant(boxes),
        tf.range(len(boxes), dtype=tf.int32) if class_ids is None else tf.constant(class_ids, tf.int32),
        tf.constant([number in crowd for number in range(len(boxes))], tf.bool),
    )


def change(name, picture, seed, partners=None, **settings):
    """One augmentation applied for certain; settings that are left out have their defaults."""
    ((_, complete, _),) = check_augmentations([{name: settings}])
    more = {} if partners is None else {"partners": [lambda each=each: each for each in partners]}
    return AUGMENTATIONS[name](picture, seed, **complete, **more)


def extent(mask):
    """[x_min, y_min, x_max, y_max] of the true pixels of [H, W]."""
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def is_colour(image, colour, tolerance=40):
    """Which pixels are near a colour, [H, W] bool."""
    return np.abs(np.asarray(image, np.float64) - colour).max(axis=-1) <= tolerance


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def compiled(name, partners=0, dtype=tf.float32, **settings):
    """`change` as a graph for pictures of any size, as in the pipeline: takes a picture, a seed and the partners."""
    one = Picture(
        tf.TensorSpec([None, None, 3], dtype),
        tf.TensorSpec([None, 4], tf.float32),
        tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None], tf.bool),
    )

    def run(picture, seed, *others):
        return change(name, picture, seed, others if partners else None, **settings)

    return tf.function(run, input_signature=[one, tf.TensorSpec([2], tf.int32), *[one] * partners])
