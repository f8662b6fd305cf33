import threading
import time

import pytest

from luminoth.inference.background import InBackground, map_ahead, newest, read_ahead


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


def test_calls_that_wait_are_bounded_by_weight():
    waiting, most = [], []

    def call(weight):
        waiting.remove(weight)

    with InBackground(8, most_weight=10) as background:
        for weight in (4, 4, 4, 50, 4):
            waiting.append(weight)
            background(call, weight, weight=weight)
            most.append(sum(weight for _, weight in background._pending))
    assert most[0] == 4
    assert all(each <= 10 or each == 50 for each in most)


def fail():
    raise OSError("disk full")


def test_errors_of_calls_come_out():
    with pytest.raises(OSError, match="disk full"), InBackground(8) as background:
        background(fail)
    with pytest.raises(KeyError), InBackground(8) as background:  # noqa: PT012
        background(fail)
        raise KeyError("of the block")


# --- Several threads ------------------------------------------------------------------------------------------


def test_map_ahead_keeps_the_order_whatever_ends_first():
    def slow(item):
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * 10

    assert list(map_ahead(slow, range(20), threads=4, depth=6)) == [10 * item for item in range(20)]
    assert list(map_ahead(slow, [], threads=4, depth=6)) == []


def test_map_ahead_begins_no_more_than_was_agreed():
    begun = []
    calls = map_ahead(begun.append, range(100), threads=2, depth=5)
    next(calls)
    calls.close()  # waits for those that have begun
    assert begun == [0, 1, 2, 3, 4][: len(begun)]
    heavy = map_ahead(lambda item: item, [1, 5, 20, 1, 1], threads=2, depth=5, weigh=float, most_weight=10)
    assert list(heavy) == [1, 5, 20, 1, 1]


def test_map_ahead_holds_no_more_than_a_weight():
    """Items of 4 with room for 10: two at once; one of 50 alone."""
    held, most = [], []
    lock = threading.Lock()

    def begin(item):
        with lock:
            held.append(item)
            most.append(sum(held))
        return item

    for item in map_ahead(begin, [4, 4, 4, 50, 4, 4], threads=4, depth=6, weigh=float, most_weight=10):
        with lock:
            held.remove(item)
    assert max(most) == 50
    assert max(each for each in most if each < 50) <= 8


def test_map_ahead_gives_errors_in_their_place():
    def divide(item):
        return 6 // item

    got = []
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        for item in map_ahead(divide, [1, 2, 0, 3], threads=2, depth=3):
            got.append(item)
    assert got == [6, 3]


def test_newest_drops_what_comes_in_the_meantime():
    taken, goes_on = threading.Event(), threading.Event()

    def camera():
        yield 0
        taken.wait(5)
        yield from (1, 2, 3)
        goes_on.set()
        while True:
            yield 4
            time.sleep(0.001)

    stops = []
    frames = newest(camera(), stop=lambda: stops.append(True))
    assert next(frames) == 0
    taken.set()
    assert goes_on.wait(5)
    assert next(frames) in (3, 4)
    assert next(frames) == 4
    frames.close()
    assert stops == [True]


def test_newest_ends_with_its_source():
    def failing():
        yield 1
        raise OSError("unplugged")

    assert list(newest(iter([5])))[-1] == 5
    with pytest.raises(OSError, match="unplugged"):
        list(newest(failing()))
