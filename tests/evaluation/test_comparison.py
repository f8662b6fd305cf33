"""Old against new on the same pictures."""

import json

import numpy as np
import pytest

from luminoth.evaluation.bootstrap import Interval, bootstrap
from luminoth.evaluation.comparison import Difference, compare
from luminoth.evaluation.matching import match_detections
from luminoth.evaluation.metrics import coco_metrics
from tests.evaluation.cases import CLASSES, found, random_case, truth

BOX, OTHER, WRONG = [0, 0, 100, 100], [200, 200, 300, 300], [0, 300, 50, 350]


def test_same_detections_are_a_tie():
    truths, detections = random_case(0)
    result = compare(truths, detections, detections, CLASSES, resamples=30)
    assert result.AP.difference == result.AP50.difference == 0
    assert result.AP.interval == Interval(0, 0)
    assert result.AP.share_better == 0.5
    assert result.AP.verdict == "unclear"
    assert (result.wins, result.losses, result.ties) == (0, 0, 3)
    assert result.improved == result.worsened == []


def test_clearly_better():
    # Of 60 cars the old one finds every second, the new one all.
    truths = [truth([BOX], image_id=f"p{number}") for number in range(60)]
    new = [found([BOX], [0.9])] * 60
    old = [each if number % 2 else found() for number, each in enumerate(new)]
    result = compare(truths, old, new, CLASSES, resamples=200)
    assert result.AP50.old == pytest.approx(51 / 101)
    assert result.AP50.new == pytest.approx(1)
    assert result.AP50.difference == pytest.approx(50 / 101)
    assert 0.3 < result.AP50.interval.low < 50 / 101 < result.AP50.interval.high < 0.7
    assert (result.AP50.verdict, result.AP50.share_better) == ("better", 1)
    assert result.by_class["car"] == result.AP50
    assert result.by_class["bus"] == Difference(None, None, None, None, None)
    assert (result.wins, result.losses, result.ties) == (1, 0, 0)
    assert len(result.improved) == 10
    first = result.improved[0]
    assert (first.image, first.image_id, first.old_errors, first.new_errors) == (0, "p0", 1, 0)
    assert result.worsened == []
    back = compare(truths, new, old, CLASSES, resamples=200)
    assert back.AP50.verdict == "worse"
    assert back.AP50.interval.low == pytest.approx(-result.AP50.interval.high)
    assert [each.image for each in back.worsened] == [each.image for each in result.improved]


def test_pairing_narrows_the_interval():
    # Pictures differ much, old and new hardly: the interval of the difference is far narrower than theirs.
    random = np.random.default_rng(0)
    truths = [truth([BOX, OTHER])] * 200
    right = random.random(200) < 0.5
    old = [found([BOX, OTHER], [0.9, 0.8]) if each else found([BOX], [0.9]) for each in right]
    new = [found([BOX, OTHER], [0.9, 0.8]) if each or number < 12 else found([BOX], [0.9])
           for number, each in enumerate(right)]  # fmt: skip
    result = compare(truths, old, new, CLASSES, resamples=200)
    assert 0 < result.AP50.difference < 0.05
    alone = bootstrap(match_detections(truths, old, 3), CLASSES, resamples=200).AP50
    assert result.AP50.interval.high - result.AP50.interval.low < 0.6 * (alone.high - alone.low)


def test_figures_are_cocos():
    truths, old = random_case(0)
    new = [each.select(np.arange(len(each)) % 3 > 0) for each in old]
    result = compare(truths, old, new, CLASSES, resamples=5, max_detections=20)
    for figure, detections in (("old", old), ("new", new)):
        metrics = coco_metrics(truths, detections, CLASSES, max_detections=20)
        assert getattr(result.AP, figure) == pytest.approx(metrics.figures["AP"], abs=1e-12)
        assert getattr(result.AP50, figure) == pytest.approx(metrics.figures["AP50"], abs=1e-12)
        assert [getattr(each, figure) for each in result.by_class.values()] == [
            pytest.approx(each.AP50, abs=1e-12) for each in metrics.by_class
        ]


def test_pictures_that_changed_most():
    truths = [truth([BOX]) for _ in range(4)]
    good = found([BOX], [0.9])
    bad = found([WRONG], [0.9])  # one wrong, one missed
    result = compare(truths, [good, bad, good, good], [good, good, found(), bad], CLASSES, resamples=5)
    assert [(each.image, each.old_errors, each.new_errors) for each in result.improved] == [(1, 2, 0)]
    assert [(each.image, each.new_errors) for each in result.worsened] == [(3, 2), (2, 1)]


def test_plain_values():
    truths, old = random_case(3)
    values = compare(truths, old, old[::-1], CLASSES, resamples=10).to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["AP"]["verdict"] in ("better", "worse", "unclear")
    assert list(values["by_class"]) == CLASSES
