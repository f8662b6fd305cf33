import threading
import time

import pytest

from luminoth.inference.background import InBackground, read_ahead


def test_read_ahead_keeps_the_order():
    assert list(read_ahead(range(20), 3)) == list(range(20))
    assert list(read_ahead([], 3)) == []


def test_read_ahead_makes_a_bounded_number():
    made = []

    def items():
        for index in range(10):
            made.append(index)
            yield index

    reader = read_ahead(items(), 3)
    assert next(reader) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]
    reader.close()


def test_an_error_comes_after_what_was_made_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("damaged")

    got = []
    with pytest.raises(ValueError, match="damaged"):  # noqa: PT012
        for item in read_ahead(items(), 4):
            got.append(item)
    assert got == [1, 2]


def test_calls_are_made_in_order_in_one_other_thread():
    calls, threads = [], set()

    def call(index):
        calls.append(index)
        threads.add(threading.get_ident())

    with InBackground(2) as background:
        for index in range(10):
            background(call, index)
    assert calls == list(range(10))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def fail():
    raise OSError("disk full")


def test_errors_of_calls_come_out():
    with pytest.raises(OSError, match="disk full"), InBackground(8) as background:
        background(fail)
    with pytest.raises(KeyError), InBackground(8) as background:  # noqa: PT012
        background(fail)
        raise KeyError("of the block")
