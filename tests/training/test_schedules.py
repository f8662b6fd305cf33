import math

import pytest

from luminoth.config import config_from_dict
from luminoth.errors import ConfigError
from luminoth.training.update.schedules import batch_scale, make_learning_rate


def learning_rate(settings, total_steps=100, **warmup):
    config = config_from_dict({"train": {"learning_rate": settings}})
    return make_learning_rate(config.train.learning_rate, total_steps=total_steps, **warmup)


def test_constant_rate():
    rate = learning_rate({"learning_rate": 0.3})
    assert [rate(0), rate(99), rate(10_000)] == [0.3, 0.3, 0.3]


def test_piecewise_rate_changes_after_its_boundaries():
    rate = learning_rate({"decay_method": "piecewise_constant", "boundaries": [10, 20], "values": [1.0, 0.1, 0.01]})
    assert [rate(step) for step in (0, 10, 11, 20, 21, 500)] == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


def test_exponential_rate_halves_every_ten_steps():
    settings = {"decay_method": "exponential_decay", "learning_rate": 0.8, "decay_steps": 10, "decay_rate": 0.5}
    rate = learning_rate(settings)
    assert [rate(0), rate(10), rate(30)] == pytest.approx([0.8, 0.4, 0.1])
    assert rate(5) == pytest.approx(0.8 * math.sqrt(0.5))
    stairs = learning_rate({**settings, "staircase": True})
    assert [stairs(0), stairs(9), stairs(10), stairs(19)] == pytest.approx([0.8, 0.8, 0.4, 0.4])


def test_polynomial_rate_ends_and_stays():
    rate = learning_rate(
        {
            "decay_method": "polynomial_decay",
            "learning_rate": 1.0,
            "decay_steps": 10,
            "end_learning_rate": 0.2,
            "power": 2.0,
        }
    )
    assert [rate(0), rate(5), rate(10), rate(11)] == pytest.approx([1.0, 0.8 * 0.25 + 0.2, 0.2, 0.2])


def test_cosine_rate_spans_the_run_unless_it_says_how_long():
    settings = {"decay_method": "cosine_decay", "learning_rate": 1.0, "end_learning_rate": 0.5}
    whole = learning_rate(settings, total_steps=100)
    assert [whole(0), whole(50), whole(100)] == pytest.approx([1.0, 0.75, 0.5])
    assert whole(25) == pytest.approx(0.75 + 0.25 * math.sqrt(0.5))
    short = learning_rate({**settings, "decay_steps": 10}, total_steps=100)
    assert [short(5), short(10), short(90)] == pytest.approx([0.75, 0.5, 0.5])


def test_warmup_rises_linearly_to_the_schedule():
    rate = learning_rate({"learning_rate": 0.4}, warmup_steps=4, warmup_factor=0.1)
    assert [rate(step) for step in range(5)] == pytest.approx([0.04, 0.13, 0.22, 0.31, 0.4])
    decayed = learning_rate(
        {"decay_method": "exponential_decay", "learning_rate": 1.0, "decay_steps": 1, "decay_rate": 0.5},
        warmup_steps=2,
        warmup_factor=0.5,
    )
    assert [decayed(0), decayed(1), decayed(2)] == pytest.approx([0.5, 0.75 * 0.5, 0.25])


def test_a_constant_warmup_holds_its_share_until_it_is_over():
    rate = learning_rate({"learning_rate": 0.4}, warmup_steps=3, warmup_factor=0.25, warmup_method="constant")
    assert [rate(step) for step in range(5)] == pytest.approx([0.1, 0.1, 0.1, 0.4, 0.4])


def test_boundaries_below_1_are_shares_of_the_run():
    settings = {"decay_method": "piecewise_constant", "boundaries": [0.5, 0.75], "values": [1.0, 0.1, 0.01]}
    rate = learning_rate(settings, total_steps=40)
    assert [rate(step) for step in (0, 20, 21, 30, 31, 39)] == [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize(
    ("boundaries", "message"),
    [
        ([0.5, 100], r"boundaries \[0.5, 100.*steps only, or shares of the run only"),
        ([0.75, 0.5], "ascending"),
        ([1.5, 2], "a whole number of at least 1, or a share of the run"),
    ],
)
def test_boundaries_are_steps_or_shares_and_ascend(boundaries, message):
    with pytest.raises(ConfigError, match=message):
        learning_rate({"decay_method": "piecewise_constant", "boundaries": boundaries, "values": [1.0, 0.1, 0.01]})


def test_a_polynomial_rate_spans_the_run_unless_it_says_how_long():
    rate = learning_rate({"decay_method": "polynomial_decay", "learning_rate": 1.0, "end_learning_rate": 0.0})
    assert [rate(0), rate(25), rate(100)] == pytest.approx([1.0, 0.75, 0.0])


def test_rates_follow_the_batch_size_they_were_not_stated_for():
    assert batch_scale(2, None) == 1.0
    assert (batch_scale(4, 16), batch_scale(32, 16)) == (0.25, 2.0)
    rate = learning_rate({"learning_rate": 0.4}, warmup_steps=2, warmup_factor=0.5, scale=batch_scale(8, 16))
    assert [rate(step) for step in range(3)] == pytest.approx([0.1, 0.15, 0.2])
