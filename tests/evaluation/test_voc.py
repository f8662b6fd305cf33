"""Pascal VOC's average precision, by hand."""

import numpy as np
import pytest

from luminoth.evaluation.matching import match_detections
from luminoth.evaluation.voc import area, eleven_points, voc_metrics
from tests.evaluation.cases import CLASSES, found, random_case, truth

BOX, OTHER, FAR = [0, 0, 100, 100], [200, 200, 300, 300], [400, 0, 500, 100]


def voc(truths, detections):
    return voc_metrics(match_detections(truths, detections, len(CLASSES)), CLASSES)


def car(truths, detections):
    first = voc(truths, detections).by_class[0]
    return first.objects, first.AP50_2007, first.AP50_2012


@pytest.mark.parametrize(
    ("is_right", "objects", "by_2007", "by_2012"),
    [
        pytest.param([1], 1, 1, 1, id="found"),
        pytest.param([0], 1, 0, 0, id="not found"),
        pytest.param([], 3, 0, 0, id="nothing said"),
        # Recall 0.5 with precision 1, then 1 with 2 / 3: levels 0 to 0.5 are 6 of 11.
        pytest.param([1, 0, 1], 2, (6 * 1 + 5 * 2 / 3) / 11, 0.5 * 1 + 0.5 * 2 / 3, id="one wrong between"),
        # Precision 1 / 2 at recall 0.5, and 2 / 3 at 1, which is the best for both.
        pytest.param([0, 1, 1], 2, 2 / 3, 2 / 3, id="the wrong one first"),
        # A third is found: the levels 0 to 0.3 are 4 of 11.
        pytest.param([1, 0], 3, 4 / 11, 1 / 3, id="two missed"),
        # Three of ten: a recall of 0.3 reaches the level 0.3, in whatever way that is rounded.
        pytest.param([1, 1, 1], 10, 4 / 11, 0.3, id="a recall on the level"),
        pytest.param([1, 1, 0, 1, 0, 0, 1], 7, (3 * 1 + 2 * 0.75 + 4 / 7) / 11, (2 + 0.75 + 4 / 7) / 7, id="steps"),
    ],
)
def test_two_rules(is_right, objects, by_2007, by_2012):
    is_right = np.array(is_right, bool)
    assert eleven_points(is_right, objects) == pytest.approx(by_2007)
    assert area(is_right, objects) == pytest.approx(by_2012)


def test_second_detection_of_an_object_is_wrong():
    # Right, duplicate, right: precision 1 at recall 0.5 and 2 / 3 at 1.
    detections = [found([BOX, BOX, OTHER], [0.9, 0.8, 0.7])]
    assert car([truth([BOX, OTHER])], detections) == (2, pytest.approx((6 + 5 * 2 / 3) / 11), pytest.approx(5 / 6))


def test_only_the_nearest_object_is_looked_at():
    # The second lies nearest to the first object, which is taken; COCO would give it the other one, at an IoU of 0.82.
    shifted = [0, 0, 100, 120]
    truths, detections = [truth([BOX, shifted])], [found([BOX, [0, 0, 100, 101]], [0.9, 0.8])]
    assert car(truths, detections) == (2, pytest.approx(6 / 11), pytest.approx(0.5))
    assert match_detections(truths, detections, 3).is_match[0].tolist() == [True, True]


def test_difficult_objects_count_neither_way():
    truths = [truth([BOX, OTHER], is_difficult=[1, 0])]
    detections = [found([BOX, BOX, OTHER], [0.9, 0.8, 0.7])]
    assert car(truths, detections) == (1, pytest.approx(1), pytest.approx(1))
    assert car(truths, [found()]) == (1, 0, 0)
    assert car([truth([BOX], is_difficult=[1])], detections) == (0, None, None)


def test_difficult_object_takes_what_is_nearest_to_it():
    # Nearer to the difficult object than to the other: ignored, so the other one is missed.
    truths = [truth([BOX, [0, 0, 100, 120]], is_difficult=[1, 0])]
    assert car(truths, [found([[0, 0, 100, 105]], [0.9])]) == (1, 0, 0)


def test_crowds_count_neither_way():
    truths = [truth([[0, 0, 400, 400], FAR], is_crowd=[1, 0])]
    assert car(truths, [found([BOX, OTHER, FAR], [0.9, 0.8, 0.7])]) == (1, pytest.approx(1), pytest.approx(1))


def test_overlap_of_one_half_is_enough():
    assert car([truth([BOX])], [found([[0, 0, 50, 100]], [0.9])])[1] == pytest.approx(1)
    assert car([truth([BOX])], [found([[0, 0, 49.9, 100]], [0.9])])[1] == 0


def test_mean_over_classes_that_have_objects():
    metrics = voc([truth([BOX, OTHER], [0, 1])], [found([BOX, FAR], [0.9, 0.8], [0, 2])])
    assert [(each.name, each.AP50_2007) for each in metrics.by_class] == [("car", 1), ("bus", 0), ("person", None)]
    assert (metrics.AP50_2007, metrics.AP50_2012) == (0.5, 0.5)
    assert voc([truth()], [found([BOX], [0.9])]).AP50_2012 is None


def test_scores_are_ordered_over_pictures():
    # The wrong one of the second picture comes first.
    truths = [truth([BOX]), truth([BOX])]
    assert car(truths, [found([BOX], [0.5]), found([OTHER, BOX], [0.9, 0.4])])[2] == pytest.approx(2 / 3)


def by_loop(truths, detections, class_id):
    """VOCevaldet.m, in Python, on continuous boxes."""
    rows = [
        (-score, image, index)
        for image, each in enumerate(detections)
        for index, score in enumerate(each.scores.astype(float))
        if each.class_ids[index] == class_id
    ]
    taken, right = set(), []
    objects = sum(int(((each.class_ids == class_id) & ~each.is_difficult).sum()) for each in truths)
    for _, image, index in sorted(rows):
        box, best, nearest = detections[image].boxes[index].astype(float), 0.0, None
        for number in np.flatnonzero(truths[image].class_ids == class_id):
            other = truths[image].boxes[number].astype(float)
            width, height = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
            if width > 0 and height > 0:
                union = np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - width * height
                if width * height / union > best:
                    best, nearest = width * height / union, number
        if best >= 0.5 and truths[image].is_difficult[nearest]:
            continue
        right.append(best >= 0.5 and (image, nearest) not in taken)
        if best >= 0.5:
            taken.add((image, nearest))
    if objects == 0:
        return None
    recall, precision = np.cumsum(right) / objects, np.cumsum(right) / np.arange(1, len(right) + 1)
    recall, precision = np.concatenate([[0], recall, [1]]), np.concatenate([[0], precision, [0]])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(((recall[1:] - recall[:-1]) * precision[1:]).sum())


@pytest.mark.parametrize("seed", [1, 2, 3, 5, 6, 8])
def test_same_as_the_development_kit(seed):
    random = np.random.default_rng(seed)
    truths, detections = random_case(seed)
    truths = [truth(each.boxes, each.class_ids, is_difficult=random.random(len(each)) < 0.2) for each in truths]
    ours = [each.AP50_2012 for each in voc(truths, detections).by_class]
    assert ours == [pytest.approx(by_loop(truths, detections, class_id), abs=1e-9) for class_id in range(3)]
