"""The confusion matrix, by hand; its sums against precision and recall."""

import numpy as np
import pytest

from luminoth.evaluation.confusion import confuse
from luminoth.evaluation.matching import match_detections
from luminoth.evaluation.thresholds import find_thresholds
from tests.evaluation.cases import CLASSES, found, random_case, truth

BOX, OTHER, FAR = [0, 0, 100, 100], [200, 200, 300, 300], [400, 0, 500, 100]


def counts(truths, detections, limits=0.0):
    matrix = confuse(match_detections(truths, detections, len(CLASSES)), CLASSES, limits)
    assert matrix.names == [*CLASSES, "background"]
    places = zip(*np.nonzero(matrix.counts), strict=True)
    return {(matrix.names[row], matrix.names[column]): int(matrix.counts[row, column]) for row, column in places}


def test_each_kind_of_entry():
    truths = [truth([BOX, OTHER, FAR], [0, 1, 2])]
    detections = [found([BOX, OTHER, [0, 300, 50, 350]], [0.9, 0.8, 0.7], [0, 2, 1])]
    assert counts(truths, detections) == {
        ("car", "car"): 1,
        ("bus", "person"): 1,
        ("person", "background"): 1,
        ("background", "bus"): 1,
    }


def test_score_limits():
    truths = [truth([BOX, OTHER], [0, 1])]
    detections = [found([BOX, OTHER, FAR], [0.9, 0.5, 0.3], [0, 1, 1])]
    assert counts(truths, detections, 0.6) == {("car", "car"): 1, ("bus", "background"): 1}
    # A class's limit is of what is said; a score on the limit counts.
    limits = np.array([np.inf, 0.5, 0.0])
    assert counts(truths, detections, limits) == {("car", "background"): 1, ("bus", "bus"): 1}


def test_own_class_first():
    # The person's score is higher, but the car goes to the car.
    truths = [truth([BOX], [0])]
    detections = [found([BOX, BOX], [0.9, 0.5], [2, 0])]
    assert counts(truths, detections) == {("car", "car"): 1, ("background", "person"): 1}


def test_an_object_is_taken_for_one_thing():
    truths = [truth([BOX], [0])]
    assert counts(truths, [found([BOX, BOX], [0.5, 0.9], [1, 2])]) == {
        ("car", "person"): 1,
        ("background", "bus"): 1,
    }


def test_the_nearest_of_other_classes():
    truths = [truth([BOX, [0, 0, 100, 80]], [0, 1])]
    assert counts(truths, [found([[0, 0, 100, 85]], [0.9], [2])]) == {
        ("bus", "person"): 1,
        ("car", "background"): 1,
    }


def test_duplicates_are_background():
    assert counts([truth([BOX])], [found([BOX, BOX], [0.9, 0.8])]) == {("car", "car"): 1, ("background", "car"): 1}


def test_crowds_are_left_out():
    truths = [truth([[0, 0, 400, 400]], [0], is_crowd=[1])]
    assert counts(truths, [found([BOX, OTHER], [0.9, 0.8])]) == {}
    # Of another class the region says nothing.
    assert counts(truths, [found([BOX], [0.9], [1])]) == {("background", "bus"): 1}


@pytest.mark.parametrize("seed", range(8))
def test_sums(seed):
    truths, detections = random_case(seed)
    matching = match_detections(truths, detections, 3)
    best = find_thresholds(matching, CLASSES)
    matrix = confuse(matching, CLASSES, best.limits())
    np.testing.assert_array_equal(matrix.counts[:3].sum(axis=1), matching.objects)
    for index, each in enumerate(best.by_class):
        if each.threshold is not None:
            assert matrix.counts[index, index] / matrix.counts[index].sum() == pytest.approx(each.recall)
            assert matrix.counts[index, index] / matrix.counts[:, index].sum() == pytest.approx(each.precision)
    values = matrix.to_dict()
    assert values["counts"] == matrix.counts.tolist()
    assert all(limit is None or 0 <= limit <= 1 for limit in values["thresholds"])
