import pytest

from luminoth.training.watching import clock as clock_module
from luminoth.training.watching.clock import HOST, INPUT, MODEL, PICTURES, SAVING, START, VALIDATION, Clock
from luminoth.training.watching.figures import LOSS_STEPS, LossMeans, TrainingFigures


@pytest.fixture
def pass_time(monkeypatch):
    """A function that lets seconds pass."""
    now = [100.0]
    monkeypatch.setattr(clock_module.time, "monotonic", lambda: now[0])

    def passes(seconds):
        now[0] += seconds

    return passes


def step(clock, passes, host, wait, model):
    for phase, seconds in ((HOST, host), (INPUT, wait), (MODEL, model)):
        passes(seconds)
        clock.ends(phase)


def test_each_moment_belongs_to_the_phase_that_ends_it(pass_time):
    clock = Clock()
    assert clock.total().outside_model is None
    assert clock.total().milliseconds_a_step(MODEL) is None
    step(clock, pass_time, 1.0, 20.0, 9.0)  # all of the first step is its preparation
    step(clock, pass_time, 0.5, 1.0, 8.5)
    step(clock, pass_time, 0.5, 2.0, 7.5)
    for phase, seconds in ((VALIDATION, 30.0), (SAVING, 5.0), (PICTURES, 4.0)):
        pass_time(seconds)
        clock.ends(phase)

    spent = clock.total()
    assert spent.seconds == {
        INPUT: 3.0, MODEL: 16.0, HOST: 1.0, VALIDATION: 30.0, SAVING: 5.0, PICTURES: 4.0, START: 30.0,
    }  # fmt: skip
    assert (spent.total, spent.steps) == (89.0, 2)
    assert spent.outside_model == pytest.approx(4.0 / 20.0)
    assert spent.milliseconds_a_step(INPUT) == pytest.approx(1500.0)
    assert spent.milliseconds_a_step(INPUT, MODEL, HOST) == pytest.approx(10_000.0)


def test_a_lap_is_what_came_since_the_last(pass_time):
    clock = Clock()
    step(clock, pass_time, 0.0, 0.0, 9.0)
    step(clock, pass_time, 0.0, 1.0, 4.0)
    first = clock.lap()
    assert (first.seconds[START], first.seconds[MODEL], first.steps) == (9.0, 4.0, 1)
    step(clock, pass_time, 0.0, 3.0, 2.0)
    second = clock.lap()
    assert (second.seconds[START], second.seconds[INPUT], second.seconds[MODEL], second.steps) == (0.0, 3.0, 2.0, 1)
    assert second.outside_model == pytest.approx(0.6)
    assert clock.lap().outside_model is None


def test_losses_are_told_as_means():
    means = LossMeans()
    for number in range(1, LOSS_STEPS + 1):
        means.add(number, 2.0)
    assert (means.mean, means.lowest) == (2.0, 2.0)
    means.add(LOSS_STEPS + 1, 2.0 - LOSS_STEPS)  # the mean of the last steps falls by 1
    assert (means.mean, means.lowest, means.lowest_step) == (1.0, 1.0, LOSS_STEPS + 1)
    for number in range(LOSS_STEPS + 2, 2 * LOSS_STEPS + 2):
        means.add(number, 3.0)
    assert (means.mean, means.lowest, means.lowest_step) == (3.0, 1.0, LOSS_STEPS + 1)


def test_a_low_loss_among_the_first_does_not_stay_the_lowest():
    means = LossMeans()
    means.add(1, 0.001)
    for number in range(2, LOSS_STEPS + 1):
        means.add(number, 5.0)
    assert means.lowest == means.mean
    assert means.lowest_step == LOSS_STEPS


def test_the_figures_in_words(pass_time):
    clock = Clock()
    step(clock, pass_time, 0.0, 0.0, 60.0)
    for _ in range(10):
        step(clock, pass_time, 0.1, 0.4, 9.5)
    pass_time(3440.0)
    clock.ends(VALIDATION)
    figures = TrainingFigures(11, 1.5, 3.25, clock.total(), 0.51234, 0.4, 7, 2_345_000_000, None)
    assert dict(figures.lines()) == {
        "steps": "11 made; 1.5 epochs of the run are done",
        "time": "1:00:00",
        "spent": "validation 96%, model 3%, first step 2%",
        "speed": "3.25 images/s",
        "not model": "5.0% of a step's time (input wait 4.0%, host 1.0%)",
        "loss": "0.5123, the mean of 11 steps; lowest 0.4 at step 7",
        "memory": "2.35 GB at most",
    }
