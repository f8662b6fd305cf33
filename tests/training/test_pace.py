from itertools import pairwise

import pytest

from luminoth.training.watching import pace
from luminoth.training.watching.pace import Every, Speed


def test_every_is_due_by_steps_or_seconds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    assert [Every(3, None)(step) for step in range(1, 7)] == [False, False, True, False, False, True]
    assert not Every(None, None)(5)
    due = Every(None, 10.0)
    found = []
    for now[0] in (4.0, 10.0, 12.0, 20.0, 21.0):
        found.append(due(1))
    assert found == [False, True, False, True, False]
    both = Every(2, 10.0)
    now[0] = 40.0
    assert [both(1), both(2)] == [True, True]


def test_speed_leaves_out_the_first_step(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pace.time, "monotonic", lambda: now[0])
    speed = Speed(batch_size=4)
    for start, stop in pairwise([0.0, 60.0]):
        now[0] = start
        speed.start()
        now[0] = stop
        speed.stop()
    assert (speed.images_per_second, speed.seconds_for(10)) == (0.0, None)
    for _ in range(3):
        speed.start()
        now[0] += 2.0
        speed.stop()
        now[0] += 100.0  # saving a checkpoint
    assert speed.images_per_second == pytest.approx(2.0)
    assert speed.seconds_for(10) == pytest.approx(20.0)
