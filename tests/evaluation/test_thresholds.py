"""Precision, recall and F1 by score threshold: by hand, and what must hold for any detections."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luminoth.evaluation.matching import match_detections
from luminoth.evaluation.thresholds import find_thresholds
from tests.evaluation.cases import CLASSES, found, random_case, truth

BOX, OTHER, FAR = [0, 0, 100, 100], [200, 200, 300, 300], [400, 0, 500, 100]
WRONG = [0, 300, 50, 350]


def thresholds(truths, detections):
    return find_thresholds(match_detections(truths, detections, len(CLASSES)), CLASSES)


def figures(best):
    return best.threshold, best.f1, best.precision, best.recall


def test_one_class_by_hand():
    # From the highest score down: right, wrong, right, wrong; three cars.
    truths = [truth([BOX, OTHER, FAR])]
    car = thresholds(truths, [found([BOX, WRONG, OTHER, WRONG], [0.75, 0.5, 0.375, 0.25])]).by_class[0]
    assert car.curve.scores.tolist() == [0.75, 0.5, 0.375, 0.25]
    assert car.curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3, 1 / 2])
    assert car.curve.recall.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert car.curve.f1.tolist() == pytest.approx([2 / 4, 2 / 5, 4 / 6, 4 / 7])
    assert figures(car) == pytest.approx((0.3125, 2 / 3, 2 / 3, 2 / 3))  # between 0.375 and 0.25
    assert (car.name, car.objects) == ("car", 3)


def test_of_equal_f1_the_higher_threshold():
    # 2 / (1 + 3) with the first one alone, 4 / (5 + 3) with all five.
    truths = [truth([BOX, OTHER, FAR])]
    detections = [found([BOX, WRONG, WRONG, WRONG, OTHER], [0.75, 0.5, 0.375, 0.25, 0.125])]
    car = thresholds(truths, detections).by_class[0]
    assert car.curve.f1[0] == car.curve.f1[-1] == 0.5
    assert car.threshold == 0.625  # between 0.75 and 0.5


def test_equal_scores_are_one_threshold():
    car = thresholds([truth([BOX, OTHER])], [found([BOX, WRONG, OTHER], [0.5, 0.5, 0.5])]).by_class[0]
    assert car.curve.scores.tolist() == [0.5]
    assert figures(car) == pytest.approx((0.5, 4 / 5, 2 / 3, 1))


def test_all_classes_together():
    truths = [truth([BOX, OTHER], [0, 1])]
    best = thresholds(truths, [found([BOX, WRONG, OTHER], [0.875, 0.5, 0.25], [0, 0, 1])])
    assert figures(best.overall) == pytest.approx((0.25, 4 / 5, 2 / 3, 1))
    assert [each.threshold for each in best.by_class] == [0.6875, 0.25, None]
    assert best.limits().tolist() == [0.6875, 0.25, 0.25]
    assert best.to_dict() == {
        "car": {"threshold": 0.6875, "f1": 1.0, "precision": 1.0, "recall": 1.0},
        "bus": {"threshold": 0.25, "f1": 1.0, "precision": 1.0, "recall": 1.0},
        "person": {"threshold": None, "f1": None, "precision": None, "recall": None},
    }


def test_crowds_count_neither_way():
    truths = [truth([BOX, [200, 0, 600, 400]], is_crowd=[0, 1])]
    car = thresholds(truths, [found([FAR, BOX], [0.75, 0.5])]).by_class[0]
    assert car.curve.scores.tolist() == [0.5]
    assert figures(car) == (0.5, 1, 1, 1)
    assert car.objects == 1


def test_nothing_right_nothing_said_nothing_there():
    truths = [truth([BOX, OTHER], [0, 1])]
    best = thresholds(truths, [found([WRONG, BOX], [0.5, 0.25], [0, 2])])
    assert [figures(each) for each in best.by_class] == [(None, 0, 0, 0), (None, 0, None, 0), (None,) * 4]
    assert best.limits().tolist() == [np.inf] * 3


def test_long_curves_are_thinned():
    count = 3000
    random = np.random.default_rng(0)
    scores = np.unique(random.random(count).astype(np.float32))[::-1]
    is_car = random.random(len(scores)) < scores
    truths = [truth([BOX])] * len(scores)
    detections = [found([BOX if right else WRONG], [score]) for right, score in zip(is_car, scores, strict=True)]
    car = thresholds(truths, detections).by_class[0]
    assert 100 < len(car.curve.scores) <= 201
    right, said = np.cumsum(is_car), np.arange(1, len(scores) + 1)
    f1 = 2 * right / (said + len(scores))
    assert car.f1 == f1.max() == car.curve.f1.max()
    assert car.threshold == pytest.approx(scores[f1.argmax() :][:2].astype(float).mean())
    places = np.searchsorted(-scores, -car.curve.scores)
    assert places[0] == 0
    assert places[-1] == len(scores) - 1
    np.testing.assert_allclose(car.curve.precision, (right / said)[places])
    np.testing.assert_allclose(car.curve.recall, (right / len(scores))[places])
    assert np.diff(car.curve.recall).max() < 0.02
    assert car.curve.to_dict()["recall"][-1] == round(right[-1] / len(scores), 4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_recall_falls_with_the_threshold(seed):
    truths, detections = random_case(seed)
    best = thresholds(truths, detections)
    for each in (*best.by_class, best.overall):
        curve = each.curve
        assert (np.diff(curve.scores) < 0).all()
        assert (np.diff(curve.recall) >= 0).all()
        columns = (curve.precision, curve.recall, curve.f1)
        assert all(((column >= 0) & (column <= 1)).all() for column in columns)
        if each.threshold is not None:
            assert each.f1 == pytest.approx(2 * each.precision * each.recall / (each.precision + each.recall))
            assert each.f1 == curve.f1.max()
    matching = match_detections(truths, detections, 3)
    for index, each in enumerate(best.by_class):
        if each.threshold is not None:  # counted again, by the threshold that is stated
            said = (matching.found_class_ids == index) & (matching.scores >= each.threshold) & ~matching.is_ignored[0]
            right = (said & matching.is_match[0]).sum()
            assert right / said.sum() == each.precision
            assert right / each.objects == each.recall
