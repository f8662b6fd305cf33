"""Pictures of others in the pipeline: which they are, when they are read, and that a resumed run has the same."""

from itertools import islice

import numpy as np
import pytest
import tensorflow as tf

from luminoth.data.pipeline import evaluation_batches, iterate, training_batches
from luminoth.data.show.as_trained import augmented_pictures
from luminoth.errors import DataError
from luminoth.image import encode_png
from luminoth.resize import ResizeRule
from luminoth.types import Example
from tests.data.coloured_rectangles import is_colour
from tests.data.record_sets import write_folder

CLASSES = ["a", "b", "c", "d", "e"]
COLOURS = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (250, 250, 20), (20, 250, 250)]
KEEP_SIZE = ResizeRule()


def make_example(number, encoded=None):
    """Black, with one object of the class and the colour of that number."""
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[8:20, 6:26] = COLOURS[number]
    return Example(
        image_id=f"picture {number}",
        encoded=encoded or encode_png(pixels),
        image_size=(24, 32),
        boxes=np.array([[6, 8, 26, 20]], np.float32),
        class_ids=np.array([number], np.int32),
        is_crowd=np.zeros(1, bool),
        is_difficult=np.zeros(1, bool),
        is_truncated=np.zeros(1, bool),
    )


EXAMPLES = [make_example(number) for number in range(5)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return str(write_folder(tmp_path_factory.mktemp("five"), CLASSES, train=EXAMPLES) / "train.tfrecords")


def take(path, steps, **settings):
    settings = {"batch_size": 2, "resize": KEEP_SIZE, **settings}
    return list(islice(iterate(training_batches([path], **settings)), steps))


def objects_of(batch, row):
    return batch.gt_class_ids[row].numpy()[batch.is_object[row].numpy()].tolist()


def test_partners_are_the_next_records_across_the_end_of_an_epoch(path):
    batches = take(path, 5, shuffle=False, augmentations=[{"mixup": {"prob": 1}}])
    found = [objects_of(batch, row) for batch, _ in batches for row in (0, 1)]
    assert found == [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]] * 2


def test_no_object_gets_the_class_of_another(path):
    """Each class has its colour, which is seen in each of its boxes."""
    batches = take(path, 12, shuffle=False, augmentations=[{"mosaic": {"prob": 1, "min_visible": 0.3}}])
    seen = 0
    for number, (batch, _) in enumerate(batches):
        for row in (0, 1):
            first = number * 2 + row
            image, boxes, classes = batch.images[row].numpy(), batch.gt_boxes[row].numpy(), objects_of(batch, row)
            assert set(classes) <= {(first + partner) % 5 for partner in range(4)}
            for class_id, (x_min, y_min, x_max, y_max) in zip(classes, boxes, strict=False):
                part = image[int(np.ceil(y_min)) : int(y_max), int(np.ceil(x_min)) : int(x_max)]
                assert is_colour(part, COLOURS[class_id], 10).mean() > 0.3
                seen += 1
    assert seen > 60


def test_a_resumed_run_has_the_same_partners(path):
    rule = ResizeRule(min_size=24, min_size_train=(16, 20))
    settings = {"augmentations": [{"mosaic": {"prob": 0.5}}], "seed": 5, "resize": rule}
    whole = take(path, 9, **settings)
    resumed = take(path, 6, start_step=3, **settings)  # epochs end within batches 2 and 7
    for one, other in zip(resumed, whole[3:], strict=True):
        for value, other_value in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            np.testing.assert_array_equal(value, other_value)
    counts = {len(objects_of(batch, row)) for batch, _ in whole for row in (0, 1)}
    assert len(counts) > 1


def test_partners_are_decoded_only_when_they_are_drawn(tmp_path):
    examples = [*EXAMPLES[:2], make_example(2, encoded=b"no picture")]
    path = str(write_folder(tmp_path, CLASSES, train=examples) / "train.tfrecords")
    never = [{"mixup": {"prob": 0}}]
    ((batch, _),) = take(path, 1, shuffle=False, augmentations=never)
    assert [objects_of(batch, row) for row in (0, 1)] == [[0], [1]]
    with pytest.raises(DataError, match="image 'picture 2': its picture in the record cannot be decoded"):
        take(path, 1, shuffle=False, augmentations=[{"mixup": {"prob": 1}}])  # as the partner of number 1


def test_a_partner_with_a_class_that_there_is_not(path):
    take(path, 1, batch_size=1, shuffle=False, num_classes=1)
    with pytest.raises(DataError, match="image 'picture 1': has a box of class number 1"):
        take(path, 1, batch_size=1, shuffle=False, num_classes=1, augmentations=[{"mixup": {"prob": 1}}])


def test_what_is_shown_as_trained_has_partners():
    rows = augmented_pictures(EXAMPLES[:3], CLASSES, KEEP_SIZE, [{"mixup": {"prob": 1}}], variants=2)
    assert [[variant.class_ids.tolist() for variant in row] for row in rows] == [
        [[0, 1]] * 2, [[1, 2]] * 2, [[2, 0]] * 2
    ]  # fmt: skip


# --- the size that training draws ---------------------------------------------------------------------------


def test_training_draws_the_shorter_side_and_evaluation_does_not(path):
    rule = ResizeRule(min_size=24, max_size=100, min_size_train=(12, 18, 48))
    heights = []
    for batch, _ in take(path, 20, resize=rule):
        for row, (height, width) in enumerate(batch.image_sizes.numpy()):
            heights.append(height)
            assert width == round(height * 32 / 24)
            factor = height / 24
            np.testing.assert_allclose(
                batch.gt_boxes[row, 0], [6 * factor, 8 * factor, 26 * factor, 20 * factor], rtol=1e-5
            )
    counts = {height: heights.count(height) for height in set(heights)}
    assert set(counts) == {12, 18, 48}
    assert min(counts.values()) >= 6  # of 40; 13 expected
    sizes = [tuple(size) for batch, _ in iterate(evaluation_batches([path], batch_size=2, resize=rule))
             for size in batch.image_sizes.numpy()]  # fmt: skip
    assert set(sizes) == {(24, 32)}


def test_drawing_a_size_leaves_the_draws_of_augmentations_alone(path):
    flip = [{"flip": {"left_right": False, "up_down": True, "prob": 0.5}}]

    def tops(**settings):
        batches = take(path, 6, augmentations=flip, **settings)
        return [
            float(each.gt_boxes[row, 0, 1]) / int(each.image_sizes[row, 0]) for each, _ in batches for row in (0, 1)
        ]

    plain = tops()
    np.testing.assert_allclose(tops(resize=ResizeRule(min_size_train=(12, 48))), plain, rtol=1e-5)
    assert len(set(plain)) == 2
