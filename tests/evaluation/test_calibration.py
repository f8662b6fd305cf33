"""Scores against precision, by hand."""

import numpy as np
import pytest

from luminoth.evaluation.calibration import calibrate
from luminoth.evaluation.matching import match_detections
from tests.evaluation.cases import found, truth

BOX, OTHER, WRONG = [0, 0, 100, 100], [200, 200, 300, 300], [0, 300, 50, 350]


def calibration(truths, detections, **settings):
    return calibrate(match_detections(truths, detections, 3), **settings)


def test_by_hand():
    result = calibration([truth([BOX, OTHER])], [found([BOX, OTHER, WRONG, WRONG], [1.0, 0.75, 0.5625, 0.25])], bins=2)
    low, high = result.bins
    assert (low.low, low.high, low.count, low.score, low.precision) == (0, 0.5, 1, 0.25, 0)
    assert (high.low, high.high, high.count) == (0.5, 1, 3)
    assert high.score == pytest.approx((1 + 0.75 + 0.5625) / 3)
    assert high.precision == pytest.approx(2 / 3)
    assert result.expected_error == pytest.approx((0.25 + abs(1 + 0.75 + 0.5625 - 2)) / 4)


def test_edges_belong_to_the_bin_above_and_empty_bins_say_nothing():
    result = calibration([truth()], [found([WRONG] * 3, [0.5, 0.0, 1.0])])
    assert [each.count for each in result.bins] == [1, 0, 0, 0, 0, 1, 0, 0, 0, 1]
    assert (result.bins[1].score, result.bins[1].precision) == (None, None)


def test_crowds_are_left_out():
    result = calibration([truth([[0, 0, 400, 400]], is_crowd=[1])], [found([BOX], [0.9])])
    assert sum(each.count for each in result.bins) == 0
    assert result.expected_error is None
    assert result.to_dict()["bins"][0] == {"low": 0.0, "high": 0.1, "count": 0, "score": None, "precision": None}


def test_honest_scores_have_a_small_error():
    random = np.random.default_rng(0)
    scores = random.random(4000)
    right = random.random(4000) < scores
    detections = [found([BOX if each else WRONG], [score]) for each, score in zip(right, scores, strict=True)]
    assert calibration([truth([BOX])] * 4000, detections).expected_error < 0.03
    bold = [found(each.boxes, np.sqrt(each.scores)) for each in detections]
    assert calibration([truth([BOX])] * 4000, bold).expected_error > 0.1
