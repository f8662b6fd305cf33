"""The matching: by hand, against a plain loop, and by the average precision that comes of it."""

import numpy as np
import pytest

from luminoth.evaluation.average_precision import PrecisionCurves, mean_over_classes
from luminoth.evaluation.matching import IOU_50, IOU_THRESHOLDS, match_detections
from luminoth.evaluation.metrics import coco_metrics
from tests.evaluation.cases import CLASSES, found, random_case, truth

BOX, OTHER = [0, 0, 100, 100], [200, 200, 300, 300]


def matched(truths, detections, threshold=IOU_50):
    """For each picture the object of each of its detections, or -1, in the order they were given."""
    matching = match_detections(truths, detections, len(CLASSES))
    answers = [[-1] * len(each) for each in detections]
    for column, (image, index) in enumerate(zip(matching.found_images, matching.found_indices, strict=True)):
        number = matching.matched[threshold, column]
        answers[image][index] = int(number - matching.truth_starts[image]) if number >= 0 else -1
    return answers


def test_higher_score_chooses_first():
    assert matched([truth([BOX])], [found([BOX, [0, 0, 90, 100]], [0.8, 0.9])]) == [[-1, 0]]


def test_the_nearest_that_is_left():
    near = [0, 0, 100, 90]
    detections = [found([near, near, near], [0.9, 0.8, 0.7])]
    assert matched([truth([BOX, near])], detections) == [[1, 0, -1]]


def test_of_equal_overlaps_the_last():
    assert matched([truth([BOX, BOX])], [found([BOX, BOX], [0.9, 0.8])]) == [[1, 0]]


def test_an_object_before_a_crowd_and_a_crowd_for_many():
    truths = [truth([BOX, [0, 0, 100, 60]], is_crowd=[1, 0])]
    detections = [found([[0, 0, 100, 50]] * 3, [0.9, 0.8, 0.7])]
    assert matched(truths, detections) == [[1, 0, 0]]
    matching = match_detections(truths, detections, 3)
    assert matching.is_match[IOU_50].tolist() == [True, False, False]
    assert matching.is_ignored[IOU_50].tolist() == [False, True, True]
    assert matching.objects.tolist() == [1, 0, 0]


def test_classes_and_pictures_are_apart():
    truths = [truth([BOX], [0]), truth([OTHER], [1])]
    detections = [found([BOX, OTHER], [0.9, 0.8], [1, 1]), found([OTHER, BOX], [0.9, 0.8], [1, 0])]
    assert matched(truths, detections) == [[-1, -1], [0, -1]]


def test_overlap_is_compared_with_each_threshold():
    matching = match_detections([truth([BOX])], [found([[0, 0, 60, 100]], [0.9])], 3)
    assert matching.is_match[:, 0].tolist() == [True] * 3 + [False] * 7  # exactly 0.6


def test_order_and_limit():
    detections = [found([BOX, OTHER, BOX], [0.3, 0.9, 0.9]), found([BOX, OTHER], [0.5, 0.9], [2, 0])]
    matching = match_detections([truth(), truth()], detections, 3, max_detections=2)
    assert matching.scores.round(1).tolist() == [0.9, 0.9, 0.9, 0.5]
    assert matching.found_images.tolist() == [0, 0, 1, 1]
    assert matching.found_indices.tolist() == [1, 2, 1, 0]
    assert matching.found_class_ids.tolist() == [0, 0, 0, 2]
    assert matching.class_starts.tolist() == [0, 3, 3, 4]


@pytest.mark.parametrize(("truths", "detections"), [([], []), ([truth()], [found()]), ([truth([BOX])], [found()])])
def test_nothing_to_match(truths, detections):
    matching = match_detections(truths, detections, 3)
    assert matching.matched.shape == (10, 0)
    assert matching.objects.sum() == sum(len(each) for each in truths)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="1 ground truths cannot be compared with 0 detections"):
        match_detections([truth()], [], 3)


def test_pairs_in_parts_are_the_same(monkeypatch):
    truths, detections = random_case(10)
    whole = match_detections(truths, detections, 3)
    monkeypatch.setattr("luminoth.evaluation.matching._PAIRS_AT_ONCE", 7)
    parts = match_detections(truths, detections, 3)
    for name in ("pair_found", "pair_truth", "overlaps", "matched"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def by_loop(truths, detections, threshold):
    """COCO's matching as its paper tells it, an object at a time."""
    answers = []
    for expected, got in zip(truths, detections, strict=True):
        answer, taken = [-1] * len(got), set()
        for index in np.argsort(-got.scores.astype(float), kind="stable"):
            best = (-1, -1.0, -1)
            for number in range(len(expected)):
                crowd = bool(expected.is_crowd[number])
                if expected.class_ids[number] != got.class_ids[index] or (number in taken and not crowd):
                    continue
                overlap = overlap_of(got.boxes[index].astype(float), expected.boxes[number].astype(float), crowd)
                if overlap >= threshold:
                    best = max(best, (int(not crowd), overlap, number))
            answer[index] = best[2]
            if best[0] == 1:
                taken.add(best[2])
        answers.append(answer)
    return answers


def overlap_of(a, b, crowd):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (areas[0] if crowd else sum(areas) - width * height)


@pytest.mark.parametrize("seed", [1, 2, 3, 5, 6, 8])  # at most 100 detections of a picture and class
def test_same_as_a_plain_loop(seed):
    truths, detections = random_case(seed)
    for row in (0, 4, 9):
        assert matched(truths, detections, row) == by_loop(truths, detections, IOU_THRESHOLDS[row])


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_cocos(seed):
    truths, detections = random_case(seed)
    metrics = coco_metrics(truths, detections, CLASSES)
    curves = PrecisionCurves.of(match_detections(truths, detections, 3))
    precision = curves.average_precision(np.ones(len(truths), np.int32))
    assert mean_over_classes(precision) == pytest.approx(metrics.figures["AP"], abs=1e-12)
    assert mean_over_classes(precision[IOU_50]) == pytest.approx(metrics.figures["AP50"], abs=1e-12)
    by_class = [mean_over_classes(precision[IOU_50, index]) for index in range(3)]
    assert by_class == [pytest.approx(each.AP50, abs=1e-12) for each in metrics.by_class]


@pytest.mark.parametrize("seed", range(10))
def test_weights_are_numbers_of_copies(seed):
    truths, detections = random_case(seed + 100)
    random = np.random.default_rng(seed)
    # Without ties in score across pictures: the order of copies among equals is no matter of weights.
    detections = [
        found(each.boxes, np.unique(random.random(len(each) + 9).astype(np.float32))[: len(each)], each.class_ids)
        for each in detections
    ]
    weights = random.integers(0, 4, len(truths)).astype(np.int32)
    curves = PrecisionCurves.of(match_detections(truths, detections, 3))
    copies = np.repeat(np.arange(len(truths)), weights)
    metrics = coco_metrics([truths[index] for index in copies], [detections[index] for index in copies], CLASSES)
    precision = curves.average_precision(weights)
    assert mean_over_classes(precision) == pytest.approx(metrics.figures["AP"], abs=1e-12)
    assert mean_over_classes(precision[IOU_50]) == pytest.approx(metrics.figures["AP50"], abs=1e-12)
