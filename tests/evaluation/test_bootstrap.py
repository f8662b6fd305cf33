"""Intervals: what must hold, and whether they cover what they should."""

import json

import numpy as np
import pytest

from luminoth.evaluation.average_precision import PrecisionCurves
from luminoth.evaluation.bootstrap import Interval, bootstrap, corrected_interval, draw_samples, interval
from luminoth.evaluation.matching import match_detections
from luminoth.evaluation.metrics import coco_metrics
from tests.evaluation.cases import CLASSES, found, random_case, truth

BOX, WRONG = [0, 0, 100, 100], [0, 300, 50, 350]


def matching_of(truths, detections):
    return match_detections(truths, detections, len(CLASSES))


def coin_pictures(random, count, share=0.7):
    """A picture has one car, found with a chance of `share`; nothing else is said, so AP50 is about that share."""
    right = random.random(count) < share
    truths = [truth([BOX])] * count
    return truths, [found([BOX] if each else [], [0.9] if each else []) for each in right]


def test_draws_are_evaluations_of_the_drawn_pictures():
    truths, detections = random_case(0)
    random = np.random.default_rng(5)
    detections = [found(each.boxes, random.random(len(each)), each.class_ids) for each in detections]  # no ties
    samples = draw_samples(matching_of(truths, detections), resamples=5, seed=3)
    for number in range(5):
        chosen = np.sort(np.random.default_rng([3, number]).integers(0, len(truths), len(truths)))
        figures = coco_metrics([truths[each] for each in chosen], [detections[each] for each in chosen], CLASSES)
        assert samples.AP[number] == pytest.approx(figures.figures["AP"], abs=1e-12)
        assert samples.AP50[number] == pytest.approx(figures.figures["AP50"], abs=1e-12)
        for index, each in enumerate(figures.by_class):
            value = samples.by_class[number, index]
            assert (None if np.isnan(value) else pytest.approx(value, abs=1e-12)) == each.AP50


def test_seed_decides():
    matching = matching_of(*random_case(0))
    one, same, other = (bootstrap(matching, CLASSES, resamples=40, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one.AP != other.AP
    assert one.resamples == 40


def test_interval_of_a_share():
    # 400 pictures, about 0.7 of them right: the standard error is 0.023, the interval about +- 0.045.
    truths, detections = coin_pictures(np.random.default_rng(0), 400)
    matching = matching_of(truths, detections)
    figure = PrecisionCurves.of(matching).average_precision(np.ones(400, np.int32))[0, 0]
    result = bootstrap(matching, CLASSES, resamples=400)
    assert result.AP50.low < figure < result.AP50.high
    assert figure - result.AP50.low == pytest.approx(0.045, abs=0.012)
    assert result.AP50.high - figure == pytest.approx(0.045, abs=0.012)
    assert result.by_class[0].AP50 == result.AP50
    assert [each.AP50 for each in result.by_class[1:]] == [None, None]


def test_intervals_cover_the_truth():
    # Of 40 splits, 95 % should have 0.7 in their interval: 38, give or take 1.4. (101 levels add up to 0.01.)
    random, covered = np.random.default_rng(1), 0
    for number in range(40):
        result = bootstrap(matching_of(*coin_pictures(random, 100)), CLASSES, resamples=80, seed=number)
        covered += result.AP50.low <= 0.705 <= result.AP50.high
    assert covered >= 34


def test_draws_that_lie_off_the_figure_shift_the_interval():
    draws = np.arange(1001) / 1000
    middle = corrected_interval(draws, 0.5)
    assert (middle.low, middle.high) == (pytest.approx(0.025, abs=1e-3), pytest.approx(0.975, abs=1e-3))
    # A figure at the 30th percentile: z0 is -0.524, the ends are the quantiles at Phi(2 z0 -+ 1.96).
    low = corrected_interval(draws, 0.3)
    assert (low.low, low.high) == (pytest.approx(0.0013, abs=1e-3), pytest.approx(0.8190, abs=2e-3))
    assert corrected_interval(draws, None) is None
    beyond = corrected_interval(draws, 2.0)  # no draw reaches the figure
    assert beyond.low >= 0.99


def test_few_objects_a_class_do_not_lift_the_interval():
    """What a picture drawn twice adds is in all draws; the figure itself still lies well within."""
    inside = []
    for seed in range(5):
        truths, detections = random_case(seed)
        matching = matching_of(truths, detections)
        figure = coco_metrics(truths, detections, CLASSES).figures["AP"]
        result = bootstrap(matching, CLASSES, resamples=200).AP
        inside.append((figure - result.low) / (result.high - result.low))
    assert 0.25 < np.mean(inside) < 0.75


def test_all_right_is_sure():
    truths, detections = coin_pictures(np.random.default_rng(0), 20, share=1.1)
    assert (
        Interval(pytest.approx(1), pytest.approx(1))
        == bootstrap(matching_of(truths, detections), CLASSES, resamples=20).AP
    )


def test_nothing_to_measure():
    for truths, detections in (([truth()], [found([BOX], [0.5])]), ([], [])):
        result = bootstrap(matching_of(truths, detections), CLASSES, resamples=3)
        assert (result.AP, result.AP50) == (None, None)
    assert bootstrap(matching_of([truth([BOX])], [found()]), CLASSES, resamples=0).AP is None


def test_percentiles():
    assert interval(np.append(np.arange(101) / 100, np.nan)) == Interval(pytest.approx(0.025), pytest.approx(0.975))


def test_plain_values():
    values = bootstrap(matching_of(*random_case(3)), CLASSES, resamples=10).to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert (values["level"], values["resamples"]) == (0.95, 10)
    assert set(values["AP"]) == {"low", "high"}
