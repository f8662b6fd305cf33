import json

import pytest

from luminoth.training.standing import Standing


def standing_of(*values, metric="AP"):
    found = Standing("val", metric)
    for number, value in enumerate(values, start=1):
        found.add(10 * number, value)
    return found


def test_the_best_is_the_highest_and_of_equals_the_newest():
    assert standing_of().best is None
    assert standing_of(None, float("nan")).best is None
    assert standing_of(0.2, 0.5, None, 0.5, 0.1).best == (40, 0.5)


def test_of_a_loss_the_lowest_is_the_best():
    found = standing_of(2.0, 1.5, 1.5, 3.0, float("inf"), metric="total_loss")
    assert found.best == (30, 1.5)
    assert found.without_gain() == 3


@pytest.mark.parametrize(
    ("values", "min_delta", "expected"),
    [
        ([], 0.0, 0),
        ([0.1], 0.0, 0),
        ([None, None], 0.0, 2),
        ([0.1, 0.1, 0.1], 0.0, 2),  # as good is no gain
        ([0.1, 0.3, 0.2, 0.25], 0.0, 2),
        ([0.5, 0.52, 0.54], 0.05, 2),
        ([0.5, 0.52, 0.54, 0.56], 0.05, 0),  # small gains add up
        ([0.5, None, 0.6], 0.05, 0),
    ],
)
def test_evaluations_without_gain_are_counted(values, min_delta, expected):
    found = standing_of(*values)
    assert found.without_gain(min_delta) == expected
    assert found.is_exhausted(max(expected, 1), min_delta) == (expected > 0)
    assert not found.is_exhausted(expected + 1, min_delta)
    assert not found.is_exhausted(None, min_delta)


def test_it_is_kept_as_json_and_begins_anew_for_another_figure():
    found = standing_of(0.1 + 0.2, None)
    saved = json.loads(json.dumps(found.to_dict()))
    again = Standing.from_dict(saved, split="val", metric="AP")
    assert again == found
    assert again.has(20)
    assert not again.has(30)
    assert Standing.from_dict(saved, split="val", metric="AP50").values == []
    assert Standing.from_dict(saved, split="test", metric="AP").values == []
    assert Standing.from_dict(None, split="val", metric="AP").values == []
